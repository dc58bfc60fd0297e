"""`load_model`: a spec becomes a model that answers, or one message that says why it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_lift.errors import CheckpointError, UsageError
from robustbench_lift.pooling import POOLINGS, PoolingError
from robustbench_lift.text import printable
from robustbench_lift.weights.card import card_of, network_entries, save_checkpoint, state_sha256
from robustbench_lift.weights.factory import from_factory
from robustbench_lift.weights.hub import check_timm, from_hugging_face, from_timm_hub, timm_network
from robustbench_lift.weights.model import Found, LoadedModel, placed
from robustbench_lift.weights.ours import from_shipped, from_zoo
from robustbench_lift.weights.preprocessing import to_card
from robustbench_lift.weights.read import read_raw
from robustbench_lift.weights.smp import from_smp
from robustbench_lift.weights.sources import check_torchvision, from_torchvision_hub, library, torchvision_network
from robustbench_lift.weights.spec import LIBRARIES, NORMALISATIONS, RANDOM, ModelSpec


def from_card_alone(spec: ModelSpec) -> Found:
    """`@FILE`: a file of ours, whose card says which network it is.

    A card may name one of our backbones or a network of torchvision or timm. It may not make anything be imported: a
    function of the user's has to be named in the spec.
    """
    if spec.weights is None:
        raise UsageError("a model spec names a network, weights, or both.")
    recorded = card_of(read_raw(spec.weights)).get("network") if spec.weights != RANDOM else None
    if recorded is None:
        return from_zoo(spec)
    where = printable(spec.weights)
    try:
        network = ModelSpec.parse(recorded)
    except (UsageError, PoolingError) as error:
        raise CheckpointError(f"the card of {where} names a network that cannot be read: {error}") from None
    known = POOLINGS[network.pooling].options if network.pooling in POOLINGS else {}
    if network.source not in LIBRARIES or set(network.options) - {"input_size", *known} or network.weights:
        raise UsageError(f"{where} belongs to {printable(recorded)} (its card says so): write that before the @.")
    given = {"num_classes": spec.num_classes, "ema": spec.ema, "normalize": spec.normalize, "weights": spec.weights}
    return FINDERS[network.source](replace(network, **given))  # type: ignore[arg-type]


FINDERS: dict[str, Callable[[ModelSpec], Found]] = {
    "zoo": from_zoo,
    "card": from_card_alone,
    "shipped": from_shipped,
    "torchvision": from_torchvision_hub,
    "timm": from_timm_hub,
    "hf": from_hugging_face,
    "smp": from_smp,
    "factory": from_factory,
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
    if not isinstance(spec, str | ModelSpec):
        raise UsageError(
            f"load_model takes a model spec, not a {type(spec).__name__}: for a network in memory write "
            "LoadedModel.of(network), or give it to evaluate(network, ...) itself."
        )
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
        name=(found.name or _short(asked)) + (" bn=reestimate" if asked.bn else ""),
        arch=found.arch,
        pooling=found.pooling,
        placement=found.placement,
        module=placed(module, device, text).to(memory_format=torch.channels_last),
        preprocessing=found.preprocessing,
        weights_sha256=sha256,
        parameters=sum(p.numel() for p in module.parameters()),
        num_classes=found.num_classes,
        task=found.task,
        class_names=found.class_names,
        card=dict(found.card),
        notes=found.notes,
        reestimated_on=asked.images,
    )


def _short(spec: ModelSpec) -> str:
    """A name for tables: the spec without the folder of its file."""
    if spec.source == "card":
        return Path(spec.weights or "").stem
    text = str(
        replace(spec, weights=None, ema=None, num_classes=None, normalize=None, download=False, bn=None, images=None)
    )
    return text.partition(":")[2] if spec.source in ("torchvision", "timm", "hf", "smp") else text


def convert_weights(
    spec: str | ModelSpec, out: Path | str, *, num_classes: int | None = None, data: str = "", recipe: str = ""
) -> tuple[LoadedModel, str]:
    """Load a model and store its weights with a card; returns the model and the sha256 of the new file.

    Args:
        spec: any model spec.
        out: a name that ends in .safetensors; the folder is made when it is missing.
        num_classes: K, where neither spec nor weights say it.
        data: what the weights were trained on, for the card; "" keeps what the old card says.
        recipe: how, likewise.

    Raises:
        CheckpointError, UsageError, StorageError: as `load_model` and `save_checkpoint`.
    """
    asked = ModelSpec.parse(spec) if isinstance(spec, str) else spec
    if asked.bn is not None:
        raise UsageError(
            f"{asked}: re-estimated batch norms belong to an evaluation and are not stored; leave out ?bn=."
        )
    model = load_model(asked, num_classes=num_classes)
    card = {key: value for key, value in model.card.items() if key != "format"}
    card |= {"num_classes": str(model.num_classes), **to_card(model.preprocessing)}
    card |= {"converted_from": model.spec, "source_sha256": model.weights_sha256}
    if asked.source in ("zoo", "shipped") or (asked.source in ("card", "hf") and "architecture" in card):
        stored: dict[str, object] = json.loads(card.get("options") or "{}")
        network = ModelSpec(
            source="zoo",
            name=model.arch,
            pooling=model.pooling,
            placement=model.placement,
            options={**stored, **asked.options},
        )
        card |= network_entries(network)
    elif asked.source != "card":
        card |= network_entries(asked)
    if model.class_names is not None:
        card["class_names"] = json.dumps(list(model.class_names))
    if data:
        card["data"] = data
    if recipe:
        card["recipe"] = recipe
    return model, save_checkpoint(out, model.module, card)


def untrained(spec: ModelSpec, num_classes: int) -> nn.Module:
    """The network of torchvision or timm that a spec names, as it is initialised.

    Raises:
        UsageError: no such network, or options that it does not take.

    >>> net = untrained(ModelSpec.parse("torchvision:resnet18?pooling=blur"), 10)
    >>> sum(type(layer).__name__ == "BlurPool" for layer in net.modules())
    7
    """
    if spec.source == "timm":
        timm = library("timm", "timm")
        check_timm(timm, spec)
        return timm_network(timm, spec, num_classes)
    check_torchvision(spec)
    return torchvision_network(spec, num_classes)
