"""Images of many cells read by one pool of processes, which starts once and reads ahead across the cells' borders.

Cells are often small (75 cells of a limited run), and processes take a second to start, so a pool for each cell would
cost more than it saves. A worker gets a cell from a file that is written when the first of its batches is asked for.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from robustbench_lift.data.base import ImageSet
from robustbench_lift.errors import DataError, RobustbenchError, StorageError
from robustbench_lift.protocols.base import EvaluationProtocol
from robustbench_lift.runs import Cell


@dataclass(kw_only=True, eq=False)
class Work:
    """One cell, and which of its images are to be shown."""

    protocol: EvaluationProtocol
    cell: Cell
    images: ImageSet
    rows: list[int]
    """Indices into `images`, at least one."""


Batch = tuple[Work, list[int], Tensor]
"""Whose images these are, which rows, and the prepared images, uint8 [n, ..., 3, h, w]."""


def read_batches(
    work: Iterable[Work], *, size: Callable[[Work], int], workers: int = 0, pin_memory: bool = False
) -> Generator[Batch]:
    """Read and prepare the images of cells, in order, batch by batch; a batch never holds images of two cells.

    Args:
        work: cells; taken one by one, a few batches ahead of what is read.
        size: images in a batch of a cell, asked when the cell begins.
        workers: processes; 0 reads in this one.
        pin_memory: whether batches are copied into memory that a GPU reads faster.

    Raises:
        RobustbenchError: what reading an image raised, in whichever process.
        DataError: a process has ended, or images of a batch differ in size.
        StorageError: the folder for temporary files is full.

    >>> from robustbench_lift.protocols import Request
    >>> (clean,) = Request(protocols=("clean",)).build()
    >>> cell = clean.cells()[0]
    >>> work = Work(protocol=clean, cell=cell, images=clean.images(cell), rows=[5, 7, 9])
    >>> [(rows, tuple(batch.shape)) for _, rows, batch in read_batches([work], size=lambda work: 2)]
    [([5, 7], (2, 3, 64, 64)), ([9], (1, 3, 64, 64))]
    """
    batches = ((one, rows) for one in work for rows in _pieces(one.rows, size(one)))
    if workers == 0:
        for one, rows in batches:
            yield one, rows, _stacked([_prepared(one.protocol, one.images, row) for row in rows])
        return
    first = next(batches, None)
    if first is None:
        return  # nothing to read needs no processes
    with tempfile.TemporaryDirectory(prefix="robustbench-lift-") as folder:
        asked = _Asked(itertools.chain([first], batches), Path(folder))
        loader = DataLoader(
            _Reader(),
            batch_sampler=asked,
            num_workers=workers,
            collate_fn=_told,
            pin_memory=pin_memory,
            worker_init_fn=_settle,
            multiprocessing_context=_start_method(),
        )
        with _deaf_children():
            arriving = iter(loader)
        try:
            for batch in arriving:
                if isinstance(batch, _Fault):
                    raise batch.error
                yield *asked.arrived(), batch
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DataError(
                f"a process that reads images has ended ({str(error).splitlines()[0]}); too little memory is the "
                "usual reason. Use fewer --workers; the same command goes on from there."
            ) from None
        finally:
            del arriving  # ends the processes before the folder that they read from goes


def _pieces(rows: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _prepared(protocol: EvaluationProtocol, images: ImageSet, row: int) -> Tensor:
    image = protocol.prepare(images.read(row))
    return torch.from_numpy(np.ascontiguousarray(image.swapaxes(-1, -2).swapaxes(-2, -3)))  # [..., 3, h, w]


def _stacked(images: list[Tensor]) -> Tensor:
    sizes = {tuple(image.shape) for image in images}
    if len(sizes) > 1:
        raise DataError(
            f"images of one batch have different sizes after preparation: {', '.join(map(str, sorted(sizes)[:4]))}. "
            "Use a geometry that crops to one size."
        )
    return torch.stack(images)


# ---------------------------------------------------------------- this process


class _Asked(Iterable[list[tuple[Path, int]]]):
    """The batches that the pool is asked for: (file of the cell, row); it remembers whose they are, in order."""

    def __init__(self, batches: Iterator[tuple[Work, list[int]]], folder: Path) -> None:
        self._batches, self._folder = batches, folder
        self._sent: deque[tuple[Work, list[int], Path]] = deque()
        self._files = 0

    def __iter__(self) -> Iterator[list[tuple[Path, int]]]:
        last: Work | None = None
        file = Path()
        for one, rows in self._batches:
            if last is None or one.images is not last.images or one.protocol is not last.protocol:
                file = self._store(one)
            last = one
            self._sent.append((one, rows, file))
            yield [(file, row) for row in rows]

    def _store(self, one: Work) -> Path:
        self._files += 1
        file = self._folder / f"{self._files}.pickle"
        try:
            file.write_bytes(pickle.dumps((one.protocol, one.images)))
        except OSError as error:
            raise StorageError(
                f"cannot write {file}: {error.strerror or error}. Make room there, choose another folder with TMPDIR, "
                "or read with --workers 0."
            ) from None
        return file

    def arrived(self) -> tuple[Work, list[int]]:
        """Whose batch the next one is; a file that no later batch needs is removed."""
        one, rows, file = self._sent.popleft()
        if self._sent and self._sent[0][2] != file:
            file.unlink()
        return one, rows


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
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
    """An image that could not be read; raised where the batch arrives, without the worker's traceback."""

    error: RobustbenchError


class _Reader(Dataset[Any]):
    """Reads (file of a cell, row); holds the cell that it read last."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._cell: tuple[EvaluationProtocol, ImageSet] | None = None

    def __getitem__(self, key: tuple[Path, int]) -> Tensor | _Fault:
        file, row = key
        try:
            if file != self._file:
                self._cell, self._file = pickle.loads(file.read_bytes()), file
            assert self._cell is not None
            return _prepared(*self._cell, row)
        except RobustbenchError as error:
            return _Fault(error)


def _told(samples: list[Tensor | _Fault]) -> Tensor | _Fault:
    images: list[Tensor] = []
    for sample in samples:
        if isinstance(sample, _Fault):
            return sample
        images.append(sample)
    try:
        return _stacked(images)
    except DataError as error:
        return _Fault(error)


def _settle(_: int) -> None:
    """Called in each worker when it begins."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever evaluates decides when its readers end
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(0)  # killed while this worker started; torch looks only for a later death, and would wait for ever
