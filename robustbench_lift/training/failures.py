"""What ends a training early, in the user's terms: divergence, too little memory, their own layer, a lost process."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType

import torch
from torch import nn

from robustbench_lift.device import out_of_memory
from robustbench_lift.errors import RobustbenchError, UsageError
from robustbench_lift.text import printable
from robustbench_lift.training import distributed
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.recipes import RECIPES
from robustbench_lift.training.settings import TrainingSettings

_NOT_THE_USERS = frozenset({"torch", "torchvision", "timm", "robustbench_lift"})
"""Packages whose layers are not the user's own."""


class DivergedError(RobustbenchError):
    """The loss left the finite numbers; the last good state is kept."""

    exit_code = 3


def smaller_rate(recipe: Recipe) -> float:
    """A learning rate to try after one that diverged: a third, or the recipe's own where that was raised far.

    >>> from robustbench_lift.training import RECIPES, override
    >>> round(smaller_rate(RECIPES["photos"]), 4), smaller_rate(override(RECIPES["photos"], {"learning_rate": 1e6}))
    (0.0167, 0.05)
    """
    own = RECIPES[recipe.name].learning_rate if recipe.name in RECIPES else math.inf
    return min(recipe.learning_rate / 3, own if own < recipe.learning_rate else math.inf)


def explained(
    error: Exception, *, device: torch.device, recipe: Recipe, settings: TrainingSettings, out: Path
) -> RobustbenchError | None:
    """The error for the user instead of one of torch or of the user's own code; None for one of ours, or a bug."""
    if isinstance(error, RobustbenchError):
        return None
    if isinstance(error, RuntimeError) and out_of_memory(error):
        images = settings.micro_batch or recipe.batch_size
        return UsageError(
            f"{device} has not enough memory for {images} images of {recipe.size} pixels in one pass. Accumulate the "
            f"batch from smaller parts: --micro-batch {max(1, images // 2)}."
        )
    if isinstance(error, RuntimeError) and distributed.lost(error):
        return distributed.OtherProcessError(
            f"another process of this training has ended; its message says why. What is stored in {out} is kept, and "
            "the same command goes on from there."
        )
    return users_mistake(error)


def users_mistake(error: Exception) -> UsageError | None:
    """The error for an exception that came out of a layer of the user's own; None for all others."""
    if hasattr(error, "exit_code"):
        return None
    found: tuple[type, TracebackType] | None = None
    step = error.__traceback__
    while step is not None:  # the innermost line of a layer that they wrote
        layer = step.tb_frame.f_locals.get("self")
        package = str(step.tb_frame.f_globals.get("__name__")).partition(".")[0]
        if isinstance(layer, nn.Module) and package not in _NOT_THE_USERS:
            found = type(layer), step
        step = step.tb_next
    if found is None:
        return None
    kind, step = found
    reason = printable(str(error).splitlines()[0] if str(error) else "")
    where = f"{Path(step.tb_frame.f_code.co_filename).name}, line {step.tb_lineno}"
    return UsageError(
        f"your layer {kind.__name__} raised {type(error).__name__}: {reason} ({where}). "
        "`robustbench-lift --traceback train ...` shows all of it."
    )
