"""An iterator that a thread works ahead of, and that a signal may end at any moment.

An exception that a signal handler raises, as Ctrl-C does, may come between any two steps of Python code. Inside `get`
of a queue.Queue, or while `Thread.start` waits, it can leave a lock taken, for which the other thread then waits for
ever. So the queues here are those in C, and signals wait while the thread starts.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items, made by a thread that is at most `depth` ahead; its errors are raised here.

    >>> list(ahead(iter("abc"), 2))
    ['a', 'b', 'c']
    """
    ready: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
    room: queue.SimpleQueue[None] = queue.SimpleQueue()
    for _ in range(depth):
        room.put(None)
    left = False
    # signals wait while the thread starts; it takes the mask of before, which processes that it starts get from it
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ()) if hasattr(signal, "pthread_sigmask") else None

    def work() -> None:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            for item in items:
                room.get()
                if left:
                    return
                ready.put((item, None))
            ready.put((None, StopIteration()))
        except BaseException as error:  # raised again in the caller's thread
            ready.put((None, error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, daemon=True, name="render-ahead")
    try:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            thread.start()
        finally:
            if mask is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None
            room.put(None)
            yield item
    finally:
        left = True
        room.put(None)  # the thread may be waiting for room
        if thread.ident is not None:  # a signal may come before it starts
            thread.join()
