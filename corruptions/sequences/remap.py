"""Warps on a CPU by OpenCV's remap, four planes at a time, which is the form that it vectorises.

The float64 steps of Pillow decide on which side of a level a value falls. Levels in 1/256, interpolated in float32 and
rounded, tell that too but for values close to a level: those are computed in float64, one by one. Half of the bytes of
float32 images: where the caches are cold, bytes are what the time goes into.

Shapes: N images, P planes, H x W pixels of the base, h x w of the frame; `images` is uint8 [N, 3, H, W].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from corruptions.opencv import cv2

Pixels = npt.NDArray[np.uint8]
Places = npt.NDArray[np.floating[Any]]
Position = Callable[[Places, Places], tuple[Places, Places]]
"""From the centres of output pixels, (x, y), to the places in the base that they show."""


@lru_cache(maxsize=1)
def interpolates_exactly() -> bool:
    """Whether this OpenCV interpolates at the float32 position that it is given; before 5.0 it is rounded to 1/32."""
    ramp, place, zero = (np.array([row], dtype=np.float32) for row in ([0.0, 1.0], [0.3], [0.0]))
    return bool(abs(cv2.remap(ramp, place, zero, cv2.INTER_LINEAR)[0, 0] - 0.3) < 1e-6)


class FrameGeometry(NamedTuple):
    """Where the pixels of a frame come from, for the part of it, [h', w'], that shows the base at all."""

    top: int
    left: int
    x: npt.NDArray[np.float32]
    """Column in the base, pixel centres at whole numbers."""
    y: npt.NDArray[np.float32]
    """Row in the base."""
    inside: npt.NDArray[np.int32] | None
    """All bits where a pixel shows the base, none where it is black; None where no pixel is."""
    exact: bool
    """Positions are whole 1/16 pixels, so that results are whole 1/256 levels."""


def geometry(position: Position, height: int, width: int, window: tuple[int, int, int, int]) -> FrameGeometry:
    """The geometry of a frame from the positions that its pixels show, as `affine_taps` takes them."""
    top, left, rows, columns = window
    x, y = position(np.arange(left, left + columns)[None, :] + 0.5, np.arange(top, top + rows)[:, None] + 0.5)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    down, across = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    if not len(down):
        down = across = np.zeros(1, np.intp)
    part = slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1)
    shown = inside[part]
    mask = None if shown.all() else -shown.astype(np.int32)
    places = [place[part] - 0.5 for place in (x, y)]
    exact = all(bool((16.0 * place == np.rint(16.0 * place)).all()) for place in places)
    x_single, y_single = (place.astype(np.float32) for place in places)
    return FrameGeometry(int(down[0]), int(across[0]), x_single, y_single, mask, exact)


def quads(images: Pixels) -> list[Pixels]:
    """The planes of all images, four at a time, as the channels of uint8 [H, W, 4]; the last is filled up."""
    planes = list(images.reshape(-1, *images.shape[-2:]))
    planes += planes[-1:] * (-len(planes) % 4)
    return [cv2.merge(planes[start : start + 4]) for start in range(0, len(planes), 4)]


def _pixels(quad: Pixels) -> npt.NDArray[np.int32]:
    """The four channels of [H, W, 4] as one number: int32 [H, W], the same memory."""
    return quad.view(np.int32)[..., 0]


def _uneven(quad: Pixels) -> npt.NDArray[np.int32] | None:
    """255 in each channel where a pixel and its eight neighbours are not one level, int32 [H W]; None where few are.

    The four pixels about a position are among the nine about the pixel that its float32 lies in: rounding may lift a
    position onto the next whole number, and never moves it across one.
    """
    window = np.ones((3, 3), np.uint8)
    least, most = (change(quad, window, borderType=cv2.BORDER_REPLICATE) for change in (cv2.erode, cv2.dilate))
    uneven = (least != most).view(np.uint8)
    return None if uneven.mean() > _UNEVEN else (255 * uneven).view(np.int32).ravel()


_UNEVEN = 0.99
"""Share of uneven values above which looking for level ones costs more than it saves."""


class Warp:
    """Bilinear frames of some images, with the results of Pillow's float64 arithmetic.

    Args:
        images: uint8 [N, 3, H, W], contiguous.
        height: h of the frames.
        width: w of the frames.
    """

    def __init__(self, images: Pixels, height: int, width: int) -> None:
        self._planes = images.reshape(-1, *images.shape[-2:])
        sources = quads(images)
        self._quads = [quad.astype(np.uint16) << 8 for quad in sources]
        self._uneven = [_uneven(quad) for quad in sources]
        self._shape = (*images.shape[:2], height, width)
        self._moved = np.empty((height * width, 4), np.uint16)
        self._low = np.empty((height * width, 4), np.uint8)
        self._high = np.empty((len(sources), height * width, 4), np.uint8)
        # Positions are rounded to float32, at the far side by 2^(e - 25) for a side of up to 2^e, and a pixel makes a
        # difference of up to 255 levels along either axis; then the result is rounded to 1/256 level.
        exponent = int(max(images.shape[-2:]) - 1).bit_length()
        self._doubt = 510.0 * 2.0 ** (exponent - 25) + 1 / 512 + 2e-4

    def frame(self, where: FrameGeometry, position: Position, window: tuple[int, int, int, int]) -> Pixels:
        """One frame, uint8 [N, 3, h, w], fraction dropped, black where no pixel of the base is shown."""
        rows, columns = where.x.shape
        size = rows * columns
        moved = self._moved[:size].reshape(rows, columns, 4)
        low = self._low[:size].reshape(rows, columns, 4)
        high = self._high[:, :size]
        doubtful = []
        for number, quad in enumerate(self._quads):
            cv2.remap(quad, where.x, where.y, cv2.INTER_LINEAR, moved, cv2.BORDER_REPLICATE)
            upper = high[number].reshape(rows, columns, 4)
            # OpenCV rounds |v + b| to the nearest, which is the floor of v with b = -1/2 and a little more.
            cv2.convertScaleAbs(moved, upper, 1 / 256, (1 / 1024 if where.exact else self._doubt) - 0.5)
            if not where.exact:
                cv2.convertScaleAbs(moved, low, 1 / 256, -self._doubt - 0.5)
                place, channel = self._differing(low, upper, where, self._uneven[number])
                doubtful.append((np.full(len(place), number), place, channel))
            if where.inside is not None:
                _pixels(upper)[...] &= where.inside
        if doubtful:
            quad_of, place, channel = (np.concatenate(part) for part in zip(*doubtful, strict=True))
            plane = np.minimum(4 * quad_of + channel, len(self._planes) - 1)
            row = place // columns
            x, y = position(place - row * columns + (where.left + window[1] + 0.5), row + (where.top + window[0] + 0.5))
            high[quad_of, place, channel] = self._literally(plane, x - 0.5, y - 0.5)
        whole = (rows, columns) == self._shape[-2:]
        result = (np.empty if whole else np.zeros)((4 * len(high), *self._shape[-2:]), dtype=np.uint8)
        for number, upper in enumerate(high):
            planes = result[4 * number : 4 * number + 4, where.top :, where.left :][:, :rows, :columns]
            if whole:
                cv2.split(upper.reshape(rows, columns, 4), list(planes))
            else:
                planes[:] = upper.reshape(rows, columns, 4).transpose(2, 0, 1)
        return result[: len(self._planes)].reshape(self._shape)

    def _differing(
        self, low: Pixels, high: Pixels, where: FrameGeometry, uneven: npt.NDArray[np.int32] | None
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Flat positions in [h', w'] and channels of the values that float32 leaves open."""
        differ = _pixels(low) ^ _pixels(high)
        if where.inside is not None:
            differ &= where.inside
        pixels = np.flatnonzero(differ != 0)
        channels = differ.ravel()[pixels]
        if uneven is not None:  # between equal levels there is nothing to decide
            column, row = (place.ravel()[pixels].astype(np.int32) for place in (where.x, where.y))
            channels &= uneven[row * self._planes.shape[2] + column]
        values = np.flatnonzero(channels.view(np.uint8) != 0)
        return pixels[values >> 2], values & 3

    def _literally(self, plane: npt.NDArray[np.intp], x: Places, y: Places) -> Pixels:
        """Values of some planes at some positions in Pillow's steps, as `warp_affine` takes them: uint8."""
        height, width = self._planes.shape[-2:]
        left, top = np.floor(x), np.floor(y)
        right, down = x - left, y - top
        columns = [np.clip(left + k, 0, width - 1).astype(np.intp) for k in (0, 1)]
        first = plane * (height * width)
        levels = self._planes.ravel()
        halves = []
        for k in (0, 1):
            line = first + np.clip(top + k, 0, height - 1).astype(np.intp) * width
            near, far = (levels.take(line + column).astype(np.float64) for column in columns)
            halves.append((far - near) * right + near)
        return np.asarray(((halves[1] - halves[0]) * down + halves[0]).astype(np.uint8))


def tilted(images: Pixels, maps: Iterator[tuple[npt.NDArray[np.float32], ...]]) -> Iterator[Pixels]:
    """Bilinear frames on a black ground at positions (x, y) in whole 1/32 pixels, rounded to the nearest level.

    Sums of levels times 1/1024 are exact in float32; halves are rounded up, as in OpenCV's fixed-point arithmetic.
    """
    sources = [quad.astype(np.float32) for quad in quads(images)]
    for x, y in maps:
        result = np.empty((4 * len(sources), *x.shape), dtype=np.uint8)
        for number, quad in enumerate(sources):
            moved = cv2.remap(quad, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            levels = cv2.convertScaleAbs(moved, alpha=1.0, beta=2.0**-12)
            cv2.split(levels, list(result[4 * number : 4 * number + 4]))
        yield result[: images.shape[0] * images.shape[1]].reshape(*images.shape[:2], *x.shape)
