"""How a training runs on this machine, and which images it sees, apart from what is trained.

Importing this module does not import torch: the command line makes its options from it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from robustbench_lift.device import PRECISIONS, Precision
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.text import printable


class Seconds(float):
    """A span of time; as text 25m, 90s or 1h30m.

    >>> Seconds.parse("25m"), Seconds.parse("1h30m"), Seconds.parse("90")
    (1500.0, 5400.0, 90.0)
    """

    METAVAR = "SPAN"

    @classmethod
    def parse(cls, text: str) -> Seconds:
        """The span that a text names.

        Raises:
            UsageError: another form.
        """
        part = r"(\d{1,9}(?:\.\d{1,9})?)"
        found = re.fullmatch(rf"(?:{part}h)?(?:{part}m)?(?:{part}s?)?", text.strip(), re.ASCII)
        if found is None or not text.strip():
            raise UsageError(f"{printable(text, limit=40)!r} is no span of time; write 25m, 90s or 1h30m.")
        hours, minutes, rest = (float(part or 0) for part in found.groups())
        return cls(hours * 3600 + minutes * 60 + rest)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingImages:
    """Which images a training sees, and on which it is tested."""

    data: Annotated[
        str | None,
        Doc(
            "As `run` takes it (imagenet:PATH, folder:PATH, tiny-imagenet:PATH, cifar100:PATH), or an .npz with x and "
            "y, one folder a class, a folder with train and val."
        ),
    ] = None
    test_data: Annotated[str | None, Doc("Test images, unless they lie beside the training images.")] = None
    hold_out: Annotated[
        float | None, Doc("Fraction of each class set aside for testing, when there is no --test-data.")
    ] = None
    limit: Annotated[int | None, Doc("A fixed, class-balanced part of the training images.")] = None


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
        Seconds | float | None, Doc("Stop after 25m, 90s or 1h30m with a state that the same command goes on from.")
    ] = None
    check_every: int | None = None
    """Steps between looks at the loss, the clock and the stop signal; None: 1 on a CPU, 20 on CUDA."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        for name in ("micro_batch", "check_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}.")
        if self.workers < 0:
            raise UsageError(f"workers must be 0 or more, not {self.workers}.")
        if self.stop_after is not None and not 0 <= self.stop_after < math.inf:
            raise UsageError(f"stop_after must be 0 seconds or more and finite, not {self.stop_after}.")
