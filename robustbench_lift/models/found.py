"""What a source of models hands over, and the one way from a weight file into a module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from robustbench_lift.models.containers import find_state_dict
from robustbench_lift.models.files import RawWeights
from robustbench_lift.models.fitting import Renaming, fit
from robustbench_lift.models.preprocessing import Preprocessing
from robustbench_lift.models.spec import ModelSpec


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
