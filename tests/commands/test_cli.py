"""The command line as its users meet it: help that is fast, examples that work, one message for a mistake."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from robustbench_lift.cli import Ending, app
from robustbench_lift.commands.console import SafeConsole
from robustbench_lift.commands.listing import LISTS

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "run",
    "submit",
    "status",
    "train",
    "sweep",
    "paper",
    "report",
    "effective",
    "compare",
    "gate",
    "corrupt",
    "check",
    "convert",
    "plan",
    "list",
)


def call(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "robustbench_lift", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_commands_are_frozen() -> None:
    names = {command.name for command in app.registered_commands}
    assert names == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert "Example" in shown.output
    assert "robustbench-lift" in shown.output


def test_the_script_is_the_same_thing() -> None:
    shown = subprocess.run(
        [sys.executable, "run_benchmark.py", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout == call("--version").stdout
    assert re.fullmatch(r"robustbench-lift \d+\.\d+\.\d+\n", shown.stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "photos/resnet-lifft"), 2, "resnet-lift"),
        (("run", "resnet8/lifft@x.safetensors"), 2, "lift"),
        (("run", "photos/resnet-lift", "--corruptions", "fogg"), 2, "Did you mean 'fog'"),
        (("run", "photos/resnet-lift", "--severities", "0"), 2, "severity 0 does not exist"),
        (("run", "photos/resnet-lift", "--severities", "high"), 2, "not a whole number"),
        (("run", "photos/resnet-lift", "--protocols", "corruptions"), 2, "Did you mean 'corruption'"),
        (("run", "photos/resnet-lift", "--precision", "fp8"), 2, "fp32"),
        (("run", "photos/resnet-lift", "--shard", "5/4"), 2, "goes from 1 to n"),
        (("run", "photos/resnet-lift", "--no-such-option"), 2, "No such option"),
        (("run", "photos/resnet-lift", "--workers", "-1"), 2, "workers"),
        (("run", "photos/resnet-lift", "--severities", ""), 2, "--severities is empty"),
        (("run", "photos/resnet-lift", "--severities", "1,1"), 2, "names 1 more than once"),
        (("run", "photos/resnet-lift", "--corruptions", "fog, fog"), 2, "names fog more than once"),
        (("run", "photos/resnet-lift", "--normaliser", "alexnet"), 2, "apply to photos"),
        (("run", "photos/resnet-lift", "photos/resnet-lift"), 2, "given twice"),
        (("run", "--data", "imagenet:"), 2, "write imagenet:PATH"),
        (("plan", "--data", "imagenet:x"), 2, "no model given"),
        (("report", "runs", "--format", "doc"), 2, "unknown report format"),
        (("report", "runs", "--table", "table-55"), 2, "Did you mean 'table-5'"),
        (("report", "runs", "--table", "table-6"), 2, "robustbench-lift paper table-6"),
        (("--protocols", "clean"), 2, "robustbench-lift run --protocols"),
        (("list", "poolingz"), 2, "Did you mean 'poolings'"),
        (("list", "poolings", "--backbone", "resnet5"), 2, "resnet50"),
        (("report", "no/such/run"), 2, "no/such/run does not exist"),
        (("report",), 2, "For example: robustbench-lift report runs/photos"),
        (("gate", "baseline.json"), 2, "For example: robustbench-lift gate baseline.json runs/photos/resnet-lift"),
        (("train", "photos"), 2, "For example: robustbench-lift train photos --model resnet8/lift"),
        (("run", "photos/resnet-lift", "--device", "gpu"), 2, "Use auto, cpu, cuda"),
        (
            ("run", "resnet50/lift@https://a.b/w.pt"),
            2,
            "is an address of https; weights are read from files",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_ends_in_one_message(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    assert message in " ".join(done.stderr.replace("\u2502", " ").split())
    assert "Traceback" not in done.output + done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_read_only_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(
        app,
        [
            "run",
            "photos/resnet-lift",
            "--protocols",
            "clean",
            "--normaliser",
            "none",
            "--out",
            str(tmp_path / "file" / "x"),
        ],
    )
    assert done.exit_code == 2
    assert "cannot write" in done.stderr


def test_one_model_on_one_protocol_runs_and_goes_on(tmp_path: Path) -> None:
    arguments = ["run", "photos/resnet-lift", "--protocols", "clean", "--normaliser", "none", "--limit", "15"]
    first = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path), "--no-report"])
    assert first.exit_code == 0, first.output + first.stderr
    cell = tmp_path / "resnet-lift" / "cells" / "clean" / "clean" / "0.npz"
    before = cell.stat().st_mtime_ns
    again = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path), "--no-report"])
    assert again.exit_code == 0
    assert cell.stat().st_mtime_ns == before
    other = CliRunner().invoke(app, [*arguments, "--precision", "bf16", "--out", str(tmp_path), "--no-report"])
    assert other.exit_code == 3
    assert "precision: fp32 != bf16" in other.stderr


def test_plan_takes_what_run_takes() -> None:
    arguments = ["photos/resnet-lift", "--corruptions", "fog,snow", "--severities", "1,3", "--perturbations", "tilt"]
    arguments += ["--storage", "official", "--shift-mode", "diagonal", "--limit", "15", "--workers", "1"]
    shown = call("plan", *arguments, "--protocols", "corruption,perturbation,shift").stdout
    rows = {
        cells[0]: cells[1:4]
        for cells in ([cell.strip() for cell in line.strip("\u2502").split("\u2502")] for line in shown.splitlines())
        if len(cells) == 7
    }
    assert rows["corruption"] == ["4", "15", "60"]
    assert rows["perturbation"] == ["1", "15", "465"]
    assert rows["shift"] == ["1", "15", "135"]


def test_what_a_model_leaves_open_is_told_before_it_is_evaluated(tmp_path: Path) -> None:
    arguments = ["run", "resnet8/skip?num_classes=15@random", "--protocols", "clean,shift", "--normaliser", "none"]
    arguments += ["--limit", "15", "--draws", "1", "--out", str(tmp_path), "--no-report"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output + done.stderr
    assert "note on resnet8/skip: the weights are untrained (@random)." in done.output
    words = " ".join(done.output.split())
    assert re.search(r"shift consistency \(crop\) [\d.]+ % at an accuracy of [\d.]+ % on these windows; ", words)
    assert "where the first of a pair is right" in words
    (stored,) = tmp_path.glob("*/run.json")
    assert "the weights are untrained" in stored.read_text()


def on_a_screen(width: int, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What a command prints on a terminal of this width."""
    screen = SafeConsole(file=io.StringIO(), width=width, force_terminal=True, no_color=True, highlight=False)
    monkeypatch.setattr("robustbench_lift.commands.console.console", screen)
    assert CliRunner().invoke(app, list(arguments)).exit_code == 0
    return re.sub(r"\x1b\[[\d;]*m", "", screen.file.getvalue())  # type: ignore[attr-defined]


def test_listed_names_are_whole_on_a_narrow_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_a_screen(60, monkeypatch, "list", "checkpoints")
    assert "photos/resnet-average" in shown
    assert max(map(len, shown.splitlines())) <= 60


@pytest.mark.parametrize("kind", ["suites", "numbers", "poolings"])
def test_in_a_pipe_every_row_of_a_list_is_one_line_that_grep_finds_whole(kind: str) -> None:
    table = LISTS[kind]("resnet8")
    lines = CliRunner().invoke(app, ["list", kind, "--backbone", "resnet8"]).output.splitlines()
    for row in table.rows:
        (line,) = [line for line in lines if f"│ {row[0]} " in line]
        assert all(cell in line for cell in row)


def test_lists_print_what_there_is() -> None:
    everything = CliRunner().invoke(app, ["list"]).output
    for kind in LISTS:
        assert kind in everything
        shown = CliRunner().invoke(app, ["list", kind, "--backbone", "resnet8"])
        assert shown.exit_code == 0, shown.output
    protocols = CliRunner().invoke(app, ["list", "protocols"]).output
    assert "[first_0" in protocols
    assert "gaussian_noise" in CliRunner().invoke(app, ["list", "corruptions"]).output


def test_the_normaliser_is_recorded_under_the_folder_that_it_has(tmp_path: Path) -> None:
    from robustbench_lift import Run

    weights = Path(__file__).resolve().parents[2] / "checkpoints" / "photos"
    for seed, name in (("seed0", "resnet-max"), ("seed1", "resnet-lift")):
        (tmp_path / seed).mkdir()
        (tmp_path / seed / "final.safetensors").write_bytes((weights / f"{name}.safetensors").read_bytes())
    one, other = (f"@{tmp_path}/{seed}/final.safetensors" for seed in ("seed1", "seed0"))
    arguments = ["run", one, "--normaliser", other, "--protocols", "clean", "--limit", "15", "--no-report"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output + done.stderr
    (run,) = (run for run in map(Run.open, (tmp_path / "runs").glob("*/")) if run.manifest.model["spec"] == one)
    assert run.manifest.normaliser is not None
    assert Run.open(run.path / run.manifest.normaliser).manifest.model["spec"] == other


def test_a_traceback_is_shown_when_wanted_alone() -> None:
    wanted = CliRunner().invoke(app, ["--traceback", "check", "nowhere"])
    plain = CliRunner().invoke(app, ["check", "nowhere"])
    assert wanted.exit_code == plain.exit_code != 0
    assert "Traceback" in wanted.output
    assert "Traceback" not in plain.output


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_list_breaks_no_word_of_an_option(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_a_screen(width, monkeypatch, "list", "suites")
    assert max(len(line) for line in shown.splitlines()) <= width
    for word in ("tiny-imagenet-c:", "corruptions", "Perturbations"):
        assert word in shown


def test_a_suite_with_fewer_severities_of_some_conditions_is_listed_by_its_cells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kamann and Rother: four noises at 3 severities, twelve others at 5."""
    shown = on_a_screen(400, monkeypatch, "list", "suites")
    assert "16 corruptions, 72 cells" in shown
    assert "15 corruptions x 5" in shown


def test_a_signal_ends_once_and_is_heard_again_when_that_came_to_nothing() -> None:
    end = Ending()
    with pytest.raises(KeyboardInterrupt):
        end(15, None)
    end(15, None)  # the tidying up goes on
    end.patience = 0.0
    with pytest.raises(KeyboardInterrupt):
        end(15, None)
