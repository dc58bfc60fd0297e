"""The weaker test, when only the scores of a baseline are known and not its predictions: two independent means."""

from __future__ import annotations

import math

from scipy import stats

from robustbench_lift.regression.baseline import AcceptedBaseline
from robustbench_lift.regression.comparison import Comparison, Difference, comparable, judged_by_family
from robustbench_lift.regression.paired import compared_numbers, same_weights, sources
from robustbench_lift.regression.policy import Policy
from robustbench_lift.regression.statistics import POWER, mean_p
from robustbench_lift.runs import Run
from robustbench_lift.scores.evidence import evidence_of
from robustbench_lift.scores.numbers import sign


def compare_scores(
    baseline: AcceptedBaseline, run: Run, policy: Policy, *, allow_protocol_diff: bool = False
) -> Comparison:
    """A candidate against a baseline file without predictions; a note says that the test sees less.

    The standard error is sqrt(SE_a^2 + SE_b^2): what the two models have in common, the images, is not taken out.

    Raises:
        IncomparableError: signatures or image sets differ.
    """
    notes = comparable(baseline.scored, run, allow_protocol_diff=allow_protocol_diff)
    wanted = compared_numbers(policy.metrics)
    evidence = evidence_of(run, numbers=wanted, bins=True)
    own, values = evidence.vectors(baseline.divisor), evidence.values(baseline.divisor)
    stored = {k: v for k, v in baseline.content["metrics"].items() if k.partition("/")[0] in wanted}
    z = float(stats.norm.ppf(0.5 + policy.confidence / 2))
    margins = policy.fractions()
    found = {}
    for name in own:
        if name in stored:
            vector, n = own[name], len(own[name])
            theirs = math.sqrt(float(vector.var(ddof=1)) / n) if n > 1 else math.nan
            known = stored[name]["standard_error"]
            error = math.hypot(math.nan if known is None else float(known), theirs)
            a, b = float(stored[name]["value"]), values[name]
            found[name] = _difference(name, a, b, error, n, margins.get(name, 0.0), z)
    return Comparison(
        baseline=baseline.content["name"],
        candidate=run.name,
        signature=run.signature,
        metrics=judged_by_family(found, alpha=policy.alpha, correction=policy.correction),
        same_weights=same_weights(baseline.content["model"], run.manifest.model),
        one_sided=tuple(sorted(set(stored) ^ set(own))),
        lacking=tuple(sorted(set(baseline.content["cells"]) - set(run.manifest.cells))),
        missing_cells=tuple(sorted(set(baseline.content["cells"]) ^ set(run.manifest.cells))),
        alpha=policy.alpha,
        correction=policy.correction,
        confidence=policy.confidence,
        sources=sources(baseline.scored, run),
        notes=(
            *notes,
            (
                f"UNPAIRED: {baseline.path.name} has no predictions beside it, so the test is the weaker one. Accept a "
                "baseline with its .npz for the paired test."
            ),
        ),
    )


def _difference(name: str, a: float, b: float, error: float, n: int, margin: float, z: float) -> Difference:
    worse = sign(name) * (b - a)
    return Difference(
        name=name,
        baseline=a,
        candidate=b,
        low=b - a - z * error,
        high=b - a + z * error,
        p_value=mean_p(worse - margin, error, n),
        p_improved=mean_p(-worse - margin, error, n),
        margin=margin,
        detectable=POWER * error,
    )
