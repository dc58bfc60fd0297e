"""Two runs -> differences with confidence -> verdict.

Names are looked up when they are used: the pytest plugin lies in this package, and pytest loads it in every project.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustbench_lift.regression.baseline import AcceptedBaseline, accept, read_baseline
    from robustbench_lift.regression.comparison import Comparison, Difference
    from robustbench_lift.regression.paired import compare
    from robustbench_lift.regression.policy import Policy, read_policy
    from robustbench_lift.regression.verdict import Outcome, gate

_WHERE = {
    "AcceptedBaseline": "baseline",
    "Comparison": "comparison",
    "Difference": "comparison",
    "Outcome": "verdict",
    "Policy": "policy",
    "accept": "baseline",
    "compare": "paired",
    "gate": "verdict",
    "read_baseline": "baseline",
    "read_policy": "policy",
}

__all__ = [
    "AcceptedBaseline",
    "Comparison",
    "Difference",
    "Outcome",
    "Policy",
    "accept",
    "compare",
    "gate",
    "read_baseline",
    "read_policy",
]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
