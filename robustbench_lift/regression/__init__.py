"""Two runs -> differences with confidence -> verdict."""

from robustbench_lift.regression.bootstrap import Interval
from robustbench_lift.regression.comparison import Comparison, Difference, compare, intervals

__all__ = ["Comparison", "Difference", "Interval", "compare", "intervals"]
