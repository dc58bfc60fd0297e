"""Images with a class for every pixel: label maps as each data set stores them, brought to one form.

A target is uint8 [H, W]: class indices 0..K-1, and 255 where the class is unknown (void). Label files are read as
indices, never as colours and never resized; a value that the data set does not have is refused with its file.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from metrics import VOID
from robustbench_lift.data.base import UNLABELLED, Pixels, Target
from robustbench_lift.data.decode import PIXEL_LIMIT, decode_image
from robustbench_lift.data.store import Blobs
from robustbench_lift.errors import DataError
from robustbench_lift.text import listed, printable

MOST_CLASSES = 255
"""Classes that a target can hold beside void."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """How values in label files become class indices."""

    table: npt.NDArray[np.int64]
    """[256] class index of each value, `VOID`, or -1 for a value that does not occur."""
    expected: str
    """The values that do, for messages."""
    hints: Mapping[int, str]
    """What a value that does not occur points to: {value: sentence}."""

    @classmethod
    def of(
        cls, classes: int, *, first: int = 0, void: Sequence[int] = (VOID,), hints: Mapping[int, str] | None = None
    ) -> Coding:
        """Values from `first` on are the classes in order, those in `void` are unknown.

        >>> coding = Coding.of(150, first=1, void=(0,))
        >>> coding.table[[0, 1, 150]].tolist(), coding.expected
        ([255, 0, 149], '1 to 150, void 0')
        """
        table = np.full(256, -1, dtype=np.int64)
        table[first : first + classes] = np.arange(classes)
        table[list(void)] = VOID
        expected = f"{first} to {first + classes - 1}, void {' or '.join(map(str, void))}"
        return cls(table=table, expected=expected, hints=dict(hints or {}))

    def __call__(self, values: Target, name: str) -> Target:
        """The class indices of a label file.

        Raises:
            DataError: a value that does not occur; the message names the file.
        """
        found = self.table[values]
        if found.min(initial=0) < 0:
            wrong = np.unique(values[found < 0]).tolist()
            usual = "Check that it is a label map of this data set, and that it was not resized or re-coloured."
            hint = next((self.hints[value] for value in wrong if value in self.hints), usual)
            shown = listed([str(value) for value in wrong])
            raise DataError(
                f"{name} has {int((found < 0).sum()):,} pixels of the values {shown}; expected {self.expected}. {hint}"
            )
        return found.astype(np.uint8)


def decode_labels(content: bytes, name: str) -> Target:
    """The raw values of a label file, uint8 [H, W]: indices of a palette, or grey levels.

    Raises:
        DataError: no image, a picture of colours, more than 8 bits, or a format that changes values (JPEG).

    >>> buffer = io.BytesIO()
    >>> picture = Image.new("P", (3, 2), 7)
    >>> picture.putpalette([0, 0, 0] * 256)
    >>> picture.save(buffer, "PNG")
    >>> decode_labels(buffer.getvalue(), "x.png").tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "BMP", "TIFF", "JPEG")) as image:
            if image.format == "JPEG":
                raise DataError(f"{name} is a JPEG, which changes values: a label map must be a PNG. {_SWAPPED}")
            if image.width * image.height > PIXEL_LIMIT:
                raise DataError(f"{name} declares {image.width}x{image.height} pixels, more than are decoded.")
            if image.mode.startswith("I"):
                values = np.asarray(image).astype(np.int64)
                if values.max(initial=0) > 255:
                    raise DataError(f"{name} holds values up to {values.max()}; class ids from 0 to 255 were expected.")
                return values.astype(np.uint8)
            if image.mode not in ("P", "L", "1"):
                raise DataError(
                    f"{name} is a picture of mode {image.mode}, not a label map: one class id a pixel (a palette or "
                    f"grey PNG) was expected. {_SWAPPED}"
                )
            return np.array(image, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, MemoryError) as error:
        raise DataError(f"{name} cannot be read as a label map ({printable(str(error))}).") from None


_SWAPPED = "Are images and labels swapped, or is it a coloured rendering of the labels?"


@dataclass(kw_only=True, eq=False)
class StoredLabelMaps:
    """Images and label maps in files, an image set whose targets are maps."""

    name: str
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    blobs: Blobs
    """Images, in the order of the ids."""
    maps: Blobs
    """Label files, in the same order."""
    coding: Coding
    blocks: npt.NDArray[np.int64]
    band: bool = False
    notes: tuple[str, ...] = ()

    labels: npt.NDArray[np.int64] = field(init=False)
    """`UNLABELLED` for every image: its label is a map."""

    def __post_init__(self) -> None:
        self.labels = np.full(len(self.ids), UNLABELLED, dtype=np.int64)

    def read(self, index: int) -> Pixels:
        """RGB uint8 [H, W, 3].

        Raises:
            DataError: broken; the message names the file.
        """
        return decode_image(self.blobs.read(index), self.blobs.name(index))

    def target(self, index: int, size: tuple[int, int]) -> Target:
        """uint8 [H, W] class indices and void.

        Raises:
            DataError: no label map, one of another size than the image, or a value that does not occur.
        """
        name = self.maps.name(index)
        values = decode_labels(self.maps.read(index), name)
        if values.shape != size:
            raise DataError(
                f"{name} is {values.shape[0]}x{values.shape[1]} pixels, its image {self.blobs.name(index)} is "
                f"{size[0]}x{size[1]}. Labels are scored at the size of their image; get both from one copy."
            )
        return self.coding(values, name)
