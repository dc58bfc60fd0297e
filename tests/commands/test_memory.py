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
