"""Training: recipes, sources of samples, and the loop that makes every checkpoint that the suite evaluates.

What is named here is imported when it is first asked for, so that the command line can make its options from
`training.settings` without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_lift.training.failures import DivergedError
    from robustbench_lift.training.loop import TrainingOutcome, TrainingProgress, train
    from robustbench_lift.training.network import Network
    from robustbench_lift.training.recipe import Recipe
    from robustbench_lift.training.recipes import RECIPES, override, parse_changes, recipe_named
    from robustbench_lift.training.samples import ArraySource, ImageSource, PhotoSource, TrainingSource
    from robustbench_lift.training.settings import TrainingSettings

_HOMES = {
    "ArraySource": "samples",
    "DivergedError": "failures",
    "ImageSource": "samples",
    "Network": "network",
    "PhotoSource": "samples",
    "RECIPES": "recipes",
    "Recipe": "recipe",
    "TrainingOutcome": "loop",
    "TrainingProgress": "loop",
    "TrainingSettings": "settings",
    "TrainingSource": "samples",
    "override": "recipes",
    "parse_changes": "recipes",
    "recipe_named": "recipes",
    "train": "loop",
}

__all__ = [
    "RECIPES",
    "ArraySource",
    "DivergedError",
    "ImageSource",
    "Network",
    "PhotoSource",
    "Recipe",
    "TrainingOutcome",
    "TrainingProgress",
    "TrainingSettings",
    "TrainingSource",
    "override",
    "parse_changes",
    "recipe_named",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
