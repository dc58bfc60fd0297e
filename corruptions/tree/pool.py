"""Worker processes of a tree: results as they become ready, and no process that outlives its parent."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

import torch

from corruptions.errors import CorruptionError
from corruptions.opencv import cv2, require_opencv
from corruptions.registry import plugin_modules

T = TypeVar("T")
R = TypeVar("R")


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(work: Callable[[T], R], jobs: Iterable[T], workers: int) -> Iterator[R]:
    """Results in the order in which they are ready; one worker works in this process.

    Raises:
        CorruptionError: a worker was killed, most often for lack of memory.
        OpenCVError: OpenCV cannot be imported.
    """
    if workers == 1:
        for job in jobs:
            yield work(job)
        return
    require_opencv()  # here it can be told; in the start of a worker it would be a broken pool
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start, initargs=(plugin_modules(),)
    )
    waiting: set[Future[R]] = set()
    try:
        for job in jobs:
            waiting.add(pool.submit(work, job))
            if len(waiting) >= 2 * workers:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ready)
    except BrokenProcessPool:
        raise CorruptionError(
            "a worker process was killed, most often because memory ran out: use fewer --workers; the same command "
            'goes on from there. In a script of yours the call must stand below `if __name__ == "__main__":`, since '
            "each process imports the script again."
        ) from None
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=not waiting, cancel_futures=True)
        if waiting:  # left early: do not wait for what is under way
            for process in processes:
                process.terminate()


def _start(plugins: tuple[str, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops the workers
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for module in plugins:  # a fresh process knows only what is built in
        import_module(module)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """Leave at once when the parent is gone: SIGTERM and SIGKILL give it no time to stop its workers.

    The sentinel is the reading end of a pipe whose writing end the parent alone holds. What is half written lies under
    a temporary name.
    """
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
