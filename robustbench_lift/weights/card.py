"""Our weight files: .safetensors with a card in the header that says what they are; written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from robustbench_lift.errors import CheckpointError, StorageError
from robustbench_lift.weights.read import RawWeights

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


_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Names of types in the safetensors format."""


def encode(state: Mapping[str, Tensor], card: Mapping[str, str]) -> bytes:
    """The bytes of a .safetensors file; unlike the library's, the same for the same content.

    The format: 8 bytes little-endian length, a JSON header padded by spaces, the tensors' bytes one after the other.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(card.items()))}
    parts: list[bytes] = []
    offset = 0
    for key in sorted(state, key=lambda name: (-state[name].element_size(), name)):  # keeps every tensor aligned
        value = state[key]
        if value.dtype not in _DTYPES:
            raise CheckpointError(f"{key} is {value.dtype}, which is not stored.")
        data = value.reshape(-1).view(torch.uint8).numpy().tobytes()
        end = offset + len(data)
        header[key] = {"dtype": _DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": [offset, end]}
        parts.append(data)
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


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
    for key, text in card.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise CheckpointError(f"the card's {key!r} is {text!r}: names and values must be strings; use json.dumps.")
    state = tensors_of(module)
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{key} holds NaN or infinity; such weights are not stored.")
    content = encode(state, {**card, "format": FORMAT})
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


def class_names_of(card: Mapping[str, str], classes: int, source: str) -> tuple[str, ...] | None:
    """Names of the classes that a card lists; None where it lists none.

    Raises:
        CheckpointError: the list is damaged or of another length.
    """
    if not card.get("class_names"):
        return None
    try:
        names = json.loads(card["class_names"])
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or len(names) != classes or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"the card of {source} has no list of {classes} class names where one is announced.")
    return tuple(names)


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
