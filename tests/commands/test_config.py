"""`run --config`: a file of options, what it may hold, and the file that a run leaves behind."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from robustbench_lift.cli import app
from robustbench_lift.commands.config import write_config
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.protocols.request import Request

SMALL = """
models = ["photos/resnet-max"]
protocols = ["clean", "corruption"]
corruptions = "fog"
severities = [1, 3]
batch-size = 16
limit = 30
normaliser = "none"
report = false
"""


def config(folder: Path, text: str) -> str:
    file = folder / "mine.toml"
    file.write_text(text)
    return str(file)


def test_a_run_of_a_file_leaves_a_file_that_repeats_it(tmp_path: Path) -> None:
    file = config(tmp_path, SMALL)
    out = str(tmp_path / "r")
    arguments = ["run", "--config", file, "--out", out, "--quiet", "--json", str(tmp_path / "all.json")]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert first.stdout == ""
    scores = json.loads((tmp_path / "all.json").read_text())["runs"]
    assert [one["model"]["spec"] for one in scores] == ["photos/resnet-max"]
    assert json.loads((tmp_path / "r" / "resnet-max" / "scores.json").read_text())["runs"] == scores
    assert "evaluated_error" in scores[0]["headline"]
    assert not (tmp_path / "r" / "report").exists()
    written = tmp_path / "r" / "resnet-max" / "run.toml"
    kept = tomllib.loads(written.read_text())
    assert kept["severities"] == [1, 3]
    assert kept["batch_size"] == 16
    assert kept["out"] == out
    manifest = (tmp_path / "r" / "resnet-max" / "run.json").read_text()
    again = CliRunner().invoke(app, ["run", "--config", str(written), "--no-report", "-q"])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "r" / "resnet-max" / "run.json").read_text() == manifest, "the same run, complete already"


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    request = Request(corruptions=("fog",), severities=(5,), draws=2, storage="official", seed=3)
    settings = Settings(precision="bf16", fold=True, workers=2)
    write_config(tmp_path / "run.toml", request, settings, models=['a "quoted" \\ name'], normaliser=None, out=tmp_path)
    kept = tomllib.loads((tmp_path / "run.toml").read_text())
    assert kept.pop("models") == ['a "quoted" \\ name']
    assert kept.pop("out") == str(tmp_path)
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
    of_settings = {name: fields.pop(name) for name in ("precision", "fold", "workers")}
    assert Request(**fields) == request
    assert Settings(**of_settings) == settings


@pytest.mark.parametrize(
    ("text", "options", "names"),
    [
        ("severitys = [1]", [], ("severitys", "severities")),
        ("limit = 30", ["--limit", "20"], ("limit", "30", "20")),
        ("severities = [1]", ["--severities", "1,2"], ("severities",)),
        ('limit = "many"', [], ("limit", "whole number")),
        ("severities = [1.5]", [], ("severities", "numbers")),
        ("fold = 1", [], ("fold", "true or false")),
        ("models = 3", [], ("models", "list")),
        ("out = 3", [], ("out", "text")),
        ('precision = "fp8"', [], ("precision", "fp32")),
        ("limit = ", [], ("TOML",)),
        ("[limit]\na = 1", [], ("limit", "whole number")),
    ],
)
def test_a_file_that_means_nothing_is_refused(
    tmp_path: Path, text: str, options: list[str], names: tuple[str, ...]
) -> None:
    result = CliRunner().invoke(app, ["run", "--config", config(tmp_path, text), *options])
    assert result.exit_code == 2
    assert all(name in result.output for name in names), result.output


def test_a_file_and_the_command_line_may_agree(tmp_path: Path) -> None:
    file = config(tmp_path, 'severities = [1, 3]\nlimit = 30\nout = "elsewhere"\nprotocols = ["clean"]')
    result = CliRunner().invoke(app, ["plan", "photos/resnet-max", "--config", file, "--limit", "30"])
    assert result.exit_code == 0, result.output
    missing = CliRunner().invoke(app, ["plan", "--config", str(tmp_path / "none.toml")])
    assert missing.exit_code == 2
    assert "none.toml" in missing.output
