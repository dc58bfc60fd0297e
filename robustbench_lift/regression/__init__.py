"""Two runs -> differences with confidence -> verdict."""

from robustbench_lift.regression.baseline import Baseline, accept, read_baseline
from robustbench_lift.regression.bootstrap import Interval
from robustbench_lift.regression.comparison import compare, intervals
from robustbench_lift.regression.difference import Comparison, Difference
from robustbench_lift.regression.gate import Outcome, gate
from robustbench_lift.regression.policy import Policy, read_policy

__all__ = [
    "Baseline",
    "Comparison",
    "Difference",
    "Interval",
    "Outcome",
    "Policy",
    "accept",
    "compare",
    "gate",
    "intervals",
    "read_baseline",
    "read_policy",
]
