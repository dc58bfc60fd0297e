"""Sample images of the page: corruptions on photographs, and the frames of a sequence, as data: URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from robustbench_lift.report.schema import Document, Flips

Image = npt.NDArray[np.uint8]
LOSSLESS = 96
"""Tiles up to this side are stored as PNG; larger ones as JPEG, or the page would grow to many megabytes."""
JPEG_QUALITY = 85


class Pictures(Protocol):
    """Where the page takes images from."""

    caption: str
    """What the gallery shows, in words."""

    def gallery(self, corruption: str) -> Sequence[Image]:
        """A clean image and the same at severities 1..5, uint8 [H, W, 3] each; nothing for a stranger's corruption."""
        ...

    def frames(self, flips: Flips) -> Image | None:
        """The frames of a sequence as the models saw them, uint8 [T, H, W, 3]; None when they cannot be made again."""
        ...


@dataclass(frozen=True)
class GivenPictures:
    """A gallery of images that the caller gives; sequences are not shown.

    Example:
        >>> GivenPictures({"a": np.zeros((64, 64, 3), np.uint8)}).frames is not None
        True
    """

    images: Mapping[str, Image]
    """RGB uint8 [H, W, 3] by id; corruptions take turns through them."""
    seed: int = 0
    """Seed of the corruptions."""
    variant: str = "imagenet-c"
    """Variant of the corruptions."""
    table: int | str | None = None
    """Severity table, the image's own size unless given."""
    caption: str = "Every corruption at severities 1 to 5."

    def gallery(self, corruption: str) -> Sequence[Image]:
        """One of the images, corrupted."""
        import corruptions

        names = sorted(self.images)
        order = (*corruptions.BENCHMARK, *corruptions.EXTRA)
        if corruption not in order:
            return []
        name = names[order.index(corruption) % len(names)]
        clean = self.images[name]
        return [
            clean,
            *(
                np.asarray(
                    corruptions.corrupt(
                        clean, corruption, s, seed=self.seed, ids=[name], variant=self.variant, table=self.table
                    )
                )
                for s in range(1, 6)
            ),
        ]

    def frames(self, flips: Flips) -> Image | None:
        """Nothing: only a data set that the package embeds can be shown again."""
        return None


GALLERY = ("astronaut/03", "camera/03", "chelsea/06", "coffee/07", "motorcycle/05")
"""Test images of the gallery, in turn."""


class PhotoPictures:
    """The embedded photographs: the gallery, and the sequences of runs that were made on them."""

    def __init__(self, document: Document) -> None:
        """Read what the runs' signature says of seeds, variants and storage."""
        from robustbench_lift.data.geometry import CenterCrop
        from robustbench_lift.data.photos import SIZE, PhotoTest

        fields = document.groups[0].fields
        own = document.data == PhotoTest.name
        corruption = fields.get("corruption", {}) if own else {}
        source, crop = PhotoTest(), CenterCrop(SIZE)
        self._samples = GivenPictures(
            {name: np.ascontiguousarray(crop(source.read(source.ids.index(name)))) for name in GALLERY},
            seed=int(corruption.get("seed", "0")),
            variant=corruption.get("variant", "imagenet-c"),
        )
        perturbation = fields.get("perturbation", {}) if own else {}
        plain = perturbation.get("geometry") == crop.text and not {"crop", "table"} & set(perturbation)
        self._fields = perturbation if plain else {}
        where = (
            "the test images" if own else f"the embedded photographs, for illustration; the runs are on {document.data}"
        )
        self.caption = f"Every corruption at severities 1 to 5, on some of {where}."

    def gallery(self, corruption: str) -> Sequence[Image]:
        """A photograph, corrupted."""
        return self._samples.gallery(corruption)

    def frames(self, flips: Flips) -> Image | None:
        """The sequence, rendered again from the seed in the signature."""
        import torch

        from robustbench_lift.data.geometry import CenterCrop
        from robustbench_lift.data.photos import SIZE, PhotoTest
        from robustbench_lift.protocols.perturbation import GeneratedSequences, Perturbation
        from robustbench_lift.runs import Cell

        source, crop = PhotoTest(), CenterCrop(SIZE)
        if not self._fields or flips.image not in source.ids:
            return None
        protocol = Perturbation(
            source=GeneratedSequences(
                clean=source,
                geometry=crop,
                storage=self._fields.get("storage", "none"),
                seed=int(self._fields.get("seed", "0")),
            ),
            conditions=(flips.perturbation,),
            difficulty=flips.difficulty,
        )
        image = np.ascontiguousarray(crop(source.read(source.ids.index(flips.image))))
        batch = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0).contiguous()
        frames = protocol.render(Cell("perturbation", flips.perturbation, flips.difficulty), batch, [flips.image])
        return np.asarray(frames[0].permute(0, 2, 3, 1).numpy())


def strip(images: Sequence[Image]) -> Image:
    """Images side by side, uint8 [H, sum of W, 3].

    >>> strip([np.zeros((4, 4, 3), np.uint8)] * 3).shape
    (4, 12, 3)
    """
    return np.concatenate(images, axis=1)


def data_uri(image: Image, *, lossless: bool = True) -> str:
    """An image as a data: URI."""
    from PIL import Image as Pillow

    stream = io.BytesIO()
    if lossless:
        Pillow.fromarray(image).save(stream, format="PNG", optimize=True)
    else:
        Pillow.fromarray(image).save(stream, format="JPEG", quality=JPEG_QUALITY)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
