"""Glass blur: pixels copied from their neighbourhood between two Gaussian blurs.

Shapes: N images, H x W pixels; images are uint8 [N, 3, H, W].
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from corruptions.channel import positions
from corruptions.randomness import Source
from corruptions.smoothing import smooth_images

Area = tuple[slice, slice]


@lru_cache(maxsize=8)
def _scan(height: int, width: int, reach: int, device: torch.device) -> tuple[Tensor, Tensor, Area]:
    """Shift of the position for each coded offset, int32 [4 d^2]; which positions are scanned, bool; their area."""
    offsets = torch.arange(-reach, reach)
    # Positions count along the scan, from the last pixel to the first, so shifts change sign.
    shifts = -(offsets.view(-1, 1) * width + offsets).view(-1).to(torch.int32)
    area = slice(reach - 1, height - reach - 1), slice(reach - 1, width - reach - 1)
    scanned = torch.zeros(height, width, dtype=torch.bool)
    scanned[area] = True
    return shifts.to(device), scanned.view(-1).to(device), area


def glass_sources(offsets: Tensor, height: int, width: int, reach: int) -> Tensor:
    """Where every pixel comes from after one round: positions int32 [N H W] in the flat batch.

    Positions count along the scan, from the last pixel of an image to its first. The original scans rows from H - d
    down to d + 1 and columns likewise, and each pixel *copies* its neighbour at the drawn offset. A neighbour that was
    scanned before holds its final value, any other its old one. So a pixel points to its neighbour; a pointer to a
    pixel scanned before is followed further, which pointer doubling does in log steps.

    Args:
        offsets: coded offsets (see `Draws.offsets`) in scan order, int32 [N, (H - 2 d) (W - 2 d)].
        height: H.
        width: W.
        reach: d, the largest offset.
    """
    shifts, scanned, inner = _scan(height, width, reach, offsets.device)
    count, area = len(offsets), height * width
    total = count * area
    shift = shifts.index_select(0, offsets.reshape(-1)).view(count, height - 2 * reach, width - 2 * reach)
    # Below `total`: the final value of a pixel. From there on: the old value of pixel - total.
    pointer = torch.arange(total, 2 * total, device=offsets.device, dtype=torch.int32)
    scan = pointer.view(count, height, width)[:, inner[0], inner[1]]
    scan += shift
    if reach == 1:  # the offsets are -1 and 0, and no neighbour is scanned before
        return pointer.sub_(total)
    before = scanned.expand(count, -1).reshape(-1).index_select(0, pointer - total)
    waits = before.view(count, height, width)[:, inner[0], inner[1]].logical_and_(shift < 0)
    scan -= waits.to(torch.int32).mul_(total)
    for _ in range(2):  # most chains are short: double all pointers at once, then only those that still wait
        settled = torch.arange(total, 2 * total, device=offsets.device, dtype=torch.int32)
        pointer = torch.cat([pointer, settled]).index_select(0, pointer)
    waiting = positions(pointer < total)
    while len(waiting):
        pointer[waiting] = pointer[pointer[waiting].to(torch.int64)]
        waiting = waiting[pointer[waiting] < total]
    return pointer.sub_(total)


def glass_blur(images: Tensor, draws: Source, parameters: tuple[float, int, int]) -> Tensor:
    """Gaussian blur, then rounds in which pixels copy a neighbour (`glass_sources`), then the Gaussian again."""
    sigma, reach, rounds = parameters
    count, channels, height, width = images.shape
    pixels = smooth_images(images, sigma).view(count, channels, -1).flip(2).transpose(0, 1).reshape(channels, -1)
    for _ in range(rounds):
        offsets = draws.offsets(reach, (height - 2 * reach) * (width - 2 * reach))
        sources = glass_sources(offsets, height, width, reach)
        pixels = torch.stack([plane.index_select(0, sources) for plane in pixels])
    shuffled = pixels.view(channels, count, -1).transpose(0, 1).flip(2).reshape(images.shape).contiguous()
    return smooth_images(shuffled, sigma)
