"""Perturbation sequences generated from whole images, one at a time, as ImageNet-P was made.

The reference resizes the shorter side to 256 and warps the whole image; frames show its centre. Images then differ in
size, so that sequences are made where images are read, in any worker, and not on batches.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corruptions.sequences import NOISE
from robustbench_lift.data.base import ImageSet


class SequenceImages:
    """Clips [T, size, size, 3] of one perturbation over an image set; ids, labels and classes are the images'."""

    def __init__(
        self,
        images: ImageSet,
        condition: str,
        *,
        size: int = 224,
        difficulty: int = 1,
        seed: int = 0,
        storage: str = "h264",
    ) -> None:
        """Take an image set.

        Args:
            images: whole images of any size.
            condition: name of the perturbation.
            size: side of the frames, 224, 299, 64 or 32: preparation and parameter table.
            difficulty: 1..3.
            seed: every draw comes from (seed, perturbation, difficulty, image id).
            storage: `h264` or `none`.
        """
        self.parent, self.condition = images, condition
        self.size, self.difficulty, self.seed, self.storage = size, difficulty, seed, storage
        self.name, self.ids, self.labels = images.name, images.ids, images.labels
        self.class_names = images.class_names

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """The clip of an image, uint8 [T, size, size, 3]."""
        from PIL import Image

        from corruptions.storage import round_trip
        from corruptions.tree.source import sequence

        clip = sequence(
            Image.fromarray(self.parent.read(index)),
            self.condition,
            size=self.size,
            difficulty=self.difficulty,
            seed=self.seed,
            image_id=self.ids[index],
            device="cpu",
        )
        return round_trip(clip, self.storage, noise=self.condition in NOISE, threads=1)
