"""MobileNetV2 in torchvision's layout.

Sandler et al., MobileNetV2: inverted residuals and linear bottlenecks, CVPR 2018. With `skip` it is the published
network. Placements:

    stage        one pooling on the input of each of the four inverted residuals of stride 2
    stage-dense  as stage, and the first convolution at stride 1 followed by a pooling
    zhang        one pooling after the depthwise convolution and its ReLU6 in each of the four (Zhang, ICML 2019)
    zhang-dense  as zhang, and the first convolution at stride 1 followed by a pooling
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robustbench_lift.networks.placement import Pools, halved, initialise
from robustbench_lift.networks.registry import backbone

PLACEMENTS = ("stage", "stage-dense", "zhang", "zhang-dense")
SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and stride of each stage: table 2 of the paper."""


def conv_norm_relu(channels: int, width: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; a residual where nothing changes size.

    Args:
        channels: entering.
        width: leaving.
        expansion: of the channels inside.
        stride: of the depthwise convolution.
        entry: a pooling on the input, or None.
        inner: a pooling after the depthwise convolution, or None.
        halves: whether the block changes the map's size, by stride or pooling.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        expansion: int,
        *,
        stride: int = 1,
        entry: nn.Module | None = None,
        inner: nn.Module | None = None,
        halves: bool = False,
    ) -> None:
        super().__init__()
        inside = channels * expansion
        depthwise = conv_norm_relu(inside, inside, 3, stride=stride, groups=inside)
        if inner is not None:
            depthwise.add_module("pool", inner)
        layers: list[nn.Module] = [] if expansion == 1 else [conv_norm_relu(channels, inside, 1)]
        layers += [depthwise, nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)]
        self.entry = entry if entry is not None else nn.Identity()
        self.conv = nn.Sequential(*layers)
        self.residual = channels == width and not halves

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, width, H', W']."""
        y: Tensor = self.conv(self.entry(x))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1; parameters are named as torchvision names them.

    Args:
        pools: the pooling.
        placement: one of PLACEMENTS.
        num_classes: K.
        input_size: side of the images; only poolings tied to a map size need it.
    """

    def __init__(self, pools: Pools, placement: str, *, num_classes: int, input_size: int) -> None:
        super().__init__()
        where, _, dense = placement.partition("-")
        pooled_stem = bool(dense) and not pools.strided
        stem = conv_norm_relu(3, 32, 3, stride=1 if pooled_stem else 2)
        if pooled_stem:
            stem.add_module("pool", pools.pool(32, input_size))
        layers: list[nn.Module] = [stem]
        channels, size = 32, halved(input_size)
        for expansion, width, blocks, first_stride in SETTINGS:
            for position in range(blocks):
                halves = first_stride == 2 and position == 0
                pooled = halves and not pools.strided
                entry = pools.pool(channels, size) if pooled and where == "stage" else None
                inner = pools.pool(channels * expansion, size) if pooled and where == "zhang" else None
                stride = 2 if halves and pools.strided else 1
                layers.append(
                    InvertedResidual(channels, width, expansion, stride=stride, entry=entry, inner=inner, halves=halves)
                )
                channels, size = width, halved(size) if halves else size
        layers.append(conv_norm_relu(channels, 1280, 1))
        self.features = nn.Sequential(*layers)
        last = nn.Linear(1280, num_classes)
        self.classifier = nn.Sequential(nn.Dropout(0.2), last)
        initialise(self)
        nn.init.normal_(last.weight, 0, 0.01)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, K]."""
        logits: Tensor = self.classifier(torch.flatten(self.features(x).mean((2, 3)), 1))
        return logits


def from_antialiased(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of antialiased-cnns' MobileNetV2, where BlurPool is the third member of a block, to ours.

    >>> from_antialiased({"features.2.conv.2.filt": 0, "features.2.conv.3.weight": 0, "classifier.0.bias": 0})
    {'features.2.conv.1.pool.filt': 0, 'features.2.conv.2.weight': 0, 'classifier.1.bias': 0}
    """
    blurred = {key.removesuffix(".2.filt") for key in weights if re.fullmatch(r"features\.\d+\.conv\.2\.filt", key)}
    renamed = {}
    for key, value in weights.items():
        match = re.fullmatch(r"(features\.\d+\.conv)\.(\d+)\.(.+)", key)
        if match and match[1] in blurred:
            index = int(match[2])
            moved = "1.pool.filt" if index == 2 else f"{index - (index > 2)}.{match[3]}"
            key = f"{match[1]}.{moved}"
        elif blurred and key.startswith("classifier.0."):
            key = key.replace("classifier.0.", "classifier.1.")
        renamed[key] = value
    return renamed


@backbone(
    "mobilenetv2",
    idea="MobileNetV2 for ImageNet; with skip it is torchvision's",
    input_size=224,
    placements=PLACEMENTS,
    antialiased=from_antialiased,
)
def mobilenetv2(pools: Pools, *, placement: str, num_classes: int, input_size: int) -> nn.Module:
    """MobileNetV2 of width 1."""
    return MobileNetV2(pools, placement, num_classes=num_classes, input_size=input_size)
