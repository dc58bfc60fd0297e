"""Brightness, saturation and contrast.

Shapes: N images, H x W pixels, P pixels in a list; images are uint8 [N, 3, H, W].
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`; HSV is the hexcone of Smith,
"Color gamut transform pairs", SIGGRAPH 1978.

With hue kept, HSV needs no hue: brightness scales a pixel by V'/V, and saturation stretches the distance of each
channel from V by S'V / (V - min). Whole results are common there (V + 51 is one), and the original's float64 puts them
on either side of the level, depending on the path through the hue. So pixels with such a value are computed along that
path.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from corruptions.channel import positions, to_levels
from corruptions.randomness import Source
from corruptions.smoothing import LIFT

_LEVELS = 256
_CLOSE = 1e-6  # float64 results this near to a whole level are left to the literal path


def to_hsv(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value on the 0..1 scale, as scikit-image computes them.

    Args:
        pixels: uint8, channels in axis 1: [P, 3] or [N, 3, H, W].

    Returns:
        float64 without that axis, each.
    """
    red, green, blue = (pixels.double() / 255.0).unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    hue = torch.where(red == value, (green - blue) / spread, 0.0)
    hue = torch.where(green == value, 2.0 + (blue - red) / spread, hue)
    hue = torch.where(blue == value, 4.0 + (red - green) / spread, hue)
    flat = spread == 0.0
    hue = hue.div_(6.0)
    hue = torch.where(hue < 0.0, hue + 1.0, hue)
    return hue.masked_fill_(flat, 0.0), (spread / value).masked_fill_(flat, 0.0), value


def from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse of `to_hsv`: float64 with the channels in axis 1."""
    sector = torch.floor(hue * 6.0)
    fraction = hue * 6.0 - sector
    p = value * (1.0 - saturation)
    q = value * (1.0 - fraction * saturation)
    t = value * (1.0 - (1.0 - fraction) * saturation)
    choices = torch.stack([value, q, p, t], dim=1)
    # Per sector of the hue circle, which of (value, q, p, t) red, green and blue are; a hue may round to a full turn.
    order = [[0, 3, 2], [1, 0, 2], [2, 0, 3], [2, 1, 0], [3, 2, 0], [0, 2, 1], [0, 3, 2]]
    return choices.gather(1, torch.tensor(order, device=hue.device)[sector.long()].movedim(-1, 1))


def brighten(images: Tensor, amount: float) -> Tensor:
    """`amount` added to the value of HSV, clipped to [0, 1]: uint8 [N, 3, H, W]."""
    value = images.amax(1).to(torch.int32).mul_(_LEVELS)
    pairs = images + value.unsqueeze(1)
    result = _brightness_table(amount, images.device).index_select(0, pairs.view(-1)).view(images.shape)
    undecided = positions(result.amin(1) < 0)
    result = result.to(torch.uint8)
    return _literally(images, result, undecided, lambda h, s, v: (h, s, (v + amount).clamp_(0.0, 1.0)))


@lru_cache(maxsize=64)
def _brightness_table(amount: float, device: torch.device) -> Tensor:
    """The result for every (value, level), -1 where a whole number makes it depend on the hue: int16 [256 * 256]."""
    levels = torch.arange(_LEVELS, dtype=torch.float64)
    value = levels / 255.0
    brighter = (value + amount).clamp_(0.0, 1.0)
    exact = 255.0 * brighter.view(-1, 1) * (levels / levels.view(-1, 1).clamp(min=1.0))
    table = exact.clamp(0.0, 255.0).to(torch.int16)
    table[(exact - exact.round()).abs() < _CLOSE] = -1
    # The largest channel is the new value itself, whatever the hue; a black pixel has no hue and follows it.
    table.diagonal().copy_(to_levels(brighter).to(torch.int16))
    return table.view(-1).to(device)


def _literally(
    images: Tensor,
    result: Tensor,
    pixels: Tensor,
    change: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]],
) -> Tensor:
    """Replace some pixels, flat positions in [N, H, W], by what the original's float64 arithmetic gives."""
    area = images.shape[-2] * images.shape[-1]
    image = torch.div(pixels, area, rounding_mode="floor")
    places = (pixels + image * (2 * area)).view(-1, 1) + torch.arange(0, 3 * area, area, device=images.device)
    chosen = images.reshape(-1)[places]
    result.view(-1)[places] = to_levels(from_hsv(*change(*to_hsv(chosen))))
    return result


def brightness(images: Tensor, draws: Source, amount: float) -> Tensor:
    """Value of HSV plus `amount`, clipped to [0, 1]."""
    return brighten(images, amount)


def saturate(images: Tensor, draws: Source, parameters: tuple[float, float]) -> Tensor:
    """Saturation of HSV times a factor plus an addend, clipped to [0, 1].

    x' = V - (V - x) S' V / (V - min),   S' = clip(S factor + addend, 0, 1)
    """
    factor, addend = parameters
    value = images.amax(1, keepdim=True)
    pairs = value.to(torch.int32).mul_(_LEVELS).add_(images.amin(1, keepdim=True))
    stretch = _stretch(factor, addend, images.device).index_select(0, pairs.view(-1)).view(pairs.shape)
    shifted = (value - images).to(torch.float32).mul_(stretch).sub_(LIFT).neg_().add_(value)
    result = shifted.clamp(0.0, 255.0).to(torch.uint8)
    lower = shifted.sub_(2 * LIFT).clamp_(0.0, 255.0).to(torch.uint8)
    # The largest channel stays as it is; a stretch that is not a number marks greys, whose hue the original calls red.
    open_channels = (result != lower).logical_and_(images != value)
    red, green, blue = open_channels.unbind(1)
    undecided = positions(red.logical_or_(green).logical_or_(blue).logical_or_(stretch.isnan().squeeze(1)))
    return _literally(images, result, undecided, lambda h, s, v: (h, (s * factor + addend).clamp_(0.0, 1.0), v))


@lru_cache(maxsize=16)
def _stretch(factor: float, addend: float, device: torch.device) -> Tensor:
    """S' V / (V - min) for every (V, min), not a number for greys that take on a colour: float32 [256 * 256]."""
    levels = torch.arange(_LEVELS, dtype=torch.float64)
    value, spread = levels.view(-1, 1), levels.view(-1, 1) - levels
    saturation = (spread / value * factor + addend).clamp_(0.0, 1.0)
    table = saturation * value / spread
    table[spread == 0] = float("nan") if addend else 0.0
    return table.to(torch.float32).view(-1).to(device)


def contrast(images: Tensor, draws: Source, factor: float) -> Tensor:
    """(x - m) factor + m with m the mean of the channel over the image; a table of 256 levels a channel."""
    flat = images.reshape(len(images) * 3, -1)
    mean = flat.sum(1, dtype=torch.int64).double().div_(flat.shape[1] * 255.0).view(-1, 1)
    levels = torch.arange(_LEVELS, device=images.device, dtype=torch.float64).div_(255.0)
    table = to_levels((levels - mean) * factor + mean)
    start = torch.arange(0, len(flat) * _LEVELS, _LEVELS, device=images.device, dtype=torch.int32).view(-1, 1)
    return table.view(-1).index_select(0, (flat + start).view(-1)).view(images.shape)
