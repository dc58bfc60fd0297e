"""Models of our own architectures: from a file with a card, a file without one, or the weights that ship."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from torch import nn

from robustbench_lift.errors import CheckpointError, UsageError, unknown
from robustbench_lift.networks.placement import Pools
from robustbench_lift.networks.registry import BACKBONES, NETWORK_OPTIONS, build_model, find_backbone
from robustbench_lift.pooling import POOLINGS, PoolingLayer
from robustbench_lift.weights.card import card_of, class_names_of
from robustbench_lift.weights.fit import find_state_dict, weights_into
from robustbench_lift.weights.model import Found
from robustbench_lift.weights.preprocessing import Preprocessing, from_card
from robustbench_lift.weights.published import published_as
from robustbench_lift.weights.read import RawWeights, read_raw
from robustbench_lift.weights.spec import RANDOM, ModelSpec


def from_zoo(spec: ModelSpec, *, sha256: str | None = None) -> Found:
    """Our architectures: what the spec says and what the file's card says must agree; what one leaves out the other
    fills in."""
    if spec.weights is None:
        raise UsageError(
            f"{spec} names no weights: write {spec}@FILE, or {spec}@random for an untrained network. Names that ship: "
            f"{', '.join(shipped()) or 'none'}."
        )
    check_names(spec)
    raw = None if spec.weights == RANDOM else read_raw(Path(spec.weights).expanduser(), sha256=sha256)
    card = card_of(raw)
    if card.get("network"):
        raise CheckpointError(
            f"{spec.weights} belongs to {card['network']} (its card says so): write {card['network']}@{spec.weights}."
        )
    if spec.source == "card" and not card.get("architecture"):
        raise UsageError(
            f"{spec.weights} has no card of ours that says what network it is: write ARCH/POOLING@{spec.weights}."
        )
    arch, pooling, placement, options = _agreed(spec, card)
    entry = find_backbone(arch)
    classes = spec.num_classes or (int(card["num_classes"]) if card.get("num_classes", "").isdigit() else 1000)
    module = build_model(arch, pooling, num_classes=classes, placement=placement, options=options)
    placed = None if pooling == "skip" else placement or entry.placements[0]
    notes: tuple[str, ...] = ()
    if raw:
        hint = f" {arch}/{pooling}" + (f" at placement {placed}" if placed and len(entry.placements) > 1 else "")
        notes = weights_into(module, raw, spec, renaming=entry.antialiased, hint=hint)
        if not card:
            notes += ambiguous(module, arch, pooling, raw)
    else:
        notes = ("the weights are untrained (@random).",)
    preprocessing = from_card(card, str(spec.weights)) if card else _default_preprocessing(entry.input_size)
    if raw and not card:
        notes += (f"normalisation: ImageNet's mean and std, assumed; {raw.path.name} does not say.",)
    names = class_names_of(card, classes, str(spec.weights))
    return Found(
        module=module,
        arch=arch,
        pooling=pooling,
        placement=placed,
        preprocessing=preprocessing,
        num_classes=classes,
        class_names=names,
        sha256=raw.sha256 if raw else None,
        card=card,
        notes=notes,
    )


def check_names(spec: ModelSpec) -> None:
    """Refuse unknown names and options before a file is read."""
    if spec.source == "zoo":
        entry = find_backbone(spec.name)
        options = {key: value for key, value in spec.options.items() if key not in NETWORK_OPTIONS}
        Pools(name=spec.pooling or entry.published_pooling, options=options).check()
        if spec.placement and spec.placement not in entry.placements:
            raise unknown(f"placement of {spec.name}", spec.placement, entry.placements)


def _default_preprocessing(size: int) -> Preprocessing:
    return Preprocessing() if size == 224 else Preprocessing(resize=None, crop=size)


def _agreed(spec: ModelSpec, card: Mapping[str, str]) -> tuple[str, str, str | None, dict[str, object]]:
    """Architecture, pooling, placement and options on which spec and card agree."""
    arch = spec.name or card.get("architecture", "")
    recorded = {"architecture": card.get("architecture"), "pooling": card.get("pooling")}
    asked = {"architecture": spec.name or None, "pooling": spec.pooling}
    for what, value in asked.items():
        theirs = recorded[what]
        if value and theirs and value != theirs:
            raise CheckpointError(
                f"{spec.weights} was trained as {recorded['architecture']}/{recorded['pooling']} (its card says so), "
                f"not with {what} {value!r}. A network whose pooling is exchanged after training is not a fair model; "
                f"write {recorded['architecture']}/{recorded['pooling']}@{spec.weights}."
            )
    pooling = spec.pooling or card.get("pooling") or find_backbone(arch).published_pooling
    default = find_backbone(arch).placements[0]
    if "placement" in card:
        placed = card["placement"] or default
        if spec.placement and spec.placement != placed and pooling != "skip":
            raise CheckpointError(
                f"{spec.weights} has placement {placed!r} (its card says so), not {spec.placement!r}."
            )
    placement = spec.placement or card.get("placement") or None
    options = dict(spec.options)
    if "options" in card:
        stored = _options(card, str(spec.weights))
        for option, wanted in options.items():
            trained = stored.get(option, _default_of(pooling, option))
            if option != "input_size" and wanted != trained:
                raise CheckpointError(f"{spec.weights} has {option}={trained} (its card says so), not {wanted}.")
        options = {**stored, **options}
    return arch, pooling, placement, options


def _default_of(pooling: str, option: str) -> object:
    entry = POOLINGS.get(pooling)
    if option == "conv_padding":
        return "circular" if entry and entry.circular else "zeros"
    return entry.options[option].default if entry and option in entry.options else None


def _options(card: Mapping[str, str], source: str) -> dict[str, object]:
    try:
        stored = json.loads(card["options"] or "{}")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the card of {source} has options that cannot be read: {error}.") from None
    if not isinstance(stored, dict):
        raise CheckpointError(f"the card of {source} has options that are no table: {card['options'][:80]!r}.")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}


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
    note = f"the keys of {raw.path.name} fit {others} alike, and {arch} with any pooling that has no parameters; "
    return (note + f"it was loaded as {arch}/{pooling} because the spec says so.",)


def shipped() -> dict[str, Any]:
    """The entries of the weights that ship, by name."""
    index = files("checkpoints") / "index.toml"
    return tomllib.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}


def from_shipped(spec: ModelSpec) -> Found:
    """Weights that ship with the package, by name."""
    entries = shipped()
    if spec.name not in entries:
        if Path(spec.name).expanduser().is_file():
            raise UsageError(
                f"{spec.name} is a file; say which network its weights belong to: ARCH/POOLING@{spec.name} (for "
                f"example resnet50/lift@{spec.name}), torchvision:NAME@{spec.name}, timm:NAME@{spec.name}, or "
                f"@{spec.name} for a file of ours, whose card says it."
            )
        raise unknown("model", spec.name, [*entries, *(f"{arch}/POOLING@FILE" for arch in BACKBONES)])
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
        )
        found = from_zoo(inner, sha256=entry["sha256"])
    found.name = spec.name
    return found
