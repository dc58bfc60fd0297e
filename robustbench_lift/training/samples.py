"""Samples of a training: augmented images by number, and test images as they are evaluated.

A source draws its augmentation from (seed, epoch, sample) alone (`draws`), so a training that is stopped anywhere goes
on with the images that it would have seen. Small data lives on the device and is augmented there, a batch at a time
(`ArraySource`, `PhotoSource`); large data is read by worker processes (`ImageSource`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Generator, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import default_collate

from robustbench_lift.data import photos
from robustbench_lift.data.base import ImageSet, fingerprint
from robustbench_lift.data.geometry import ResizeCrop
from robustbench_lift.data.memory import check_arrays
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.training import distributed, draws
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.workers import ReadingPool, Samples

Pixels = npt.NDArray[np.uint8]

PHOTO_CROPS = 128
"""Crops of an embedded photograph in one epoch."""
KEEP_BYTES = 1 << 30
"""Test images that take less than this stay in memory after they were read once."""
_ATTEMPTS = 10


class TrainingSource(Protocol):
    """Labelled training samples, augmented, of one size."""

    name: str
    """Short name, stored in the card."""
    class_names: tuple[str, ...]
    """Names of the classes, in index order."""
    size: int
    """Side of the images that `batch` gives, pixels."""
    fingerprint: str
    """sha256 that is equal for equal data: a training goes on only with the data it began with."""

    def __len__(self) -> int:
        """Samples of one epoch."""
        ...

    def batch(self, indices: Tensor, epoch: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Samples by number (int64 [n]): uint8 [n, 3, size, size] and labels int64 [n], on the device."""
        ...


@runtime_checkable
class StreamingSource(Protocol):
    """A source that reads ahead: it is given all batches of an epoch at once."""

    def stream(
        self, batches: Sequence[Tensor], epoch: int, seed: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches in order, as `TrainingSource.batch` would give them."""
        ...


def batches_of(
    source: TrainingSource, batches: Sequence[Tensor], *, epoch: int, seed: int, device: torch.device
) -> Generator[tuple[Tensor, Tensor]]:
    """Batches of sample numbers as images and labels on the device, read ahead where the source can."""
    if isinstance(source, StreamingSource):
        yield from source.stream(batches, epoch, seed, device)
        return
    if not batches:
        return
    # one transfer an epoch: a transfer a step would make the host wait for the device
    everything = torch.cat(list(batches)).to(device)
    for indices in torch.split(everything, [len(indices) for indices in batches]):
        yield source.batch(indices, epoch, seed, device)


def epoch_batches(samples: int, *, batch_size: int, epoch: int, seed: int, drop_last: bool) -> list[Tensor]:
    """The batches of an epoch: a permutation drawn from (seed, epoch), cut into consecutive pieces.

    >>> [len(b) for b in epoch_batches(10, batch_size=4, epoch=0, seed=0, drop_last=False)]
    [4, 4, 2]
    """
    order = torch.randperm(samples, generator=draws.generator(seed, epoch, 1))
    pieces = list(torch.split(order, batch_size))
    return pieces[:-1] if drop_last and len(pieces[-1]) < batch_size else pieces


# ---------------------------------------------------------------- in memory, on the device


def crop_flip(images: Tensor, indices: Tensor, *, padding: int, size: int, flip: bool, epoch: int, seed: int) -> Tensor:
    """Random crops after zero padding, half of them mirrored: uint8 [n, 3, H, W] to [n, 3, size, size], on the device.

    Source: He et al., CVPR 2016, section 4.2 (padding 4, random crop, horizontal flip).
    """
    padded = functional.pad(images, (padding,) * 4) if padding else images
    rows, columns = padded.shape[2] - size + 1, padded.shape[3] - size + 1
    if rows > 1 or columns > 1:
        top = draws.integers(indices, rows, seed=seed, epoch=epoch, stream=0)
        left = draws.integers(indices, columns, seed=seed, epoch=epoch, stream=1)
        windows = padded.unfold(2, size, 1).unfold(3, size, 1)
        padded = windows[torch.arange(len(indices), device=images.device), :, top, left]
    return mirror(padded, indices, epoch=epoch, seed=seed) if flip else padded


def mirror(images: Tensor, indices: Tensor, *, epoch: int, seed: int) -> Tensor:
    """Half of the images mirrored left to right."""
    chosen = draws.uniform(indices, seed=seed, epoch=epoch, stream=2) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)


class ArraySource:
    """Images of one size that fit in memory (CIFAR): they live on the device, and so does their augmentation."""

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.integer],
        *,
        class_names: Sequence[str],
        recipe: Recipe,
        name: str = "arrays",
    ) -> None:
        """Take uint8 [N, H, W, 3] and labels [N].

        Raises:
            DataError: shapes, types or labels that do not fit.
        """
        labels = check_arrays(images, labels, len(class_names), name)
        if images.shape[1:3] != (recipe.size, recipe.size):
            raise DataError(
                f"{name} has images of {images.shape[1]}x{images.shape[2]} pixels, recipe {recipe.name} trains at "
                f"{recipe.size}. Choose another recipe, or --set size={images.shape[1]} if that is meant."
            )
        if recipe.augmentation == "resized-crop-flip":
            raise UsageError(
                "resized-crop-flip reads files of any size; for arrays use augmentation=crop-flip or none."
            )
        self.name, self.class_names, self.size = name, tuple(class_names), recipe.size
        self._images = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        self._labels = torch.from_numpy(labels)
        self._recipe = recipe
        self.fingerprint = fingerprint([str(i) for i in range(len(labels))], labels, images.tobytes())

    def __len__(self) -> int:
        """Number of images."""
        return len(self._labels)

    def batch(self, indices: Tensor, epoch: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Samples by number; the first call for a device moves all images there."""
        if self._images.device != device:
            self._images, self._labels = self._images.to(device), self._labels.to(device)
        indices = indices.to(device)
        images, labels = self._images[indices], self._labels[indices]
        if self._recipe.augmentation == "none":
            return images, labels
        images = crop_flip(
            images,
            indices,
            padding=self._recipe.padding,
            size=self.size,
            flip=self._recipe.flip,
            epoch=epoch,
            seed=seed,
        )
        return images, labels


class PhotoSource:
    """Crops of the training bands: every photograph equally often, every position of its bands equally likely.

    >>> from robustbench_lift.training.recipes import RECIPES
    >>> source = PhotoSource(recipe=RECIPES["photos"])
    >>> images, labels = source.batch(torch.tensor([0, 1, 15]), 0, 0, torch.device("cpu"))
    >>> images.shape, labels.tolist()
    (torch.Size([3, 3, 64, 64]), [0, 1, 0])
    """

    name = "photos"

    def __init__(self, *, recipe: Recipe, crops: int = PHOTO_CROPS) -> None:
        """Read the photographs; `crops` of each make an epoch."""
        self.class_names = tuple(p.name for p in photos.PHOTOGRAPHS)
        self.size = recipe.size
        self._flip = recipe.flip and recipe.augmentation != "none"
        self._crops = crops
        pixels, corners = [], []
        offset = 0
        for label, photograph in enumerate(photos.PHOTOGRAPHS):
            array = photos.pixels(photograph)
            height, width = array.shape[:2]
            # a pixel is one int32 (red, green, blue, unused): one gather instead of three, and NHWC memory
            pixels.append(torch.from_numpy(np.pad(array.reshape(-1, 3), ((0, 0), (0, 1)))).view(torch.int32)[:, 0])
            for top, bottom in photos.training_bands(height):
                # one row of the table a band: label, first corner, rows and columns of corners, width, offset
                corners.append((label, top, bottom - top - self.size + 1, width - self.size + 1, width, offset))
            offset += height * width
        self._pixels = torch.cat(pixels)
        table = torch.tensor([row for row in corners if row[2] > 0])
        counts = table[:, 2] * table[:, 3]
        self._table = table
        # cumulative corners of each photograph, so that one integer names a corner of any of its bands
        self._first = torch.stack([torch.where(table[:, 0] < k, counts, 0).sum() for k in range(len(self.class_names))])
        self._total = torch.stack(
            [torch.where(table[:, 0] == k, counts, 0).sum() for k in range(len(self.class_names))]
        )
        self._ends = counts.cumsum(0)
        ids = [f"{photograph.name}/{photograph.sha256}" for photograph in photos.PHOTOGRAPHS]
        self.fingerprint = fingerprint(ids, np.arange(len(ids)), table.numpy().tobytes())

    def __len__(self) -> int:
        """Crops of an epoch."""
        return self._crops * len(self.class_names)

    def batch(self, indices: Tensor, epoch: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Crops by number; the photograph is the number modulo their count."""
        if self._pixels.device != device:
            for field in ("_pixels", "_table", "_first", "_total", "_ends"):
                setattr(self, field, getattr(self, field).to(device))
        indices = indices.to(device)
        labels = indices % len(self.class_names)
        corner = self._first[labels] + draws.integers(indices, self._total[labels], seed=seed, epoch=epoch, stream=0)
        band = torch.searchsorted(self._ends, corner, right=True)
        _, top, rows, columns, width, offset = self._table[band].unbind(1)
        within = corner - (self._ends[band] - rows * columns)
        start = offset + (top + within // columns) * width + within % columns
        line = torch.arange(self.size, device=device)
        across = line.expand(len(indices), -1)
        if self._flip:
            mirrored = draws.uniform(indices, seed=seed, epoch=epoch, stream=2) < 0.5
            across = torch.where(mirrored[:, None], self.size - 1 - across, across)
        places = start[:, None, None] + line[:, None] * width[:, None, None] + across[:, None, :]
        packed = self._pixels[places].view(torch.uint8).view(-1, self.size, self.size, 4)
        return packed[..., :3].permute(0, 3, 1, 2), labels


# ---------------------------------------------------------------- read from files


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


class _Augmented:
    """One augmented sample a key (index, epoch, seed); what reading processes run."""

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
            image = ResizeCrop(resize=recipe.resize, crop=recipe.size)(image)
            if recipe.augmentation == "crop-flip" and recipe.padding:
                pad = recipe.padding
                padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
                top, left = generator.integers(0, 2 * pad + 1, size=2)
                image = padded[top : top + recipe.size, left : left + recipe.size]
        if recipe.flip and recipe.augmentation != "none" and generator.random() < 0.5:
            image = image[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), int(self.images.labels[index])


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
        self._samples: Samples = _Augmented(images, recipe)
        self._count, self._workers = len(images.ids), workers
        self._pool: ReadingPool | None = None

    def __len__(self) -> int:
        """Number of images."""
        return self._count

    def batch(self, indices: Tensor, epoch: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Samples by number, read in this process."""
        images, targets = default_collate([self._samples[(index, epoch, seed)] for index in indices.tolist()])
        return images.to(device), targets.to(device)

    def stream(
        self, batches: Sequence[Tensor], epoch: int, seed: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches in order; reading processes stay ahead of the network, and live on from epoch to epoch."""
        if self._pool is None:
            self._pool = ReadingPool(self._workers, pin_memory=device.type == "cuda")
        keys = [[(index, epoch, seed) for index in indices.tolist()] for indices in batches]
        for read in self._pool.read((self._samples, some) for some in keys):
            images, targets = read.data
            yield images.to(device, non_blocking=True), targets.to(device, non_blocking=True)


# ---------------------------------------------------------------- test images


def normalise(images: Tensor, recipe: Recipe, *, channels_last: bool = False) -> Tensor:
    """uint8 [n, 3, H, W] to float32 (x / 255 - mean) / std.

    >>> from robustbench_lift.training.recipes import RECIPES
    >>> float(normalise(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8), RECIPES["imagenet"])[0, 0])
    2.2489082...
    """
    scaled = images.float() / 255
    scaled = scaled.sub_(_channels(recipe.mean, images.device)).div_(_channels(recipe.std, images.device))
    return scaled.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


@functools.cache
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)[:, None, None]


class _Fitted:
    """One test image a key, as an evaluation shows it; what reading processes run."""

    def __init__(self, images: ImageSet, recipe: Recipe) -> None:
        self.images, self._geometry = images, ResizeCrop(resize=recipe.resize, crop=recipe.size)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self._geometry(self.images.read(index))
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), int(self.images.labels[index])


class TestImages:
    """An image set as batches of one size; small sets stay in memory."""

    __test__ = False  # not a test class, whatever its name says to pytest

    def __init__(self, images: ImageSet, *, recipe: Recipe, workers: int = 0, batch_size: int = 250) -> None:
        """Take any image set whose images can be resized and cropped to the recipe's size."""
        if len(images.ids) == 0:
            raise DataError(f"{images.name} holds no test images.")
        rank, ranks = distributed.world()
        rows = range(rank, len(images.ids), ranks)
        self._samples = _Fitted(images, recipe)
        self._batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
        self._keep = len(images.ids) // ranks * 3 * recipe.size**2 <= KEEP_BYTES
        self._pool = ReadingPool(workers)
        self._kept: list[tuple[Tensor, Tensor]] = []

    def batches(self, device: torch.device) -> Generator[tuple[Tensor, Tensor]]:
        """This process's share: uint8 [n, 3, H, W] and labels int64 [n], on the device."""
        if self._kept:
            yield from self._kept
            return
        kept = []
        for read in self._pool.read((self._samples, rows) for rows in self._batches):
            images, labels = read.data
            pair = images.to(device), labels.to(device)
            if self._keep:
                kept.append(pair)
            yield pair
        self._kept = kept
        if self._keep:
            self._pool.close()  # nothing is read a second time
