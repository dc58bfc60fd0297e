"""Writing weights: one .safetensors file with a card in its header, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from robustbench_lift.errors import CheckpointError, StorageError

FORMAT = "robustbench-lift"
"""Value of the card's `format`; a file without it is somebody else's."""


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of a module as independent, contiguous tensors on the CPU."""
    return {key: value.detach().to("cpu").contiguous().clone() for key, value in module.state_dict().items()}


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes and values, for weights that do not come from one file.

    >>> len(state_sha256({"weight": torch.ones(2)}))
    64
    """
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().to("cpu").contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path | str, module: nn.Module, card: Mapping[str, str]) -> str:
    """Store the weights of a module and what is known of them; returns the sha256 of the file.

    Written to a fresh file beside it and renamed, so that a reader never sees half a file, and a link at `path` is
    replaced, not followed. The same weights and card give the same bytes.

    Args:
        path: a name that ends in .safetensors.
        module: whose state dict is stored.
        card: strings by name: architecture, pooling, placement, options (JSON), num_classes, recipe, data,
            clean_error, mean and std (JSON), ...

    Raises:
        CheckpointError: a value of the card that is not a string, another suffix, weights that are not finite.
        StorageError: a folder that cannot be written or is full.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} does not end in .safetensors, the only format that is written.")
    for key, value in card.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise CheckpointError(f"the card's {key!r} is {value!r}: names and values must be strings; use json.dumps.")
    state = tensors_of(module)
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{key} holds NaN or infinity; such weights are not stored.")
    content = save(state, metadata={**card, "format": FORMAT})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as stream:  # never through a link that lies there
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        if not isinstance(error, FileExistsError):
            temporary.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}. Choose a folder that can be written and has room."
        ) from None
    return hashlib.sha256(content).hexdigest()
