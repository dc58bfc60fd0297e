"""What can end a training, in words that say when it began and what to do."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from robustbench_lift.errors import DataError, RobustbenchError, UsageError
from robustbench_lift.training import distributed
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.schedule import learning_rate

DIVERGED = 100.0
"""A loss beyond this multiple of log(classes), the loss of guessing, counts as diverged."""


class DivergedError(RobustbenchError):
    """The loss left the finite numbers; the last good state is kept."""

    exit_code = 3


def diverged(
    recipe: Recipe, *, epoch: int, step: int | None, steps: int, loss: float, precision: str, kept: str
) -> DivergedError:
    """The error for a loss that left all bounds.

    Args:
        recipe: how the training goes.
        epoch: 0-based epoch.
        step: 0-based step of the epoch, or None when it is not known.
        steps: steps of an epoch.
        loss: what the loss was.
        precision: of the forward pass.
        kept: a sentence that says what is stored.
    """
    when = f"epoch {epoch + 1}" + ("" if step is None else f", step {step + 1} of {steps}")
    rate = learning_rate(recipe, step=epoch * steps + (step or 0), steps_per_epoch=steps)
    return DivergedError(
        f"the training diverged: the loss was {loss:g} in {when} (learning rate {rate:g}). {kept} Use a smaller "
        f"learning rate in a new --out, for example --set learning_rate={smaller_rate(recipe):.2g}"
        + (", or --precision bf16." if precision == "fp16" else ".")
    )


def smaller_rate(recipe: Recipe) -> float:
    """A learning rate to try after one that diverged: a third, or the recipe's own where that was raised far.

    >>> from robustbench_lift.training import RECIPES, override
    >>> round(smaller_rate(RECIPES["photos"]), 4), smaller_rate(override(RECIPES["photos"], {"learning_rate": 1e6}))
    (0.0167, 0.05)
    """
    from robustbench_lift.training.recipes import RECIPES

    own = RECIPES[recipe.name].learning_rate if recipe.name in RECIPES else math.inf
    return min(recipe.learning_rate / 3, own if own < recipe.learning_rate else math.inf)


def out_of_memory(device: torch.device, *, images: int, size: int) -> UsageError:
    """The error for a forward pass that did not fit into memory."""
    return UsageError(
        f"{device} has not enough memory for {images} images of {size} pixels in one pass. Accumulate the batch from "
        f"smaller parts: --micro-batch {max(1, images // 2)}."
    )


def told(error: RuntimeError, *, device: torch.device, images: int, size: int, out: Path) -> RobustbenchError | None:
    """The error to tell instead of one that torch raised, or None for one that is not the user's to mend.

    >>> told(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), device=torch.device("cpu"),
    ...      images=1, size=1, out=Path("t"))
    DataError('a process that reads images has ended (DataLoader worker (pid 7) is killed by signal: Killed.)...')
    """
    text = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in text:
        return out_of_memory(device, images=images, size=size)
    if "DataLoader worker" in text:
        return DataError(
            f"a process that reads images has ended ({text}); too little memory is the usual reason. Use fewer "
            f"--workers; the same command goes on from {out}."
        )
    if distributed.lost(error):
        return distributed.OtherProcessError(
            f"another process of this training has ended; its message says why. What is stored in {out} is kept, and "
            "the same command goes on from there."
        )
    return None
