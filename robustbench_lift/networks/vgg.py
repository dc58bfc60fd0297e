"""VGG-13 with batch norm: torchvision's layout for ImageNet, and a small head for CIFAR.

Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR 2015. With `max` it is
the published network; any other pooling takes the place of the five max-pools, and with `skip` the convolution before
each is strided instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robustbench_lift.networks.placement import Pools, halved, initialise
from robustbench_lift.networks.registry import backbone

VGG13 = ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))
"""Channels of the convolutions before each pooling."""


class VGG(nn.Module):
    """Convolutions with batch norm and five poolings; parameters are named as torchvision names them.

    Args:
        pools: the pooling.
        num_classes: K.
        input_size: side of the images; only poolings tied to a map size need it.
        hidden: width of the two hidden linear layers; 0 leaves one linear layer on the global mean (for CIFAR).
        layout: channels of the convolutions before each pooling.
    """

    def __init__(
        self,
        pools: Pools,
        *,
        num_classes: int,
        input_size: int,
        hidden: int = 4096,
        layout: tuple[tuple[int, ...], ...] = VGG13,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, size = 3, input_size
        for widths in layout:
            for position, width in enumerate(widths):
                stride = 2 if pools.strided and position == len(widths) - 1 else 1
                layers += [nn.Conv2d(channels, width, 3, stride=stride, padding=1)]
                layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.Identity() if pools.strided else pools.instead_of_max(channels, size))
            size = halved(size)
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7 if hidden else 1)
        self.classifier: nn.Module = nn.Linear(channels, num_classes)
        if hidden:
            self.classifier = nn.Sequential(
                nn.Linear(channels * 49, hidden),
                nn.ReLU(inplace=True),
                nn.Dropout(),
                nn.Linear(hidden, hidden),
                nn.ReLU(inplace=True),
                nn.Dropout(),
                nn.Linear(hidden, num_classes),
            )
        initialise(self)
        for module in self.classifier.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, K]."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits


def from_antialiased(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of antialiased-cnns' VGGs, where every BlurPool moves what follows by one, to ours.

    >>> from_antialiased({"features.7.filt": 0, "features.8.weight": 0, "features.0.bias": 0})
    {'features.6.pool.filt': 0, 'features.7.weight': 0, 'features.0.bias': 0}
    """
    filters = sorted(int(key.split(".")[1]) for key in weights if re.fullmatch(r"features\.\d+\.filt", key))
    renamed = {}
    for key, value in weights.items():
        match = re.fullmatch(r"features\.(\d+)\.(.+)", key)
        if match:
            index = int(match[1])
            before = sum(f < index for f in filters)
            key = f"features.{index - before}.{match[2]}"
            if match[2] == "filt":
                key = f"features.{index - before - 1}.pool.filt"
        renamed[key] = value
    return renamed


@backbone(
    "vgg13",
    idea="VGG-13 with batch norm for ImageNet; with max it is torchvision's vgg13_bn",
    input_size=224,
    published_pooling="max",
    antialiased=from_antialiased,
)
def vgg13(pools: Pools, *, placement: str, num_classes: int, input_size: int) -> nn.Module:
    """VGG-13 for ImageNet."""
    return VGG(pools, num_classes=num_classes, input_size=input_size)


@backbone(
    "vgg13-cifar",
    idea="VGG-13 with batch norm and one linear layer for CIFAR",
    input_size=32,
    published_pooling="max",
)
def vgg13_cifar(pools: Pools, *, placement: str, num_classes: int, input_size: int) -> nn.Module:
    """VGG-13 for CIFAR."""
    return VGG(pools, num_classes=num_classes, input_size=input_size, hidden=0)


@backbone(
    "vgg13-cifar-quarter",
    idea="VGG-13 for CIFAR at a quarter of its width, for trainings on a CPU",
    input_size=32,
    published_pooling="max",
)
def vgg13_cifar_quarter(pools: Pools, *, placement: str, num_classes: int, input_size: int) -> nn.Module:
    """VGG-13 for CIFAR with a quarter of the channels."""
    layout = tuple(tuple(width // 4 for width in widths) for widths in VGG13)
    return VGG(pools, num_classes=num_classes, input_size=input_size, hidden=0, layout=layout)
