"""The gate: two sides and a policy -> one verdict.

Three questions, three rules (`Policy.mode`):

    identity    same weights: the predicted labels of every cell must agree, up to a flip budget
    candidate   other weights, same images: a number fails when it is worse by more than its margin AND its corrected
                one-sided p-value is below alpha
    recipe      other training: Welch's t over seeds, several of each side; one seed is never enough

Improvements never fail unless the policy says so; a missing number is a visible status, never a silent skip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from robustbench_lift.errors import IncomparableError, IncompleteError
from robustbench_lift.regression.baseline import Baseline
from robustbench_lift.regression.bootstrap import Interval
from robustbench_lift.regression.comparison import (
    Comparison,
    Difference,
    comparable,
    compare,
    judged,
    one_sided,
    sign,
)
from robustbench_lift.regression.linear import contributions
from robustbench_lift.regression.policy import Policy
from robustbench_lift.runs import Manifest, Run
from robustbench_lift.scores import normaliser

PASS, REGRESSION, NOT_COMPARABLE, INCONCLUSIVE = 0, 1, 3, 4
WORDS = {PASS: "pass", REGRESSION: "regression", NOT_COMPARABLE: "incomplete", INCONCLUSIVE: "inconclusive"}


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

    @property
    def word(self) -> str:
        """The verdict in one word."""
        return WORDS[self.exit_code]


def gate(
    baseline: Baseline | Run | Sequence[Run],
    candidate: Run | Sequence[Run],
    policy: Policy | None = None,
    *,
    allow_protocol_diff: bool = False,
) -> Outcome:
    """Decide whether a candidate may replace a baseline.

    Args:
        baseline: a baseline file, a run, or the runs of several seeds.
        candidate: a run, or the runs of several seeds.
        policy: the rules.
        allow_protocol_diff: compare although signatures differ, with a note.

    Raises:
        IncomparableError: signatures or image sets differ.
        IncompleteError: the candidate lacks cells.
        UsageError: a mode that the inputs cannot serve.
    """
    policy = policy or Policy()
    sides = [_runs(baseline), _runs(candidate)]
    for run in sides[1]:
        if run.missing():
            first = run.missing()[0].key
            raise IncompleteError(
                f"the candidate {run.path} lacks {len(run.missing())} of {len(run.expected)} cells (first: {first}). "
                "Nothing is decided on part of a run; run the same command again, it goes on where it stopped."
            )
    mode = policy.mode
    if mode == "auto":
        many = len(sides[0]) > 1 or len(sides[1]) > 1
        same = _sha(baseline) == _sha(sides[1][0])
        mode = "recipe" if many else "identity" if same and _has_labels(baseline) else "candidate"
    one = sides[1][0]
    accept = f"robustbench-lift gate {_path(baseline)} {one.path} --accept"
    if mode == "recipe":
        comparison = _over_seeds(sides[0], sides[1], policy)
        return _judge(comparison, policy, mode, accept, paired=False, extra=_too_few(sides))
    paired = _has_labels(baseline)
    if paired:
        comparison = compare(
            sides[0][0],
            one,
            baseline=baseline.divisor if isinstance(baseline, Baseline) else normaliser(sides[0][0]),
            replicates=policy.replicates,
            confidence=policy.confidence,
            seed=policy.seed,
            margins=policy.fractions(),
            alpha=policy.alpha,
            correction=policy.correction,
            allow_protocol_diff=allow_protocol_diff,
        )
    else:
        assert isinstance(baseline, Baseline)
        comparison = _unpaired(baseline, one, policy, allow_protocol_diff=allow_protocol_diff)
    if mode == "identity":
        if not paired:
            raise IncompleteError(
                f"{_path(baseline)} has no predictions beside it, so labels cannot be compared. Accept a baseline "
                "with predictions, or use --mode candidate."
            )
        return _identity(comparison, policy, accept)
    return _judge(comparison, policy, mode, accept, paired=paired)


def _identity(comparison: Comparison, policy: Policy, accept: str) -> Outcome:
    budget = policy.flip_budget / 100
    reasons = []
    for key, changed in sorted(comparison.changed_labels.items(), key=lambda item: -item[1]):
        total = comparison.compared_labels[key]
        if changed > budget * total:
            reasons.append(
                f"{key}: {changed} of {total} labels changed ({changed / total:.3%}), the budget is "
                f"{policy.flip_budget:g} %."
            )
    return Outcome(
        exit_code=REGRESSION if reasons else PASS,
        mode="identity",
        policy=policy,
        comparison=comparison,
        reasons=tuple(reasons) or ("no label changed beyond the budget.",),
        paired=True,
        accept=accept,
    )


def _judge(
    comparison: Comparison, policy: Policy, mode: str, accept: str, *, paired: bool, extra: tuple[str, ...] = ()
) -> Outcome:
    tested = {name: comparison.metrics[name] for name in policy.metrics if name in comparison.metrics}
    tested = judged(tested, alpha=policy.alpha, correction=policy.correction)
    comparison = replace(comparison, metrics={**comparison.metrics, **tested})
    everything = {**tested, **(comparison.cells if policy.cells else {})}
    regressed = [d for d in everything.values() if d.verdict == "regressed"]
    improved = [d for d in everything.values() if d.verdict == "improved"]
    missing = [name for name in comparison.one_sided if name in policy.metrics]
    blind = _blind(tested, policy)
    reasons = [_sentence(d, "worse") for d in sorted(regressed, key=lambda d: -d.worsening)]
    reasons += [f"{name} is known on one side only: evaluate the other one on its protocol too." for name in missing]
    reasons += [*extra, *blind]
    code = PASS
    if regressed:
        code = REGRESSION
    elif not tested or (missing and policy.on_missing == "fail"):
        code = NOT_COMPARABLE
        reasons = reasons or ["the two sides share no number that the policy tests."]
    elif extra or blind:
        code = INCONCLUSIVE
    elif improved and policy.on_improved == "fail":
        code = REGRESSION
    reasons += [_sentence(d, "better") + f" Accept it: {accept}" for d in improved]
    return Outcome(
        exit_code=code,
        mode=mode,
        policy=policy,
        comparison=comparison,
        reasons=tuple(reasons) or ("no number is worse beyond its margin and chance.",),
        paired=paired,
        accept=accept,
    )


def _blind(tested: dict[str, Difference], policy: Policy) -> tuple[str, ...]:
    """Numbers whose test could not have seen the loss that the policy cares about."""
    if policy.require_power is None:
        return ()
    wanted = policy.require_power / 100
    return tuple(
        f"{d.name}: the smallest loss that {80} % of such tests find is {100 * d.detectable:.2f} points, the policy "
        f"asks for {policy.require_power:g}. Use more images."
        for d in tested.values()
        if d.verdict == "same" and not d.detectable <= wanted
    )


def _sentence(d: Difference, how: str) -> str:
    return (
        f"{d.name}: {how} by {100 * abs(d.delta):.2f} points ({100 * d.baseline:.2f} -> {100 * d.candidate:.2f}, "
        f"interval {100 * d.low:+.2f} to {100 * d.high:+.2f}, corrected p {min(d.p_adjusted, d.p_improved):.2g}, "
        f"margin {100 * d.margin:g})."
    )


def _unpaired(baseline: Baseline, run: Run, policy: Policy, *, allow_protocol_diff: bool) -> Comparison:
    """The weaker test when only the baseline's scores are known: two independent means."""
    content = baseline.content
    stored = Run(
        baseline.path,
        Manifest(
            model=content["model"], data=content["data"], signature=content["signature"], cells=tuple(content["cells"])
        ),
    )
    notes = comparable(stored, run, allow_protocol_diff=allow_protocol_diff)
    own = contributions(run, baseline.divisor)
    z = float(stats.norm.ppf(0.5 + policy.confidence / 2))
    found = {}
    for name, record in content["metrics"].items():
        if name not in own:
            continue
        vector = own[name]
        error = math.hypot(record["standard_error"], float(vector.std(ddof=1)) / math.sqrt(len(vector)))
        margin = policy.fractions().get(name, 0.0)
        found[name] = _normal_difference(name, record["value"], float(vector.mean()), error, margin, z)
    return Comparison(
        baseline=content["name"],
        candidate=run.name,
        signature=run.signature,
        metrics=judged(found, alpha=policy.alpha, correction=policy.correction),
        cells={},
        one_sided=tuple(sorted(set(content["metrics"]) ^ set(own))),
        same_weights=content["model"].get("weights_sha256") == run.manifest.model.get("weights_sha256"),
        changed_labels={},
        compared_labels={},
        alpha=policy.alpha,
        correction=policy.correction,
        notes=(
            *notes,
            f"{baseline.path.name} has no predictions: the test is unpaired, which sees less. Accept one with them.",
        ),
    )


def _over_seeds(before: Sequence[Run], after: Sequence[Run], policy: Policy) -> Comparison:
    """Welch's t over the seeds of each side, number by number."""
    for other in (*before[1:], *after):
        comparable(before[0], other)
    divisor = normaliser(before[0])
    tables = [
        [{name: float(v.mean()) for name, v in contributions(run, divisor).items()} for run in side]
        for side in (before, after)
    ]
    names = [set.intersection(*(set(row) for row in side)) for side in tables]
    found = {}
    for name in sorted(names[0] & names[1]):
        a, b = (np.array([row[name] for row in side]) for side in tables)
        found[name] = _welch(name, a, b, policy)
    return Comparison(
        baseline=f"{before[0].name} ({len(before)} seeds)",
        candidate=f"{after[0].name} ({len(after)} seeds)",
        signature=before[0].signature,
        metrics=judged(found, alpha=policy.alpha, correction=policy.correction),
        cells={},
        one_sided=tuple(sorted(names[0] ^ names[1])),
        same_weights=False,
        changed_labels={},
        compared_labels={},
        alpha=policy.alpha,
        correction=policy.correction,
    )


def _welch(name: str, a: np.ndarray, b: np.ndarray, policy: Policy) -> Difference:
    margin = policy.fractions().get(name, 0.0)
    if len(a) < 2 or len(b) < 2:
        unknown_interval = Interval(-math.inf, math.inf)
        return Difference(
            name=name,
            baseline=float(a.mean()),
            candidate=float(b.mean()),
            low=unknown_interval.low,
            high=unknown_interval.high,
            p_value=1.0,
            p_improved=1.0,
            margin=margin,
        )
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1)) if error > 0 else 1.0
    law = stats.t(freedom)
    delta = float(b.mean() - a.mean())
    worse = sign(name) * delta
    half = float(law.ppf(0.5 + policy.confidence / 2)) * error
    return Difference(
        name=name,
        baseline=float(a.mean()),
        candidate=float(b.mean()),
        low=delta - half,
        high=delta + half,
        p_value=float(law.sf((worse - margin) / error)) if error > 0 else float(worse <= margin),
        p_improved=float(law.sf((-worse - margin) / error)) if error > 0 else float(-worse <= margin),
        margin=margin,
        detectable=float(law.ppf(0.975) + law.ppf(0.8)) * error,
    )


def _normal_difference(name: str, a: float, b: float, error: float, margin: float, z: float) -> Difference:
    worse = sign(name) * (b - a)
    return Difference(
        name=name,
        baseline=a,
        candidate=b,
        low=b - a - z * error,
        high=b - a + z * error,
        p_value=one_sided(worse - margin, error),
        p_improved=one_sided(-worse - margin, error),
        margin=margin,
        detectable=float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error,
    )


def _too_few(sides: Sequence[Sequence[Run]]) -> tuple[str, ...]:
    few = [name for name, side in zip(("baseline", "candidate"), sides, strict=True) if len(side) < 2]
    return tuple(
        f"the {name} has one seed: a training cannot be judged from one. Train at least two of each side."
        for name in few
    )


def _runs(side: Baseline | Run | Sequence[Run]) -> list[Run]:
    if isinstance(side, Baseline):
        return [side.run] if side.run is not None else []
    if isinstance(side, Run):
        return [side]
    if not side:
        raise IncomparableError("no run was given to compare.")
    return list(side)


def _sha(side: Baseline | Run | Sequence[Run]) -> object:
    if isinstance(side, Baseline):
        return side.content["model"].get("weights_sha256")
    return _runs(side)[0].manifest.model.get("weights_sha256")


def _has_labels(side: Baseline | Run | Sequence[Run]) -> bool:
    return not isinstance(side, Baseline) or side.run is not None


def _path(side: Baseline | Run | Sequence[Run]) -> Path:
    return side.path if isinstance(side, Baseline | Run) else _runs(side)[0].path
