"""The models of a call, before a cell is opened: loaded, made ready, and refused where their answers mean nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_lift.device import no_memory, out_of_memory
from robustbench_lift.errors import UsageError
from robustbench_lift.evaluation.dependence import PROBABILITIES, refusal, show
from robustbench_lift.evaluation.reestimation import reestimated
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.weights import LoadedModel, load_model
from robustbench_lift.weights.model import in_memory, placed

Model = str | LoadedModel | nn.Module | Callable[[Tensor], Any]
"""A model spec, a loaded model, a network in memory, or any function from normalised images to logits."""


def loaded(model: Model, device: torch.device, classes: int, modes: contextlib.ExitStack) -> LoadedModel:
    """A model that answers on the device; a module of the caller's gets its modes back when `modes` ends."""
    if isinstance(model, str):
        return load_model(model, device=str(device))
    if isinstance(model, LoadedModel):
        placed(model.module, device, model.name)
        return model
    if isinstance(model, nn.Module):
        for part in model.modules():
            modes.callback(setattr, part, "training", part.training)
    # how many classes it has is seen when it is shown its first image, whose size is known then
    return LoadedModel.of(model, num_classes=classes, device=device)


def require_own_names(models: Sequence[LoadedModel]) -> None:
    """Networks in memory have nothing but their name by which tables tell them apart.

    Raises:
        UsageError: two have one name.
    """
    specs = [one.spec for one in models]
    for one in models:
        if one.spec == in_memory(one.name) and specs.count(one.spec) > 1:
            raise UsageError(
                f"{specs.count(one.spec)} of the networks are called {one.name}, and tables could not tell them apart. "
                'Give each a name: LoadedModel.of(network, name="...").'
            )


def ready(
    model: LoadedModel, image: Tensor | None, device: torch.device, settings: Settings
) -> tuple[LoadedModel, dict[str, str]]:
    """A model as it is evaluated, and what the signature says of how it was made so.

    Its batch norms are estimated anew where its spec asks for it, and folded where the settings do; then it is shown
    an image, to see whether its answers are logits and depend on one image alone.

    Args:
        model: on the device.
        image: uint8 [3, h, w] on the device; None where none can be read, and nothing can be seen.
        device: where the images of a re-estimation go.
        settings: `fold`, `allow_dependent`, and what marks a network that needs its batch.

    Raises:
        UsageError: the network cannot be prepared, fails on the image, or is no function of one image.
        DataError: an image of the re-estimation cannot be read, or the device has no room for a single image.
    """
    model, mark = reestimated(model, device)
    if settings.fold:
        model = model.folded()
    model, dependent = _examined(model, image, settings)
    return model, mark | dependent | ({"networks": "folded"} if settings.fold else {})


def _examined(model: LoadedModel, image: Tensor | None, settings: Settings) -> tuple[LoadedModel, dict[str, str]]:
    """The model, noted where it answers with probabilities, and what the signature says of one that needs its batch."""
    if image is None:
        return model, {}
    try:
        answers = show(model, image)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise no_memory(image) from None
    if answers.are_probabilities():
        model = replace(model, notes=(*model.notes, PROBABILITIES))
    found = answers.dependence()
    if found is None:
        return model, {}
    if not settings.allow_dependent:
        raise refusal(model, found)
    count = f"/{settings.shard.count}" if settings.shard.count > 1 else ""
    return model, {"dependent": f"batch{settings.batch_size or 'default'}{count}"}
