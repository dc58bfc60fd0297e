"""Models of our own backbones: from a file with a card, a file without one, or the weights that ship."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath
from typing import Any

from torch import nn

from robustbench_lift.errors import CheckpointError, UsageError, unknown
from robustbench_lift.networks.registry import BACKBONES, Backbone, build_model, find_backbone, poolings_of
from robustbench_lift.pooling import PoolingLayer
from robustbench_lift.text import printable
from robustbench_lift.weights.card import card_of, class_names_of, needed_plugin, number_of_classes
from robustbench_lift.weights.fit import Renaming, built
from robustbench_lift.weights.model import Found
from robustbench_lift.weights.preprocessing import Preprocessing, from_card
from robustbench_lift.weights.read import RawWeights, read_raw
from robustbench_lift.weights.spec import RANDOM, ModelSpec
from robustbench_lift.weights.state_dict import find_state_dict


def from_zoo(spec: ModelSpec, *, sha256: str | None = None) -> Found:
    """Our backbones: what the spec says and what the file's card says must agree; what one leaves out the other fills
    in."""
    if spec.weights is None:
        raise UsageError(
            f"{spec} names no weights: write {spec}@FILE, or {spec}@random for an untrained network. Names that ship: "
            f"{', '.join(shipped()) or 'none'}."
        )
    check_names(spec)
    raw = None if spec.weights == RANDOM else read_raw(spec.weights, sha256=sha256)
    card = card_of(raw)
    source = printable(spec.weights)
    if card.get("network"):
        raise CheckpointError(
            f"{source} belongs to {printable(card['network'])} (its card says so): write "
            f"{printable(card['network'])}@{source}."
        )
    if spec.source == "card" and not card.get("architecture"):
        raise UsageError(f"{source} has no card of ours that says what network it is: write ARCH/POOLING@{source}.")
    network = _agreed(spec, card)
    entry = find_backbone(network.name)
    arch, pooling = network.name, str(network.pooling)
    placed = None if pooling == "skip" else network.placement or entry.placements[0]

    def build(classes: int | None) -> nn.Module:
        count = classes or entry.classes
        return build_model(arch, pooling, num_classes=count, placement=network.placement, options=network.options)

    stated = spec.num_classes or number_of_classes(card)
    hint = f" {arch}/{pooling}" + (f" at placement {placed}" if placed and len(entry.placements) > 1 else "")
    renamings = [Renaming(dialect="antialiased-cnns", apply=entry.antialiased)] if entry.antialiased else []
    module, stated, notes = built(build, stated, raw, spec, renamings=renamings, hint=hint)
    if raw and not card:
        notes += ambiguous(module, arch, pooling, raw)
    preprocessing = from_card(card, source) if card else _default_preprocessing(entry)
    side = spec.options.get("input_size")
    if isinstance(side, int) and side != entry.input_size:  # the network is tied to that size, or was refused
        preprocessing = replace(preprocessing, resize=None, crop=side)
    if raw and not card and spec.normalize is None:
        notes += (f"normalisation: ImageNet's mean and std, assumed; {printable(raw.path.name)} does not say.",)
    classes = stated or entry.classes
    return Found(
        module=module,
        arch=arch,
        task=entry.task,
        pooling=pooling,
        placement=placed,
        preprocessing=preprocessing,
        num_classes=classes,
        class_names=class_names_of(card, classes, source),
        sha256=raw.sha256 if raw else None,
        card=card,
        notes=notes,
    )


def check_names(spec: ModelSpec) -> None:
    """Refuse unknown names and options before a file is read."""
    if spec.source == "zoo":
        entry = find_backbone(spec.name)
        entry.pools(spec.pooling, spec.options).check()
        if spec.placement and spec.placement not in entry.placements:
            raise unknown(f"placement of {spec.name}", spec.placement, entry.placements)


def _default_preprocessing(entry: Backbone) -> Preprocessing:
    if entry.task == "segmentation":
        return Preprocessing(resize=None, crop=None)
    return Preprocessing() if entry.input_size == 224 else Preprocessing(resize=None, crop=entry.input_size)


def _agreed(spec: ModelSpec, card: Mapping[str, str]) -> ModelSpec:
    """The network on which spec and card agree."""
    source = printable(str(spec.weights))
    arch = spec.name or card.get("architecture", "")
    recorded = {"architecture": card.get("architecture"), "pooling": card.get("pooling")}
    asked = {"architecture": spec.name or None, "pooling": spec.pooling}
    trained = printable(f"{recorded['architecture']}/{recorded['pooling']}")
    for what, value in asked.items():
        theirs = recorded[what]
        if value and theirs and value != theirs:
            raise CheckpointError(
                f"{source} was trained as {trained} (its card says so), not with {what} {value!r}. A network whose "
                f"pooling is exchanged after training is not a fair model; write {trained}@{source}."
            )
    for what, name, registry in (
        ("backbone", arch, BACKBONES),
        ("pooling", spec.pooling or card.get("pooling", ""), poolings_of(arch)),
    ):
        if name and name not in registry and (plugin := needed_plugin(card)):
            raise CheckpointError(f"{source} is {trained}, and there is no {what} {printable(name)!r} here.{plugin}")
    pooling = spec.pooling or card.get("pooling") or find_backbone(arch).published_pooling
    if "placement" in card:
        placed = card["placement"] or find_backbone(arch).placements[0]
        if spec.placement and spec.placement != placed and pooling != "skip":
            raise CheckpointError(
                f"{source} has placement {printable(placed)!r} (its card says so), not {spec.placement!r}."
            )
    options = dict(spec.options)
    if "options" in card:
        stored = _options(card, source)
        for option, wanted in options.items():
            trained_with = stored.get(option, _default_of(arch, pooling, option))
            if option != "input_size" and wanted != trained_with:
                raise CheckpointError(f"{source} has {option}={trained_with} (its card says so), not {wanted}.")
        options = {**stored, **options}
    return ModelSpec(
        source="zoo",
        name=arch,
        pooling=pooling,
        placement=spec.placement or card.get("placement") or None,
        options=options,
    )


def _default_of(arch: str, pooling: str, option: str) -> object:
    network, entry = find_backbone(arch), poolings_of(arch).get(pooling)
    if option == "conv_padding":
        return "circular" if getattr(entry, "circular", False) else "zeros"
    if option in network.options:
        return network.options[option]
    return entry.options[option].default if entry and option in entry.options else None


def _options(card: Mapping[str, str], source: str) -> dict[str, object]:
    try:
        stored = json.loads(card["options"] or "{}")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"the card of {source} has options that cannot be read: {printable(str(error))}."
        ) from None
    if not isinstance(stored, dict):
        raise CheckpointError(f"the card of {source} has options that are no table: {card['options'][:80]!r}.")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}


@lru_cache(maxsize=1)
def _torchvision_files() -> dict[str, str]:
    """File names of torchvision's published weights by the hash in them."""
    import torchvision

    found: dict[str, str] = {}
    models = torchvision.models
    for name in (*models.list_models(module=models), *models.list_models(module=models.segmentation)):
        for weights in torchvision.models.get_model_weights(name):
            file = PurePosixPath(weights.url).name
            if match := re.search(r"-([0-9a-f]{8})\.", file):
                found[match[1]] = file
    return found


def published_as(raw: RawWeights) -> str | None:
    """The name of the torchvision file that these bytes are, whatever the file is called now."""
    return _torchvision_files().get(raw.sha256[:8])


def ambiguous(module: nn.Module, arch: str, pooling: str, raw: RawWeights) -> tuple[str, ...]:
    """A note when the keys alone cannot tell which network the weights belong to."""
    entry = BACKBONES[arch]
    learned = any(True for m in module.modules() if isinstance(m, PoolingLayer) for _ in m.parameters())
    state = find_state_dict(raw).tensors if isinstance(raw.content, Mapping) else {}
    if learned or not entry.same_keys or any(key.endswith(".filt") for key in state):
        return ()
    if published_as(raw) is not None and pooling == entry.published_pooling:
        return ()
    others = " and ".join(entry.same_keys)
    note = f"the keys of {printable(raw.path.name)} fit {others} alike, and {arch} with any pooling that has no "
    return (note + f"parameters; it was loaded as {arch}/{pooling} because the spec says so.",)


def shipped() -> dict[str, Any]:
    """The entries of the weights that ship, by name."""
    index = files("checkpoints") / "index.toml"
    return tomllib.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}


def from_shipped(spec: ModelSpec) -> Found:
    """Weights that ship with the package, by name."""
    entries = shipped()
    if spec.name not in entries:
        if _is_file(spec.name):
            raise UsageError(
                f"{printable(spec.name)} is a file; say which network its weights belong to: ARCH/POOLING@FILE (for "
                f"example resnet50/lift@{printable(spec.name)}), torchvision:NAME@FILE, timm:NAME@FILE, or @FILE for a "
                "file of ours, whose card says it."
            )
        raise unknown("model", printable(spec.name), [*entries, *(f"{arch}/POOLING@FILE" for arch in BACKBONES)])
    entry = entries[spec.name]
    if spec.weights is not None:
        raise UsageError(f"{spec}: the weights of {spec.name} ship with it; leave out @{spec.weights}.")
    with as_file(files("checkpoints") / entry["file"]) as path:
        inner = ModelSpec(
            source="zoo",
            name=entry["architecture"],
            pooling=entry["pooling"],
            options=spec.options,
            weights=str(path),
            num_classes=spec.num_classes,
            ema=spec.ema,
        )
        found = from_zoo(inner, sha256=entry["sha256"])
    found.name = spec.name
    return found


def _is_file(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # no name that a file system takes
        return False
