"""Embedded scenes: shapes over the embedded photographs, with exact label maps; segmentation without a download.

Each scene is a piece of a photograph with two to five shapes on it. Every class of shape is filled from a photograph of
its own, so that outline and texture tell it; ten other photographs lie behind. Later shapes hide earlier ones. Shapes
are drawn at four times the size and averaged, so that their edges are as soft as a camera's; a pixel belongs to a shape
that covers at least half of it.

    0 background   1 disc   2 square   3 triangle   4 ring   5 cross

Test scenes are made of the rows of photographs that are set aside for testing, training scenes of the others. A scene
is a function of (seed, part, number) alone.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import UNLABELLED, Pixels
from robustbench_lift.data.photos import PHOTOGRAPHS, REGION, held_out_corners, pixels, training_bands
from robustbench_lift.data.subset import limited_name
from robustbench_lift.errors import UsageError

SIZE = REGION
"""Side of a scene in pixels."""
CLASSES = ("background", "disc", "square", "triangle", "ring", "cross")
FILLINGS = {"disc": "ihc", "square": "brick", "triangle": "grass", "ring": "hubble", "cross": "gravel"}
"""The photograph that fills each shape."""
GROUNDS = tuple(photograph.name for photograph in PHOTOGRAPHS if photograph.name not in FILLINGS.values())
"""The photographs behind the shapes."""
TEST_SCENES = 60
"""Test scenes."""
TRAINING_SCENES = 1800
"""Training scenes."""
FINE = 4
"""Times the size at which outlines are drawn."""
LEAST_SHAPES, MOST_SHAPES = 2, 5
RADII = (7.0, 18.0)
"""Radius of a shape in pixels, from the centre to its corners."""
CONTRAST = 24.0
"""Difference of mean brightness of a shape and what lies beneath, in levels, that fillings are shifted to."""

Part = Literal["test", "train"]


def inside(
    shape: int, radius: float, angle: float, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Which points lie inside a shape around the origin, turned by `angle` (radians).

    >>> float(inside(1, 1.0, 0.0, np.array([0.5, 2.0]), np.array([0.0, 0.0])).sum())
    1.0
    """
    turned_x, turned_y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance = np.hypot(x, y)
    if CLASSES[shape] == "disc":
        return np.asarray(distance <= 0.9 * radius)
    if CLASSES[shape] == "ring":
        return np.asarray((distance <= radius) & (distance >= 0.55 * radius))
    if CLASSES[shape] == "square":
        return np.asarray(np.maximum(abs(turned_x), abs(turned_y)) <= radius / np.sqrt(2))
    if CLASSES[shape] == "cross":
        arm, length = np.minimum(abs(turned_x), abs(turned_y)), np.maximum(abs(turned_x), abs(turned_y))
        return np.asarray((arm <= 0.25 * radius) & (length <= radius))
    sides = [turned_x * np.cos(a) + turned_y * np.sin(a) for a in (np.pi / 2, np.pi * 7 / 6, np.pi * 11 / 6)]
    return np.asarray(np.maximum.reduce(sides) <= radius / 2)


@functools.lru_cache(maxsize=4096)
def scene(seed: int, part: Part, number: int) -> tuple[Pixels, npt.NDArray[np.uint8]]:
    """One scene: RGB uint8 [72, 72, 3] and its label map uint8 [72, 72].

    >>> image, target = scene(0, "test", 0)
    >>> image.shape, target.shape, int(target.max()) < len(CLASSES)
    ((72, 72, 3), (72, 72), True)
    """
    rng = np.random.default_rng([seed, int(part == "train"), number])
    ground = number if part == "test" else int(rng.integers(len(GROUNDS)))
    image = _piece(rng, part, GROUNDS[ground % len(GROUNDS)]).astype(np.float64)
    target = np.zeros((SIZE, SIZE), dtype=np.uint8)
    fine = (np.arange(SIZE * FINE) + 0.5) / FINE
    for _ in range(int(rng.integers(LEAST_SHAPES, MOST_SHAPES + 1))):
        shape = int(rng.integers(1, len(CLASSES)))
        radius, angle = rng.uniform(*RADII), rng.uniform(0, 2 * np.pi)
        top, left = rng.uniform(0.6 * radius, SIZE - 0.6 * radius, 2)
        cover = inside(shape, radius, angle, fine[None, :] - left, fine[:, None] - top)
        alpha = cover.reshape(SIZE, FINE, SIZE, FINE).mean(axis=(1, 3))
        filling = _piece(rng, part, FILLINGS[CLASSES[shape]]).astype(np.float64)
        if not (alpha >= 0.5).any():
            continue
        weight = alpha / alpha.sum()
        difference = float((weight * (filling - image).mean(axis=2)).sum())
        if abs(difference) < CONTRAST:
            filling += (CONTRAST - abs(difference)) * (1 if difference >= 0 else -1)
        image = image + alpha[..., None] * (np.clip(filling, 0, 255) - image)
        target[alpha >= 0.5] = shape
    made = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    made.setflags(write=False)
    target.setflags(write=False)
    return made, target


def _piece(rng: np.random.Generator, part: Part, name: str) -> npt.NDArray[np.uint8]:
    """A square of a photograph, from the rows that belong to the part."""
    array = pixels(next(photograph for photograph in PHOTOGRAPHS if photograph.name == name))
    if part == "test":
        corners = held_out_corners(array.shape[0], array.shape[1])
        top, left = corners[int(rng.integers(len(corners)))]
    else:
        bands = [(first, last) for first, last in training_bands(array.shape[0]) if last - first >= SIZE]
        first, last = bands[int(rng.integers(len(bands)))]
        top, left = int(rng.integers(first, last - SIZE + 1)), int(rng.integers(0, array.shape[1] - SIZE + 1))
    return array[top : top + SIZE, left : left + SIZE]


class Scenes:
    """Scenes as an image set with label maps; ids `00000`, `00001`, ..."""

    band = False
    """Scenes have no void."""

    def __init__(self, part: Part = "test", count: int | None = None, *, seed: int = 0) -> None:
        """Take the first scenes of a part.

        Args:
            part: test or train, which show different rows of the photographs.
            count: how many; as many as the part has when None.
            seed: another seed gives other scenes.
        """
        whole = TEST_SCENES if part == "test" else TRAINING_SCENES
        count = whole if count is None else count
        self.part, self.seed = part, seed
        self.name = limited_name(
            "scenes" if part == "test" else "scenes-train", None if count == whole else count, seed
        )
        self.ids = tuple(f"{k:05d}" for k in range(count))
        self.labels: npt.NDArray[np.int64] = np.full(count, UNLABELLED, dtype=np.int64)
        self.blocks: npt.NDArray[np.int64] = np.arange(count, dtype=np.int64)
        self.class_names: tuple[str, ...] = CLASSES

    @classmethod
    def of(cls, limit: int | None) -> Scenes:
        """The first so many test scenes; None takes all.

        Raises:
            UsageError: there are not so many.
        """
        if limit is not None and not 1 <= limit <= TEST_SCENES:
            raise UsageError(f"--limit {limit}: there are {TEST_SCENES} scenes; give 1 to {TEST_SCENES}, or no limit.")
        return cls(count=limit)

    def read(self, index: int) -> Pixels:
        """RGB uint8 [72, 72, 3]."""
        return scene(self.seed, self.part, index)[0]

    def target(self, index: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Label map uint8 [72, 72]."""
        return scene(self.seed, self.part, index)[1]

    def content(self) -> bytes:
        """All pixels and labels, for the fingerprint."""
        return b"".join(part.tobytes() for k in range(len(self.ids)) for part in scene(self.seed, self.part, k))
