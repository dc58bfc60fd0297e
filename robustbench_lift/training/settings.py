"""How a training runs on this machine, apart from what is trained: device, precision, memory, time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from robustbench_lift.device import PRECISIONS
from robustbench_lift.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Choices of the machine; of these only the precision is part of what a training is.

    >>> Settings(micro_batch=0)
    Traceback (most recent call last):
    robustbench_lift.errors.UsageError: micro_batch must be at least 1, not 0.
    """

    device: str = "auto"
    """`auto` takes CUDA when there is one."""
    precision: str = "fp32"
    """fp32 (without TF32), tf32, or autocast to bf16 or fp16."""
    channels_last: bool = True
    """Keep activations in NHWC memory: faster on tensor cores and in oneDNN."""
    compile: bool = False
    """Compile the network with torch.compile."""
    micro_batch: int | None = None
    """Images of one forward pass in one process; the recipe's batch is accumulated from them. None: all at once."""
    sync_batchnorm: bool = False
    """Share BatchNorm's statistics between CUDA processes (the reference recipes do not)."""
    deterministic: bool = False
    """Refuse CUDA kernels whose sums depend on timing; slower. The CPU is deterministic anyway."""
    workers: int = 0
    """Processes that read test images."""
    stop_after: float | None = None
    """Seconds after which the training stops with a state that can be resumed."""
    check_every: int | None = None
    """Steps between looks at the loss, the clock and the stop signal; None: 1 on a CPU, 20 on CUDA."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"unknown precision {self.precision!r}: one of {', '.join(PRECISIONS)}.")
        for name in ("micro_batch", "check_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}.")
        if self.workers < 0:
            raise UsageError(f"workers must be 0 or more, not {self.workers}.")
        if self.stop_after is not None and self.stop_after < 0:
            raise UsageError(f"stop_after must be 0 seconds or more, not {self.stop_after}.")


@contextlib.contextmanager
def isolated(settings: Settings, device: torch.device) -> Iterator[None]:
    """A place in which seeds and numeric switches may be set; the caller finds its own again afterwards."""
    cuda = device.type == "cuda"
    deterministic = torch.are_deterministic_algorithms_enabled()
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    with torch.random.fork_rng(devices=[device] if cuda else []):
        try:
            if cuda:
                cudnn.allow_tf32 = matmul.allow_tf32 = settings.precision != "fp32"
                cudnn.benchmark = not settings.deterministic
            if settings.deterministic:
                torch.use_deterministic_algorithms(True)
            yield
        finally:
            if cuda:
                cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before
            torch.use_deterministic_algorithms(deterministic)
