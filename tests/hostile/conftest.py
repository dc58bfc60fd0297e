"""Hostile inputs: every entry point is given what nobody should give it, and must answer with one message.

`refused` runs a command in this process and asserts how it ends: exit code 2 or 3, a message, no traceback, no memory
beyond 1.5 GB, and nothing printed that moves a terminal's cursor, turns its direction or commands a CI job.
"""

from __future__ import annotations

import re
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

RAW = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
    "|^\\s*::(?:error|warning) title=(?!robustness gate::)",
    re.M,
)
"""What no output may hold: control characters, marks of direction, workflow commands."""
MEMORY = 1_500_000_000 // (1 if sys.platform == "darwin" else 1024)
LONGEST = 6_000
"""Characters of a message and its hints."""

Refused = Callable[..., str]


def ends(arguments: list[str], codes: tuple[int, ...]) -> str:
    """Run a command; its output."""
    from robustbench_lift.cli import app

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = CliRunner().invoke(app, arguments)
    output = result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in output, output[-3000:]
    assert result.exit_code in codes, f"exit code {result.exit_code}: {output[-2000:]}"
    assert not RAW.search(output), ascii(output[-3000:])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY
    return output


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    """A command that must end with 2 or 3 and a message of bounded length."""
    monkeypatch.setenv("ROBUSTBENCH_LIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        output = ends([str(one) for one in arguments], (2, 3))
        assert output.strip()
        assert len(output) < LONGEST, len(output)
        return output

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two cells, complete."""
    out = tmp_path_factory.mktemp("finished")
    options = "--limit 15 --normaliser none --protocols clean,corruption --corruptions fog --severities 1 --no-report"
    ends(["run", "photos/resnet-max", *options.split(), "--device", "cpu", "--out", str(out)], (0,))
    return out / "resnet-max"


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
