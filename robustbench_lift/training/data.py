"""Where training images come from: any source that can give the samples of an epoch by number.

A source draws its augmentation from (seed, epoch, sample) alone (`draws`), so a training that is stopped anywhere goes
on with the images that it would have seen. Small data lives on the device and is augmented there, a batch at a time
(`ArraySource`, `PhotoSource`); large data is read by worker processes (`ImageSource`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from robustbench_lift.data.base import fingerprint
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.training import draws
from robustbench_lift.training.recipe import Recipe


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
    """A source that reads ahead: it is told all batches of an epoch at once."""

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


def check_arrays(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer], classes: int, name: str
) -> npt.NDArray[np.int64]:
    """The labels as int64, once images and labels are known to fit together.

    Raises:
        DataError: what was found and what was expected.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(f"{name}: images must be uint8 [N, H, W, 3], not {images.dtype} {list(images.shape)}.")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{name}: labels must be {len(images)} integers, one an image, not {labels.dtype} {list(labels.shape)}."
        )
    if len(labels) == 0:
        raise DataError(f"{name} holds no images.")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise DataError(
            f"{name}: labels run from {labels.min()} to {labels.max()}, but there are {classes} class names (0 to "
            f"{classes - 1})."
        )
    return labels.astype(np.int64)


def check_fit(recipe: Recipe, source: TrainingSource) -> None:
    """Refuse data that the recipe was not made for.

    Raises:
        UsageError: another number of classes, another size, or fewer samples than one batch.
    """
    if recipe.classes is not None and len(source.class_names) != recipe.classes:
        raise UsageError(
            f"recipe {recipe.name} is for {recipe.classes} classes, {source.name} has {len(source.class_names)}. "
            f"Choose another recipe, or --set classes={len(source.class_names)} if that is meant."
        )
    if source.size != recipe.size:
        raise UsageError(f"recipe {recipe.name} trains at {recipe.size} pixels, {source.name} gives {source.size}.")
    if recipe.drop_last and len(source) < recipe.batch_size:
        raise UsageError(
            f"{source.name} has {len(source)} training images, fewer than one batch of {recipe.batch_size}. "
            f"Use a smaller one: --set batch_size={len(source)}."
        )
