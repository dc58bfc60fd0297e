"""Our weight files: .safetensors with a card in the header that says what they are; written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from robustbench_lift import plugins
from robustbench_lift.errors import CheckpointError
from robustbench_lift.files import write_atomic
from robustbench_lift.text import printable
from robustbench_lift.weights.read import RawWeights
from robustbench_lift.weights.spec import LIBRARIES, ModelSpec

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
            raise CheckpointError(f"{printable(key)} is {value.dtype}, which is not stored.")
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

    Written whole or not at all; a link at `path` is replaced, not followed. The same weights and card give the same
    bytes.

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
            raise CheckpointError(f"{printable(key)} holds NaN or infinity; such weights are not stored.")
    content = encode(state, {**card, "format": FORMAT})
    write_atomic(path, content)
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
        raise CheckpointError(
            f"the card of {printable(source)} has no list of {classes} class names where one is announced."
        )
    return tuple(names)


def card_of(raw: RawWeights | None) -> dict[str, str]:
    """The card of a file of ours; empty for files of others."""
    return dict(raw.card) if raw is not None and raw.card.get("format") == FORMAT else {}


def network_entries(network: ModelSpec) -> dict[str, str]:
    """What a card says of the network: which it is, and the plug-in that it needs.

    Args:
        network: of our backbones with its pooling and placement, or of another source.

    >>> network_entries(ModelSpec(source="zoo", name="resnet8", pooling="lift", placement="stage"))["pooling"]
    'lift'
    >>> network_entries(ModelSpec.parse("torchvision:resnet50?pooling=lift"))
    {'network': 'torchvision:resnet50?pooling=lift'}
    """
    if network.source == "zoo":
        options = {key: list(value) if isinstance(value, tuple) else value for key, value in network.options.items()}
        entries = {
            "architecture": network.name,
            "pooling": network.pooling or "",
            "placement": network.placement or "",
            "options": json.dumps(options),
        }
    else:
        kept = network.options if network.source in LIBRARIES and network.pooling else {}
        entries = {"network": str(replace(network.network, options=kept))}
    provided = {
        plugins.provider("pooling", network.pooling or ""),
        plugins.provider("backbone", network.name if network.source == "zoo" else ""),
    }
    named = sorted(name for name in provided if name)
    return entries | ({"plugin": ",".join(named)} if named else {})


def needed_plugin(card: Mapping[str, str]) -> str:
    """A sentence for a card whose plug-in is not loaded, else empty. Nothing is imported because a card says so."""
    absent = [name for name in card.get("plugin", "").split(",") if name and name not in plugins.loaded()]
    return f" {plugins.missing(absent[0])}" if absent else ""


def check_network(card: Mapping[str, str], network: ModelSpec, source: str) -> None:
    """Refuse a file whose card names another network than the spec.

    Raises:
        CheckpointError: the card says otherwise.
    """
    recorded, asked = card.get("network"), network_entries(network).get("network", "")
    if recorded and recorded != asked:
        raise CheckpointError(
            f"{printable(source)} belongs to {printable(recorded)} (its card says so), not to {asked}."
        )
    if card.get("architecture") and not recorded:
        theirs = printable(f"{card['architecture']}/{card.get('pooling', '')}")
        raise CheckpointError(
            f"{printable(source)} belongs to {theirs} (its card says so), not to {asked}: write @{printable(source)}."
            f"{needed_plugin(card)}"
        )


def number_of_classes(card: Mapping[str, str]) -> int | None:
    """The number of classes that a card states; None where it states none that can be."""
    text = card.get("num_classes", "")
    return int(text) if re.fullmatch(r"[1-9]\d{0,6}", text, re.ASCII) else None
