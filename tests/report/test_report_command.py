from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from robustbench_lift.commands.report import register
from robustbench_lift.errors import DataError, RobustbenchError, StorageError, UsageError
from robustbench_lift.report import Document, render_all
from robustbench_lift.report.registry import TABLES
from robustbench_lift.runs import Cell, Run
from robustbench_lift.tables.latex import latex_escape

MAP_TABLES = {"segmentation", "class-iou", "trimap-miou", "miou-per-corruption"}
"""Tables that need a segmentation network."""


@pytest.fixture(scope="module")
def small(run_writer: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of clean and shift cells, made fast."""
    folder = tmp_path_factory.mktemp("small")
    for pooling, quality in (("max", 1.0), ("lift", 1.4)):
        run_writer(
            folder / pooling,
            pooling=pooling,
            quality=quality,
            cells=(Cell("clean", "clean", 0), Cell("shift", "crop", 0)),
        )
    return folder


def invoke(*arguments: object) -> Result:
    app = typer.Typer()
    register(app)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_everything_is_written_and_said(small: Path, tmp_path: Path) -> None:
    result = invoke(small, "--out", tmp_path / "r", "--format", "all", "--replicates", "0")
    assert result.exit_code == 0, result.output
    flat = result.output.replace("\n", "")
    assert "Table 5" in flat
    assert str(tmp_path / "r" / "report.html") in flat
    names = {str(p.relative_to(tmp_path / "r")) for p in (tmp_path / "r").rglob("*") if p.is_file()}
    assert {"report.html", "document.json"} <= names
    assert {f"tables/table-5.{form}" for form in ("md", "csv", "tex", "json")} <= names
    assert {f"figures/figure-4.{form}" for form in ("png", "svg", "pdf")} <= names
    assert not any("figure-9" in name for name in names)
    made = Document.from_json((tmp_path / "r" / "document.json").read_text())
    assert made.command.startswith(f"robustbench-lift report {small}")
    assert "--replicates 0" in made.command


def test_one_table_and_one_figure(small: Path, tmp_path: Path) -> None:
    result = invoke(
        small,
        "--out",
        tmp_path,
        "--table",
        "table-4",
        "--figure",
        "figure-4",
        "--format",
        "md,svg",
        "--replicates",
        "0",
    )
    assert result.exit_code == 0, result.output
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert names == {"document.json", "tables/table-4.md", "figures/figure-4.svg"}
    assert "Table 4" in result.output
    assert "Table 5" not in result.output


def test_no_figures_leaves_the_tables(small: Path, tmp_path: Path) -> None:
    result = invoke(small, "--out", tmp_path, "--figure", "none", "--format", "md,svg", "--replicates", "0")
    assert result.exit_code == 0, result.output
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert {"tables/table-4.md", "tables/table-5.md"} <= names
    assert not any(name.startswith("figures") for name in names)


def test_a_document_renders_without_its_runs(small: Path, tmp_path: Path) -> None:
    assert invoke(small, "--out", tmp_path / "a", "--format", "csv", "--replicates", "0").exit_code == 0
    assert invoke(tmp_path / "a" / "document.json", "--out", tmp_path / "b", "--format", "csv").exit_code == 0
    for file in (tmp_path / "a").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_files_lie_inside_the_folder_of_runs_unless_told(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    run_writer(tmp_path / "runs" / "a", pooling="max", quality=1.0, cells=(Cell("clean", "clean", 0),))
    assert invoke(tmp_path / "runs", "--format", "json", "--replicates", "0").exit_code == 0
    assert (tmp_path / "runs" / "report" / "document.json").exists()
    assert invoke(tmp_path / "runs", "--format", "json", "--replicates", "0").exit_code == 0  # and again, over it


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--format", "docx"), "unknown report format 'docx'"),
        (("--table", "table-9"), "unknown table 'table-9'"),
        (("--figure", "figure-12"), "unknown figure 'figure-12'"),
        (("--table", "table-1"), "robustbench-lift paper table-1"),
        (("--figure", "figure-7"), "robustbench-lift paper figure-7"),
        (("--figure", "figure-9"), "needs corruption or perturbation cells"),
        (("--signature", "long"), "unknown signature 'long'"),
        (("--replicates", "-1"), "--replicates -1"),
        (("--confidence", "95"), "between 0 and 1"),
    ],
)
def test_mistakes_end_in_one_message(small: Path, tmp_path: Path, options: tuple[str, ...], text: str) -> None:
    result = invoke(small, "--out", tmp_path, "--replicates", "0", *options)
    assert isinstance(result.exception, UsageError)
    assert text in str(result.exception)
    assert result.exception.exit_code == 2


def test_folders_that_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    for arguments, code in (((tmp_path / "absent",), 2), ((tmp_path,), 3), ((tmp_path / "note.txt",), 2)):
        result = invoke(*arguments)
        assert isinstance(result.exception, RobustbenchError)
        assert result.exception.exit_code == code
    result = invoke(tmp_path / "note.txt", tmp_path)
    assert isinstance(result.exception, UsageError)
    with pytest.raises(DataError, match="does not exist"):
        raise invoke(tmp_path / "absent").exception  # type: ignore[misc]


def test_a_place_that_cannot_be_written(small: Path, made: Document, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        render_all(made, tmp_path / "file" / "inside", formats=["json"])


def test_tables_on_disk_are_json(small: Path, made: Document, tmp_path: Path) -> None:
    paths = render_all(made, tmp_path, formats=["json"], figures=[])
    assert {path.stem for path in paths[1:]} == set(TABLES) - {"trainings", *MAP_TABLES}
    for path in paths[1:]:
        assert json.loads(path.read_text())["signatures"]


def test_the_console_says_each_thing_once(runs_folder: Path, tmp_path: Path) -> None:
    result = invoke(
        runs_folder, "--out", tmp_path / "r", "--format", "md,svg", "--figure", "figure-9", "--table", "table-5"
    )
    assert result.exit_code == 0, result.output
    result = invoke(runs_folder, "--out", tmp_path / "s", "--format", "html,png", "--replicates", "20")
    assert result.exit_code == 0, result.output
    signature = Document.from_json((tmp_path / "s" / "document.json").read_text()).groups[0].signature
    lines = result.output.splitlines()
    assert sum(signature in line for line in lines) == 1  # whole, on one line
    assert result.output.count("is the normaliser, measured") == 1
    assert "What it shows: lowest mCE" in " ".join(result.output.split())
    written = [line for line in lines if str(tmp_path) in line]
    assert len(written) <= 3
    assert str(tmp_path / "s" / "report.html") in written[0]
    assert str(tmp_path / "s" / "figures" / "figure-9.png") in written[0]


@pytest.mark.parametrize("kind", ["full", "short", "none"])
def test_how_much_of_the_signature_latex_carries(small: Path, tmp_path: Path, kind: str) -> None:
    options = ("--format", "tex,csv", "--figure", "none", "--replicates", "0", "--signature", kind)
    assert invoke(small, "--out", tmp_path, *options).exit_code == 0
    signature = Document.from_json((tmp_path / "document.json").read_text()).groups[0].signature
    text = (tmp_path / "tables" / "table-5.tex").read_text().replace(r"\allowbreak{}", "")
    assert (latex_escape(signature) in text) == (kind == "full")
    assert ("rbl1:" in text) == (kind == "short")
    assert signature in (tmp_path / "tables" / "table-5.csv").read_text()  # data keep it whole
