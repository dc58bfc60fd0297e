from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from robustbench_lift.errors import UsageError
from robustbench_lift.report import Document, document, open_runs
from robustbench_lift.report.registry import TABLES, available_tables, make_table
from robustbench_lift.report.schema import Model
from robustbench_lift.runs import Cell, Run
from robustbench_lift.tables.latex import PAGE_ROWS, latex_escape, to_latex
from robustbench_lift.tables.render import TEXT, to_csv, to_data, to_markdown
from robustbench_lift.tables.table import Column, Entry, Row, Table
from robustbench_lift.tables.terminal import to_rich

EXACT: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__.startswith("2.") else {}
"""pandas 2 reads the last digit of a number only when told; later ones always do, and do not like to be told."""
MAP_TABLES = {"segmentation", "class-iou", "trimap-miou", "miou-per-corruption"}
"""Tables that need a segmentation network."""


def model_of(made: Document, label: str) -> Model:
    return next(model for model in made.models if model.label == label)


def printed(table: Table, width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(to_rich(table))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("name", TABLES)
def test_csv_read_by_pandas_equals_the_json(made: Document, name: str) -> None:
    table = make_table(made, name)
    frame = pd.read_csv(io.StringIO(to_csv(table)), **EXACT)
    data = to_data(table)
    assert len(frame) == len(data["rows"])
    for column in data["columns"]:
        stored = [row[column["key"]] for row in data["rows"]]
        for part, heading in (("value", column["heading"]), ("low", f"{column['title']} low")):
            expected = [entry[part] for entry in stored]
            if heading not in frame.columns:
                assert part == "low"
                assert all(value is None for value in expected)
                continue
            found = [None if pd.isna(value) else value for value in frame[heading].tolist()]
            assert found == expected  # every digit


@pytest.mark.parametrize("name", [name for name in TABLES if name not in MAP_TABLES])
def test_every_format_carries_signature_and_counts(made: Document, name: str) -> None:
    table = make_table(made, name)
    line = made.groups[0].signature
    assert f"{line} | 40 images" in " ".join(printed(table, width=400).split())
    for form, render in TEXT.items():
        text = render(table).replace(r"\allowbreak{}", "")
        expected = latex_escape(line) if form == "tex" else line
        assert expected in text, form
        assert "40 images" in text, form


def test_headings_carry_unit_and_direction(made: Document) -> None:
    table = make_table(made, "table-5")
    text = to_markdown(table)
    assert "mCE % (lower is better)" in text
    assert "Shift consistency % (higher is better)" in text
    assert "mCE [fraction, lower is better]" in to_csv(table)
    assert r"\shortstack[r]{mCE \\ \% $\downarrow$}" in to_latex(table)
    assert r"consistency \\ \% $\uparrow$" in to_latex(table)
    assert r"$\downarrow$ lower is better" in to_latex(table)
    assert r"\caption{Robustness by pooling" in to_latex(table)
    assert re.search(r"% lower", printed(table, width=80))


def test_best_second_and_ties_are_marked_in_every_format(made: Document) -> None:
    table = make_table(made, "per-corruption")
    marks = [entry.mark for row in table.rows for entry in row.entries]
    assert marks.count("best") >= 10
    assert marks.count("second") >= 10
    assert any(entry.tie for row in table.rows for entry in row.entries)
    assert "paired difference" in " ".join(table.notes)
    row = next(row for row in table.rows if {e.mark for e in row.entries} >= {"best", "second"})
    best = next(f"{100 * e.value:.1f}" for e in row.entries if e.mark == "best" and isinstance(e.value, float))
    second = next(f"{100 * e.value:.1f}" for e in row.entries if e.mark == "second" and isinstance(e.value, float))
    assert f"**{best}**" in to_markdown(table)
    assert f"_{second}_" in to_markdown(table)
    assert rf"\textbf{{{best}}}" in to_latex(table)
    assert rf"\underline{{{second}}}" in to_latex(table)
    assert re.search(rf"{best}\*", printed(table))
    assert re.search(rf"{second}\+", printed(table))


def test_the_normaliser_is_shown_and_not_ranked(made: Document) -> None:
    table = make_table(made, "table-5")
    last = table.rows[-1]
    assert last.entries[0].value == "alexnet-small"
    assert last.foot
    assert all(entry.mark == "" for entry in last.entries)


def test_numbers_are_never_cut_on_a_narrow_console(made: Document) -> None:
    text = printed(make_table(made, "table-5"), width=80)
    assert "..." not in text
    assert "\u2026" not in text
    for model in made.models:
        mce = model.headline["mce"].value
        assert mce is not None
        assert f"{100 * mce:.1f}" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_an_incomplete_run_says_what_is_missing(
    run_writer: Callable[..., Run], runs_folder: Path, tmp_path: Path
) -> None:
    holes = run_writer(
        tmp_path / "holes", pooling="lip", quality=1.7, normaliser=str(runs_folder / "alexnet"),
        skip=lambda cell: cell.condition in ("fog", "tilt"),
    )  # fmt: skip
    made = document([*open_runs([runs_folder]), holes], replicates=0)
    for name in TABLES:
        notes = " ".join(make_table(made, name).notes)
        assert "lip is incomplete: 6 of 87 cells are missing (corruption/fog/1" in notes
        assert "and 2 more" in notes
    row = next(row for row in make_table(made, "table-5").rows if row.entries[0].value == "lip")
    values = dict(zip((c.key for c in make_table(made, "table-5").columns), row.entries, strict=True))
    assert values["mce"].value is None
    assert values["mfr"].value is None
    assert values["clean_error"].value is not None
    assert values["mce"].mark == ""


def test_other_signatures_are_marked_and_never_ranked_together(
    run_writer: Callable[..., Run], runs_folder: Path, tmp_path: Path
) -> None:
    other = run_writer(
        tmp_path / "other", pooling="best", quality=9.0, protocol_seed="7", normaliser=str(runs_folder / "alexnet")
    )
    made = document([*open_runs([runs_folder]), other], replicates=0)
    table = make_table(made, "table-5")
    names = [row.entries[0].value for row in table.rows]
    stranger = next(row for row in table.rows if str(row.entries[0].value).startswith("best"))
    assert all(re.fullmatch(r".* \[[ab]\]", str(name)) for name in names)
    assert all(entry.mark == "" for entry in stranger.entries)
    assert any(entry.mark == "best" for row in table.rows for entry in row.entries)
    assert len(table.signatures) == 2
    assert any("not comparable" in note and "seed" in note for note in table.notes)
    matrix = make_table(made, "per-corruption")
    assert any(column.title.endswith("[b]") for column in matrix.columns)


def test_table_4_is_backbone_by_pooling(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    cells = (Cell("clean", "clean", 0),)
    for arch in ("resnet18", "resnet50"):
        for pooling, quality in (("max", 0.5), ("lift", 1.0)):
            run_writer(tmp_path / f"{arch}-{pooling}", arch=arch, pooling=pooling, quality=quality, cells=cells)
    run_writer(tmp_path / "extra", arch="vgg13", pooling="lift", quality=1.0, cells=cells)
    table = make_table(document(open_runs([tmp_path]), replicates=0), "table-4")
    assert [c.title for c in table.columns] == ["Pooling", "resnet18", "resnet50", "vgg13"]
    assert [r.entries[0].value for r in table.rows] == ["max", "lift"]
    assert table.rows[0].entries[3].value is None
    assert table.rows[1].entries[1].mark == "best"


def test_a_part_of_the_benchmark_has_the_mean_of_that_part(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    """`--corruptions fog,snow --severities 1,3`: numbers, headed as what they are, and no mCE."""
    cells = (Cell("clean", "clean", 0), *(Cell("corruption", name, s) for name in ("fog", "snow") for s in (1, 3)))
    for pooling, quality in (("max", 1.0), ("lift", 1.6)):
        run_writer(tmp_path / pooling, pooling=pooling, quality=quality, cells=cells)
    made = document(open_runs([tmp_path]), replicates=0)
    headline = make_table(made, "table-5")
    assert [c.key for c in headline.columns] == ["model", "part_mean_error", "clean_error", "parameters"]
    assert "2 corruptions, severities 1, 3" in headline.columns[1].heading
    for row, model in zip(headline.rows, made.models, strict=True):
        errors = [e for c in model.corruptions.values() for e in c.errors if e is not None]
        assert len(errors) == 4
        assert row.entries[1].value == pytest.approx(sum(errors) / 4)
    table = make_table(made, "per-corruption")
    assert all(entry.value is not None for row in table.rows for entry in row.entries)
    assert "mean of 2 corruptions, severities 1, 3" in str(table.rows[-1].entries[0].value)
    notes = [note for note in headline.notes if "not all of the benchmark" in note]
    assert len(notes) == 1  # once for both models
    assert "no mCE" in notes[0]


def test_a_hole_in_a_part_of_the_benchmark_leaves_no_mean(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    cells = tuple(Cell("corruption", name, s) for name in ("fog", "snow") for s in (1, 3))
    run = run_writer(tmp_path / "a", pooling="max", quality=1.0, cells=cells, skip=lambda cell: cell == cells[1])
    table = make_table(document([run], replicates=0), "per-corruption")
    assert [row.entries[1].value is None for row in table.rows] == [True, False, True]


def test_latex_escapes_what_latex_would_read(made: Document) -> None:
    assert latex_escape(r"a_b%c\d{e}$f&g#h~i^j") == (
        r"a\_b\%c\textbackslash{}d\{e\}\$f\&g\#h\textasciitilde{}i\textasciicircum{}j"
    )
    text = to_latex(make_table(made, "table-5"))
    for command in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert command in text
    body = text[text.index(r"\begin{tabular}") : text.index(r"\end{tabular}")]
    counts = {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")}
    assert counts == {len(make_table(made, "table-5").columns) - 1}
    assert re.search(r"(?<!\\)[_#]", body) is None


@pytest.mark.parametrize(("rows", "environment"), [(PAGE_ROWS, "table"), (PAGE_ROWS + 1, "longtable")])
def test_latex_breaks_what_no_page_holds(rows: int, environment: str) -> None:
    columns = (Column("name", "Name", "text"), Column("error", "Clean error", direction="lower"))
    text = to_latex(
        Table("long", "A table", columns, tuple(Row((Entry(f"r{k}"), Entry(k / 100))) for k in range(rows)))
    )
    assert rf"\begin{{{environment}}}" in text
    assert text.count(rf"\end{{{environment}}}") == 1
    assert ("longtable" in text.splitlines()[0]) == (environment == "longtable")
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(made: Document, tmp_path: Path) -> None:
    names = list(TABLES)
    for name in names:
        (tmp_path / f"{name}.tex").write_text(to_latex(make_table(made, name)), encoding="utf-8")
    inputs = "\\clearpage".join(rf"\input{{{name}}}" for name in names)
    source = rf"\documentclass{{article}}\usepackage{{booktabs,longtable}}\begin{{document}}{inputs}\end{{document}}"
    (tmp_path / "all.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Float too large" not in done.stdout


HOSTILE = "<b>|*_x_*|`$\\x1b[2J\n[red]=1+1"


def test_names_from_data_are_escaped() -> None:
    table = Table("t", HOSTILE, (Column("a", HOSTILE, "text"), Column("b", "x")), (Row((Entry(HOSTILE), Entry(0.5))),))
    text = to_markdown(table)
    assert "<b>" not in text
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 3
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in text.splitlines() if line.startswith("|"))
    shown = printed(table)
    assert "\x1b" not in shown
    assert "[red]" in shown
    frame = pd.read_csv(io.StringIO(to_csv(table)), **EXACT)
    assert frame.iloc[0, 0] == HOSTILE
    assert json.loads(TEXT["json"](table))["rows"][0]["a"]["value"] == HOSTILE


def test_an_unknown_table_is_named(made: Document) -> None:
    with pytest.raises(UsageError, match="Did you mean 'table-5'"):
        make_table(made, "table5")


def test_consistency_is_printed_with_the_error_and_among_correct_images(
    made: Document, tmp_path: Path, run_writer: Callable[..., Run]
) -> None:
    table = make_table(made, "shift")
    assert [c.key for c in table.columns][1:4] == ["consistency", "consistency_correct", "clean_error"]
    for row, model in zip(table.rows[:-1], [m for m in made.models if not m.is_normaliser], strict=True):
        assert row.entries[2].value == model.headline["consistency_correct"].value is not None
    run = run_writer(tmp_path / "clean", pooling="max", quality=1.5, cells=[Cell("clean", "clean", 0)])
    assert "shift" not in available_tables(document([run], replicates=0))
    assert "shift" in available_tables(made)


def test_a_name_is_no_formula_of_a_spreadsheet() -> None:
    names = ('=HYPERLINK("http://x")', "@x", "+1", "-1", "\tx")
    table = Table("t", "t", (Column("a", "a", "text"),), tuple(Row((Entry(name),)) for name in names))
    frame = pd.read_csv(io.StringIO(to_csv(table)), **EXACT)
    assert [name[0] for name in frame["a"]] == ["'"] * 5


def test_every_headline_number_is_printed_somewhere(made: Document) -> None:
    columns = {column.key for column in make_table(made, "numbers").columns}
    assert {"mce", "mean_top5_distance", "mt5d", "clean_top5_error", "corruption_ece"} <= columns


def test_a_label_is_no_formula_in_the_head_of_a_spreadsheet() -> None:
    table = Table("t", "t", (Column("a", "=1+1"), Column("b", " @x")), (Row((Entry(0.5), Entry(0.5, 0.4, 0.6))),))
    head = to_csv(table).splitlines()[0].split(",")
    assert head[0].startswith("'=1+1")
    assert all(not name.lstrip().startswith(("=", "@")) for name in head)


def test_top_5_distance_is_printed_normalised_and_not(made: Document) -> None:
    stability = {column.key for column in make_table(made, "stability").columns}
    assert {"mfr", "mean_flip_probability", "mt5d", "mean_top5_distance"} <= stability
    by_perturbation = make_table(made, "top5-distance")
    assert len(by_perturbation.rows) == 11
    model = model_of(made, "lift")
    (k,) = [k for k, c in enumerate(by_perturbation.columns) if c.key == "lift"]
    assert by_perturbation.columns[k].unit == "ranks"
    assert by_perturbation.rows[-1].entries[k].value == model.headline["mean_top5_distance"].value
    assert by_perturbation.rows[0].entries[k].value == model.perturbations["gaussian_noise"].top5_distance.value


def test_rough_flip_rates_are_said_once(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    cells = [Cell("perturbation", name, 1) for name in ("tilt", "scale")]
    run_writer(tmp_path / "net", pooling=None, arch="alexnet-small", quality=1.1, images=6, cells=cells)
    for pooling in ("max", "lift"):
        run_writer(tmp_path / pooling, pooling=pooling, quality=1.5, images=6, cells=cells, normaliser="../net")
    made = document(open_runs([tmp_path]), replicates=0)
    assert set(made.groups[0].few_flips) == {"tilt", "scale"}
    (note,) = [note for note in make_table(made, "table-5").notes if "FEW FLIPS" in note]
    assert f"tilt {made.groups[0].few_flips['tilt']}" in note


def test_readers_see_words_and_data_files_keep_keys(made: Document) -> None:
    for name in ("per-corruption", "corruption-details", "per-perturbation"):
        table = make_table(made, name)
        read = (to_markdown(table), to_latex(table), printed(table, width=400))
        assert all("Gaussian noise" in text and "gaussian_noise" not in text for text in read)
        assert not any(r"gaussian\_noise" in text for text in read)
        assert "mCE" in read[0] or name != "per-corruption"
        assert "gaussian_noise" in to_csv(table)
        assert any(row["condition"]["value"] == "gaussian_noise" for row in to_data(table)["rows"])
