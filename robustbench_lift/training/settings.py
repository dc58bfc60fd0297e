"""How a training runs on this machine, apart from what is trained: device, precision, memory, time.

Importing this module does not import torch: the command line makes its options from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from robustbench_lift.device import PRECISIONS, Precision
from robustbench_lift.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings:
    """Choices of the machine; of these only the precision is part of what a training is.

    Raises:
        UsageError: a value that means nothing.

    >>> TrainingSettings(micro_batch=0)
    Traceback (most recent call last):
    robustbench_lift.errors.UsageError: micro_batch must be at least 1, not 0.
    """

    device: Annotated[str, Doc("auto (CUDA when there is one), cpu, cuda, cuda:1, ...")] = "auto"
    precision: Annotated[Precision, Doc("fp32 (without TF32), tf32, or autocast to bf16 or fp16.")] = "fp32"
    micro_batch: Annotated[
        int | None, Doc("Images in one forward pass of a process; the recipe's batch is accumulated from them.")
    ] = None
    workers: Annotated[int, Doc("Processes that read image files.")] = 0
    compile: Annotated[bool, Doc("torch.compile the network.")] = False
    channels_last: Annotated[bool, Doc("Activations in NHWC memory: faster on tensor cores and in oneDNN.")] = True
    sync_batchnorm: Annotated[
        bool, Doc("One BatchNorm over all CUDA processes (the reference recipes do not share it).")
    ] = False
    deterministic: Annotated[
        bool, Doc("Refuse CUDA kernels that are not repeatable; slower. The CPU is repeatable anyway.")
    ] = False
    stop_after: Annotated[
        float | None, Doc("Stop after 25m, 90s or 1h30m with a state that the same command goes on from.")
    ] = None
    """Seconds."""
    check_every: Annotated[
        int | None, Doc("Steps between looks at the loss, the clock and the stop signal; 1 on a CPU, 20 on CUDA.")
    ] = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"unknown precision {self.precision!r}: one of {', '.join(PRECISIONS)}.")
        for name in ("micro_batch", "check_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}.")
        if self.workers < 0:
            raise UsageError(f"workers must be 0 or more, not {self.workers}.")
        if self.stop_after is not None and not 0 <= self.stop_after < math.inf:
            raise UsageError(f"stop_after must be 0 seconds or more and finite, not {self.stop_after}.")
