"""Robustness of image classifiers, and what pooling does to it.

>>> import robustbench_lift
>>> sorted(robustbench_lift.__all__)
['__version__', 'compare', 'evaluate', 'load_model']

The names below are loaded on first use, so that importing the package (and `--help`) does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_lift.evaluation.evaluate import evaluate
    from robustbench_lift.regression import compare
    from robustbench_lift.weights import load_model

__version__ = "0.1.0"
__all__ = ["__version__", "compare", "evaluate", "load_model"]

_HOMES = {
    "compare": "robustbench_lift.regression",
    "evaluate": "robustbench_lift.evaluation.evaluate",
    "load_model": "robustbench_lift.weights",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'robustbench_lift' has no attribute {name!r}")
