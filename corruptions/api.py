"""`corrupt`: checks what it is given, cuts batches into pieces of bounded memory, and calls the kernels."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from corruptions.errors import CorruptionError, unknown
from corruptions.layout import Pixels, channels_last, planes
from corruptions.randomness import Draws, LegacyDraws
from corruptions.registry import CORRUPTIONS, SIZES, VARIANTS

MINIMUM = 32
"""Shortest side, in pixels."""

# Images of 224 pixels that an accelerator handles at once; for a CPU see the registry.
_PIECE = 256


@overload
def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    ids: Sequence[str | int] | str | int | None = None,
    variant: str = "imagenet-c",
    table: int | str | None = None,
    random_state: np.random.RandomState | None = None,
) -> Tensor: ...
@overload
def corrupt(
    images: npt.NDArray[Any],
    name: str,
    severity: int,
    *,
    seed: int = 0,
    ids: Sequence[str | int] | str | int | None = None,
    variant: str = "imagenet-c",
    table: int | str | None = None,
    random_state: np.random.RandomState | None = None,
) -> Pixels: ...
def corrupt(
    images: Tensor | npt.NDArray[Any],
    name: str,
    severity: int,
    *,
    seed: int = 0,
    ids: Sequence[str | int] | str | int | None = None,
    variant: str = "imagenet-c",
    table: int | str | None = None,
    random_state: np.random.RandomState | None = None,
) -> Tensor | Pixels:
    """Corrupt a batch of images as ImageNet-C does.

    Every random number depends on (seed, name, severity, image id) and on nothing else: not on the batch an image is
    in, its place there, the device or what was drawn before.

    Args:
        images: uint8 RGB, torch [N, 3, H, W] on any device, or numpy [H, W, 3] or [N, H, W, 3]; any strides; not
            changed.
        name: one of `BENCHMARK` or `EXTRA`, or of a plug-in (`CORRUPTIONS` has all).
        severity: 1 to 5.
        seed: any integer.
        ids: one str or int an image, which fixes the image's draws; 0..N-1 when left out. Give real ids as soon as a
            data set has more than one batch, or the n-th images of all batches share their noise.
        variant: "imagenet-c", the scripts that made the published data, or "imagecorruptions", the package on PyPI
            (any size, always the table of 224).
        table: the severity table, 32, 64, 224 or 299; None takes the table of the image's own size, and there must be
            one; "nearest" takes the one nearest to the shorter side.
        random_state: numpy's legacy generator, consumed image after image in the order of the original code, for
            comparison with it; replaces seed and ids.

    Returns:
        uint8 of the same kind, shape and device.

    Raises:
        CorruptionError: for anything else, with what to do about it.

    Example:
        >>> image = np.full((64, 64, 3), 200, dtype=np.uint8)
        >>> corrupt(image, "contrast", 3).shape
        (64, 64, 3)
        >>> batch = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> noisy = corrupt(batch, "gaussian_noise", 1, ids=["a.png", "b.png"])
        >>> bool((noisy[0] == noisy[1]).all())
        False

    Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
    ICLR 2019, section 4.1; kernels and tables carry their own sources.
    """
    if not isinstance(name, str) or name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    level = check_severity(severity)
    if variant not in VARIANTS:
        raise unknown("variant", variant, VARIANTS)
    batch = as_batch(images)
    size = choose_table(batch.shape[2], batch.shape[3], table, variant)
    if random_state is None:
        names = check_ids(ids, len(batch))
        result = _production(batch, names, name, level, check_seed(seed), variant, size)
    else:
        result = _legacy(batch, name, level, random_state, variant, size)
    return like(result, images)


def _production(
    batch: Tensor, ids: Sequence[str | int], name: str, level: int, seed: int, variant: str, table: int
) -> Tensor:
    result = torch.empty_like(batch, memory_format=torch.contiguous_format)
    corruption = CORRUPTIONS[name]
    piece_size = corruption.piece if batch.device.type == "cpu" else _PIECE
    step = max(1, piece_size * 224 * 224 // (batch.shape[2] * batch.shape[3]))
    for start in range(0, len(batch), step):
        piece = slice(start, start + step)
        draws = Draws(seed, name, level, ids[piece], batch.device)
        result[piece] = corruption.apply(planes(batch[piece]), draws, level, variant=variant, table=table)
    return result


def _legacy(batch: Tensor, name: str, level: int, state: np.random.RandomState, variant: str, table: int) -> Tensor:
    if not isinstance(state, np.random.RandomState):
        raise CorruptionError(
            f"random_state must be a numpy.random.RandomState, found {type(state).__name__}; "
            "for ordinary use leave it out and give seed and ids"
        )
    result = torch.empty_like(batch, memory_format=torch.contiguous_format)
    for index in range(len(batch)):
        image = batch[index : index + 1].contiguous().cpu()
        draws = LegacyDraws(state)
        result[index : index + 1] = CORRUPTIONS[name].apply(image, draws, level, variant=variant, table=table)
    return result


def check_severity(severity: object) -> int:
    """The severity as an int.

    Raises:
        CorruptionError: unless it is an integer in 1..5.
    """
    expected = "severity must be an integer from 1 (mild) to 5 (strong)"
    if isinstance(severity, (bool, np.bool_)):
        raise CorruptionError(f"{expected}, found {severity!r}")
    try:
        value = operator.index(severity)  # type: ignore[arg-type]
    except TypeError:
        raise CorruptionError(f"{expected}, found {severity!r}") from None
    if value == 0:
        raise CorruptionError(f"{expected}, found 0; the clean image is severity 0 only by convention: use it as it is")
    if not 1 <= value <= 5:
        raise CorruptionError(f"{expected}, found {value}")
    return value


def check_seed(seed: object) -> int:
    """The seed as an int.

    Raises:
        CorruptionError: unless it is an integer.
    """
    return check_integer(seed, "seed")


def check_integer(value: object, what: str) -> int:
    """A whole number as an int.

    Raises:
        CorruptionError: it is something else.
    """
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise CorruptionError(f"{what} must be an integer, found {value!r}") from None


def check_ids(ids: Sequence[str | int] | str | int | None, count: int) -> Sequence[str | int]:
    """One id an image.

    Raises:
        CorruptionError: when their number or type is wrong.
    """
    if ids is None:
        return range(count)
    if isinstance(ids, (set, frozenset)):
        raise CorruptionError("ids must be in the order of the images, and a set has none; give a list")
    try:
        names: list[Any] = [ids] if isinstance(ids, (str, int, np.integer)) else list(ids)
    except TypeError:
        raise CorruptionError(f"an id must be a str or an int, found {ids!r} ({type(ids).__name__})") from None
    if len(names) != count:
        raise CorruptionError(f"found {len(names)} ids for {count} images; give one str or int an image")
    for name in names:
        if isinstance(name, bool) or not isinstance(name, (str, int, np.integer)):
            raise CorruptionError(f"an id must be a str or an int, found {name!r} ({type(name).__name__})")
        if isinstance(name, str) and re.search(r"[\ud800-\udc7f\udd00-\udfff]", name):
            raise CorruptionError(f"the id {name!r} holds half a character; give text, or the name that a file has")
    return names


def as_batch(images: object) -> Tensor:
    """Checked images as a torch tensor uint8 [N, 3, H, W] that may share the caller's memory.

    Raises:
        CorruptionError: for anything but uint8 RGB images of at least 32 x 32 pixels in the two layouts.
    """
    if isinstance(images, Tensor):
        kind, layout, shape, dtype = "torch", "[N, 3, H, W]", tuple(images.shape), str(images.dtype)
        right_type, axes = images.dtype == torch.uint8, [4]
    elif isinstance(images, np.ndarray):
        kind, layout, shape, dtype = "numpy", "[H, W, 3] or [N, H, W, 3]", images.shape, str(images.dtype)
        right_type, axes = images.dtype == np.uint8, [3, 4]
    else:
        raise CorruptionError(
            f"images must be a torch tensor [N, 3, H, W] or a numpy array [H, W, 3] or [N, H, W, 3] of uint8, "
            f"found {type(images).__name__}; for a PIL image pass np.asarray(image.convert('RGB'))"
        )
    if not right_type:
        raise CorruptionError(
            f"images must be uint8 with levels 0..255, found {dtype}; for values in 0..1 pass (images * 255).round() "
            "as uint8"
        )
    last = 1 if kind == "torch" else len(shape) - 1
    if len(shape) not in axes:
        hint = "a grey image has no channel axis: repeat it three times" if len(shape) == 2 else "check the axes"
        if kind == "torch" and len(shape) == 3:
            hint = "for one image pass images[None]"
        raise CorruptionError(f"{kind} images must be {layout}, found shape {list(shape)}; {hint}")
    channels = shape[last]
    if channels != 3:
        hints = {
            1: "grey images must be repeated to three channels",
            4: "drop the alpha channel: keep the first three channels",
        }
        other = 3 if kind == "torch" else 1
        swapped = len(shape) == 4 and shape[other] == 3
        hint = "the channel axis seems to be in the other kind's place: permute it" if swapped else "expected RGB"
        raise CorruptionError(
            f"{kind} images must be {layout} with 3 channels, found shape {list(shape)}; {hints.get(channels, hint)}"
        )
    height, width = (shape[2], shape[3]) if kind == "torch" else (shape[-3], shape[-2])
    if min(height, width) < MINIMUM:
        raise CorruptionError(
            f"images must be at least {MINIMUM} x {MINIMUM} pixels, found {height} x {width}; "
            "enlarge them first: no severity table fits smaller ones"
        )
    if isinstance(images, Tensor):
        if images.layout != torch.strided or images.is_nested or images.device.type == "meta":
            raise CorruptionError(
                f"torch images must be dense and have pixels, found {images.layout} on {images.device.type}; "
                "for a sparse tensor pass images.to_dense()"
            )
        return images.detach()
    if isinstance(images, np.ma.MaskedArray) and np.ma.getmaskarray(images).any():
        raise CorruptionError(
            "some pixels are masked, and a corruption spreads them; pass images.filled(0) if so meant"
        )
    array = np.asarray(images)
    # torch takes neither negative strides nor (without a warning) read-only memory; nothing here writes to the input.
    if any(stride < 0 for stride in array.strides) or not array.flags.writeable:
        array = array.copy()
    batch = torch.from_numpy(array)
    return (batch[None] if array.ndim == 3 else batch).permute(0, 3, 1, 2)


def choose_table(height: int, width: int, table: int | str | None, variant: str) -> int:
    """The severity table for images of this size.

    Raises:
        CorruptionError: when the size has no table and none was chosen.

    >>> choose_table(96, 128, "nearest", "imagenet-c")
    64
    """
    sizes = ", ".join(map(str, SIZES))
    if variant == "imagecorruptions":
        if table is not None and (not isinstance(table, (int, np.integer)) or table != 224):
            raise CorruptionError(
                f"variant 'imagecorruptions' uses the table of 224 at every size, found table={table!r}; leave it out"
            )
        return 224
    if table is None:
        if height == width and height in SIZES:
            return height
        raise CorruptionError(
            f"there is no severity table for images of {height} x {width} pixels (tables: {sizes}, square); choose one "
            f"yourself, for example table=224 or table='nearest', or use variant='imagecorruptions'"
        )
    if isinstance(table, str) and table == "nearest":
        return min(SIZES, key=lambda size: abs(size - min(height, width)))
    if not isinstance(table, (str, int, float, np.number)) or isinstance(table, bool) or table not in SIZES:
        raise CorruptionError(f"table must be one of {sizes} or 'nearest', found {table!r}")
    return int(table)


def like(result: Tensor, images: Tensor | npt.NDArray[Any]) -> Tensor | Pixels:
    """The result in the kind and axes of the input."""
    if isinstance(images, Tensor):
        return result
    arrays = channels_last(result)
    return arrays[0] if images.ndim == 3 else arrays
