"""HSV as the original computes it, for brightness and saturation.

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

import torch
from torch import Tensor

from corruptions.channel import to_levels

# Per sector of the hue circle, which of (value, q, p, t) red, green and blue are; a hue may round to a full turn.
_ORDER = ((0, 3, 2), (1, 0, 2), (2, 0, 3), (2, 1, 0), (3, 2, 0), (0, 2, 1), (0, 3, 2))
CLOSE = 1e-6  # float64 results this near to a whole level are left to the literal path


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


def middle_literally(
    images: Tensor, pixels: Tensor, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """The middle channel of some pixels, in the original's steps; the others follow without the hue.

    Args:
        images: uint8 [N, 3, H, W].
        pixels: flat positions in [N, H, W], of pixels without equal channels: int64 [P].
        change: new saturation and value from the old ones, float64 [P]; may overwrite them.

    Returns:
        uint8 [P].
    """
    area = images.shape[-2] * images.shape[-1]
    places = pixels + owners(pixels, area).mul_(2 * area)
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
    odd = sector.to(torch.int32).bitwise_and_(1).to(torch.bool)
    fraction = torch.where(odd, fraction, 1.0 - fraction)
    saturation, value = change(spread.div_(value), value)
    return to_levels(value * fraction.mul_(saturation).neg_().add_(1.0))


def owners(positions: Tensor, area: int) -> Tensor:
    """Which block of `area` each flat position is in: int64 [P]; numpy divides by one number much faster than torch."""
    if positions.device.type == "cpu":
        return torch.from_numpy(positions.numpy() // area)
    return torch.div(positions, area, rounding_mode="floor")


def literally(
    images: Tensor,
    result: Tensor,
    pixels: Tensor,
    change: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]],
) -> Tensor:
    """Replace some pixels, flat positions in [N, H, W], by what the original's float64 arithmetic gives."""
    area = images.shape[-2] * images.shape[-1]
    places = (pixels + owners(pixels, area).mul_(2 * area)).view(-1, 1) + torch.arange(
        0, 3 * area, area, device=images.device
    )
    chosen = images.reshape(-1)[places]
    result.view(-1)[places] = to_levels(from_hsv(*change(*to_hsv(chosen))))
    return result
