"""Robustness of vision networks, and what pooling does to it.

>>> import robustbench_lift
>>> run = robustbench_lift.evaluate("photos/resnet-lift", "photos", run="runs/lift")  # doctest: +SKIP
>>> run.scores()["mce"]  # doctest: +SKIP

The names below are loaded on first use, so that importing the package (and `--help`) does not import torch.
`robustbench_lift.metrics` and `robustbench_lift.corruptions` are the packages of these names.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from robustbench_lift import names

if TYPE_CHECKING:
    from robustbench_lift.evaluation.engine import evaluate
    from robustbench_lift.evaluation.settings import Settings
    from robustbench_lift.networks import replace_pooling
    from robustbench_lift.protocols.request import Request
    from robustbench_lift.regression import compare
    from robustbench_lift.regression.policy import Policy
    from robustbench_lift.regression.verdict import gate
    from robustbench_lift.scores import ScoredRun as Run
    from robustbench_lift.weights import LoadedModel, load_model

names.claim()

__version__ = "0.1.0"
__all__ = [
    "LoadedModel",
    "Policy",
    "Request",
    "Run",
    "Settings",
    "__version__",
    "compare",
    "evaluate",
    "gate",
    "load_model",
    "replace_pooling",
]

_HOMES = {
    "LoadedModel": "robustbench_lift.weights",
    "Policy": "robustbench_lift.regression.policy",
    "Request": "robustbench_lift.protocols.request",
    "Run": "robustbench_lift.scores:ScoredRun",
    "Settings": "robustbench_lift.evaluation.settings",
    "compare": "robustbench_lift.regression",
    "evaluate": "robustbench_lift.evaluation.engine",
    "gate": "robustbench_lift.regression.verdict",
    "load_model": "robustbench_lift.weights",
    "replace_pooling": "robustbench_lift.networks",
}


def __getattr__(name: str) -> Any:
    if name in ("metrics", "corruptions"):
        return importlib.import_module(f"robustbench_lift.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'robustbench_lift' has no attribute {name!r}")
    module, _, other = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(module), other or name)
    globals()[name] = value  # no submodule can come to stand in its place
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "metrics", "corruptions"})
