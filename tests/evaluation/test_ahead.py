"""A thread that works ahead: its errors, its end, and signals at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from robustbench_lift.errors import DataError
from robustbench_lift.evaluation.ahead import ahead


def test_errors_of_the_rendering_thread_reach_the_caller() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise DataError("a broken image")

    stream = ahead(items(), 2)
    assert next(stream) == 1
    with pytest.raises(DataError, match="broken image"):
        next(stream)


def test_a_caller_that_leaves_early_stops_the_thread() -> None:
    stream = ahead(iter(range(1000)), 1)
    assert next(stream) == 0
    stream.close()
    assert not any(thread.name == "render-ahead" for thread in threading.enumerate())


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers are of Unix")
def test_a_signal_at_any_moment_ends_the_stream() -> None:
    code = """
import itertools, random, signal
from robustbench_lift.evaluation.ahead import ahead

class Ended(BaseException):
    pass

def end(number, frame):
    raise Ended

signal.signal(signal.SIGALRM, end)
random = random.Random(0)
for _ in range(400):
    stream = ahead(itertools.count(), 2)
    try:
        try:
            # and again: Python drops an exception that falls into a destructor
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 3e-3), 0.05)
            for _ in stream:
                pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            stream.close()
    except Ended:
        pass
"""
    # in a process of its own, which can be ended where a lock is never given back
    ended = subprocess.run([sys.executable, "-c", code], timeout=240, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
