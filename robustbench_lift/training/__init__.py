"""Training: recipes, sources of images, and the loop that makes every checkpoint that the suite evaluates."""

from __future__ import annotations

from robustbench_lift.training.data import ArraySource, TrainingSource
from robustbench_lift.training.faults import DivergedError
from robustbench_lift.training.images import ImageSource
from robustbench_lift.training.loop import train
from robustbench_lift.training.network import Network
from robustbench_lift.training.overrides import override, parse_changes
from robustbench_lift.training.photographs import PhotoSource
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.recipes import RECIPES, recipe_named
from robustbench_lift.training.reports import Outcome, TrainingProgress
from robustbench_lift.training.settings import Settings

__all__ = [
    "RECIPES",
    "ArraySource",
    "DivergedError",
    "ImageSource",
    "Network",
    "Outcome",
    "PhotoSource",
    "Recipe",
    "Settings",
    "TrainingProgress",
    "TrainingSource",
    "override",
    "parse_changes",
    "recipe_named",
    "train",
]
