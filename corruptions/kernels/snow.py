"""Snow: a layer of enlarged, wind-blown flakes over a whitened image.

Rows: (mean, standard deviation, zoom, threshold, blur radius, blur sigma, weight of the image).
Shapes: N images, H x W pixels; images are uint8 [N, 3, H, W].
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from corruptions.motion import IMAGEMAGICK_LIFT, move, moved_levels
from corruptions.randomness import RandomSource
from corruptions.registry import corruption
from corruptions.smoothing import truncate
from corruptions.zoom import centre_zoom

# OpenCV's weights of red, green and blue in grey (ITU-R BT.601).
GREY = (0.299, 0.587, 0.114)


def flakes(field: Tensor, zoom: float, threshold: float, *, trim: bool = True) -> Tensor:
    """A normal field [N, 1, H, W] enlarged about its centre, small values removed, clipped to [0, 1]: same type."""
    layer = torch.threshold_(centre_zoom(field, zoom, trim=trim), threshold, 0.0)
    return layer.clamp_(0.0, 1.0)


def whiten(images: Tensor, mix: float) -> Tensor:
    """mix x + (1 - mix) max(x, 1.5 grey(x) + 0.5) on the 0..255 scale: float32 [N, 3, H, W]."""
    values = images.to(torch.float32)
    grey = values[:, :1] * (1.5 * GREY[0])
    grey.add_(values[:, 1:2], alpha=1.5 * GREY[1]).add_(values[:, 2:], alpha=1.5 * GREY[2]).add_(127.5)
    bright = torch.maximum(values, grey)
    return values.mul_(mix).add_(bright, alpha=1.0 - mix)


_LARGE = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
_64 = (
    (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
)
_32 = (
    (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)


@corruption(
    "snow",
    category="weather",
    rows={
        224: _LARGE,
        299: _LARGE,
        64: _64,
        32: _32,
    },
    piece=8,
)
def snow(
    images: Tensor,
    draws: RandomSource,
    parameters: tuple[float, float, float, float, int, float, float],
    *,
    variant: str = "imagenet-c",
) -> Tensor:
    """Whitened image plus the layer plus the layer turned by 180 degrees.

    The layer is a normal field, enlarged and thresholded, blurred along an angle uniform in -135..-45 degrees.
    ImageNet-C stores it as 8 bits before the blur and truncates after; imagecorruptions blurs the untrimmed layer and
    rounds once.
    """
    mean, sd, zoom, threshold, radius, sigma, mix = parameters
    height, width = images.shape[-2:]
    package = variant == "imagecorruptions"
    field = draws.normal((height, width)).mul_(sd).add_(mean).unsqueeze(1)
    degrees = draws.uniform((), -135.0, -45.0)
    layer = flakes(field, zoom, threshold, trim=not package).mul_(255.0)
    if package:
        layer = move(layer.to(torch.float32), radius, sigma, degrees, darken=True)[..., :height, :width].round_()
    else:
        layer = moved_levels(layer.floor_(), radius, sigma, degrees, IMAGEMAGICK_LIFT).to(torch.float32)
    result = torch.empty_like(images)
    parts = len(images) if images.device.type == "cpu" else 1  # a CPU has one image at a time in its caches
    for image, flown, target in zip(*(batch.chunk(parts) for batch in (images, layer, result)), strict=True):
        target.copy_(truncate(whiten(image, mix).add_(flown + flown.flip(2, 3))))
    return result
