"""One side of a comparison from a path: a baseline file, a run folder, or a folder of runs (one a seed)."""

from __future__ import annotations

from pathlib import Path

from robustbench_lift.errors import IncompleteError, UsageError
from robustbench_lift.regression.baseline import AcceptedBaseline, read_baseline
from robustbench_lift.regression.comparison import Comparison
from robustbench_lift.regression.policy import Policy
from robustbench_lift.regression.unpaired import compare_scores
from robustbench_lift.regression.verdict import compare_runs
from robustbench_lift.runs import Run

Side = AcceptedBaseline | list[Run]
"""A baseline file, or the runs of one or several seeds."""


def open_side(path: Path) -> Side:
    """What lies at a path; in a folder of runs, those that no other one has as its normaliser.

    Raises:
        IncompleteError: nothing is there.
        UsageError: it is the report on the runs beside it.
        DataError: it is damaged, or an edited baseline.
    """
    if path.suffix == ".json":
        return read_baseline(path)
    if (path / "run.json").exists() or not path.is_dir():
        return [Run.open(path)]
    seeds = sorted(child for child in path.iterdir() if (child / "run.json").exists())
    if not seeds and (path / "document.json").exists():
        raise UsageError(f"{path} is the report on the runs beside it. Name the folder that holds them: {path.parent}.")
    if not seeds:
        raise IncompleteError(
            f"{path} holds no run: neither a run.json nor folders with one. Name a folder that "
            "`robustbench-lift run --out` wrote, or a baseline file (*.json)."
        )
    return _judged([Run.open(seed) for seed in seeds])


def _judged(runs: list[Run]) -> list[Run]:
    """The runs without those that were made for another's sake, to divide its errors by."""
    divide = {(run.path / run.manifest.normaliser).resolve() for run in runs if run.manifest.normaliser is not None}
    return [run for run in runs if run.path.resolve() not in divide] or runs


def open_runs(paths: list[Path]) -> list[Run]:
    """The runs of several paths, in the order given.

    Raises:
        UsageError: one of them is a baseline file, which stands on the other side.
    """
    found: list[Run] = []
    for path in paths:
        side = open_side(path)
        if isinstance(side, AcceptedBaseline):
            raise UsageError(f"{path} is a baseline file; it comes first, and runs after it.")
        found += side
    return found


def only_run(runs: list[Run], path: Path) -> Run:
    """The one run of a side that cannot be several seeds.

    Raises:
        UsageError: there are several.
    """
    if len(runs) > 1:
        names = ", ".join(run.path.name for run in runs)
        raise UsageError(f"{path} holds {len(runs)} runs ({names}); name one of them.")
    return runs[0]


def compare_sides(side: Side, run: Run, policy: Policy, *, allow_protocol_diff: bool = False) -> Comparison:
    """A run against a baseline file (paired when it has predictions) or against a run.

    Raises:
        IncomparableError: signatures or image sets differ.
        UsageError: the side holds several runs.
    """
    if isinstance(side, AcceptedBaseline):
        if side.run is None:
            return compare_scores(side, run, policy, allow_protocol_diff=allow_protocol_diff)
        return compare_runs(side, side.run, run, policy, allow_protocol_diff=allow_protocol_diff)
    before = only_run(side, side[0].path.parent)
    return compare_runs(side, before, run, policy, allow_protocol_diff=allow_protocol_diff)
