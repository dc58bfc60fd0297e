"""`load_model`: a spec becomes a model that answers, or one message that says why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from robustbench_lift.weights import sources
from robustbench_lift.weights.found import Found
from robustbench_lift.weights.loaded import LoadedModel
from robustbench_lift.weights.save import state_sha256
from robustbench_lift.weights.spec import NORMALISATIONS, ModelSpec
from robustbench_lift.weights.zoo import from_shipped, from_zoo

FINDERS: dict[str, Callable[[ModelSpec], Found]] = {
    "zoo": from_zoo,
    "card": from_zoo,
    "shipped": from_shipped,
    "torchvision": sources.from_torchvision_hub,
    "timm": sources.from_timm_hub,
    "hf": sources.from_hugging_face,
    "factory": sources.from_factory,
}
"""Where each source of a spec is looked up."""


def load_model(
    spec: str | ModelSpec,
    *,
    num_classes: int | None = None,
    device: torch.device | str = "cpu",
    ema: bool | None = None,
    download: bool | None = None,
) -> LoadedModel:
    """The model that a spec names, in eval mode.

    Nothing in a weight file is executed, every key must fit, and the network is asked only for weights that the spec
    names and only with `download`.

    Args:
        spec: see `robustbench_lift.weights.spec`; for example "resnet50/lift@weights.safetensors".
        num_classes: K, where neither the spec nor the weights' card say it; overrides the spec.
        device: where the module goes.
        ema: which weights of a file that holds two; overrides the spec.
        download: whether named weights may be fetched; overrides the spec.

    Raises:
        UsageError: a spec that means nothing, or no weights named.
        CheckpointError: weights that cannot be read or do not fit.
        PoolingError: an unknown pooling or option.

    >>> model = load_model("resnet8/lift?num_classes=12@random")
    >>> model.logits(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape
    torch.Size([2, 12])
    """
    asked = ModelSpec.parse(spec) if isinstance(spec, str) else spec
    overrides = {"num_classes": num_classes, "ema": ema, "download": download}
    given: dict[str, Any] = {key: value for key, value in overrides.items() if value is not None}
    asked = replace(asked, **given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # @random is the same network every time, and the caller's generator is left alone
        found = FINDERS[asked.source](asked)
    if asked.normalize is not None:
        mean, std = NORMALISATIONS[asked.normalize]
        found.preprocessing = replace(found.preprocessing, mean=mean, std=std)
    module = found.module.eval().requires_grad_(False)
    sha256 = found.sha256 or state_sha256(module.state_dict())
    text = str(replace(asked, download=False))
    return LoadedModel(
        spec=text,
        name=found.name or _short(asked),
        arch=found.arch,
        pooling=found.pooling,
        placement=found.placement,
        module=module.to(device=device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        preprocessing=found.preprocessing,
        weights_sha256=sha256,
        parameters=sum(p.numel() for p in module.parameters()),
        num_classes=found.num_classes,
        class_names=found.class_names,
        card=dict(found.card),
        notes=found.notes,
    )


def _short(spec: ModelSpec) -> str:
    """A name for tables: the spec without the folder of its file."""
    if spec.source == "card":
        return Path(spec.weights or "").stem
    text = str(replace(spec, weights=None, ema=None, num_classes=None, normalize=None, download=False))
    return text.partition(":")[2] if spec.source in ("torchvision", "timm", "hf") else text
