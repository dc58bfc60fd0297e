"""AlexNet for 224 pixels in torchvision's layout, and a small one for 32 to 64 pixels.

Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014. With `max` they are the published
kind of network; any other pooling takes the place of the three max-pools, and with `skip` the convolution before each
is strided instead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_lift.networks.placement import Pools, halved, initialise
from robustbench_lift.networks.registry import backbone


class AlexNet(nn.Module):
    """Five convolutions, three poolings, three linear layers; parameters are named as torchvision names them.

    Args:
        pools: the pooling. `max` without options is the published 3 x 3 window of stride 2 without padding.
        num_classes: K.
        input_size: side of the images; only poolings tied to a map size need it.
    """

    def __init__(self, pools: Pools, *, num_classes: int, input_size: int) -> None:
        super().__init__()
        step = 2 if pools.strided else 1
        published = pools.name == "max" and not pools.options
        size = (input_size + 4 - 11) // (4 * step) + 1

        def pool(channels: int) -> nn.Module:
            nonlocal size
            if pools.strided:
                return nn.Identity()
            before, size = size, halved(size)
            if published:
                return nn.MaxPool2d(3, stride=2)
            return pools.instead_of_max(channels, before, kernel=3)

        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4 * step, padding=2),
            nn.ReLU(inplace=True),
            pool(64),
            nn.Conv2d(64, 192, 5, stride=step, padding=2),
            nn.ReLU(inplace=True),
            pool(192),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, stride=step, padding=1),
            nn.ReLU(inplace=True),
            pool(256),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 36, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )
        # torch's own initialisation is torchvision's here

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, K]."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits


class SmallAlexNet(nn.Module):
    """Five convolutions, three poolings and two linear layers, without batch norm and without dropout.

    Args:
        pools: the pooling; `max` is 2 x 2.
        num_classes: K.
        input_size: side of the images, 32 to 64; only poolings tied to a map size need it.
    """

    def __init__(self, pools: Pools, *, num_classes: int, input_size: int) -> None:
        super().__init__()
        step = 2 if pools.strided else 1
        size = halved(input_size)

        def pool(channels: int) -> nn.Module:
            nonlocal size
            if pools.strided:
                return nn.Identity()
            before, size = size, halved(size)
            return pools.instead_of_max(channels, before)

        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 5, stride=2 * step, padding=2),
            nn.ReLU(inplace=True),
            pool(32),
            nn.Conv2d(32, 64, 3, stride=step, padding=1),
            nn.ReLU(inplace=True),
            pool(64),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, stride=step, padding=1),
            nn.ReLU(inplace=True),
            pool(64),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Sequential(nn.Linear(64 * 16, 128), nn.ReLU(inplace=True), nn.Linear(128, num_classes))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, K]."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits


@backbone(
    "alexnet",
    idea="AlexNet for ImageNet; with max it is torchvision's",
    input_size=224,
    published_pooling="max",
)
def alexnet(pools: Pools, *, placement: str, num_classes: int, input_size: int) -> nn.Module:
    """AlexNet for ImageNet."""
    return AlexNet(pools, num_classes=num_classes, input_size=input_size)


@backbone(
    "alexnet-small",
    idea="AlexNet of 0.26 million parameters for 32 to 64 pixels",
    input_size=64,
    published_pooling="max",
)
def alexnet_small(pools: Pools, *, placement: str, num_classes: int, input_size: int) -> nn.Module:
    """A small AlexNet."""
    return SmallAlexNet(pools, num_classes=num_classes, input_size=input_size)
