"""Small moves on maps [N, C, H, W] that several families share: padding, phases, windows, depthwise filters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PADDINGS = ("zeros", "reflect", "replicate", "circular")


def even(x: Tensor) -> Tensor:
    """Repeat the last row and column where a side is odd, so that 2 x 2 windows tile the map.

    >>> even(torch.arange(3.0).view(1, 1, 1, 3)).tolist()
    [[[[0.0, 1.0, 2.0, 2.0], [0.0, 1.0, 2.0, 2.0]]]]
    """
    if x.shape[-1] % 2:
        x = torch.cat([x, x[..., -1:]], dim=-1)
    if x.shape[-2] % 2:
        x = torch.cat([x, x[..., -1:, :]], dim=-2)
    return x


def mean(x: Tensor) -> Tensor:
    """The mean of every 2 x 2 window, at an odd border of the samples that are there."""
    return F.avg_pool2d(even(x), 2)  # not ceil_mode: its gradient, compiled by torch 2.14, is wrong at odd borders


def phases(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four polyphase components of a map of even sides, as views: (0,0), (0,1), (1,0), (1,1) in (row, column)."""
    return x[..., 0::2, 0::2], x[..., 0::2, 1::2], x[..., 1::2, 0::2], x[..., 1::2, 1::2]


def memory_format(x: Tensor) -> torch.memory_format:
    """The memory format of a map, contiguous where both describe it."""
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def total(parts: Tensor) -> Tensor:
    """The sum of four parts [4, ...]; unlike parts.sum(0) it keeps the memory format of maps."""
    a, b, c, d = parts.unbind(0)
    return a + b + c + d


def windows(x: Tensor) -> Tensor:
    """The four samples of every 2 x 2 window [4, N, C, h, w], ordered as `phases`; odd sides are made even.

    Channels-last maps give channels-last samples.
    """
    parts = phases(even(x))
    if memory_format(x) is torch.contiguous_format:
        return torch.stack(parts)
    return torch.stack([part.permute(0, 2, 3, 1) for part in parts]).permute(0, 1, 4, 2, 3)


def source_index(size: int, before: int, after: int, mode: str) -> list[int]:
    """Which sample each position of a padded line shows, numpy.pad's rule, so that any padding fits any size.

    >>> source_index(3, 4, 1, "reflect")
    [0, 1, 2, 1, 0, 1, 2, 1]
    >>> source_index(1, 2, 2, "reflect")
    [0, 0, 0, 0, 0]
    """
    positions = range(-before, size + after)
    if mode == "replicate":
        return [min(max(i, 0), size - 1) for i in positions]
    if mode == "circular":
        return [i % size for i in positions]
    period = max(2 * (size - 1), 1)
    return [min(i % period, (period - i % period) % period) if size > 1 else 0 for i in positions]


def pad(x: Tensor, left: int, right: int, top: int, bottom: int, *, mode: str) -> Tensor:
    """Pad a map; unlike F.pad, reflection and wrapping go on repeatedly where the map is smaller than the padding."""
    if not (left or right or top or bottom):
        return x
    if mode == "zeros":
        return F.pad(x, (left, right, top, bottom))
    height, width = x.shape[-2:]
    limit = {"reflect": 1, "circular": 0, "replicate": -1}[mode]
    fits = limit < 0 or (max(top, bottom) <= height - limit and max(left, right) <= width - limit)
    # compiled, torch 2.14 gives the gradient of a replicating F.pad strides that it then refuses itself
    if fits and not (mode == "replicate" and torch.compiler.is_compiling()):
        return F.pad(x, (left, right, top, bottom), mode=mode).contiguous(memory_format=memory_format(x))
    rows = torch.tensor(source_index(height, top, bottom, mode), device=x.device)
    columns = torch.tensor(source_index(width, left, right, mode), device=x.device)
    return x.index_select(-2, rows).index_select(-1, columns).contiguous(memory_format=memory_format(x))
