"""Warps on a CPU by OpenCV's remap, four planes at a time, which is the form that it vectorises.

The float64 steps of Pillow decide on which side of a level a value falls. Levels in 1/256, interpolated in float32 and
rounded, tell that too but for values close to a level: those are computed in float64, one by one. Half of the bytes of
float32 images: where the caches are cold, bytes are what the time goes into.

Shapes: N images, P planes, H x W pixels of the base, h x w of the frame; `images` is uint8 [N, 3, H, W].
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from corruptions.layout import Pixels
from corruptions.opencv import cv2
from corruptions.positions import few

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
    """Row in the base; where a pixel is black, the second row below it."""
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
    places = [np.broadcast_to(place, inside.shape)[part] - 0.5 for place in (x, y)]
    exact = all(bool((16.0 * place == np.rint(16.0 * place)).all()) for place in places)
    x_single, y_single = (place.astype(np.float32) for place in places)
    x_single[~inside[part]], y_single[~inside[part]] = 0, height + 1
    return FrameGeometry(int(down[0]), int(across[0]), x_single, y_single, exact)


def quads(images: Pixels) -> list[Pixels]:
    """The planes of all images, four at a time, as the channels of uint8 [H, W, 4]; the last is filled up."""
    planes = list(images.reshape(-1, *images.shape[-2:]))
    planes += planes[-1:] * (-len(planes) % 4)
    return [cv2.merge(planes[start : start + 4]) for start in range(0, len(planes), 4)]


_CLEAR = 128
"""Added to a source value, in 1/256 level, where nothing is in doubt: it changes no level."""


def _source(quad: Pixels, margin: int) -> npt.NDArray[np.uint16]:
    """Levels in 1/256 for `Warp`: the quad, once more its last row, and a black one: uint16 [H + 2, W, 4].

    `margin` is added to every value, so that the fraction of a sample within it of a level is at most twice the margin.
    Where a pixel and its eight neighbours are one level, `_CLEAR` is added instead: whatever position reads this pixel
    lies between four of those nine, so their level is the result, and the fraction stays clear of the margin. (float32
    may lift a position onto the next whole number, and never moves it across one.)
    """
    window = np.ones((3, 3), np.uint8)
    least, most = (change(quad, window, borderType=cv2.BORDER_REPLICATE) for change in (cv2.erode, cv2.dilate))
    height, *rest = quad.shape
    source = np.empty((height + 2, *rest), np.uint16)
    source[:height] = quad
    source[:height] <<= 8
    source[:height] += np.where(least == most, np.uint16(_CLEAR), np.uint16(margin))
    source[height] = source[height - 1]
    source[height + 1] = _CLEAR
    return source


class Warp:
    """Bilinear frames of some images, with the results of Pillow's float64 arithmetic.

    Args:
        images: uint8 [N, 3, H, W], contiguous.
        height: h of the frames.
        width: w of the frames.
    """

    def __init__(self, images: Pixels, height: int, width: int) -> None:
        # Positions are rounded to float32, at the far side by 2^(e - 25) for a side of up to 2^e, and a pixel makes a
        # difference of up to 255 levels along either axis; then the result is rounded to 1/256 level.
        exponent = int(max(images.shape[-2:]) - 1).bit_length()
        self._margin = int(256 * (510.0 * 2.0 ** (exponent - 25) + 1 / 512 + 2e-4))
        self._sources = [_source(quad, self._margin) for quad in quads(images)]
        planes = images.reshape(-1, *images.shape[-2:])
        self._planes = np.pad(planes, ((0, -len(planes) % 4), (1, 1), (1, 1)), "edge")
        self._shape = (*images.shape[:2], height, width)
        self._moved = np.empty((height * width, 4), np.uint16)
        self._fraction, self._level = (np.empty((height * width, 4), np.uint8) for _ in range(2))

    def frame(self, where: FrameGeometry, position: Position, window: tuple[int, int, int, int]) -> Pixels:
        """One frame, uint8 [N, 3, h, w], fraction dropped, black where no pixel of the base is shown."""
        rows, columns = where.x.shape
        moved = self._moved[: rows * columns].reshape(rows, columns, 4)
        fraction, level = (part[: rows * columns].reshape(rows, columns, 4) for part in (self._fraction, self._level))
        whole = (rows, columns) == self._shape[-2:]
        result = (np.empty if whole else np.zeros)((4 * len(self._sources), *self._shape[-2:]), dtype=np.uint8)
        shown = result[:, where.top : where.top + rows, where.left : where.left + columns]
        doubtful = []
        for first, source in zip(range(0, len(result), 4), self._sources, strict=True):
            cv2.remap(source, where.x, where.y, cv2.INTER_LINEAR, moved, cv2.BORDER_REPLICATE)
            if where.exact:
                moved -= np.uint16(self._margin)
            pairs = [part.reshape(rows, 4 * columns) for part in (fraction, level)]
            cv2.split(moved.view(np.uint8).reshape(rows, 4 * columns, 2), pairs[:: 1 if _LOW_FIRST else -1])
            if whole:
                cv2.split(level, list(shown[first : first + 4]))
            else:  # OpenCV would write into copies of parts
                shown[first : first + 4] = cv2.split(level)
            if not where.exact:
                value = few((fraction <= 2 * self._margin).ravel())
                doubtful.append(((value & 3) + first, value >> 2))
        if doubtful:
            plane, place = (np.concatenate(part) for part in zip(*doubtful, strict=True))
            row = place // columns
            column = place - row * columns
            x, y = position(column + (where.left + window[1] + 0.5), row + (where.top + window[0] + 0.5))
            line = plane * result.shape[1] + row + where.top
            result.ravel()[line * result.shape[2] + column + where.left] = self._literally(plane, x - 0.5, y - 0.5)
        return result[: self._shape[0] * self._shape[1]].reshape(self._shape)

    def _literally(self, plane: npt.NDArray[np.intp], x: Places, y: Places) -> Pixels:
        """Values of some planes at some positions in Pillow's steps, as `warp_affine` takes them: uint8."""
        height, width = self._planes.shape[-2:]
        left, top = np.floor(x), np.floor(y)
        right, down = x - left, y - top
        # whole numbers: exact
        corner = ((plane * height + top + 1) * width + left + 1).astype(np.intp)
        levels = self._planes.ravel()
        halves = []
        for line in (corner, corner + width):
            near, far = (levels.take(place).astype(np.float64) for place in (line, line + 1))
            far -= near
            far *= right
            far += near
            halves.append(far)
        above, below = halves
        below -= above
        below *= down
        below += above
        return np.asarray(below.astype(np.uint8))


_LOW_FIRST = sys.byteorder == "little"


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
