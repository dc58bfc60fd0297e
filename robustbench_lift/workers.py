"""Processes that read samples: one pool for evaluation and training, whatever a sample is.

A pool takes batches, pairs of (samples, keys): `samples` is any picklable object with `samples[key]`, read by any
process in any order. Batches come back in the order in which they were given, read a few ahead. The processes start
with the first batch and go on to the next samples, the next epoch or the next cell, since starting them takes a second.
A process gets samples from a file that is written when the first of their batches is due.

The processes ignore Ctrl-C and to signals sent to the whole process group (a terminal, torchrun): whoever reads
from the pool decides when they end. When that process dies, however it dies, they end too and leave no file behind.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import pickle
import secrets
import shutil
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from torch.utils.data import DataLoader, Dataset, default_collate

from robustbench_lift.errors import DataError, RobustbenchError, StorageError, UsageError
from robustbench_lift.text import printable


class Samples(Protocol):
    """What a pool reads from."""

    def __getitem__(self, key: Any, /) -> Any:
        """One sample; our errors (`RobustbenchError`) say what is wrong with it."""
        ...


S = TypeVar("S", bound=Samples)


@dataclass(frozen=True, slots=True)
class Batch(Generic[S]):
    """Samples that were read together."""

    samples: S
    """Where they come from."""
    keys: list[Any]
    """Which were read, in the order in which they were asked for."""
    data: Any
    """What `collate` made of them; None when none could be read."""
    failed: list[tuple[Any, RobustbenchError]]
    """The keys that could not be read, and why; always empty unless the reading goes on after errors."""


LONGEST_SOCKET = 107
"""Bytes that the path of a socket may have on Linux."""


def _check_temporary_folder() -> None:
    """Processes meet at a socket in the temporary folder, whose path must not be long.

    Raises:
        UsageError: it is too long.
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) + len("/pymp-12345678/listener-12345678") > LONGEST_SOCKET:
        raise UsageError(
            f"the temporary folder {printable(folder)} has too long a path for the sockets at which reading processes "
            "meet (about 75 bytes at most). Set TMPDIR to a shorter one, or read in this process: --workers 0."
        )


class ReadingPool:
    """Worker processes that read batches; a context manager.

    >>> with ReadingPool(0, collate=list) as pool:
    ...     [(batch.keys, batch.data) for batch in pool.read([("abcd", [0, 2]), ("xyz", [1])])]
    [([0, 2], ['a', 'c']), ([1], ['y'])]
    """

    def __init__(
        self, workers: int = 0, *, collate: Callable[[list[Any]], Any] = default_collate, pin_memory: bool = False
    ) -> None:
        """Nothing starts before the first batch is read.

        Args:
            workers: processes; 0 reads in this one.
            collate: makes the data of a batch of a list of samples; picklable.
            pin_memory: whether batches are copied into memory that a GPU reads faster; with processes only.
        """
        if workers:
            _check_temporary_folder()
        self.workers, self.collate, self.pin_memory = workers, collate, pin_memory
        self._queue: _Queue | None = None
        self._loader: DataLoader[Any] | None = None

    def read(self, batches: Iterable[tuple[S, Sequence[Any]]], *, skip_errors: bool = False) -> Generator[Batch[S]]:
        """The batches, in order; one stream at a time.

        Args:
            batches: pairs of samples and keys; taken one by one, a few batches ahead of what is read.
            skip_errors: hand errors about the data (`DataError`) over in `failed` and go on with the other samples.

        Raises:
            RobustbenchError: what reading a sample raised, in whichever process.
            DataError: a process has ended.
            StorageError: the folder for temporary files is full.
        """
        stream = iter(batches)
        first = next(stream, None)
        if first is None:
            return  # nothing to read needs no processes
        read = self._here(first, stream) if self.workers == 0 else self._elsewhere(first, stream)
        with contextlib.closing(read):
            for samples, keys, (data, faults) in read:
                for fault in faults:
                    if fault.position is None or not (skip_errors and isinstance(fault.error, DataError)):
                        raise fault.error
                failed = {fault.position: fault.error for fault in faults if fault.position is not None}
                yield Batch(
                    samples,
                    [key for position, key in enumerate(keys) if position not in failed],
                    data,
                    [(keys[position], error) for position, error in failed.items()],
                )

    def _here(self, first: tuple[S, Sequence[Any]], rest: Iterator[tuple[S, Sequence[Any]]]) -> _Stream[S]:
        batch: tuple[S, Sequence[Any]] | None = first
        while batch is not None:
            samples, keys = batch
            yield samples, keys, _collected(self.collate, [_sample(samples, n, key) for n, key in enumerate(keys)])
            batch = next(rest, None)

    def _elsewhere(self, first: tuple[S, Sequence[Any]], rest: Iterator[tuple[S, Sequence[Any]]]) -> _Stream[S]:
        if self._queue is None or self._loader is None:
            self._queue = _Queue()
            self._loader = DataLoader(
                _Reader(),
                batch_sampler=self._queue,
                num_workers=self.workers,
                collate_fn=functools.partial(_collected, self.collate),
                pin_memory=self.pin_memory,
                persistent_workers=True,
                worker_init_fn=functools.partial(_begin, self._queue.folder),
                multiprocessing_context=_start_method(),
            )
        queue = self._queue
        queue.give(first, rest)
        try:
            with _interrupts_blocked():
                arriving = iter(self._loader)
        except (OSError, EOFError) as error:
            self.close()
            raise DataError(
                f"the processes that read images cannot be started ({error or type(error).__name__}). Use fewer "
                "--workers, or raise the limits on processes and open files (ulimit -u, ulimit -n)."
            ) from None
        try:
            for data, faults in arriving:
                yield *queue.arrived(), (data, faults)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DataError(
                f"a process that reads images has ended ({str(error).splitlines()[0]}); too little memory is the "
                "usual reason: use fewer --workers; the same command goes on from there. In a script of yours the call "
                'must stand below `if __name__ == "__main__":`, since each process imports the script again.'
            ) from None

    def close(self) -> None:
        """End the processes and remove their files; a later read starts others."""
        self._loader = None  # the last reference: ends the processes before the folder that they read from goes
        if self._queue is not None:
            shutil.rmtree(self._queue.folder, ignore_errors=True)
            self._queue = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# ---------------------------------------------------------------- this process


class _Queue(Iterable[list[tuple[Path, int, Any]]]):
    """The batches that the processes are given, (file of the samples, position, key); it remembers whose they are."""

    def __init__(self) -> None:
        # made when the first file is written, when every process knows it and removes it should this one die
        self.folder = Path(tempfile.gettempdir()) / f"robustbench-lift-{secrets.token_hex(8)}"
        self._given: Iterator[tuple[Any, Sequence[Any]]] = iter(())
        self._sent: deque[tuple[Any, Sequence[Any], Path]] = deque()
        self._last: tuple[Any, Path] | None = None
        self._files = 0

    def give(self, first: tuple[Any, Sequence[Any]], rest: Iterator[tuple[Any, Sequence[Any]]]) -> None:
        """Begin another stream; what was left of the one before is forgotten."""

        def batches() -> Iterator[tuple[Any, Sequence[Any]]]:
            yield first
            yield from rest

        self._given = batches()
        self._sent.clear()

    def __iter__(self) -> Iterator[list[tuple[Path, int, Any]]]:
        for samples, keys in self._given:
            if self._last is None or self._last[0] is not samples:
                self._last = (samples, self._store(samples))
            file = self._last[1]
            self._sent.append((samples, keys, file))
            yield [(file, position, key) for position, key in enumerate(keys)]

    def _store(self, samples: Any) -> Path:
        self._files += 1
        file = self.folder / f"{self._files}.pickle"
        try:
            if self._files == 1:
                self.folder.mkdir(mode=0o700)
            file.write_bytes(pickle.dumps(samples))
        except OSError as error:
            raise StorageError(
                f"cannot write {file}: {error.strerror or error}. Make room there, choose another folder with TMPDIR, "
                "or read with --workers 0."
            ) from None
        return file

    def arrived(self) -> tuple[Any, Sequence[Any]]:
        """Whose batch the next one is; a file that no later batch needs is removed."""
        samples, keys, file = self._sent.popleft()
        if self._sent and self._sent[0][2] != file:
            file.unlink()
        return samples, keys


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes that are started here never see Ctrl-C, not even while they start: the mask is inherited."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it later would clear the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_method() -> BaseContext:
    """How workers start: from a server that has imported torch once."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["robustbench_lift.workers"])
    return context


# ---------------------------------------------------------------- the workers


@dataclass(frozen=True, slots=True)
class _Fault:
    """A sample that could not be read; raised where the batch arrives, without the worker's traceback."""

    position: int | None
    """In its batch; None for what is wrong with the batch."""
    error: RobustbenchError


Collected = tuple[Any, list[_Fault]]
"""The data of a batch, and the samples that are not in it."""
_Stream = Generator[tuple[S, Sequence[Any], Collected]]


def _sample(samples: Samples, position: int, key: Any) -> Any:
    try:
        return samples[key]
    except RobustbenchError as error:
        return _Fault(position, error)


def _collected(collate: Callable[[list[Any]], Any], read: list[Any]) -> Collected:
    faults = [one for one in read if isinstance(one, _Fault)]
    good = [one for one in read if not isinstance(one, _Fault)]
    try:
        return (collate(good) if good else None), faults
    except RobustbenchError as error:
        return None, [_Fault(None, error)]


class _Reader(Dataset[Any]):
    """Reads (file of the samples, position, key); holds the samples that it read from last."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._samples: Any = None

    def __getitem__(self, key: tuple[Path, int, Any]) -> Any:
        file, position, inner = key
        if file != self._file:
            self._samples, self._file = pickle.loads(file.read_bytes()), file
        return _sample(self._samples, position, inner)


def _begin(folder: Path, _: int) -> None:
    """Called in each worker when it begins."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setsid"):
        os.setsid()  # torchrun stops a whole process group at once
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        # a killed parent says no word to its workers, and torch looks at the server that started them, not at it
        multiprocessing.connection.wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True, name="end-with-parent").start()
