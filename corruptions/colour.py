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
# Per sector of the hue circle, which of (value, q, p, t) red, green and blue are; a hue may round to a full turn.
_ORDER = ((0, 3, 2), (1, 0, 2), (2, 0, 3), (2, 1, 0), (3, 2, 0), (0, 2, 1), (0, 3, 2))
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
    order = torch.tensor(_ORDER, device=hue.device).index_select(0, sector.to(torch.int64).view(-1))
    return choices.gather(1, order.view(*sector.shape, 3).movedim(-1, 1))


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

    The largest channel stays, the smallest follows from (V, min) by a table, the middle one is computed.
    """
    factor, addend = parameters
    value, least = images.amax(1), images.amin(1)
    middle = (images.sum(1, dtype=torch.int16) - value).sub_(least)
    pairs = value.to(torch.int32).mul_(_LEVELS).add_(least).view(-1)
    stretch, lowest = _stretch(factor, addend, images.device)
    distance = (value - middle).to(torch.float32).mul_(stretch.index_select(0, pairs).view(value.shape))
    lowered = lowest.index_select(0, pairs).view(value.shape)
    upper = (value + LIFT).sub_(distance)
    lower = upper.sub(2 * LIFT).clamp_(0.0, 255.0).to(torch.uint8)
    moved = upper.clamp_(0.0, 255.0).to(torch.uint8)
    # Where the middle channel equals another there is nothing to decide.
    doubtful = positions((moved != lower) & (middle > least) & (middle < value))
    moved.view(-1)[doubtful] = _middle_literally(images, doubtful, factor, addend)
    result = _pick(images == least.unsqueeze(1), lowered.unsqueeze(1), moved.unsqueeze(1))
    result = _pick(images == value.unsqueeze(1), images, result)
    if not addend:
        return result
    greys = positions(value == least)  # they take on a colour: the original gives them the hue of red
    return _literally(images, result, greys, lambda h, s, v: (h, (s * factor + addend).clamp_(0.0, 1.0), v))


def _pick(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`torch.where` for uint8, by arithmetic modulo 256: without a branch a value, which a CPU often guesses wrong."""
    return (yes - no).mul(mask.view(torch.uint8)).add_(no)


def _middle_literally(images: Tensor, pixels: Tensor, factor: float, addend: float) -> Tensor:
    """The middle channel after `saturate`, uint8 [P], of pixels without equal channels, in the original's steps."""
    area = images.shape[-2] * images.shape[-1]
    places = pixels + torch.div(pixels, area, rounding_mode="floor").mul_(2 * area)
    flat = images.reshape(-1)
    red, green, blue = (flat.index_select(0, places + shift * area).double().div_(255.0) for shift in range(3))
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    is_green, is_blue = green == value, blue == value
    difference = torch.where(is_blue, red - green, torch.where(is_green, blue - red, green - blue)).div_(spread)
    hue = difference.add_(is_green, alpha=2.0).add_(is_blue, alpha=4.0).div_(6.0)
    hue = torch.where(hue < 0.0, hue + 1.0, hue).mul_(6.0)
    sector = torch.floor(hue)
    fraction = hue.sub_(sector)
    fraction = torch.where(sector.to(torch.int32) % 2 == 1, fraction, 1.0 - fraction)
    saturation = spread.div_(value).mul_(factor).add_(addend).clamp_(0.0, 1.0)
    return to_levels(value.mul_(1.0 - fraction.mul_(saturation)))


@lru_cache(maxsize=16)
def _stretch(factor: float, addend: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """For every (V, min): S' V / (V - min), float32 [256 * 256], and what the smallest channel becomes, uint8."""
    levels = torch.arange(_LEVELS, dtype=torch.float64) / 255.0
    value, spread = levels.view(-1, 1), levels.view(-1, 1) - levels
    saturation = (spread / value).mul_(factor).add_(addend).clamp_(0.0, 1.0)
    table = saturation * value / spread
    table[spread == 0] = 0.0
    lowest = to_levels((value * (1.0 - saturation)).nan_to_num_(0.0))
    return table.to(torch.float32).view(-1).to(device), lowest.view(-1).to(device)


def contrast(images: Tensor, draws: Source, factor: float) -> Tensor:
    """(x - m) factor + m with m the mean of the channel over the image; a table of 256 levels a channel."""
    flat = images.reshape(len(images) * 3, -1)
    mean = flat.sum(1, dtype=torch.int64).double().div_(flat.shape[1] * 255.0).view(-1, 1)
    levels = torch.arange(_LEVELS, device=images.device, dtype=torch.float64).div_(255.0)
    table = to_levels((levels - mean) * factor + mean)
    start = torch.arange(0, len(flat) * _LEVELS, _LEVELS, device=images.device, dtype=torch.int32).view(-1, 1)
    return table.view(-1).index_select(0, (flat + start).view(-1)).view(images.shape)
