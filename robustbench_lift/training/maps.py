"""Training samples and test images with a class for every pixel.

Image and label map are scaled, cropped and mirrored together. Labels are scaled by taking the nearest pixel, never
interpolated; what a crop has beyond the image is void in the label map and the mean colour in the image.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

import metrics
from metrics import VOID
from robustbench_lift.data.base import LabelMaps, fingerprint
from robustbench_lift.data.geometry import WholeImage
from robustbench_lift.data.scenes import Scenes
from robustbench_lift.errors import DataError
from robustbench_lift.runs.segmentation import chosen
from robustbench_lift.training import distributed, draws
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.samples import ImageSource
from robustbench_lift.workers import ReadingPool

Pixels = npt.NDArray[np.uint8]

TEST_BATCH = 16
"""Test images that are read together."""


def scaled(image: Pixels, target: Pixels, factor: float) -> tuple[Pixels, Pixels]:
    """An image (bilinear) and its label map (nearest) at another size.

    >>> image, target = scaled(np.zeros((4, 6, 3), np.uint8), np.full((4, 6), 7, np.uint8), 1.5)
    >>> image.shape, target.shape, set(target.ravel().tolist())
    ((6, 9, 3), (6, 9), {7})
    """
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    if size == (image.shape[1], image.shape[0]):
        return image, target
    return (
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)),
        np.asarray(Image.fromarray(target).resize(size, Image.Resampling.NEAREST)),
    )


def cropped(
    image: Pixels, target: Pixels, size: int, *, colour: Sequence[float], generator: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """A random square; beyond the image it has the colour (0..1), and void in the label map."""
    height, width = target.shape
    missing = (max(0, size - height), max(0, size - width))
    if any(missing):
        filled = np.empty((height + missing[0], width + missing[1], 3), dtype=np.uint8)
        filled[:] = np.rint(np.asarray(colour) * 255).astype(np.uint8)
        filled[:height, :width] = image
        image = filled
        target = np.pad(target, ((0, missing[0]), (0, missing[1])), constant_values=VOID)
    top = int(generator.integers(0, target.shape[0] - size + 1))
    left = int(generator.integers(0, target.shape[1] - size + 1))
    window = np.s_[top : top + size, left : left + size]
    return image[window], target[window]


class _Augmented:
    """One augmented sample a key (index, epoch, seed); what reading processes run."""

    def __init__(self, images: LabelMaps, recipe: Recipe) -> None:
        self.images, self.recipe = images, recipe

    def __getitem__(self, sample: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        index, epoch, seed = sample
        recipe = self.recipe
        generator = np.random.Generator(np.random.Philox(key=draws.key(seed, epoch, index)))
        image = self.images.read(index)
        target = self.images.target(index, image.shape[:2])
        factor = 1.0 if recipe.resize is None else recipe.resize / min(target.shape)
        if recipe.augmentation == "scale-crop-flip":
            factor *= generator.uniform(recipe.scale[0], recipe.scale[1])
        image, target = scaled(image, target, factor)
        image, target = cropped(image, target, recipe.size, colour=recipe.mean, generator=generator)
        if recipe.flip and recipe.augmentation != "none" and generator.random() < 0.5:
            image, target = image[:, ::-1], target[:, ::-1]
        return (
            torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            torch.from_numpy(target.astype(np.int64)),
        )


class MapSource(ImageSource):
    """Any image set with label maps as a training source: samples are uint8 [3, size, size] and int64 [size, size]."""

    def __init__(self, images: LabelMaps, *, recipe: Recipe, workers: int = 0) -> None:
        """Take an image set with label maps.

        Args:
            images: ids, label maps and a reader.
            recipe: size and augmentation.
            workers: processes that read; 0 reads in this process.
        """
        super().__init__(images, recipe=recipe, workers=workers)
        self.fingerprint = fingerprint(images.ids, images.labels, getattr(images, "content", bytes)())
        self._images, self._samples = images, _Augmented(images, recipe)

    def class_weights(self, how: str) -> list[float]:
        """Weights of the classes in the loss, of all training images: `median-frequency`, or `none`.

        The frequency of a class is its share of the pixels of the images that show it; its weight is the median of all
        frequencies over its own (Eigen and Fergus, ICCV 2015, section 6.3.2; SegNet, section 3.1).
        """
        if how == "none":
            return []
        classes = len(self.class_names)
        pixels, shown = np.zeros(classes), np.zeros(classes)
        whole = _Whole(self._images)
        for index in range(len(self)):
            target = whole[index][1].numpy()
            counts = np.bincount(target[target != VOID], minlength=classes)[:classes]
            pixels += counts
            shown += np.where(counts > 0, counts.sum(), 0)
        frequency = np.divide(pixels, shown, out=np.zeros(classes), where=shown > 0)
        median = float(np.median(frequency[frequency > 0]))
        return [median / float(f) if f > 0 else 0.0 for f in frequency]


class SceneSource(MapSource):
    """The embedded scenes for training.

    >>> from robustbench_lift.training.recipes import RECIPES
    >>> images, targets = SceneSource(recipe=RECIPES["scenes"]).batch(torch.tensor([0, 1]), 0, 0, torch.device("cpu"))
    >>> images.shape, targets.shape
    (torch.Size([2, 3, 72, 72]), torch.Size([2, 72, 72]))
    """

    def __init__(self, *, recipe: Recipe, workers: int = 0) -> None:
        super().__init__(Scenes("train"), recipe=recipe, workers=workers)


class _Whole:
    """One test image a key with its label map; what reading processes run."""

    def __init__(self, images: LabelMaps) -> None:
        self.images = images

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images.read(index)
        target = self.images.target(index, image.shape[:2])
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), torch.from_numpy(target.astype(np.int64))


def _by_size(samples: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    groups: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
    for sample in samples:
        groups.setdefault(sample[0].shape, []).append(sample)
    return [(torch.stack([i for i, _ in some]), torch.stack([t for _, t in some])) for some in groups.values()]


class MapTestImages:
    """An image set with label maps as batches of one size each: whole images, resized as the recipe says."""

    def __init__(self, images: LabelMaps, *, recipe: Recipe, workers: int = 0, batch_size: int = TEST_BATCH) -> None:
        """Take any image set with label maps."""
        if len(images.ids) == 0:
            raise DataError(f"{images.name} holds no test images.")
        rank, ranks = distributed.world()
        rows = range(rank, len(images.ids), ranks)
        size = min(batch_size, TEST_BATCH)
        self._samples, self._geometry = _Whole(images), WholeImage(resize=recipe.resize)
        self._batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        self._pool = ReadingPool(workers, collate=_by_size)

    def batches(self, device: torch.device) -> Generator[tuple[Tensor, Tensor]]:
        """This process's share: uint8 [n, 3, h, w] and label maps int64 [n, H, W], on the device."""
        for read in self._pool.read((self._samples, rows) for rows in self._batches):
            for images, targets in read.data:
                yield self._geometry.for_network(images.to(device)), targets.to(device)


# ---------------------------------------------------------------- what is minimised and measured


def map_loss(logits: Tensor, targets: Tensor, *, weights: Tensor | None, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each image, the mean over its known pixels, float32 [n]; 0 for an image without one.

    >>> logits = torch.zeros(2, 3, 1, 2)
    >>> targets = torch.tensor([[[0, 255]], [[255, 255]]])
    >>> [round(float(loss), 4) for loss in map_loss(logits, targets, weights=None)]
    [1.0986, 0.0]
    """
    losses = functional.cross_entropy(
        logits.float(), targets, weights, ignore_index=VOID, reduction="none", label_smoothing=label_smoothing
    )
    known = (targets != VOID).sum((1, 2))
    return losses.sum((1, 2)) / known.clamp(min=1)


def map_accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of the known pixels of each image whose class is right, [n]."""
    known = targets != VOID
    right = (logits.argmax(1) == targets) & known
    return right.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)


def map_counts(logits: Tensor, targets: Tensor) -> Tensor:
    """Intersection, target and prediction of each class over a batch, float64 [K, 3], at the size of the targets."""
    classes = logits.shape[1]
    said, known = chosen(logits, targets.shape[1:]), targets != VOID
    said, true = said[known], targets[known]
    columns = (true[said == true], true, said)
    return torch.stack([torch.bincount(one, minlength=classes) for one in columns], dim=1).double()


def map_error(counts: Tensor) -> float:
    """1 - mIoU of counts [K, 3]."""
    return float(1 - metrics.mean_iou(counts.cpu().numpy()))
