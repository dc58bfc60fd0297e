"""Brightness, saturation and contrast.

Shapes: N images, H x W pixels; images are uint8 [N, 3, H, W].
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`; HSV is the hexcone of Smith,
"Color gamut transform pairs", SIGGRAPH 1978.
"""

from __future__ import annotations

import torch
from torch import Tensor

from corruptions.channel import to_levels
from corruptions.randomness import Source


def to_hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation, value on the 0..1 scale, float64 [N, H, W] each, in the operations of scikit-image."""
    red, green, blue = (images.double() / 255.0).unbind(1)
    value = images.amax(1).double() / 255.0
    spread = value - images.amin(1).double() / 255.0
    hue = torch.where(red == value, (green - blue) / spread, torch.zeros_like(red))
    hue = torch.where(green == value, 2.0 + (blue - red) / spread, hue)
    hue = torch.where(blue == value, 4.0 + (red - green) / spread, hue)
    hue = (hue / 6.0) % 1.0
    flat = spread == 0.0
    return hue.masked_fill_(flat, 0.0), (spread / value).masked_fill_(flat, 0.0), value


def from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse of `to_hsv`: float64 [N, 3, H, W]."""
    sector = torch.floor(hue * 6.0)
    fraction = hue * 6.0 - sector
    p = value * (1.0 - saturation)
    q = value * (1.0 - fraction * saturation)
    t = value * (1.0 - (1.0 - fraction) * saturation)
    choices = torch.stack([value, q, p, p, t, value, t, value, value, q, p, p, p, p, t, value, value, q])
    index = (sector.long() % 6).unsqueeze(0)
    return torch.stack([choices[6 * c : 6 * c + 6].gather(0, index)[0] for c in range(3)], dim=1)


def brighten(images: Tensor, amount: float) -> Tensor:
    """`amount` added to the value of HSV: uint8 [N, 3, H, W]."""
    hue, saturation, value = to_hsv(images)
    return to_levels(from_hsv(hue, saturation, (value + amount).clamp_(0.0, 1.0)))


def brightness(images: Tensor, draws: Source, amount: float) -> Tensor:
    """Value of HSV plus `amount`, clipped to [0, 1]."""
    return brighten(images, amount)


def saturate(images: Tensor, draws: Source, parameters: tuple[float, float]) -> Tensor:
    """Saturation of HSV times a factor plus an addend, clipped to [0, 1]."""
    factor, addend = parameters
    hue, saturation, value = to_hsv(images)
    return to_levels(from_hsv(hue, (saturation * factor + addend).clamp_(0.0, 1.0), value))


def contrast(images: Tensor, draws: Source, factor: float) -> Tensor:
    """(x - m) factor + m with m the mean of the channel over the image; a table of 256 levels a channel."""
    pixels = images.shape[-2] * images.shape[-1]
    flat = images.reshape(len(images) * 3, pixels)
    mean = flat.sum(1, dtype=torch.int64).double().div_(pixels * 255.0).view(-1, 1)
    levels = torch.arange(256, device=images.device, dtype=torch.float64).div_(255.0)
    table = to_levels((levels - mean) * factor + mean)
    start = (torch.arange(len(flat), device=images.device, dtype=torch.int32) * 256).view(-1, 1)
    return table.view(-1).index_select(0, (flat + start).view(-1)).view(images.shape)
