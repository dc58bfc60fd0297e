"""DeepLabV3+ over a residual network that takes a pooling, output stride 16.

Chen et al., Encoder-decoder with atrous separable convolution for semantic image segmentation, ECCV 2018, with dense
convolutions. The last stage keeps its size and is dilated as torchvision dilates it (rate 1 in its first block, 2 in
the others), since its weights are trained that way; its pooling goes. The other poolings sit where the classifier has
them.

| part    | layers                                                                                   |
|---------|------------------------------------------------------------------------------------------|
| encoder | stem, layer1 (stride 4), layer2 (8), layer3 (16), layer4 (16)                            |
| aspp    | 1 x 1; 3 x 3 of rates 6, 12 and 18; the mean; concatenated, 1 x 1 to 256, dropout 0.1    |
| decoder | layer1's map to 48 channels, the upsampled encoder beside it, 3 x 3 to 256, 1 x 1 to K   |

Maps and logits are upsampled bilinearly to the size that is needed, never by a factor: odd sides fit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_lift.errors import UsageError
from robustbench_lift.networks.placement import Pools
from robustbench_lift.networks.registry import backbone
from robustbench_lift.networks.resnet import IMAGENET_STEM, PLACEMENTS, Bottleneck, ResNet

RATES = (6, 12, 18)
"""Dilation of the 3 x 3 convolutions of the pyramid at output stride 16."""
WIDTH = 256
"""Channels of pyramid and decoder."""
DROPOUT = 0.1
"""Share of the pyramid's channels that training zeroes before the decoder."""
LOW_LEVEL = 48
"""Channels to which layer1's map is reduced."""
PHASED = ("tips",)
"""Poolings that mix phases and would need to be undone in the decoder, beside those that choose one."""


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: x [N, C, h, w] -> [N, 256, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [_normed(channels, WIDTH, 1), *(_normed(channels, WIDTH, 3, dilation=rate) for rate in RATES)]
        )
        self.mean = _normed(channels, WIDTH, 1)
        self.project = nn.Sequential(*_normed((len(RATES) + 2) * WIDTH, WIDTH, 1), nn.Dropout(DROPOUT))

    def forward(self, x: Tensor) -> Tensor:
        """All branches, concatenated and projected."""
        mean = self.mean(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        out: Tensor = self.project(torch.cat([*(branch(x) for branch in self.branches), mean], dim=1))
        return out


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ with one 3 x 3 convolution in its decoder.

    Args:
        backbone: gives the maps of its stages (`ResNet.maps`), the first at stride 4, the last at stride 16.
        num_classes: K.
    """

    def __init__(self, backbone: ResNet, *, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        low, high = backbone.channels[0], backbone.channels[-1]
        self.aspp = Pyramid(high)
        self.low_level = _normed(low, LOW_LEVEL, 1)
        self.classifier = nn.Sequential(*_normed(WIDTH + LOW_LEVEL, WIDTH, 3), nn.Conv2d(WIDTH, num_classes, 1))
        for part in (self.aspp, self.low_level, self.classifier):
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, K, H, W]."""
        maps = self.backbone.maps(x)
        low = self.low_level(maps[0])
        high = _resized(self.aspp(maps[-1]), low.shape[2:])
        return _resized(self.classifier(torch.cat([low, high], dim=1)), x.shape[2:])


def _normed(channels: int, wide: int, kernel: int, *, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(channels, wide, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(wide), nn.ReLU(inplace=True))


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


@backbone(
    "deeplabv3plus-resnet50",
    idea="DeepLabV3+ over ResNet-50 at output stride 16, for segmentation",
    input_size=512,
    placements=tuple(PLACEMENTS),
    task="segmentation",
)
def deeplabv3plus_resnet50(pools: Pools, *, placement: str, num_classes: int, input_size: int) -> nn.Module:
    """DeepLabV3+ over ResNet-50."""
    if pools.entry.polyphase or pools.name in PHASED:
        raise UsageError(
            f"pooling {pools.name!r} keeps or weighs phases of its maps, which the decoder would have to undo: labels "
            "would be off by up to 15 pixels. Take another pooling for segmentation."
        )
    encoder = ResNet(
        pools,
        PLACEMENTS[placement],
        block=Bottleneck,
        depths=(3, 4, 6, 3),
        widths=(64, 128, 256, 512),
        stem=IMAGENET_STEM,
        num_classes=None,
        input_size=input_size,
        dilated=True,
    )
    return DeepLabV3Plus(encoder, num_classes=num_classes)
