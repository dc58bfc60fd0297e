"""A model that is ready to answer, with all that must be known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from robustbench_lift.networks.folding import fold_batch_norms
from robustbench_lift.weights.preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A network in eval mode and its provenance."""

    spec: str
    """The model spec, from which the same model can be loaded again."""
    name: str
    """Short, for tables."""
    arch: str
    pooling: str | None
    """None for networks of other sources."""
    placement: str | None
    module: nn.Module
    """In eval mode, on the device."""
    preprocessing: Preprocessing
    weights_sha256: str
    """Of the file's bytes; of names, shapes and values of the state dict where there is no single file."""
    parameters: int
    """Number of learned values."""
    num_classes: int
    class_names: tuple[str, ...] | None = None
    card: Mapping[str, str] = field(default_factory=dict)
    """What the weights' file says of itself."""
    notes: tuple[str, ...] = ()
    """What a user should know: which of two sets of weights, what the keys leave open, what was assumed."""

    def logits(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] -> float32 [N, K]; normalisation included, no resizing."""
        x = self.preprocessing.normalize(images).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.module(x).float()
        return logits

    def folded(self) -> LoadedModel:
        """The same model with batch norms folded into convolutions: faster on a CPU, equal up to rounding."""
        return replace(self, module=fold_batch_norms(self.module))
