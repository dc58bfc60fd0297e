"""Elastic transform: a random affine map and a smooth random displacement.

Rows: (displacement factor, sigma, range of the affine corners) in pixels. Shapes: N images, H x W pixels.
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`, after Simard, Steinkraus and Platt,
"Best practices for convolutional neural networks applied to visual document analysis", ICDAR 2003.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from corruptions.randomness import RandomSource
from corruptions.registry import Rows, corruption
from corruptions.smoothing import smooth_reflected, truncate


def affine_maps(draws: RandomSource, height: int, width: int, reach: float) -> Tensor:
    """Inverse affine maps through three jittered points, from result to source pixels: float64 [N, 2, 3].

    The points lie around the centre c at c + q (1, 1), c + q (1, -1), c - q (1, 1), q a third of the shorter side;
    each coordinate of their images is moved by U(-reach, reach).
    """
    side = min(height, width) // 3
    # The original writes (rows, columns) where OpenCV reads (x, y); it only has square images.
    y, x = height // 2, width // 2
    points = torch.tensor([[x + side, y + side], [x + side, y - side], [x - side, y - side]], dtype=torch.float32)
    points = points.to(draws.device)
    moved = points + draws.uniform((3, 2), -reach, reach).to(torch.float32)
    ones = torch.ones(len(moved), 3, 1, dtype=torch.float64, device=draws.device)
    # source = A [target, 1] for the three pairs (moved, point)
    solution: Tensor = torch.linalg.solve(
        torch.cat([moved.double(), ones], dim=2), points.double().expand(len(moved), 3, 2)
    )
    return solution.transpose(1, 2)


def displacements(draws: RandomSource, height: int, width: int, reach: float, sigmas: tuple[float, float]) -> Tensor:
    """Two fields U(-reach, reach), x then y, smoothed by Gaussians cut at 3 sigma, borders reflected: [2, N, H, W]."""
    fields = torch.stack([draws.uniform((height, width), -reach, reach) for _ in range(2)])
    if max(sigmas) > 0.0:
        fields = smooth_reflected(fields.view(-1, height, width), sigmas, 3.0).view(fields.shape)
    return fields


def sample(images: Tensor, grid: Tensor, *, half: bool) -> Tensor:
    """Bilinear samples of [N, C, H, W] at coordinates (x, y), [N, H, W, 2], on the scale of `grid_sample`.

    `half`: -1 and 1 are the outer edges and borders reflect there (dcba|abcd), else they are the centres of the
    outermost pixels (dcb|abcd).
    """
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=not half)


def _multiples(side: int, *rows: tuple[float, float, float]) -> Rows:
    """Parameters given as multiples of a side."""
    first, second, third, fourth, fifth = ((side * alpha, side * sigma, side * corner) for alpha, sigma, corner in rows)
    return first, second, third, fourth, fifth


_LARGE = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
_64 = ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02))
_32 = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))


@corruption(
    "elastic_transform",
    category="digital",
    rows={
        # 244, not 224: the original's slip, kept because the published data have it.
        224: _multiples(244, *_LARGE),
        299: _multiples(360, *_LARGE),
        64: _multiples(64, *_64),
        32: _multiples(32, *_32),
    },
    package_rows=(250 * 0.05, 250 * 0.065, 250 * 0.085, 250 * 0.1, 250 * 0.12),
)
def elastic_transform(
    images: Tensor,
    draws: RandomSource,
    parameters: tuple[float, float, float] | float,
) -> Tensor:
    """Affine warp (reflect-101), then a smooth displacement (reflect at half samples), both bilinear.

    Parameters are (displacement factor, sigma, range of the affine corners) in pixels. A single number is the
    displacement factor of the package imagecorruptions, which has another algorithm: no affine map, sigma 1 % of the
    sides and a field within 0.5 % of the height.
    """
    height, width = images.shape[-2:]
    # float32, or float64 when the draws are: positions between pixels are where the precision of a kernel shows.
    values = images.to(draws.dtype)
    columns = torch.arange(width, device=images.device, dtype=draws.dtype).view(1, 1, -1)
    rows = torch.arange(height, device=images.device, dtype=draws.dtype).view(1, -1, 1)
    grid = values.new_empty(len(images), height, width, 2)
    if not isinstance(parameters, tuple):
        alpha, reach = parameters, height * 0.005
        sigmas = (height * 0.01, width * 0.01)
    else:
        alpha, sigma, corner = parameters
        reach, sigmas = 1.0, (sigma, sigma)
        maps = affine_maps(draws, height, width, corner)
        for i, size in enumerate((width, height)):
            x, y, shift = (maps[:, i] * (2 / (size - 1))).unbind(1)
            x, y, shift = (part.to(draws.dtype).view(-1, 1, 1) for part in (x, y, shift - 1))
            torch.add(x * columns + shift, y * rows, out=grid[..., i])
        values = sample(values, grid, half=False)
    moved = displacements(draws, height, width, reach, sigmas)
    for i, (place, size) in enumerate(((columns, width), (rows, height))):
        torch.add((2 * place + 1) / size - 1, moved[i], alpha=2 * alpha / size, out=grid[..., i])
    return truncate(sample(values, grid, half=True))
