"""SegNet: an encoder that remembers where it pooled, and a decoder that puts maps back.

Badrinarayanan, Kendall and Cipolla, SegNet: a deep convolutional encoder-decoder architecture for image segmentation,
TPAMI 2017. The encoder is VGG-16 with batch norm; its parameters are named as torchvision names those of `vgg16_bn`.
The decoder mirrors it and narrows in the last convolution of a stage, so that each up-pooling gets as many channels as
its down-pooling had. Sides need not be multiples of 32: pooling rounds up, and each pair remembers the size.

`segnet-basic` is the smaller network of the same paper: four stages of one 7 x 7 convolution, no ReLU in the decoder.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from robustbench_lift.errors import UsageError
from robustbench_lift.networks.pairs import PoolPair, PoolPairs
from robustbench_lift.networks.placement import initialise
from robustbench_lift.networks.registry import backbone

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions before each pooling."""
SMALLEST = 8
"""Fewest channels of a narrowed layer."""


class EncoderDecoder(nn.Module):
    """Stages, each ended by a pair's down-pooling, and their mirror images, each begun by its up-pooling."""

    features: nn.Sequential
    decoder: nn.ModuleList

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, K, H, W]."""
        remembered: list[tuple[PoolPair, Any]] = []
        for layer in self.features:
            if isinstance(layer, PoolPair):
                x, memory = layer.down(x)
                remembered.append((layer, memory))
            else:
                x = layer(x)
        for stage in self.decoder:
            pair, memory = remembered.pop()
            x = stage(pair.up(x, memory))
        return x


class SegNet(EncoderDecoder):
    """SegNet in the form of VGG-16.

    Args:
        pools: the pair of poolings.
        num_classes: K.
        width: multiplies all channels; 1 is the paper's.

    >>> net = SegNet(PoolPairs(name="lift"), num_classes=21)
    >>> sum(p.numel() for p in net.parameters())
    29472789
    """

    def __init__(self, pools: PoolPairs, *, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        stages = [[max(SMALLEST, round(channels * width)) for channels in stage] for stage in VGG16]
        layers: list[nn.Module] = []
        entering = [3, *(stage[-1] for stage in stages[:-1])]
        for channels, stage in zip(entering, stages, strict=True):
            for wide in stage:
                layers += _convolution(channels, wide)
                channels = wide
            layers.append(pools.pair(channels))
        self.features = nn.Sequential(*layers)
        decoder = []
        for number, stage in reversed(list(enumerate(stages))):
            kept = [layer for wide in stage[:-1] for layer in _convolution(wide, wide)]
            last = (
                _convolution(stage[-1], entering[number])
                if number
                else [nn.Conv2d(stage[-1], num_classes, 3, padding=1)]
            )
            decoder.append(nn.Sequential(*kept, *last))
        self.decoder = nn.ModuleList(decoder)
        initialise(self)


def _convolution(channels: int, wide: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]


class BasicSegNet(EncoderDecoder):
    """SegNet-Basic: four stages of one 7 x 7 convolution each.

    Args:
        pools: the pair of poolings.
        num_classes: K.
        width: multiplies all channels; 1 is the paper's 64.

    >>> sum(p.numel() for p in BasicSegNet(PoolPairs(name="max"), num_classes=11).parameters())
    1416587
    """

    def __init__(self, pools: PoolPairs, *, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        wide = max(SMALLEST, round(64 * width))
        layers: list[nn.Module] = [nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)]
        for channels in (3, wide, wide, wide):
            layers += [nn.Conv2d(channels, wide, 7, padding=3), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
            layers.append(pools.pair(wide))
        self.features = nn.Sequential(*layers)
        stages = [nn.Sequential(nn.Conv2d(wide, wide, 7, padding=3), nn.BatchNorm2d(wide)) for _ in range(4)]
        stages[-1].append(nn.Conv2d(wide, num_classes, 1))
        self.decoder = nn.ModuleList(stages)
        initialise(self)


def _checked(width: object) -> float:
    if isinstance(width, bool) or not isinstance(width, int | float) or not 1 / 64 <= width <= 4:
        raise UsageError(f"width multiplies the channels of SegNet: a number from 1/64 to 4, not {width!r}.")
    return float(width)


@backbone(
    "segnet",
    idea="SegNet in the form of VGG-16, for segmentation; takes a pair of poolings",
    input_size=224,
    published_pooling="max",
    task="segmentation",
    pairs=True,
    options={"width": 1.0},
)
def segnet(pools: PoolPairs, *, placement: str, num_classes: int, input_size: int, width: object = 1.0) -> nn.Module:
    """SegNet."""
    return SegNet(pools, num_classes=num_classes, width=_checked(width))


@backbone(
    "segnet-basic",
    idea="SegNet-Basic, four stages of one 7 x 7 convolution, for segmentation; takes a pair of poolings",
    input_size=224,
    published_pooling="max",
    task="segmentation",
    pairs=True,
    options={"width": 1.0},
)
def segnet_basic(
    pools: PoolPairs, *, placement: str, num_classes: int, input_size: int, width: object = 1.0
) -> nn.Module:
    """SegNet-Basic."""
    return BasicSegNet(pools, num_classes=num_classes, width=_checked(width))
