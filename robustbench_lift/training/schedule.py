"""Learning rate as a pure function of the step: nothing to store, nothing that can drift after a resume."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustbench_lift.training.recipe import Recipe

SCHEDULES = ("step", "cosine", "one-cycle", "constant")

ONE_CYCLE_START = 1 / 25
"""Initial over largest learning rate (Smith and Topin, arXiv 1708.07120; the default of torch's OneCycleLR)."""
ONE_CYCLE_END = 1e-4 / 25
"""Final over largest learning rate (the same default)."""


def learning_rate(recipe: Recipe, *, step: int, steps_per_epoch: int) -> float:
    """Learning rate of one optimiser step.

    With t the step, n the steps of the training, E the steps of an epoch, r the recipe's learning rate:

        step       r * gamma ** (number of milestones m with m * E <= t)
        cosine     r / 2 * (1 + cos(pi * t / n))
        one-cycle  cosine from r / 25 up to r during the first `warmup` of the steps, cosine down to r / 250000
        constant   r

    For step and cosine a warm-up of w epochs multiplies by (t + 1) / (w * E) while t < w * E; cosine then runs over
    the remaining steps.

    Args:
        recipe: epochs, schedule and its settings.
        step: 0-based step of the whole training.
        steps_per_epoch: optimiser steps of an epoch.

    Example:
        >>> from robustbench_lift.training.recipes import RECIPES
        >>> [round(learning_rate(RECIPES["imagenet"], step=e * 5, steps_per_epoch=5), 6) for e in (0, 29, 30, 90)]
        [0.1, 0.1, 0.01, 0.0001]
    """
    peak, total = recipe.learning_rate, recipe.epochs * steps_per_epoch
    if recipe.schedule == "one-cycle":
        rise = max(1, round(recipe.one_cycle_rise * total)) - 1
        if step <= rise:
            return _cosine(peak * ONE_CYCLE_START, peak, step / max(rise, 1))
        return _cosine(peak, peak * ONE_CYCLE_END, (step - rise) / max(total - 1 - rise, 1))
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return peak * (step + 1) / warmup
    if recipe.schedule == "cosine":
        return _cosine(peak, 0.0, (step - warmup) / max(total - warmup, 1))
    if recipe.schedule == "step":
        return float(peak * recipe.gamma ** sum(m * steps_per_epoch <= step for m in recipe.milestones))
    return peak


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2
