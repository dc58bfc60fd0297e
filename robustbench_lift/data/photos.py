"""The embedded photographs: a classification task that needs no download.

Fifteen photographs ship inside scikit-image's wheel. The task is to name the photograph that a 64x64 patch was cut
from. Horizontal bands of each photograph are set aside for testing; training crops never touch them:

    rows of a photograph     | training | test band (132 rows) | training | test band | training |

A band holds two rows of test regions, which share twelve rows of pixels.

A test image is a 72x72 region; clean, corruption and perturbation protocols see its central 64x64, shift consistency
sees two 64x64 windows of it, as ImageNet's protocols see 224 of 256.

The files are read where scikit-image lies, without importing it, and are verified by sha256, so that the patches are
the same on every machine.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from robustbench_lift.errors import DataError, UsageError

SIZE = 64
"""Side of what a model sees, in pixels; ImageNet-C's 64-pixel severity table applies."""
REGION = 72
"""Side of a test region: 64 plus the margin from which shift consistency draws its windows (256 to 224, scaled)."""
STEP = 60
"""Rows from one row of test regions to the next in a band."""
BAND = STEP + REGION
"""Rows of a band that is set aside for testing: two rows of regions."""
PATCHES = 32
"""Test regions a photograph."""
COUNTS = (1, 2, 4, 8, 16, PATCHES)
"""Test regions a photograph that a balanced subset may have."""
SEQUENCES = 240
"""Test regions that are shown as perturbation sequences, 16 a photograph: each is 31 frames."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph of scikit-image's wheel."""

    file: str
    """File name inside skimage/data."""
    sha256: str
    """First 16 hex digits of the file's sha256."""
    reduce: int = 1
    """Integer factor of a box reduction, for the two photographs of more than 800 pixels a side."""

    @property
    def name(self) -> str:
        """The class name."""
        return self.file.split(".")[0].removesuffix("_left").removesuffix("_deep_field")


PHOTOGRAPHS: tuple[Photograph, ...] = (
    Photograph("astronaut.png", "88431cd9653ccd53"),
    Photograph("brick.png", "7966caf324f6ba84"),
    Photograph("camera.png", "b0793d2adda0fa6a"),
    Photograph("cell.png", "8d23a7fb81f7cc87"),
    Photograph("chelsea.png", "596aa1e7cb875eb7"),
    Photograph("coffee.png", "cc02f8ca188b167c"),
    Photograph("coins.png", "f8d773fc9cfa6f4d"),
    Photograph("grass.png", "b6b6022426b38936"),
    Photograph("gravel.png", "c48615b451bf1e60"),
    Photograph("hubble_deep_field.jpg", "3a19c5dd8a927a93", reduce=2),
    Photograph("ihc.png", "f8dd1aa387ddd1f4"),
    Photograph("moon.png", "78739619d11f7eb9"),
    Photograph("motorcycle_left.png", "db18e9c415761740"),
    Photograph("retina.jpg", "38a07f36f27f095e", reduce=2),
    Photograph("rocket.jpg", "c2dd0de7c538df8d"),
)


def _folder() -> Path:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise DataError(
            "the embedded photographs come with scikit-image, which is not installed: pip install scikit-image."
        )
    return Path(spec.origin).parent / "data"


@functools.cache
def pixels(photograph: Photograph) -> npt.NDArray[np.uint8]:
    """The photograph as RGB uint8 [H, W, 3], read-only.

    Raises:
        DataError: scikit-image is absent, or its file is not the one that the benchmark was made from.
    """
    path = _folder() / photograph.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Reinstall scikit-image 0.22 or newer.") from None
    found = hashlib.sha256(content).hexdigest()[:16]
    if found != photograph.sha256:
        raise DataError(
            f"{path} is not the photograph that the embedded benchmark was made from (sha256 {found}..., expected "
            f"{photograph.sha256}...). Reinstall scikit-image from the package index; scores would not be comparable."
        )
    with Image.open(path) as image:
        rgb = image.convert("RGB")
        array = np.asarray(rgb.reduce(photograph.reduce) if photograph.reduce > 1 else rgb)
    array.setflags(write=False)
    return array


def held_out_bands(height: int) -> tuple[tuple[int, int], ...]:
    """Row ranges [top, bottom) set aside for testing: two bands in tall photographs, one in others.

    What lies between them is the same for all of a photograph's training bands, and at least a region high.

    >>> held_out_bands(512), held_out_bands(300)
    (((82, 214), (296, 428)), ((84, 216),))
    """
    count = 2 if height >= 3 * REGION + 2 * BAND else 1
    between = (height - count * BAND) // (count + 1)
    tops = [between + k * (between + BAND) for k in range(count)]
    return tuple((top, top + BAND) for top in tops)


def training_bands(height: int) -> tuple[tuple[int, int], ...]:
    """Row ranges [top, bottom) that training crops are taken from: the complement of `held_out_bands`."""
    edges = [0, *(row for band in held_out_bands(height) for row in band), height]
    return tuple((edges[k], edges[k + 1]) for k in range(0, len(edges), 2))


def held_out_corners(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """(top, left) of the `PATCHES` test regions of a photograph, evenly spaced along its test bands."""
    tops = [row for top, _ in held_out_bands(height) for row in (top, top + STEP)]
    each = PATCHES // len(tops)
    lefts = [round(k * (width - REGION) / (each - 1)) for k in range(each)]
    return tuple((top, left) for top in tops for left in lefts)


class PhotoTest:
    """The test regions as an image set: ids `<photograph>/<number>`, images [72, 72, 3]."""

    name = "photos"

    def __init__(self, patches: int = PATCHES) -> None:
        """Take `patches` of the regions of each photograph, evenly spread."""
        if patches not in COUNTS:
            known = ", ".join(map(str, COUNTS[:-1]))
            raise DataError(f"photos has {known} or {COUNTS[-1]} regions a photograph, not {patches}.")
        step = PATCHES // patches
        entries = []
        for label, photograph in enumerate(PHOTOGRAPHS):
            array = pixels(photograph)
            corners = held_out_corners(array.shape[0], array.shape[1])
            for number in range(step // 2, PATCHES, step):
                top, left = corners[number]
                entries.append(
                    (f"{photograph.name}/{number:02d}", label, array[top : top + REGION, left : left + REGION])
                )
        entries.sort(key=lambda entry: entry[0])
        self.ids = tuple(entry[0] for entry in entries)
        self.labels: npt.NDArray[np.int64] = np.array([entry[1] for entry in entries], dtype=np.int64)
        self.class_names = tuple(photograph.name for photograph in PHOTOGRAPHS)
        self._regions = [entry[2] for entry in entries]

    @classmethod
    def of(cls, limit: int | None) -> PhotoTest:
        """So many regions in all, as many of each photograph; None takes all.

        Raises:
            UsageError: the regions of a photograph do not divide into so many.

        >>> len(PhotoTest.of(30).ids)
        30
        """
        patches = PATCHES if limit is None else limit // len(PHOTOGRAPHS)
        if limit is not None and (limit % len(PHOTOGRAPHS) or patches not in COUNTS):
            sizes = ", ".join(str(len(PHOTOGRAPHS) * k) for k in COUNTS)
            raise UsageError(f"--limit {limit}: balanced subsets of the photographs have {sizes} images.")
        return cls(patches)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One test region, RGB uint8 [72, 72, 3]."""
        return self._regions[index]

    def content(self) -> bytes:
        """All pixels, for the fingerprint."""
        return b"".join(region.tobytes() for region in self._regions)
