"""How to evaluate; free of torch, since the command line reads its options here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from typing_extensions import Doc

from robustbench_lift.device import PRECISIONS, Precision
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.shares import Share
from robustbench_lift.typed import take_types


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How to evaluate; none of it but precision, `fold`, `allow_dependent` and the networks' rounding changes a number.

    Predicted classes do not depend on batch size, workers or shards. Stored probabilities may differ in their last
    bits (by about 1e-6) where passes of fewer than eight frames make a library choose other kernels.

    >>> Settings(batch_size=64).precision
    'fp32'
    """

    batch_size: Annotated[
        int | None,
        Doc(
            "Frames in one forward pass; 256 on CUDA and what fits the caches on a CPU when absent. It is halved when "
            "memory runs out."
        ),
    ] = None
    device: Annotated[str, Doc("auto, cpu, cuda, cuda:1, ...; auto takes CUDA when there is one.")] = "auto"
    precision: Annotated[
        Precision, Doc("fp32 (without TF32), tf32, bf16 or fp16; part of the signature, since it flips labels.")
    ] = "fp32"
    workers: Annotated[int, Doc("Processes that read and prepare images; 0 reads in this process.")] = 0
    compile: Annotated[bool, Doc("Compile each network with torch.compile.")] = False
    fold: Annotated[
        bool,
        Doc(
            "Fold batch norms into the convolutions before them: faster, equal to rounding, which can flip a label; "
            "the signature says so."
        ),
    ] = False
    keep: Annotated[
        bool,
        Doc(
            "Keep decoded and resized images in a temporary file for the next cells: decoded once, not for every cell. "
            "Off by itself where less than twice their size is free (TMPDIR chooses the place)."
        ),
    ] = True
    allow_chance: Annotated[
        bool,
        Doc(
            "Go on although a model answers no better than guessing, which is nearly always a mistake in data or "
            "weights."
        ),
    ] = False
    allow_dependent: Annotated[
        bool,
        Doc(
            "Go on although a network is no function of one image: its answers depend on the other images of a batch, "
            "or change from call to call. The signature is marked."
        ),
    ] = False
    shard: Annotated[
        Share,
        Doc(
            "This job's share of the images, i/n with i from 1 to n, or `slurm` for this task of a job array; the last "
            "job merges. Under torchrun each process has its own by default."
        ),
    ] = field(default_factory=Share.of_process)

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(self.device))  # a torch.device too
        take_types(self)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"the batch size must be at least 1, not {self.batch_size}.")
        if self.workers < 0:
            raise UsageError(f"the number of workers is 0 or more, not {self.workers}.")
