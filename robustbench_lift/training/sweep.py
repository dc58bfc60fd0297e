"""Many trainings of one recipe: networks x seeds, in sequence or as independent jobs; what is complete is skipped."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.files import read_json
from robustbench_lift.shares import EVERYTHING, Share
from robustbench_lift.training import state
from robustbench_lift.training.loop import TrainingOutcome
from robustbench_lift.training.network import Network
from robustbench_lift.training.recipe import Recipe


class Job(NamedTuple):
    """One training of a sweep."""

    network: Network
    """What is trained."""
    seed: int
    """With which seed."""
    folder: Path
    """Where it lies."""


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One network of the table at the end."""

    network: str
    """The network as a spec."""
    parameters: int
    """Trainable and fixed parameters."""
    errors: tuple[float, ...]
    """Clean error of each complete seed, fractions."""
    missing: int
    """Seeds that are not complete."""

    @property
    def mean(self) -> float:
        """Mean clean error over the seeds; NaN when one is missing."""
        return statistics.fmean(self.errors) if self.errors and not self.missing else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds (n - 1); NaN below two seeds or when one is missing."""
        return statistics.stdev(self.errors) if len(self.errors) > 1 and not self.missing else math.nan


def jobs_of(
    recipe: Recipe, networks: Sequence[Network], seeds: Sequence[int], *, out: Path, shard: Share = EVERYTHING
) -> list[Job]:
    """The trainings of a sweep, or this job's share of them.

    >>> from robustbench_lift.training.recipes import RECIPES
    >>> nets = [Network("resnet8", "max"), Network("resnet8", "lift")]
    >>> [str(j.folder) for j in jobs_of(RECIPES["photos"], nets, [0, 1], out=Path("t"), shard=Share.parse("2/2"))]
    ['t/photos/resnet8-lift/seed0', 't/photos/resnet8-lift/seed1']
    """
    if not networks or not seeds:
        raise UsageError("a sweep needs at least one network and one seed.")
    if len({n.slug for n in networks}) < len(networks) or len(set(seeds)) < len(seeds):
        raise UsageError("a sweep names each network and each seed once.")
    # seeds outermost: after a stop all networks have the same seeds
    jobs = [Job(n, s, out / recipe.name / n.slug / f"seed{s}") for s in seeds for n in networks]
    return shard.of(jobs)


def sweep(jobs: Sequence[Job], run: Callable[[Job], TrainingOutcome]) -> list[tuple[Job, TrainingOutcome]]:
    """Run the jobs in order until one stops before its end; `run` skips what is complete by itself."""
    outcomes = []
    for job in jobs:
        outcome = run(job)
        outcomes.append((job, outcome))
        if not outcome.finished:
            break
    return outcomes


def table(jobs: Sequence[Job], recipe: Recipe) -> list[SweepRow]:
    """One row a network from what lies on disk, in the order of the jobs.

    A result by another recipe, such as an earlier sweep with fewer epochs left in the folder of another shard, is no
    result of this sweep: it counts as missing.
    """
    found: dict[str, list[dict[str, Any] | None]] = {}
    for job in jobs:
        found.setdefault(job.network.spec, []).append(_result(job, recipe))
    rows = []
    for name, results in found.items():
        done = [r for r in results if r is not None]
        parameters = int(done[0]["parameters"]) if done else 0
        rows.append(SweepRow(name, parameters, tuple(float(r["clean_error"]) for r in done), len(results) - len(done)))
    return rows


def _result(job: Job, recipe: Recipe) -> dict[str, Any] | None:
    try:
        result: dict[str, Any] = read_json(job.folder / state.RESULT)
        same = (result["identity"]["recipe"], result["identity"]["seed"]) == (recipe.settings(), job.seed)
    except (OSError, DataError, KeyError, TypeError):
        return None  # not there; or damaged, which the training itself tells when its turn comes
    return result if same and (job.folder / state.FINAL).exists() else None
