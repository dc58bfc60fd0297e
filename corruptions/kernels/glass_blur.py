"""Glass blur: pixels copied from their neighbourhood between two Gaussian blurs.

Rows: (sigma in pixels, largest shift in pixels, rounds). Shapes: N images, H x W pixels.
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from corruptions.positions import positions
from corruptions.randomness import RandomSource
from corruptions.registry import corruption
from corruptions.smoothing import smooth_images


def glass_sources(offsets: Tensor, height: int, width: int, reach: int) -> Tensor:
    """Where every pixel comes from after one round: positions int32 [N H W] in the flat batch.

    Positions count along the scan, from the last pixel of an image to its first. The original scans rows from H - d
    down to d + 1 and columns likewise, and each pixel *copies* its neighbour at the drawn offset. A neighbour that was
    scanned before holds its final value, any other its old one. So a pixel points to its neighbour; a pointer to a
    final value is followed further, which pointer doubling does in log steps.

    Args:
        offsets: coded offsets (see `Draws.offsets`) in scan order, int32 [N, (H - 2 d) (W - 2 d)].
        height: H.
        width: W.
        reach: d, the largest offset.
    """
    count = len(offsets)
    total = count * height * width
    steps = torch.arange(-reach, reach, device=offsets.device, dtype=torch.int32)
    shifts = -(steps.view(-1, 1) * width + steps).view(-1)  # positions count against the axes
    # Positions below `total` stand for final values, from there on for the old value of position - total. What lies
    # before in the scan is final; outside the scanned area the final value is the old one.
    shifts = torch.where(shifts < 0, shifts - total, shifts)
    link = torch.arange(2 * total, device=offsets.device, dtype=torch.int32)
    pointer = link[total:].clone()
    scan = pointer.view(count, height, width)[:, reach - 1 : height - reach - 1, reach - 1 : width - reach - 1]
    scan += shifts.index_select(0, offsets.reshape(-1)).view(scan.shape)
    if reach == 1:  # the offsets are -1 and 0: no neighbour lies before
        return pointer.sub_(total)
    for _ in range(2):  # most chains are short: double all pointers at once, then only those that still wait
        link[:total] = pointer
        pointer = link.index_select(0, pointer)
    waiting = positions(pointer < total)
    while len(waiting):
        pointer[waiting] = pointer[pointer[waiting].to(torch.int64)]
        waiting = waiting[pointer[waiting] < total]
    return pointer.sub_(total)


@corruption(
    "glass_blur",
    category="blur",
    rows={
        224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        299: ((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
        64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    },
    piece=5,
)
def glass_blur(images: Tensor, draws: RandomSource, parameters: tuple[float, int, int]) -> Tensor:
    """Gaussian blur, then rounds in which pixels copy a neighbour (`glass_sources`), then the Gaussian again."""
    sigma, reach, rounds = parameters
    count, channels, height, width = images.shape
    blurred = smooth_images(images, sigma)
    area = (height - 2 * reach) * (width - 2 * reach)
    sources = glass_sources(draws.offsets(reach, area), height, width, reach)
    for _ in range(rounds - 1):
        sources = sources.index_select(0, glass_sources(draws.offsets(reach, area), height, width, reach))
    planes = blurred.view(count, channels, -1).flip(2).unbind(1)
    shuffled = torch.stack([plane.reshape(-1).index_select(0, sources).view(count, -1) for plane in planes], dim=1)
    return smooth_images(shuffled.flip(2).view(images.shape), sigma)
