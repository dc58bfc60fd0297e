"""Shares of work: job i of n, from 1 to n, whichever command shares, and whoever says which job this is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from robustbench_lift.errors import UsageError
from robustbench_lift.text import printable
from robustbench_lift.typed import take_types

T = TypeVar("T")
MOST_SHARES = 100_000
"""More shares than any cluster runs; each has a file of every cell until all are there."""


@dataclass(frozen=True, slots=True)
class Share:
    """One of n equal shares of some work: every n-th item, beginning with another one in each share.

    As text shares count from 1, `2/4`; `index` counts from 0.

    >>> share = Share.parse("2/4")
    >>> share, str(share), share.of("abcdefg")
    (Share(index=1, count=4), '2/4', ['b', 'f'])
    """

    index: int = 0
    """Which share, 0 to count - 1."""
    count: int = 1
    """How many there are."""

    METAVAR: ClassVar[str] = "I/N"

    def __post_init__(self) -> None:
        take_types(self)
        if not 0 <= self.index < self.count:
            raise UsageError(f"share {self.index + 1} of {self.count} does not exist: shares i/n count from 1 to n.")
        if self.count > MOST_SHARES:
            raise UsageError(f"{self.count:,} shares are too many; up to {MOST_SHARES:,} can be merged.")

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"

    def of(self, items: Sequence[T]) -> list[T]:
        """The items of this share, in their order."""
        return list(items[self.index :: self.count])

    @classmethod
    def parse(cls, text: str) -> Share:
        """The share that `i/n` names, i from 1 to n; `slurm` is this task of a SLURM job array.

        Raises:
            UsageError: another form, a share that does not exist, or no job array.
        """
        if text == "slurm":
            return cls.of_slurm_task()
        first, slash, count = text.partition("/")
        if not slash:
            raise UsageError(f"--shard {printable(text)!r}: expected i/n, for example 1/4, or slurm.")
        index, jobs = _integer(first, "--shard") - 1, _integer(count, "--shard")
        if not 0 <= index < jobs:
            hint = f"; the first share is 1/{jobs}" if index == -1 and jobs else ""
            raise UsageError(f"--shard {printable(text)}: i goes from 1 to n{hint}.")
        return cls(index, jobs)

    @classmethod
    def of_process(cls) -> Share:
        """The share of this process among those that torchrun started (RANK, WORLD_SIZE); everything without it.

        Raises:
            UsageError: variables that are no numbers, or a rank that does not exist.

        >>> Share.of_process()
        Share(index=0, count=1)
        """
        rank = _integer(os.environ.get("RANK", "0"), "the environment variable RANK")
        size = _integer(os.environ.get("WORLD_SIZE", "1"), "the environment variable WORLD_SIZE")
        if not 0 <= rank < size:
            raise UsageError(
                f"RANK={rank} and WORLD_SIZE={size} in the environment do not go together: ranks count from 0 to "
                "WORLD_SIZE - 1. Start with torchrun, or unset both."
            )
        return cls(rank, size)

    @classmethod
    def of_slurm_task(cls) -> Share:
        """The share of this task of a SLURM job array (`sbatch --array=1-8`, or 0-7, or any rising range).

        Raises:
            UsageError: this is no task of an array, or of one with gaps.
        """
        if "SLURM_ARRAY_TASK_ID" not in os.environ:
            raise UsageError(
                "--shard slurm: this is no task of a job array. Submit with sbatch --array=1-8, for example."
            )
        values = {
            name: _integer(
                os.environ.get(f"SLURM_ARRAY_TASK_{name}", ""), f"the environment variable SLURM_ARRAY_TASK_{name}"
            )
            for name in ("ID", "MIN", "MAX", "COUNT")
        }
        share = cls(values["ID"] - values["MIN"], values["COUNT"])
        if values["MAX"] - values["MIN"] + 1 != share.count or not 0 <= share.index < share.count:
            raise UsageError(
                f"--shard slurm: the job array has {share.count} tasks from {values['MIN']} to {values['MAX']}; shares "
                "need one without gaps, such as --array=1-8."
            )
        return share


EVERYTHING = Share()
"""The share of a job that is alone."""


def _integer(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"{what}: {printable(text)!r} is not a whole number.")
    return int(text)
