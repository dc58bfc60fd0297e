"""snow, brightness and spatter.

Shapes: N images, C channels, H x W pixels; `images` is uint8 [N, C, H, W].
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from corruptions.channel import to_levels
from corruptions.colour import from_hsv, to_hsv
from corruptions.randomness import Source
from corruptions.sequences.blur import motion_blurred, padded_for_motion, smooth_in_order
from corruptions.sequences.tables import SequenceTable
from corruptions.smoothing import gaussian_weights, truncate
from corruptions.snow import flakes, whiten
from corruptions.spatter import water


def brightness(images: Tensor, table: SequenceTable) -> Iterator[Tensor]:
    """Frame i adds (i - 15) * brightness_step to the value of HSV.

    Hue and saturation stay, so every channel keeps its share of the value: with shares r = hsv_to_rgb(h, s, 1) a frame
    is clip(v + c) r, and the conversion is done once a sequence.
    """
    hue, saturation, value = to_hsv(images)
    shares = from_hsv(hue, saturation, torch.ones_like(value))
    value = value.unsqueeze(1)
    for i in range(table.count("brightness")):
        yield to_levels((value + (i - 15) * table.brightness_step).clamp_(0, 1) * shares)


def snow(images: Tensor, table: SequenceTable, draws: Source) -> Iterator[Tensor]:
    """One layer of flakes a sequence, driven along 4 i - 150 degrees in frame i, over the whitened image.

    Frame = clip(mix x + (1 - mix) max(x, 1.5 grey(x) + 0.5) + layer + layer turned by 180 degrees), fraction dropped.
    """
    mean, sd, zoom, threshold = table.snow_layer
    radius, sigma = table.snow_blur
    field = draws.normal(images.shape[-2:]).mul_(sd).add_(mean).unsqueeze(1).to(torch.float32)
    padded = padded_for_motion(flakes(field, zoom, threshold).mul_(255).floor_(), radius)
    whitened = whiten(images, table.snow_mix)
    for i in range(table.count("snow")):
        layer = motion_blurred(padded, radius, sigma, 4 * i - 150).float()
        yield truncate(whitened + layer + layer.flip(2, 3))


def spatter(images: Tensor, table: SequenceTable, draws: Source) -> Iterator[Tensor]:
    """Drops of water, one liquid layer a sequence, that run down by one filter step a frame.

    Frame = clip(x + intensity relief (175, 238, 238) / 255), fraction dropped.
    """
    mean, sd, sigma, threshold = table.spatter_layer
    # float64: the layer is cut to 8 bits in every frame, and edges and histogram make much of a level
    field = draws.normal(images.shape[-2:]).double().mul_(sd).add_(mean)
    weights = gaussian_weights(sigma)
    layer = smooth_in_order(field, weights[len(weights) // 2 :].tolist())
    layer.masked_fill_(layer < threshold, 0.0)
    for i in range(table.count("spatter")):
        if i:
            layer = flow(layer, table.spatter_flow)
        yield water(images, layer, table.spatter_intensity)


def flow(layer: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Convolve down the columns of [N, H, W], zeros beyond the edges, aligned as numpy.convolve(mode="same")."""
    count, height = len(weights), layer.shape[1]
    padded = torch.nn.functional.pad(layer, (0, 0, count - 1 - (count - 1) // 2, (count - 1) // 2))
    moved = torch.zeros_like(layer)
    for k, weight in enumerate(weights):
        moved.add_(padded[:, count - 1 - k : count - 1 - k + height], alpha=weight)
    return moved
