"""The gate: two sides and a policy -> one verdict.

Three questions, three rules (`Policy.mode`):

    identity    same weights: the predicted labels of every cell must agree, up to a flip budget
    candidate   other weights, same images: a number fails when it is worse by more than its margin AND its corrected
                one-sided p-value is below alpha
    recipe      other training: Welch's t over seeds, several of each side; one seed is never enough

Improvements never fail unless the policy says so; a missing number is a visible status, never a silent skip.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from robustbench_lift.errors import IncompleteError, UsageError
from robustbench_lift.regression.baseline import AcceptedBaseline, read_baseline
from robustbench_lift.regression.comparison import Comparison, Difference, judged
from robustbench_lift.regression.paired import compare, same_weights
from robustbench_lift.regression.policy import Policy
from robustbench_lift.regression.seeds import compare_seeds
from robustbench_lift.regression.statistics import p_words
from robustbench_lift.regression.unpaired import compare_scores
from robustbench_lift.runs import Run
from robustbench_lift.scores.numbers import NUMBERS, gated
from robustbench_lift.scores.scoring import normaliser_of
from robustbench_lift.text import listed

PASS, REGRESSION, NOT_COMPARABLE, INCONCLUSIVE = 0, 1, 3, 4
WORDS = {PASS: "pass", REGRESSION: "regression", NOT_COMPARABLE: "incomplete", INCONCLUSIVE: "inconclusive"}


class _Commands(TypedDict):
    accept: str
    reproduce: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a gate decided, and why."""

    exit_code: int
    """0 pass, 1 regression, 3 not comparable or incomplete, 4 inconclusive."""
    mode: str
    """identity, candidate or recipe."""
    policy: Policy
    """The rules."""
    comparison: Comparison
    """Every difference."""
    reasons: tuple[str, ...]
    """Sentences that led to the verdict, the gravest first."""
    paired: bool
    """Whether the test was paired by image."""
    accept: str
    """The command that makes the candidate the new baseline."""
    reproduce: str
    """The command that shows the difference again."""

    @property
    def word(self) -> str:
        """The verdict in one word."""
        return WORDS[self.exit_code]

    @property
    def acceptable(self) -> bool:
        """Whether the candidate could be the next baseline: not when it lacks what the baseline has."""
        return not self.comparison.lacking

    def can_fail(self, difference: Difference) -> bool:
        """Whether a number can fail this gate; the others are shown all the same."""
        if self.mode == "identity":
            return False
        return difference.name in self.policy.metrics or (self.policy.cells and difference.gained is not None)


def gate(
    baseline: AcceptedBaseline | Run | Sequence[Run] | str | os.PathLike[str],
    candidate: Run | Sequence[Run] | str | os.PathLike[str],
    policy: Policy | None = None,
    *,
    allow_protocol_diff: bool = False,
) -> Outcome:
    """Decide whether a candidate may replace a baseline.

    Args:
        baseline: a baseline, a run, the runs of several seeds, or the path of a baseline file or of a run's folder.
        candidate: a run, the runs of several seeds, or the path of a run's folder.
        policy: the rules.
        allow_protocol_diff: compare although signatures differ, with a note.

    Raises:
        IncomparableError: signatures or image sets differ.
        IncompleteError: the candidate lacks cells, or the baseline lacks what the mode needs.
        UsageError: several runs where the mode takes one, or one seed given twice.
    """
    if policy is not None and not isinstance(policy, Policy):
        raise UsageError(f"policy must be a Policy(...), or what read_policy makes of a file, not {policy!r}.")
    policy = policy or Policy()
    if isinstance(baseline, str | os.PathLike):
        baseline = Run.open(baseline) if Path(baseline).is_dir() else read_baseline(Path(baseline))
    if isinstance(candidate, str | os.PathLike):
        candidate = Run.open(candidate)
    before, after = _runs(baseline), _runs(candidate)
    if not after or not (before or isinstance(baseline, AcceptedBaseline)):
        raise UsageError("a gate needs a run on each side, and got none on one of them.")
    for run in (*before, *after):
        _complete(run)
    mode = _mode(policy.mode, baseline, before, after)
    commands = _commands(baseline, after)
    if mode == "recipe":
        if not before:
            raise _no_predictions(baseline, "the score of its seed would have to be trusted without its cells")
        comparison = compare_seeds(before, after, policy, allow_protocol_diff=allow_protocol_diff)
        return _judge(comparison, policy, mode, commands, paired=False, unsure=_too_few(before, after))
    if len(before) > 1 or len(after) > 1:
        raise UsageError(f"mode {mode} takes one run a side; several seeds a side are mode recipe.")
    if not before:
        if mode == "identity":
            raise _no_predictions(baseline, "labels cannot be compared")
        assert isinstance(baseline, AcceptedBaseline)
        comparison = compare_scores(baseline, after[0], policy, allow_protocol_diff=allow_protocol_diff)
        return _judge(comparison, policy, mode, commands, paired=False)
    comparison = compare_runs(baseline, before[0], after[0], policy, allow_protocol_diff=allow_protocol_diff)
    if mode == "identity":
        return _identity(comparison, policy, commands)
    return _judge(comparison, policy, mode, commands, paired=True)


def compare_runs(
    side: AcceptedBaseline | Run | Sequence[Run], before: Run, after: Run, policy: Policy, *, allow_protocol_diff: bool
) -> Comparison:
    """`compare` with the settings of a policy, and the normaliser that the baseline was scored with."""
    return compare(
        before,
        after,
        normaliser=side.divisor if isinstance(side, AcceptedBaseline) else normaliser_of(before),
        numbers=policy.metrics,
        replicates=policy.replicates,
        confidence=policy.confidence,
        seed=policy.seed,
        margins=policy.fractions(),
        alpha=policy.alpha,
        correction=policy.correction,
        allow_protocol_diff=allow_protocol_diff,
    )


def _identity(comparison: Comparison, policy: Policy, commands: _Commands) -> Outcome:
    budget = policy.flip_budget / 100
    reasons = []
    if set(policy.metrics) == set(gated()):
        wanted = None
    else:  # a policy that names numbers asks for their protocols alone
        wanted = {protocol for name in policy.metrics for protocol in NUMBERS[name].protocols}
    labels = {key: n for key, n in comparison.changed_labels.items() if wanted is None or key.split("/")[0] in wanted}
    missing = [key for key in comparison.missing_cells if wanted is None or key.split("/")[0] in wanted]
    for key, changed in sorted(labels.items(), key=lambda item: (-item[1], item[0])):
        total = comparison.compared_labels[key]
        if changed > budget * total:
            reasons.append(
                f"{key}: {changed} of {total} labels changed ({changed / total:.3%}), the budget is "
                f"{policy.flip_budget:g} %."
            )
    code = REGRESSION if reasons else PASS
    if reasons:
        reasons.insert(
            0,
            "the weights are the same, so the labels should be; another processor or version of PyTorch may change a "
            "few: --flip-budget PERCENT allows them, --mode candidate asks whether robustness dropped instead.",
        )
    if missing:
        reasons.append(
            f"{len(missing)} cells are on one side only (first: {missing[0]}): their labels were not compared."
        )
        if code == PASS and policy.on_missing == "fail":
            code = NOT_COMPARABLE
    if code == PASS and not labels:
        code = NOT_COMPARABLE
        reasons.append(f"neither side has cells of {', '.join(policy.metrics)}: no label was compared.")
    if code == PASS:
        reasons.insert(0, f"no label changed beyond the budget of {policy.flip_budget:g} % in {len(labels)} cells.")
    return Outcome(
        exit_code=code,
        mode="identity",
        policy=policy,
        comparison=comparison,
        reasons=tuple(reasons),
        paired=True,
        **commands,
    )


def _judge(
    comparison: Comparison,
    policy: Policy,
    mode: str,
    commands: _Commands,
    *,
    paired: bool,
    unsure: tuple[str, ...] = (),
) -> Outcome:
    # corrected together: all that can fail the gate, and nothing else
    can_fail = {name: comparison.metrics[name] for name in policy.metrics if name in comparison.metrics}
    numbers = tuple(can_fail)
    if policy.cells:
        can_fail |= comparison.cells
    found = judged(can_fail, alpha=policy.alpha, correction=policy.correction)
    tested = {name: found[name] for name in numbers}
    comparison = replace(
        comparison,
        metrics=comparison.metrics | tested,
        cells={name: found.get(name, cell) for name, cell in comparison.cells.items()},
    )
    everything = list(found.values())
    regressed = [d for d in everything if d.verdict == "regressed"]
    improved = [d for d in everything if d.verdict == "improved"]
    missing = [name for name in policy.metrics if name in comparison.one_sided]
    blind = _blind(tested, policy)
    reasons = [_sentence(d, "worse") for d in sorted(regressed, key=lambda d: -d.worsening)]
    reasons += [f"{name} is known on one side only: evaluate the other one on its protocol too." for name in missing]
    reasons += [*unsure, *blind]
    incomplete = bool(missing) or (policy.cells and bool(comparison.lacking))
    code = PASS
    if regressed:
        code = REGRESSION
    elif not tested or (incomplete and policy.on_missing == "fail"):
        code = NOT_COMPARABLE
        reasons = reasons or ["the two sides share no number that the policy tests."]
    elif unsure or blind:
        code = INCONCLUSIVE
    elif improved and policy.on_improved == "fail":
        code = REGRESSION
    if code == PASS:
        reasons.insert(0, f"none of {len(everything)} numbers is worse by more than its margin and more than chance.")
    reasons += [_sentence(d, "better") for d in improved]
    tasks = {NUMBERS[name].record for name in tested}  # of a classifier nobody misses the numbers of label maps
    unknown = [
        name for name in policy.metrics if name not in tested and name not in missing and NUMBERS[name].record in tasks
    ]
    if tested and unknown:
        reasons.append(f"not tested, because neither side has it: {', '.join(unknown)}.")
    if comparison.lacking:
        lacking = listed(list(comparison.lacking), most=4)
        reasons.append(f"not compared, because the candidate lacks them: {lacking}. Evaluate it on them too.")
    if improved and not regressed and not comparison.lacking:
        reasons.append(f"to make the better run the baseline: {commands['accept']}")
    return Outcome(
        exit_code=code,
        mode=mode,
        policy=policy,
        comparison=comparison,
        reasons=tuple(reasons),
        paired=paired,
        **commands,
    )


def _blind(tested: dict[str, Difference], policy: Policy) -> tuple[str, ...]:
    """Numbers whose test could not have seen the loss that the policy cares about."""
    if policy.require_power is None:
        return ()
    wanted = policy.require_power / 100
    return tuple(
        f"{d.name}: the smallest loss that such a test finds with 80 % power is {100 * d.detectable:.2f} points, the "
        f"policy asks for {policy.require_power:g}. Use more images."
        for d in tested.values()
        if d.verdict == "same" and not d.detectable <= wanted
    )


def _sentence(d: Difference, how: str) -> str:
    p = d.p_adjusted if how == "worse" else d.p_improved_adjusted
    return (
        f"{d.name}: {how} by {100 * abs(d.delta):.2f} points ({100 * d.baseline:.2f} -> {100 * d.candidate:.2f}, "
        f"interval {100 * d.low:+.2f} to {100 * d.high:+.2f}, corrected p {p_words(p)}, margin {100 * d.margin:g})."
    )


def _complete(run: Run) -> None:
    missing = run.missing()
    if missing:
        raise IncompleteError(
            f"{run.path} lacks {len(missing)} of {len(run.expected)} cells (first: {missing[0].key}). Nothing is "
            "decided on part of a run; run the same command again, it goes on where it stopped."
        )


def _mode(asked: str, baseline: AcceptedBaseline | Run | Sequence[Run], before: list[Run], after: list[Run]) -> str:
    if asked != "auto":
        return asked
    if len(before) > 1 or len(after) > 1:
        return "recipe"
    record = baseline.content["model"] if isinstance(baseline, AcceptedBaseline) else before[0].manifest.model
    return "identity" if before and same_weights(record, after[0].manifest.model) else "candidate"


def _too_few(before: Sequence[Run], after: Sequence[Run]) -> tuple[str, ...]:
    few = [name for name, side in (("baseline", before), ("candidate", after)) if len(side) < 2]
    return tuple(
        f"the {name} has one seed: a training cannot be judged from one. Train at least two of each side."
        for name in few
    )


def _no_predictions(baseline: object, so: str) -> IncompleteError:
    assert isinstance(baseline, AcceptedBaseline)
    return IncompleteError(
        f"{baseline.path} has no predictions beside it, so {so}. Accept a baseline with predictions, or use "
        "--mode candidate."
    )


def _commands(baseline: AcceptedBaseline | Run | Sequence[Run], after: Sequence[Run]) -> _Commands:
    # a run folder as baseline has no file yet: the command proposes one
    file = baseline.path if isinstance(baseline, AcceptedBaseline) else Path("robustness-baseline.json")
    before = baseline.path if isinstance(baseline, AcceptedBaseline | Run) else baseline[0].path
    return {
        "accept": f"robustbench-lift gate {shlex.quote(str(file))} {shlex.quote(str(after[0].path))} --accept",
        "reproduce": f"robustbench-lift compare {shlex.quote(str(before))} {shlex.quote(str(after[0].path))}",
    }


def _runs(side: AcceptedBaseline | Run | Sequence[Run]) -> list[Run]:
    if isinstance(side, AcceptedBaseline):
        return [side.run] if side.run is not None else []
    several = [side] if isinstance(side, Run) else side
    if not isinstance(several, list | tuple) or not all(isinstance(run, Run) for run in several):
        raise UsageError(f"each side of a gate is a run, a list of runs, or a path, not {side!r}.")
    return list(several)
