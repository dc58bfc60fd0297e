"""Worker processes that read images: untouched by Ctrl-C, and with their errors told as if there were no workers."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from robustbench_lift.errors import RobustbenchError


@dataclass(frozen=True, slots=True)
class _Fault:
    """A sample that could not be read; raised where the batch arrives, without the worker's traceback."""

    error: RobustbenchError


class _Told(Dataset[Any]):
    """A data set that answers with its error instead of raising it."""

    def __init__(self, samples: Dataset[Any]) -> None:
        self.samples = samples

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.samples[key]
        except RobustbenchError as error:
            return _Fault(error)

    def __len__(self) -> int:
        length: int = len(self.samples)  # type: ignore[arg-type]  # asked of sized ones only
        return length


def _collate(samples: list[Any]) -> Any:
    faults = [sample for sample in samples if isinstance(sample, _Fault)]
    return faults[0] if faults else default_collate(samples)


def _settle(_: int) -> None:
    """Called in each worker when it begins."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(0)  # killed while this worker started; torch looks only for a later death, and would wait for ever
    if hasattr(os, "setsid"):
        # torchrun stops a whole process group at once; the training's own process decides when its readers end
        os.setsid()


def make_loader(samples: Dataset[Any], *, workers: int, **options: Any) -> DataLoader[Any]:
    """A DataLoader over (image, label) samples; read it with `batches_in`.

    Args:
        samples: a data set whose `__getitem__` may raise our errors.
        workers: processes; 0 reads in this one.
        options: of torch's DataLoader.
    """
    return DataLoader(
        _Told(samples),
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_settle,
        multiprocessing_context="spawn" if workers else None,
        **options,
    )


def batches_in(loader: DataLoader[Any]) -> Generator[tuple[Tensor, Tensor]]:
    """The batches of a loader, in order.

    Raises:
        RobustbenchError: what a sample raised, in whichever process.

    >>> import torch
    >>> loader = make_loader([(torch.zeros(2), 1), (torch.ones(2), 0)], workers=0, batch_size=2)
    >>> [(images.shape, labels.tolist()) for images, labels in batches_in(loader)]
    [(torch.Size([2, 2]), [1, 0])]
    """
    with _quiet_children():
        arriving = iter(loader)
    for batch in arriving:
        if isinstance(batch, _Fault):
            raise batch.error
        yield batch[0], batch[1]


@contextlib.contextmanager
def _quiet_children() -> Iterator[None]:
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
