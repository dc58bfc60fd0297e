"""What every collection of images offers: stable ids, labels, and one image at a time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeIs

if TYPE_CHECKING:
    from torch import Tensor

Pixels = npt.NDArray[np.uint8]
"""An image as RGB uint8 [H, W, 3], or a clip [T, H, W, 3]."""
Target = npt.NDArray[np.uint8]
"""A label map as uint8 [H, W]: class indices 0..K-1, and `metrics.VOID` where the class is unknown."""
UNLABELLED = -1
"""Label of an image whose class is unknown (CIFAR-P comes without labels; flips need none) or is a map."""


class ImageSet(Protocol):
    """Images with stable ids; reading one needs no other, so any worker can read any part in any order.

    A set with label maps has more (`LabelMaps`). Any set may have `content() -> bytes` where its pixels
    are cheap to hash, `left_out` (see `left_out_of`), `notes`, sentences about it that a user should read once,
    `outputs` (see `outputs_of`), and `adversarial`, whether its images were chosen because networks err on them, so
    that an accuracy below guessing is no sign of a mistake.
    """

    name: str
    """Short name, printed in the signature: `photos`, `imagenet-val`, `cifar10-c`."""
    ids: tuple[str, ...]
    """Unique ids, sorted; an id never depends on where the data lie on disk."""
    labels: npt.NDArray[np.int64]
    """[n] class indices in the order of `class_names`, or `UNLABELLED`."""
    class_names: tuple[str, ...]
    """Names of the classes (WNIDs for ImageNet), in index order."""

    def read(self, index: int) -> Pixels:
        """One image as RGB uint8 [H, W, 3]; one clip as [T, H, W, 3]."""
        ...


class LabelMaps(ImageSet, Protocol):
    """An `ImageSet` whose images have a class for every pixel; its `labels` are `UNLABELLED`."""

    blocks: npt.NDArray[np.int64]
    """[n] images of the same number are drawn together by a bootstrap: neighbouring frames of a sequence."""
    band: bool
    """Whether void marks the boundaries of objects, as in PASCAL VOC."""

    def target(self, index: int, size: tuple[int, int]) -> Target:
        """The label map of one image of that (height, width)."""
        ...


@dataclass(frozen=True, slots=True)
class Outputs:
    """Which outputs of a network stand for each class of the data, where the data have fewer or coarser classes.

    A class of one output has its logit: the network is scored among the classes of the data alone, as by timm's
    `--valid-labels`. A class of several has their largest logit (`max`) or the mean of their probabilities (`mean`).

    Raises:
        ValueError: no class, a class without outputs, or an output that the network does not have.

    >>> Outputs(4, ((1,), (3,))).text
    '2of4'
    """

    of: int
    """Outputs of the network."""
    groups: tuple[tuple[int, ...], ...]
    """Outputs of each class."""
    join: str = "max"
    """`max` or `mean`, for classes of several outputs."""

    def __post_init__(self) -> None:
        named = [index for group in self.groups for index in group]
        if not all(self.groups) or not named or not 0 <= min(named) <= max(named) < self.of:
            raise ValueError(f"outputs of classes must be 0 to {self.of - 1}, at least one for each class")

    @property
    def text(self) -> str:
        """Words for the signature: `200of1000`, `16of1000-mean`."""
        several = any(len(group) > 1 for group in self.groups)
        return f"{len(self.groups)}of{self.of}" + (f"-{self.join}" if several else "")

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits [m, of] -> logits [m, K] of the K classes of the data.

        >>> import torch
        >>> Outputs(4, ((1,), (3,)))(torch.tensor([[9.0, 1.0, 8.0, 2.0]])).tolist()
        [[1.0, 2.0]]
        """
        import torch

        if all(len(group) == 1 for group in self.groups):
            return logits[:, [group[0] for group in self.groups]]
        if self.join == "max":
            return torch.stack([logits[:, list(group)].amax(dim=1) for group in self.groups], dim=1)
        logs = logits.log_softmax(dim=1)
        means = [logs[:, list(group)].logsumexp(dim=1) - math.log(len(group)) for group in self.groups]
        return torch.stack(means, dim=1)


def outputs_of(images: ImageSet) -> Outputs | None:
    """Which outputs of a network stand for the classes of a set; None: output k is class k."""
    found: Outputs | None = getattr(images, "outputs", None)
    return found


def has_maps(images: ImageSet) -> TypeIs[LabelMaps]:
    """Whether the images have a class for every pixel."""
    return hasattr(images, "target") and hasattr(images, "blocks")


def left_out_of(images: ImageSet) -> Mapping[str, int]:
    """What lies with the images and is not among them: reason -> number of files; empty where nothing is left out."""
    found: Mapping[str, int] = getattr(images, "left_out", {})
    return found


def notes_of(images: ImageSet) -> tuple[str, ...]:
    """Sentences about a set that a user should read once, for example on the order of its classes."""
    found: tuple[str, ...] = getattr(images, "notes", ())
    return found


def fingerprint(ids: Sequence[str], labels: npt.NDArray[np.int64], content: bytes = b"") -> str:
    """sha256 over ids, labels and, where it is cheap, the pixels: equal for equal image sets, on any machine.

    >>> fingerprint(["a", "b"], np.array([0, 1]))[:8]
    '27a55560'
    """
    digest = hashlib.sha256()
    for name, label in zip(ids, labels, strict=True):
        digest.update(f"{name}\t{int(label)}\n".encode())
    digest.update(content)
    return digest.hexdigest()
