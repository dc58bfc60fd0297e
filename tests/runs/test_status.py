"""Where a run stands is read from the files of its folder."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from robustbench_lift import evaluate
from robustbench_lift.cli import app
from robustbench_lift.commands import console
from robustbench_lift.commands.console import SafeConsole
from robustbench_lift.device import slow_precision
from robustbench_lift.runs import Run
from robustbench_lift.runs.status import status


def network(x: torch.Tensor) -> torch.Tensor:
    return x.mean((2, 3)).repeat(1, 5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "net"
    evaluate(
        network,
        "photos",
        run=folder,
        protocols=("clean", "corruption"),
        corruptions=("brightness",),
        limit=15,
        allow_chance=True,
    )
    return Run.open(folder)


def test_a_complete_run_has_nothing_left(run: Run) -> None:
    clean, corruption = status(run)
    assert (clean.protocol, clean.done, clean.total, corruption.done, corruption.total) == ("clean", 1, 1, 5, 5)
    assert not clean.silent
    assert not corruption.begun
    ended = CliRunner().invoke(app, ["status", str(run.path)])
    assert ended.exit_code == 0
    assert "5 of 5" in ended.output


def test_a_long_name_is_never_cut(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "resnet8-maxpool-lift-with-a-name-that-is-longer-than-a-narrow-column-and-its-neighbours"
    shutil.copytree(run.path, folder)
    pipe = CliRunner().invoke(app, ["status", str(folder)])
    assert folder.name in pipe.output
    narrow = SafeConsole(file=io.StringIO(), width=60, force_terminal=True, no_color=True)
    monkeypatch.setattr(console, "console", narrow)
    CliRunner().invoke(app, ["status", str(folder)])
    assert isinstance(narrow.file, io.StringIO)
    assert "5 of 5" in narrow.file.getvalue()
    assert "\u2026" not in narrow.file.getvalue()


def test_missing_cells_and_silent_shares_are_named(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(run.path, folder)
    copy = Run.open(folder)
    files = [copy.file(cell) for cell in copy.expected if cell.protocol == "corruption"]
    for number, file in enumerate(files):
        os.utime(file, (1000 + 60 * number, 1000 + 60 * number))
    files[3].rename(files[3].with_name("4.share-1-of-3.npz"))
    files[4].unlink()
    files[4].with_name("5.share-1-of-99999999999.npz").write_bytes(b"of nobody")  # no memory for so many
    corruption = status(copy)[1]
    assert (corruption.done, corruption.begun, corruption.left) == (3, 1, 120)
    assert corruption.silent == ["2/3", "3/3"]
    ended = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert ended.exit_code == 3
    assert "3 of 5" in ended.output
    assert "2/3, 3/3" in ended.output
    assert "2 min" in ended.output


def test_a_precision_without_instructions_is_named(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    words = tmp_path / "cpuinfo"
    words.write_text("flags : avx avx2 fma\n")
    assert "fp32" in str(slow_precision(cpu, "bf16", cpuinfo=words))
    assert slow_precision(cpu, "fp32", cpuinfo=words) is None
    assert slow_precision(torch.device("cuda"), "bf16", cpuinfo=words) is None
    words.write_text("flags : avx2 avx512_bf16\n")
    assert slow_precision(cpu, "bf16", cpuinfo=words) is None
    assert slow_precision(cpu, "bf16", cpuinfo=tmp_path / "none") is None


def test_it_is_said_before_the_first_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustbench_lift.evaluation.engine.slow_precision", lambda *_: "slow here")
    seen = []
    evaluate(
        network,
        "photos",
        run=tmp_path / "net",
        protocols=("clean",),
        limit=15,
        allow_chance=True,
        progress=lambda state: seen.append(replace(state)),
    )
    assert seen[0].note == "slow here"
    assert seen[0].images_done == 0
