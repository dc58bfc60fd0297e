"""Affine and perspective warps of a batch: one geometry for all images.

Affine frames follow torchvision 0.2.1 over Pillow, tilt follows OpenCV 3.4 and 4 (5-bit fractions): coordinates are
computed once a frame in float64, so batches, devices and splits agree to the bit.

Shapes: N images, C channels, H x W pixels; `images` is uint8 [N, C, H, W].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from corruptions.channel import without_fraction
from corruptions.sequences.remap import FrameGeometry, Places, Warp, geometry, interpolates_exactly, tilted

Window = tuple[int, int, int, int]
"""(top, left, height, width) of the part of the base image that is shown."""

Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): the source of output point (x, y) is (a x + b y + c, d x + e y + f)."""


def centre_window(height: int, width: int, crop: int | None) -> Window:
    """The centre crop of torchvision: offsets rounded half to even; the whole image without a crop.

    >>> centre_window(256, 341, 224)
    (16, 58, 224, 224)
    """
    if crop is None:
        return 0, 0, height, width
    return round((height - crop) / 2), round((width - crop) / 2), crop, crop


def shown(images: Tensor, window: Window) -> Tensor:
    """The window of the base image [N, C, H, W]."""
    top, left, height, width = window
    return images[..., top : top + height, left : left + width]


def inverse_affine(
    height: int, width: int, *, angle: float = 0.0, shift: float = 0.0, scale: float = 1.0, shear: float = 0.0
) -> Matrix:
    """Output to source map about (W/2 + 0.5, H/2 + 0.5), the centre of torchvision 0.2.1.

    Later torchvision turns about (W/2, H/2), half a pixel away, and shears otherwise.

    Args:
        height: of the base image, pixels.
        width: of the base image, pixels.
        angle: clockwise rotation, degrees.
        shift: to the right, pixels.
        scale: factor, above 0.
        shear: degrees.
    """
    turn, lean = math.radians(angle), math.radians(shear)
    size = 1.0 / scale / (math.cos(turn + lean) * math.cos(turn) + math.sin(turn + lean) * math.sin(turn))
    a, b = size * math.cos(turn + lean), size * math.sin(turn + lean)
    d, e = size * -math.sin(turn), size * math.cos(turn)
    x, y = width * 0.5 + 0.5, height * 0.5 + 0.5
    return a, b, a * (-x - shift) + b * -y + x, d, e, d * (-x - shift) + e * -y + y


@dataclass(frozen=True, slots=True)
class Taps:
    """Where each output pixel reads: four flat source indices and the fractions between them.

    `inside` is 0 where the output is black. All are [P], P output pixels in row order.
    """

    top_left: Tensor
    top_right: Tensor
    bottom_left: Tensor
    bottom_right: Tensor
    right: Tensor
    """Fraction towards the right column, 0..1."""
    down: Tensor
    """Fraction towards the bottom row, 0..1."""
    inside: Tensor


def affine_positions(matrix: Matrix, x: Places, y: Places) -> tuple[Places, Places]:
    """Where output points (x, y) lie in the base."""
    a, b, c, d, e, f = matrix
    return a * x + b * y + c, d * x + e * y + f


def affine_taps(matrix: Matrix, height: int, width: int, window: Window, device: torch.device) -> Taps:
    """Taps of Pillow's bilinear affine transform: black outside, edge pixels repeated within the last half pixel."""
    top, left, rows, columns = window
    x = np.arange(left, left + columns)[None, :] + 0.5
    y = np.arange(top, top + rows)[:, None] + 0.5
    source_x, source_y = affine_positions(matrix, x, y)
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    source_x, source_y = source_x - 0.5, source_y - 0.5
    return _taps(source_x, source_y, inside, height, width, device)


def _taps(
    source_x: Places,
    source_y: Places,
    inside: npt.NDArray[np.bool_],
    height: int,
    width: int,
    device: torch.device,
) -> Taps:
    column, row = np.floor(source_x), np.floor(source_y)
    columns = [np.clip(column + k, 0, width - 1).astype(np.int64) for k in (0, 1)]
    rows = [np.clip(row + k, 0, height - 1).astype(np.int64) for k in (0, 1)]

    def flat(values: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).reshape(-1).to(device)

    corner = [[flat(rows[r] * width + columns[c]) for c in (0, 1)] for r in (0, 1)]
    return Taps(
        top_left=corner[0][0],
        top_right=corner[0][1],
        bottom_left=corner[1][0],
        bottom_right=corner[1][1],
        right=flat(source_x - column),
        down=flat(source_y - row),
        inside=flat(inside),
    )


def pixel_rows(images: Tensor) -> Tensor:
    """All planes of a pixel side by side, [H W, N C]: a warp then copies whole rows, twice as fast as single values."""
    return images.flatten(0, 1).flatten(1).T.contiguous()


def warp_affine(rows: Tensor, taps: Taps) -> Tensor:
    """Pillow's bilinear interpolation in float64, fraction dropped: `pixel_rows` in, uint8 [P, N C] out.

    The operations are Pillow's, one by one: at many positions the exact result is a whole level, and rounding decides.
    """
    right, down = taps.right.unsqueeze(1), taps.down.unsqueeze(1)
    top, bottom = (rows.index_select(0, index).double() for index in (taps.top_left, taps.bottom_left))
    above = rows.index_select(0, taps.top_right).double().sub_(top).mul_(right).add_(top)
    below = rows.index_select(0, taps.bottom_right).double().sub_(bottom).mul_(right).add_(bottom)
    blended = below.sub_(above).mul_(down).add_(above)
    return without_fraction(blended.mul_(taps.inside.unsqueeze(1)))


def as_images(rows: Tensor, like: Tensor, window: Window) -> Tensor:
    """[P, N C] back to [N, C, h, w]."""
    return rows.T.reshape(*like.shape[:2], *window[2:])


IDENTITY: Matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def affine_frames(images: Tensor, matrices: list[Matrix], window: Window) -> Iterator[Tensor]:
    """One bilinear affine frame a matrix."""
    if images.device.type == "cpu" and interpolates_exactly():
        yield from _affine_frames_on_cpu(images.contiguous(), matrices, window)
        return
    height, width = images.shape[-2:]
    rows = pixel_rows(images)
    for matrix in matrices:
        yield as_images(warp_affine(rows, affine_taps(matrix, height, width, window, images.device)), images, window)


def _affine_frames_on_cpu(images: Tensor, matrices: list[Matrix], window: Window) -> Iterator[Tensor]:
    height, width = images.shape[-2:]
    warp = Warp(images.numpy(), *window[2:])
    for matrix in matrices:
        if matrix == IDENTITY:
            yield shown(images, window)
        else:
            where = _affine_geometry(matrix, height, width, window)
            yield torch.from_numpy(warp.frame(where, partial(affine_positions, matrix), window))


@lru_cache(maxsize=32)
def _affine_geometry(matrix: Matrix, height: int, width: int, window: Window) -> FrameGeometry:
    """Kept for the frames of a sequence, since images of one size share it."""
    return geometry(partial(affine_positions, matrix), height, width, window)


def tilt_matrix(height: int, width: int, degrees: float) -> npt.NDArray[np.float64]:
    """Homography base -> tilted: the image, 1 in front of the origin, turns about x and y and is seen from f away.

        M = P2 T RX RY P1,  f = sqrt(W^2 + H^2)

    P1 lifts the centred image to depth 1 (so that 0 degrees shrinks by f / (f + 1)), T moves it back by f, P2 projects
    with focal length f onto the centre (W/2, H/2).
    """
    turn = np.deg2rad(degrees)
    cos, sin = np.cos(turn), np.sin(turn)
    focal = np.sqrt(width**2 + height**2)
    lift = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1], [0, 0, 1]])
    about_x = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
    about_y = np.array([[cos, 0, -sin, 0], [0, 1, 0, 0], [sin, 0, cos, 0], [0, 0, 0, 1]])
    back = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, focal], [0, 0, 0, 1]])
    project = np.array([[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1, 0]])
    matrix: npt.NDArray[np.float64] = project @ back @ about_x @ about_y @ lift
    return matrix


def tilt_positions(height: int, width: int, degrees: float, window: Window) -> list[npt.NDArray[np.int64]]:
    """x and y that each pixel of the window reads from the base of height x width, in 1/32 pixel: two of [h, w]."""
    top, left, rows, columns = window
    inverse = np.linalg.inv(tilt_matrix(height, width, degrees))
    x = np.arange(left, left + columns, dtype=np.float64)[None, :]
    y = np.arange(top, top + rows, dtype=np.float64)[:, None]
    homogeneous = [inverse[k, 0] * x + inverse[k, 1] * y + inverse[k, 2] for k in range(3)]
    return [np.rint(32.0 * homogeneous[k] / homogeneous[2]).astype(np.int64) for k in (0, 1)]


def warp_tilt(rows: Tensor, height: int, width: int, degrees: float, window: Window) -> Tensor:
    """OpenCV's bilinear perspective warp on a black ground, positions rounded to 1/32 pixel: uint8 [P, N C].

    Args:
        rows: `pixel_rows` of the base of height x width with a black frame of one pixel around it.
        height: of the base without the frame.
        width: of the base without the frame.
        degrees: angle about both axes.
        window: what is shown of the base.
    """
    # taps just outside read the black frame; what lies further is masked
    fixed = [place + 32 for place in tilt_positions(height, width, degrees, window)]
    inside = np.ones(window[2:], dtype=np.bool_)
    for k, size in ((0, width), (1, height)):
        inside &= (fixed[k] >= 0) & (fixed[k] < 32 * (size + 1))
    taps = _taps(fixed[0] / 32.0, fixed[1] / 32.0, inside, height + 2, width + 2, rows.device)
    right, down = (taps.right * 32).float(), (taps.down * 32).float()  # whole numbers: every sum below is exact
    corners = (
        (taps.top_left, (32 - right) * (32 - down)),
        (taps.top_right, right * (32 - down)),
        (taps.bottom_left, (32 - right) * down),
        (taps.bottom_right, right * down),
    )
    total = torch.full((1, 1), 512.0, device=rows.device)
    for index, weight in corners:
        total = total + rows.index_select(0, index).float().mul_((weight * taps.inside).unsqueeze(1))
    return without_fraction(total / 1024)


@lru_cache(maxsize=32)
def _tilt_maps(
    height: int, width: int, degrees: float, window: Window
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Columns and rows as `cv2.remap` takes them; kept, since images of one size share them."""
    x, y = ((place / 32.0).astype(np.float32) for place in tilt_positions(height, width, degrees, window))
    return x, y


def tilt_frames(images: Tensor, angles: list[float], window: Window) -> Iterator[Tensor]:
    """One frame an angle (degrees about both axes), uint8 [N, C, h, w]; black outside."""
    height, width = images.shape[-2:]
    if images.device.type == "cpu":
        maps = (_tilt_maps(height, width, degrees, window) for degrees in angles)
        yield from map(torch.from_numpy, tilted(images.contiguous().numpy(), maps))
        return
    rows = pixel_rows(torch.nn.functional.pad(images, (1, 1, 1, 1)))
    for degrees in angles:
        yield as_images(warp_tilt(rows, height, width, degrees, window), images, window)
