"""One process or many: what training needs of torch.distributed, with the same code for both.

`torchrun --nproc-per-node 8 ... robustbench-lift train ...` sets the environment; without it there is one process.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from robustbench_lift.errors import RobustbenchError
from robustbench_lift.shares import Share

T = TypeVar("T")


class OtherProcessError(RobustbenchError):
    """Another process of the training stopped; that one tells why."""

    exit_code = 3


def world() -> tuple[int, int]:
    """(rank, number of processes); (0, 1) without torchrun.

    >>> world()
    (0, 1)
    """
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def join(device: torch.device) -> None:
    """Join the group that torchrun announces (nccl on CUDA, gloo otherwise), once for all trainings of the process."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if Share.of_process().count == 1 or distributed.is_initialized():
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    # left at exit, not after each training: a second group would meet the first one's store under the same address
    atexit.register(distributed.destroy_process_group)


def total(values: Tensor) -> Tensor:
    """The sum over all processes, in every process."""
    if world()[1] > 1:
        distributed.all_reduce(values)
    return values


def same_everywhere(tensors: list[Tensor]) -> None:
    """Give every process the values of the first one (BatchNorm's running statistics before a test)."""
    if world()[1] > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


def from_first(action: Callable[[], T]) -> T:
    """What `action` gives in the first process, in every process: files are read and written by one alone.

    Raises:
        OtherProcessError: in the other processes, when it failed in the first; with the same exit code.

    >>> from_first(lambda: 3)
    3
    """
    rank, ranks = world()
    if ranks == 1:
        return action()
    answer: list[Any] = [None, None]
    failed: RobustbenchError | None = None
    if rank == 0:
        try:
            answer[0] = action()
        except RobustbenchError as error:
            failed = error
            answer[1] = (str(error), error.exit_code)
    distributed.broadcast_object_list(answer)
    if failed is not None:
        raise failed
    if answer[1] is not None:
        other = OtherProcessError(answer[1][0])
        other.exit_code = answer[1][1]
        raise other
    first: T = answer[0]
    return first


def of_all(value: T) -> list[T]:
    """The values of all processes, in every process.

    >>> of_all("a")
    ['a']
    """
    if world()[1] == 1:
        return [value]
    values: list[Any] = [None] * world()[1]
    distributed.all_gather_object(values, value)
    return values


def lost(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone (gloo and nccl have no common word for it)."""
    return world()[1] > 1 and (isinstance(error, distributed.DistError) or "gloo" in str(error))
