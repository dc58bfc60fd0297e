"""pytest plugin: `robustness_gate`, a fixture that fails a test when a model lost robustness.

    def test_robustness(robustness_gate):
        robustness_gate("robustness-baseline.json", "runs/candidate", margins={"mce": 0.5})

pytest loads it through its entry point. It imports neither torch nor numpy until a test asks for a verdict.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robustbench_lift.regression.verdict import Outcome

Where = str | os.PathLike[str]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options that stand in for the fixture's arguments, for a baseline and run that CI names."""
    group = parser.getgroup("robustbench-lift")
    group.addoption("--robustness-baseline", default=None, metavar="PATH", help="baseline file or run folder")
    group.addoption("--robustness-run", default=None, metavar="PATH", help="run folder that is judged")
    group.addoption("--robustness-policy", default=None, metavar="PATH", help="policy, a TOML file")


@pytest.fixture
def robustness_gate(request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    """Judge a run against a baseline: `robustness_gate(baseline, run, policy=None, **policy_fields) -> Outcome`.

    Arguments that are left out come from `--robustness-baseline`, `--robustness-run` and `--robustness-policy`; without
    a baseline or a run the test is skipped, with the reason. Anything but a pass fails the test; the message ends with
    the command that accepts the run.
    """

    def judge(
        baseline: Where | None = None, run: Where | None = None, *, policy: Where | None = None, **fields: Any
    ) -> Outcome:
        __tracebackhide__ = True
        before, after = (
            given or request.config.getoption(option)
            for given, option in ((baseline, "--robustness-baseline"), (run, "--robustness-run"))
        )
        if before is None or after is None:
            pytest.skip("no robustness run to judge: give --robustness-baseline and --robustness-run")
        rules = policy or request.config.getoption("--robustness-policy")
        outcome = _decide(Path(before), Path(after), Path(rules) if rules else None, fields)
        if outcome.exit_code:
            reasons = "\n".join(f"  {reason}" for reason in outcome.reasons)
            offer = f"\nTo accept the run as the new baseline:\n  {outcome.accept}" if outcome.acceptable else ""
            pytest.fail(f"robustness gate ({outcome.mode}): {outcome.word}\n{reasons}{offer}", pytrace=False)
        return outcome

    return judge


def _decide(before: Path, after: Path, policy: Path | None, fields: dict[str, Any]) -> Outcome:
    __tracebackhide__ = True
    from robustbench_lift.errors import RobustbenchError
    from robustbench_lift.regression.policy import read_policy
    from robustbench_lift.regression.sides import open_runs, open_side
    from robustbench_lift.regression.verdict import gate

    try:
        return gate(open_side(before), open_runs([after]), read_policy(policy, **fields))
    except RobustbenchError as error:
        pytest.fail(f"robustness gate: {error}", pytrace=False)
