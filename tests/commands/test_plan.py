"""What a plan counts is what the run stores."""

from __future__ import annotations

from typer.testing import CliRunner

from robustbench_lift.cli import app
from robustbench_lift.commands.plan import Sizes, sizes_of
from robustbench_lift.protocols.request import Request


def test_sizes_are_those_of_the_arrays() -> None:
    (protocol,) = Request(protocols=("corruption",), corruptions=("fog",), limit=15).build()
    # 5 cells of 15 images: a label of 8 bytes, five classes of 2, three probabilities of 4
    assert sizes_of(protocol, 75, 2) == Sizes(75, 10, 2 * 75 * (8 + 10 + 3 * 4))


def test_jobs_are_told_their_share() -> None:
    shown = CliRunner().invoke(
        app, ["plan", "photos/resnet-max", "--protocols", "clean", "--limit", "15", "--jobs", "4"]
    )
    assert shown.exit_code == 0
    assert "15 images are read, 1 cells" in shown.output
    assert "in 4 jobs" in shown.output
    assert "4 files of shares" in shown.output
