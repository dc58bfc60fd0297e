"""What batch size, workers and shares may change of what is stored: nothing, or the last bits of probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from robustbench_lift.cli import app
from robustbench_lift.runs import Run

COMMON = (
    *("run", "photos/resnet-lift", "--protocols", "clean,corruption,shift", "--corruptions", "fog,gaussian_noise"),
    *("--severities", "3", "--draws", "2", "--limit", "30", "--normaliser", "none", "--no-report", "--device", "cpu"),
)
Evaluate = Callable[..., Run]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of one process with default options."""
    return run(tmp_path_factory.mktemp("alone"))


def run(folder: Path, *options: str) -> Run:
    """The run in a folder after a command."""
    found = CliRunner().invoke(app, [*COMMON, "--out", str(folder), *options])
    assert found.exit_code == 0, found.output
    return Run.open(folder / "resnet-lift")


def stored(run: Run) -> dict[str, bytes]:
    """The bytes of each file of a run's cells; the digest of a cell is part of them."""
    return {str(path.relative_to(run.path)): path.read_bytes() for path in run.path.rglob("*.npz")}


def test_the_run_has_every_kind_of_cell(alone: Run) -> None:
    assert sorted(stored(alone)) == [
        f"cells/{cell}.npz"
        for cell in ("clean/clean/0", "corruption/fog/3", "corruption/gaussian_noise/3", "shift/crop/0")
    ]


@pytest.mark.parametrize(
    "options",
    [
        ("--batch-size", "8"),
        ("--batch-size", "13"),
        ("--batch-size", "64"),
        ("--workers", "2"),
        ("--workers", "2", "--batch-size", "64", "--no-keep"),
    ],
    ids=" ".join,
)
def test_batches_and_workers_leave_every_byte(alone: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    other = run(tmp_path, *options)
    assert stored(other) == stored(alone)
    assert other.signature == alone.signature


@pytest.mark.parametrize(("order", "options"), [((3, 1, 2), ()), ((1, 2, 3, 4, 5, 6, 7), ("--batch-size", "64"))])
def test_merged_shares_leave_every_byte(
    alone: Run, tmp_path: Path, order: tuple[int, ...], options: tuple[str, ...]
) -> None:
    for index in order:
        merged = run(tmp_path, "--shard", f"{index}/{len(order)}", *options)
    assert stored(merged) == stored(alone)
    assert merged.signature == alone.signature


@pytest.mark.parametrize("options", [("--batch-size", "1"), ("--batch-size", "7", "--workers", "2")], ids=" ".join)
def test_passes_below_eight_frames_move_probabilities_alone_and_by_a_millionth(
    alone: Run, tmp_path: Path, options: tuple[str, ...]
) -> None:
    other = run(tmp_path, *options)
    assert sorted(stored(other)) == sorted(stored(alone))
    assert other.signature == alone.signature
    for cell in alone.expected:
        found, wanted = other.read(cell).arrays(), alone.read(cell).arrays()
        for name, array in wanted.items():
            if array.dtype == np.float32:
                np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-6, err_msg=f"{cell.key} {name}")
            else:
                assert found[name].tobytes() == array.tobytes(), f"{cell.key} {name}"
