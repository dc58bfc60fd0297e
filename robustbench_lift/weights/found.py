"""What a source of models hands over, and the one way from a weight file into a module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from robustbench_lift.errors import CheckpointError
from robustbench_lift.weights.containers import find_state_dict
from robustbench_lift.weights.fit import Renaming, fit
from robustbench_lift.weights.preprocessing import Preprocessing
from robustbench_lift.weights.read import RawWeights
from robustbench_lift.weights.save import FORMAT
from robustbench_lift.weights.spec import ModelSpec


@dataclass(kw_only=True, slots=True)
class Found:
    """What a source hands to `load_model`."""

    module: nn.Module
    arch: str
    preprocessing: Preprocessing
    num_classes: int
    sha256: str | None = None
    """None where no single file was read."""
    pooling: str | None = None
    placement: str | None = None
    class_names: tuple[str, ...] | None = None
    card: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    name: str | None = None


def weights_into(
    module: nn.Module, raw: RawWeights, spec: ModelSpec, *, renaming: Renaming | None = None, hint: str = ""
) -> tuple[str, ...]:
    """Find the state dict of a file, fit it into the module; the notes."""
    state = find_state_dict(raw, ema=spec.ema)
    label = f"{raw.path}" + (f" [{state.where}]" if state.where else "")
    fitted = fit(module, state.tensors, source=label, renaming=renaming, hint=hint)
    return (*raw.notes, *state.notes, *fitted)


def card_of(raw: RawWeights | None) -> dict[str, str]:
    """The card of a file of ours; empty for files of others."""
    return dict(raw.card) if raw is not None and raw.card.get("format") == FORMAT else {}


def check_network(card: Mapping[str, str], network: str, source: str) -> None:
    """Refuse a converted file whose card names another network than the spec.

    Raises:
        CheckpointError: the card says otherwise.
    """
    recorded = card.get("network")
    if recorded and recorded != network:
        raise CheckpointError(f"{source} belongs to {recorded} (its card says so), not to {network}.")
    if card.get("architecture") and not recorded:
        theirs = f"{card['architecture']}/{card.get('pooling', '')}"
        raise CheckpointError(f"{source} belongs to {theirs} (its card says so), not to {network}: write @{source}.")


def class_names_of(card: Mapping[str, str], classes: int, source: str) -> tuple[str, ...] | None:
    """Names of the classes that a card lists; None where it lists none."""
    if not card.get("class_names"):
        return None
    try:
        names = json.loads(card["class_names"])
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or len(names) != classes or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"the card of {source} has no list of {classes} class names where one is announced.")
    return tuple(names)
