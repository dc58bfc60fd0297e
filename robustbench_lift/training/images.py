"""Training images read from files by worker processes: RandomResizedCrop and flip, drawn per sample."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from robustbench_lift.data.base import ImageSet, fingerprint
from robustbench_lift.errors import DataError
from robustbench_lift.training import draws
from robustbench_lift.training.reading import batches_in, make_loader
from robustbench_lift.training.recipe import Recipe

Pixels = npt.NDArray[np.uint8]
_ATTEMPTS = 10


def resized_crop_box(
    height: int, width: int, *, area: Sequence[float], ratio: Sequence[float], generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random box (left, top, right, bottom) of Inception's augmentation.

    The area is uniform in `area` (fractions of the image), width over height log-uniform in `ratio`; after ten boxes
    that do not fit, the central box with the nearest allowed ratio is taken.

    Source: Szegedy et al., CVPR 2015, section 6; the fallback is that of torchvision's RandomResizedCrop.

    >>> resized_crop_box(10, 10, area=(1, 1), ratio=(1, 1), generator=np.random.default_rng(0))
    (0, 0, 10, 10)
    """
    for _ in range(_ATTEMPTS):
        pixels = height * width * generator.uniform(area[0], area[1])
        aspect = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(generator.integers(0, width - w + 1)), int(generator.integers(0, height - h + 1))
            return left, top, left + w, top + h
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = (width, round(width / aspect)) if width / height < aspect else (round(height * aspect), height)
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def fit(image: Pixels, *, size: int, resize: int | None) -> Pixels:
    """A test image as a square: short side to `resize` (PIL, bilinear with antialias), then the central `size` square.

    Raises:
        DataError: the image is smaller than the square.
    """
    if resize is not None:
        height, width = image.shape[:2]
        scale = resize / min(height, width)
        target = (max(resize, int(width * scale)), max(resize, int(height * scale)))
        if target != (width, height):
            image = np.asarray(Image.fromarray(image).resize(target, Image.Resampling.BILINEAR))
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise DataError(
            f"an image of {height}x{width} pixels is smaller than {size}x{size}. Resize first: --set resize={size}."
        )
    top, left = round((height - size) / 2), round((width - size) / 2)
    return np.ascontiguousarray(image[top : top + size, left : left + size])


class _Samples(Dataset[tuple[Tensor, int]]):
    """One augmented sample a key (index, epoch, seed); what worker processes run."""

    def __init__(self, images: ImageSet, recipe: Recipe) -> None:
        self.images, self.recipe = images, recipe

    def __getitem__(self, sample: tuple[int, int, int]) -> tuple[Tensor, int]:
        index, epoch, seed = sample
        recipe = self.recipe
        generator = np.random.Generator(np.random.Philox(key=draws.key(seed, epoch, index)))
        image = self.images.read(index)
        if recipe.augmentation == "resized-crop-flip":
            height, width = image.shape[:2]
            box = resized_crop_box(height, width, area=recipe.crop_area, ratio=recipe.crop_ratio, generator=generator)
            cut = Image.fromarray(image).crop(box)
            image = np.asarray(cut.resize((recipe.size, recipe.size), Image.Resampling.BILINEAR))
        else:
            image = fit(image, size=recipe.size, resize=recipe.resize)
            if recipe.augmentation == "crop-flip" and recipe.padding:
                pad = recipe.padding
                padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
                top, left = generator.integers(0, 2 * pad + 1, size=2)
                image = padded[top : top + recipe.size, left : left + recipe.size]
        if recipe.flip and recipe.augmentation != "none" and generator.random() < 0.5:
            image = image[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), int(self.images.labels[index])


class _Plan:
    """The samples of the batches to come; the workers live on from epoch to epoch."""

    def __init__(self) -> None:
        self.samples: list[list[tuple[int, int, int]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        return iter(self.samples)


class ImageSource:
    """Any image set as a training source, read ahead by worker processes."""

    def __init__(self, images: ImageSet, *, recipe: Recipe, workers: int = 0) -> None:
        """Take an image set.

        Args:
            images: ids, labels and a reader.
            recipe: size and augmentation.
            workers: processes that read; 0 reads in this process.
        """
        self.name, self.class_names, self.size = images.name, images.class_names, recipe.size
        self.fingerprint = fingerprint(images.ids, images.labels)
        self._samples = _Samples(images, recipe)
        self._workers = workers
        self._plan: Any = _Plan()  # torch's type for it wants plain indices
        self._loader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self._samples.images.labels)

    def batch(self, indices: Tensor, epoch: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Samples by number, read in this process."""
        samples = [self._samples[(index, epoch, seed)] for index in indices.tolist()]
        images = torch.stack([image for image, _ in samples])
        return images.to(device), torch.tensor([label for _, label in samples], device=device)

    def stream(
        self, batches: Sequence[Tensor], epoch: int, seed: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches in order; workers stay ahead of the network."""
        if self._workers == 0:
            for indices in batches:
                yield self.batch(indices, epoch, seed, device)
            return
        if self._loader is None:
            self._loader = make_loader(
                self._samples,
                workers=self._workers,
                batch_sampler=self._plan,
                pin_memory=device.type == "cuda",
                prefetch_factor=4,
                persistent_workers=True,
            )
        self._plan.samples = [[(index, epoch, seed) for index in indices.tolist()] for indices in batches]
        for images, labels in batches_in(self._loader):
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
