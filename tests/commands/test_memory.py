"""Freed memory stays with the process where the C library lets us say so."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKS, MEGABYTES, ROUNDS = 16, 8, 10
CODE = f"""
import ctypes, resource, sys
from robustbench_lift.commands.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
size = {MEGABYTES} * 2**20
def work():
    blocks = [library.malloc(size) for _ in range({BLOCKS})]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in reversed(blocks):
        library.free(block)
work()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is the GNU C library's")
def test_blocks_are_used_again_without_page_faults() -> None:
    kept, usual = faults("keep"), faults("usual")
    assert kept < usual / 4


@pytest.mark.parametrize(
    "command",
    [
        ["train", "photos", "--model", "resnet8/max", "--set", "epochs=1", "--out", "out"],
        ["sweep", "photos", "--models", "resnet8/max", "--set", "epochs=1", "--out", "out"],
        ["paper", "figure-8", "--out", "out"],
    ],
    ids=lambda command: command[0],
)
def test_long_work_asks_for_it(command, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from robustbench_lift.cli import app
    from robustbench_lift.commands import paper, train

    class Asked(Exception):
        exit_code = 99

    def ask() -> bool:
        raise Asked

    monkeypatch.setattr(train, "keep_freed_memory", ask)
    monkeypatch.setattr(paper, "keep_freed_memory", ask)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, command).exit_code == 99
