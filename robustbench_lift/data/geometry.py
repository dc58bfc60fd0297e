"""How an image becomes the square that a network sees in a test, with the words that stand in the signature.

| protocol                                   | transform                             | here                   |
|--------------------------------------------|---------------------------------------|------------------------|
| clean ImageNet; base of generated ones     | Resize(256), CenterCrop(224)          | `ResizeCrop()`         |
| shift consistency                          | Resize(256), CenterCrop(256)          | `ResizeCrop(crop=256)` |
| ImageNet-C from disk                       | CenterCrop(224), a no-op; no Resize   | `AsStored(224)`        |
| ImageNet-P from disk, Tiny-ImageNet, CIFAR | none                                  | `AsStored(...)`        |
| tests during a training                    | Resize(recipe), CenterCrop(recipe)    | `ResizeCrop(...)`      |

Source: hendrycks/robustness, `ImageNet-C/test.py`, `ImageNet-P/test.py`; adobe/antialiased-cnns, `main.py`.
Resizing is Pillow's (antialiased), sizes and offsets are torchvision's; tests hold both against torchvision itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from robustbench_lift.data.base import Pixels
from robustbench_lift.errors import DataError, UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor

INTERPOLATIONS: dict[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Names of Pillow's filters; all but nearest antialias."""
MAX_SIDE = 8192
"""Largest side that a transform may ask for, in pixels."""


class Geometry(Protocol):
    """Resizing and cropping of one image, and the words for it in the signature."""

    def __call__(self, image: Pixels) -> Pixels:
        """RGB uint8 [H, W, 3] in, uint8 [h, w, 3] out, one size for all images."""
        ...

    @property
    def side(self) -> int:
        """Side of the squares that come out, in pixels."""
        ...

    @property
    def text(self) -> str:
        """A few words for the signature, for example `resize256-crop224`."""
        ...


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """The central square of an image, offsets rounded half to even as torchvision does.

    >>> CenterCrop(64)(np.zeros((72, 72, 3), np.uint8)).shape
    (64, 64, 3)
    """

    size: int
    """Side in pixels."""

    def __call__(self, image: Pixels) -> Pixels:
        """RGB uint8 [H, W, 3] -> uint8 [size, size, 3]."""
        return center_crop(image, self.size)

    @property
    def side(self) -> int:
        """Side of the square."""
        return self.size

    @property
    def text(self) -> str:
        """Words for the signature."""
        return f"crop{self.size}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResizeCrop:
    """Shorter side to `resize` (longer side in proportion, fraction dropped), then the central square.

    Raises:
        UsageError: a size that means nothing, or an unknown interpolation.

    >>> ResizeCrop()(np.zeros((375, 500, 3), np.uint8)).shape, ResizeCrop().text
    ((224, 224, 3), 'resize256-bilinear-antialias-crop224')
    """

    resize: int | None = 256
    """Length of the shorter side in pixels; None: no resizing."""
    crop: int | None = 224
    """Side of the central square in pixels, offsets rounded half to even; None: no crop."""
    interpolation: str = "bilinear"
    """nearest, bilinear, bicubic or lanczos."""

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", self.interpolation, INTERPOLATIONS)
        for what, size in (("resize", self.resize), ("crop", self.crop)):
            if size is not None and not 1 <= size <= MAX_SIDE:
                raise UsageError(f"{what}={size}: expected 1 to {MAX_SIDE} pixels.")

    def __call__(self, image: Pixels) -> Pixels:
        """RGB uint8 [H, W, 3] -> uint8 [crop, crop, 3]."""
        if self.resize is not None:
            image = resized(image, self.resize, self.interpolation)
        return image if self.crop is None else center_crop(image, self.crop)

    @property
    def side(self) -> int:
        """Side of the squares that come out; without a crop the shorter side, of images without resizing unknown: 0."""
        return self.crop or self.resize or 0

    @property
    def text(self) -> str:
        """Words for the signature."""
        antialias = "" if self.interpolation == "nearest" else "-antialias"
        parts = [f"resize{self.resize}-{self.interpolation}{antialias}"] if self.resize is not None else []
        parts += [f"crop{self.crop}"] if self.crop is not None else []
        return "-".join(parts) or "none"


@dataclass(frozen=True, slots=True)
class AsStored:
    """Images as they lie on disk; another size is refused, never resized.

    >>> AsStored(32).text
    'as-stored32'
    """

    size: int
    """Side of the squares in pixels."""

    def __call__(self, image: Pixels) -> Pixels:
        """uint8 [H, W, 3] or a clip [T, H, W, 3], unchanged."""
        check_side(image, self.size, "an image")
        return image

    @property
    def side(self) -> int:
        """Side of the squares."""
        return self.size

    @property
    def text(self) -> str:
        """Words for the signature."""
        return f"as-stored{self.size}"


@dataclass(frozen=True, slots=True)
class ZeroPad:
    """A black margin around images that have none, so that windows can move: the margin of CIFAR's training crops.

    >>> ZeroPad(32, 4)(np.ones((32, 32, 3), np.uint8)).shape
    (40, 40, 3)
    """

    size: int
    """Side of the image in pixels."""
    margin: int
    """Pixels added on each side."""

    def __call__(self, image: Pixels) -> Pixels:
        """uint8 [size, size, 3] -> uint8 [size + 2 margin, ..., 3]."""
        check_side(image, self.size, "an image")
        return np.pad(image, ((self.margin, self.margin), (self.margin, self.margin), (0, 0)))

    @property
    def side(self) -> int:
        """Side of the squares with their margin."""
        return self.size + 2 * self.margin

    @property
    def text(self) -> str:
        """Words for the signature."""
        return f"as-stored{self.size}-zeropad{self.margin}"


@dataclass(frozen=True, slots=True)
class Bordered:
    """Pixels cut off on every side, then another geometry.

    >>> Bordered(2, CenterCrop(20))(np.zeros((24, 24, 3), np.uint8)).shape, Bordered(2, CenterCrop(20)).text
    ((20, 20, 3), 'border2-crop20')
    """

    border: int
    """Pixels on each side."""
    inner: Geometry
    """What follows."""

    def __call__(self, image: Pixels) -> Pixels:
        """RGB uint8 [H, W, 3] -> what the other geometry makes of its inner part."""
        return self.inner(image[self.border : -self.border, self.border : -self.border])

    @property
    def side(self) -> int:
        """Side of the squares."""
        return self.inner.side

    @property
    def text(self) -> str:
        """Words for the signature."""
        return f"border{self.border}-{self.inner.text}"


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeImage:
    """Images of any size as they are, for label maps: what is resized is resized after the corruption, for the network.

    Label maps keep their size, and logits are brought to it.

    >>> WholeImage().text, WholeImage(resize=512).text
    ('whole', 'whole-resize512-bilinear-antialias')
    """

    resize: int | None = None
    """Length of the shorter side that the network sees, in pixels; None: as stored."""

    def __call__(self, image: Pixels) -> Pixels:
        """uint8 [H, W, 3], unchanged."""
        return image

    def for_network(self, frames: Tensor) -> Tensor:
        """uint8 [..., 3, H, W] -> the size that the network sees, antialiased."""
        height, width = frames.shape[-2:]
        if self.resize is None or self.resize == min(height, width):
            return frames
        from torchvision.transforms.v2.functional import resize

        side = self.resize
        size = [side, int(side * width / height)] if height <= width else [int(side * height / width), side]
        made: Tensor = resize(frames.flatten(0, -4), size, antialias=True).unflatten(0, frames.shape[:-3])
        return made

    @property
    def side(self) -> int:
        """Images differ: 0."""
        return 0

    @property
    def text(self) -> str:
        """Words for the signature."""
        return "whole" if self.resize is None else f"whole-resize{self.resize}-bilinear-antialias"


def for_network(geometry: Geometry, frames: Tensor) -> Tensor:
    """Frames as a network sees them: resized after the corruption where the geometry says so."""
    resize = getattr(geometry, "for_network", None)
    seen: Tensor = frames if resize is None else resize(frames)
    return seen


def resized(image: Pixels, side: int, interpolation: str = "bilinear") -> Pixels:
    """Shorter side to `side` pixels, longer side in proportion with the fraction dropped, Pillow's filter."""
    height, width = image.shape[:2]
    target = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    if target == (width, height):
        return image
    if max(target) > MAX_SIDE * 4:
        raise DataError(f"an image of {height}x{width} pixels would be resized to {target[1]}x{target[0]}; refused.")
    return np.asarray(Image.fromarray(image).resize(target, INTERPOLATIONS[interpolation]))


def center_crop(image: Pixels, side: int) -> Pixels:
    """The central square; offsets are rounded half to even, as torchvision does."""
    height, width = image.shape[:2]
    if min(height, width) < side:
        raise DataError(
            f"an image of {height}x{width} pixels is smaller than the {side}-pixel crop. Resize first: "
            f"?resize={side}&crop={side} in the data spec, --set resize={side} in a training."
        )
    top, left = round((height - side) / 2), round((width - side) / 2)
    return image[top : top + side, left : left + side]


def check_side(image: Pixels, side: int, name: str) -> None:
    """Refuse an image or a clip that is not the square that was expected.

    Raises:
        DataError: another size; the message knows the usual cause.
    """
    height, width = image.shape[-3], image.shape[-2]
    if (height, width) == (side, side):
        return
    hint = ""
    if side == 224 and (height, width) == (256, 256):
        hint = (
            " This is a re-save at 256 pixels: resizing ImageNet-C changes the score by one to two points of mCE. "
            "Use the official 224-pixel files."
        )
    elif side == 224 and (height, width) == (299, 299):
        hint = " These are the 299-pixel files made for Inception; they are another data set: ?size=299."
    raise DataError(f"{name} is {height}x{width} pixels, expected {side}x{side}.{hint}")
