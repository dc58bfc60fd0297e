"""Beginning a training from the weights of another: which tensors are taken, which are left out, by name.

A segmentation network takes its encoder from a classifier; a classifier takes everything but a last layer of another
number of classes. Nothing is left out that is not one of these, and nothing that is needed may be missing but poolings
that learn, where the file is of a network without any.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from robustbench_lift.errors import CheckpointError
from robustbench_lift.pooling import PoolingLayer
from robustbench_lift.text import listed, printable
from robustbench_lift.weights.fit import RECOMPUTABLE, WRAPPERS
from robustbench_lift.weights.read import read_raw
from robustbench_lift.weights.state_dict import find_state_dict

ENCODERS = ("features", "backbone", "encoder")
"""Names of the part of a segmentation network that a classifier has too; it learns at `encoder_rate`."""
HEADS = re.compile(r"^(fc|classifier|head|heads|last_linear)\.")
"""The part of a classifier that a segmentation network has not."""
POOLINGS = re.compile(r"^(.+)\.(entry|branches|exit)\.")
"""Poolings of a residual block; a dilated stage keeps its size and has none."""


@dataclass(frozen=True, slots=True)
class WarmStart:
    """What was taken from a file, and what was not."""

    file: str
    sha256: str
    taken: int
    """Tensors that were taken."""
    dropped: tuple[str, ...]
    """Tensors of the file that the network has no place for."""
    new: tuple[str, ...]
    """Parts of the network that begin untrained."""

    def __str__(self) -> str:
        """One sentence for the terminal and the card.

        >>> str(WarmStart("vgg16_bn.pth", "ab" * 32, 78, ("classifier.0.weight",), ("decoder",)))
        'begins from vgg16_bn.pth (sha256 abababab): 78 tensors; left out: classifier.0.weight; untrained: decoder'
        """
        left = f"; left out: {listed(list(self.dropped), most=24)}" if self.dropped else ""
        new = f"; untrained: {', '.join(self.new)}" if self.new else ""
        return f"begins from {printable(self.file)} (sha256 {self.sha256[:8]}): {self.taken} tensors{left}{new}"


def file_sha256(path: Path) -> str:
    """The sha256 of a file that a training begins from: a part of what the training is.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{printable(path)} cannot be read: {error.strerror or error}.") from None


def warm_start(module: nn.Module, path: Path, *, segmentation: bool) -> WarmStart:
    """Begin from the weights in a file.

    Args:
        module: the network; changed only when the file fits.
        path: weights of a classifier, torchvision's or ours, or of the same network.
        segmentation: whether the network answers a class for every pixel: then its encoder alone is filled, unless the
            file has all of it.

    Raises:
        CheckpointError: tensors that are needed are missing or of another shape, or the file has some that are neither
            its last layers nor poolings of a stage that keeps its size here.
    """
    raw = read_raw(path)
    found = {WRAPPERS.sub("", key): value for key, value in find_state_dict(raw).tensors.items()}
    own = module.state_dict()
    buffers = tuple(f".{name}" for name in (*RECOMPUTABLE, "num_batches_tracked"))
    needed = [key for key in own if not key.endswith(buffers)]
    encoder = next((name for name, _ in module.named_children() if name in ENCODERS), None)
    whole = all(key in found for key in needed)
    if segmentation and not whole:
        if encoder is None:
            raise CheckpointError(
                f"{printable(path)} does not hold the whole network, and the network has no part named "
                f"{' or '.join(ENCODERS)} that a classifier could fill."
            )
        needed = [key for key in needed if key.startswith(f"{encoder}.")]
        if not any(key.startswith(f"{encoder}.") for key in found):
            found = {key if HEADS.match(key) else f"{encoder}.{key}": value for key, value in found.items()}
    taken = {key: value for key, value in found.items() if key in own and value.shape == own[key].shape}
    new = [key for key in needed if key not in taken]
    if not segmentation or whole:
        refilled = [key for key in new if key in found and _last_layer(key, found[key], own)]
        new_parts = {key.rpartition(".")[0] for key in refilled}
        new = [key for key in new if key not in refilled]
    else:
        new_parts = {name for name, _ in module.named_children() if name != encoder}
    layers = tuple(f"{name}." for name, part in module.named_modules() if isinstance(part, PoolingLayer))
    idle = [key for key in new if key.startswith(layers)] if layers else []
    if idle and not any(key.startswith(layers) for key in found):  # of a network that has max-pools or strides there
        new = [key for key in new if key not in idle]
        new_parts.add(f"its poolings ({len(idle)} tensors)")
    if new:
        wrong = [f"{key} {tuple(found[key].shape)} for {tuple(own[key].shape)}" for key in new if key in found]
        what = f"of another shape: {listed(wrong, most=6)}" if wrong else f"missing: {listed(new, most=6)}"
        raise CheckpointError(
            f"{printable(path)} cannot be begun from: {len(new)} of the {len(needed)} tensors that are needed are "
            f"{what}. Give weights of the same network with the same pooling and options."
        )
    dropped = [key for key in found if key not in taken and not key.endswith(buffers)]
    odd = [key for key in dropped if not (_is_head(key, found, own) or _is_idle_pooling(key, own))]
    if odd:
        raise CheckpointError(
            f"{printable(path)} holds {len(odd)} tensors that the network has no place for: "
            f"{listed([printable(key) for key in odd], most=6)}. Only last layers, and poolings of a stage that keeps "
            "its size, are left out."
        )
    for key, value in taken.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{printable(path)}: {printable(key)} holds NaN or infinity.")
    module.load_state_dict({**own, **{key: value.to(own[key].dtype) for key, value in taken.items()}}, strict=True)
    prefix = f"{encoder}." if encoder else ""
    names = tuple(key.removeprefix(prefix) for key in dropped)
    return WarmStart(path.name, raw.sha256, len(taken), names, tuple(sorted(new_parts)))


def _last_layer(key: str, value: Tensor, own: Mapping[str, Tensor]) -> bool:
    """Whether two tensors differ in the number of classes alone."""
    return bool(HEADS.match(key)) and value.shape[1:] == own[key].shape[1:]


def _is_head(key: str, found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return bool(HEADS.match(key)) and (key not in own or _last_layer(key, found[key], own))


def _is_idle_pooling(key: str, own: Mapping[str, Tensor]) -> bool:
    block = POOLINGS.match(key)
    return (
        block is not None
        and any(name.startswith(f"{block[1]}.") for name in own)
        and not any(name.startswith(f"{block[1]}.{block[2]}.") for name in own)
    )
