"""Two runs -> differences with confidence -> verdict."""

from robustbench_lift.regression.bootstrap import Interval
from robustbench_lift.regression.comparison import Comparison, Difference, compare, intervals
from robustbench_lift.regression.gate import Outcome, gate
from robustbench_lift.regression.policy import Policy

__all__ = ["Comparison", "Difference", "Interval", "Outcome", "Policy", "compare", "gate", "intervals"]
