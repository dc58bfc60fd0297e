"""snow, brightness and spatter.

Shapes: N images, C channels, H x W pixels; `images` is uint8 [N, C, H, W].
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from corruptions.randomness import Source
from corruptions.sequences.blur import motion_blurred, padded_for_motion, smooth
from corruptions.sequences.tables import SequenceTable


def brightness(images: Tensor, table: SequenceTable) -> Iterator[Tensor]:
    """Frame i adds (i - 15) * brightness_step to the value of HSV.

    Hue and saturation stay, so every channel keeps its share of the value: with shares r = hsv_to_rgb(h, s, 1) a frame
    is clip(v + c) r, and the conversion is done once.
    """
    value, shares = value_and_shares(images.double() / 255)
    for i in range(table.count("brightness")):
        shifted = (value + (i - 15) * table.brightness_step).clamp_(0, 1)
        yield (shifted * shares).mul_(255).to(torch.uint8)


def value_and_shares(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """The value of HSV [N, 1, H, W] and what share of it each channel has [N, 3, H, W]; float64, hexcone.

    The shares go through hue and saturation as the conversion there and back does: 1, 1 - s, 1 - f s or 1 - (1 - f) s,
    with f the position within the sextant of the hue.
    """
    red, green, blue = rgb.unbind(1)
    value = rgb.amax(1)
    spread = value - rgb.amin(1)
    grey = spread == 0
    divisor = spread.masked_fill(grey, 1.0)
    saturation = torch.where(grey, 0.0, spread / value.masked_fill(value == 0, 1.0))
    hue = torch.where(value == red, (green - blue) / divisor, 0.0)
    hue = torch.where(value == green, 2.0 + (blue - red) / divisor, hue)
    hue = torch.where(value == blue, 4.0 + (red - green) / divisor, hue)
    six = torch.full((1,), 6.0, dtype=rgb.dtype, device=rgb.device)
    hue = torch.where(grey, 0.0, torch.remainder(hue / six, 1.0)) * six
    sextant = hue.floor()
    within = hue - sextant
    low, falling, rising = 1.0 - saturation, 1.0 - within * saturation, 1.0 - (1.0 - within) * saturation
    one = torch.ones_like(low)
    table = torch.stack(
        [  # red, green, blue of the six sextants
            torch.stack([one, falling, low, low, rising, one], -1),
            torch.stack([rising, one, one, falling, low, low], -1),
            torch.stack([low, low, rising, one, one, falling], -1),
        ],
        1,
    )
    index = sextant.long().remainder_(6)[:, None, ..., None].expand(-1, 3, -1, -1, 1)
    return value.unsqueeze(1), table.gather(-1, index).squeeze(-1)


def clipped_zoom(layer: Tensor, factor: float) -> Tensor:
    """Enlarge the centre of a layer [N, 1, H, W] bilinearly, corner on corner, and trim it to H x W.

    The centre is ceil(H / factor) pixels high; enlarged it has round(centre * factor), trimmed evenly.
    """
    height, width = layer.shape[-2:]
    inner = [math.ceil(side / factor) for side in (height, width)]
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    centre = layer[..., top : top + inner[0], left : left + inner[1]]
    zoomed = torch.nn.functional.interpolate(
        centre, [round(side * factor) for side in inner], mode="bilinear", align_corners=True
    )
    top, left = (zoomed.shape[-2] - height) // 2, (zoomed.shape[-1] - width) // 2
    return zoomed[..., top : top + height, left : left + width]


def snow_layer(height: int, width: int, table: SequenceTable, draws: Source) -> Tensor:
    """The flakes of each image, whole levels as float32 [N, 1, H, W]: zoomed noise above a threshold."""
    mean, sd, zoom, threshold = table.snow_layer
    noise = draws.normal((height, width)).double() * sd + mean
    layer = clipped_zoom(noise.unsqueeze(1), zoom)
    layer = torch.where(layer < threshold, 0.0, layer).clamp_(0, 1)
    return (layer * 255).floor_().float()


def snow(images: Tensor, table: SequenceTable, draws: Source) -> Iterator[Tensor]:
    """One layer of flakes a sequence, driven along 4 i - 150 degrees in frame i, over the whitened image.

    Frame = clip(0.85 x + 0.15 max(x, 1.5 grey(x) + 0.5) + layer + layer turned by 180 degrees), fraction dropped.
    """
    clean = images.double() / 255
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
    grey = (clean.float() * weights).sum(1, keepdim=True).double()
    mix = table.snow_mix
    whitened = mix * clean + (1 - mix) * torch.maximum(clean, grey * 1.5 + 0.5)
    radius, sigma = table.snow_blur
    padded = padded_for_motion(snow_layer(images.shape[-2], images.shape[-1], table, draws), radius)
    for i in range(table.count("snow")):
        layer = motion_blurred(padded, radius, sigma, 4 * i - 150).double() / 255
        yield (whitened + layer + layer.rot90(2, (-2, -1))).clamp_(0, 1).mul_(255).to(torch.uint8)


def spatter(images: Tensor, table: SequenceTable, draws: Source) -> Iterator[Tensor]:
    """Drops of water, one liquid layer a sequence, that run down by one filter step a frame.

    Frame = clip(x + intensity m (175, 238, 238) / 255), m the lit liquid scaled to a maximum of 1.
    """
    mean, sd, sigma, threshold = table.spatter_layer
    noise = draws.normal((images.shape[-2], images.shape[-1])).double() * sd + mean
    liquid = smooth(noise, sigma, 4)
    liquid = torch.where(liquid < threshold, 0.0, liquid)
    colour = torch.tensor([175.0, 238.0, 238.0], device=images.device).div_(255).view(3, 1, 1)
    clean = images.float() / 255
    for i in range(table.count("spatter")):
        if i:
            liquid = flow(liquid, table.spatter_flow)
        levels = (liquid * 255).to(torch.uint8).cpu().numpy()
        lit = torch.from_numpy(np.stack([light(layer) for layer in levels])).to(images.device).unsqueeze(1)
        yield (clean + lit.mul_(table.spatter_intensity) * colour).clamp_(0, 1).mul_(255).to(torch.uint8)


def flow(liquid: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Convolve down the columns of [N, H, W], zeros beyond the edges, aligned as numpy.convolve(mode="same")."""
    count = len(weights)
    before = count - 1 - (count - 1) // 2
    padded = torch.nn.functional.pad(liquid, (0, 0, before, (count - 1) // 2))
    moved = torch.zeros_like(liquid)
    for k, weight in enumerate(weights):
        moved += weight * padded[:, count - 1 - k : count - 1 - k + liquid.shape[1]]
    return moved


def light(levels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """How the liquid [H, W] catches the light: float32 [H, W] with a maximum of 1; 0 where nothing is wet.

    Distance to the liquid's edges, equalised and embossed, times the liquid.
    """
    distance = cv2.distanceTransform(255 - cv2.Canny(levels, 50, 150), cv2.DIST_L2, 5)
    blurred = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    embossed = cv2.blur(cv2.filter2D(cv2.equalizeHist(blurred), cv2.CV_8U, emboss), (3, 3))
    lit = levels * embossed.astype(np.float32)
    brightest = lit.max()
    return np.asarray(lit / brightest if brightest > 0 else lit, dtype=np.float32)
