"""Residual networks: ResNet-18/34/50/101 for ImageNet, ResNet-20/56 for CIFAR, ResNet-8 for 32 to 64 pixels.

Parameters are named as torchvision names them, so its weights load. The published networks (He et al., Deep residual
learning for image recognition, CVPR 2016; stride on the 3 x 3 convolution) are those with `skip`. Placements:

    stage             stem max-pool replaced; one pooling on the input of the first block of every later stage
    stage-dense       as stage, and the stem convolution at stride 1 followed by a pooling
    stage-blocks      as stage, the stem as published
    zhang             stem max-pool replaced; in the first block of every later stage, one pooling after the ReLU of
                      the 3 x 3 convolution and one on the shortcut (Zhang, ICML 2019)
    zhang-dense       as zhang, and the stem convolution at stride 1 followed by a pooling
    timm              as zhang, the shortcut keeping its strided convolution (timm's resnetblur)
    kobayashi         stem convolution at stride 1, then one pooling of stride 4; a pooling after the last ReLU of the
                      first block of every later stage (Kobayashi, ICCV 2019, NeurIPS 2019)
    kobayashi-two     as kobayashi, with two poolings of stride 2 in the stem
    kobayashi-blocks  as kobayashi, the stem as published
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from robustbench_lift.networks.placement import Branches, Pools, halved, initialise
from robustbench_lift.networks.registry import backbone


@dataclass(frozen=True, slots=True)
class Arrangement:
    """A placement in words that the network reads."""

    stem: str
    """kept, pool (max-pool replaced), dense (convolution at stride 1 and two poolings), quad (one of stride 4)."""
    block: str
    """Where the first block of a stage halves: entry, branches, main or exit."""
    max_kernel: int = 2
    """Side of the dense maximum before a subsampling pooling in the stem; 3 is padded by 1."""


PLACEMENTS: dict[str, Arrangement] = {
    "stage": Arrangement("pool", "entry"),
    "stage-dense": Arrangement("dense", "entry"),
    "stage-blocks": Arrangement("kept", "entry"),
    "zhang": Arrangement("pool", "branches"),
    "zhang-dense": Arrangement("dense", "branches"),
    "timm": Arrangement("pool", "main", max_kernel=3),
    "kobayashi": Arrangement("quad", "exit"),
    "kobayashi-two": Arrangement("dense", "exit"),
    "kobayashi-blocks": Arrangement("kept", "exit"),
}
"""Placements of the ImageNet networks, the default first."""

STEMLESS_PLACEMENTS = ("stage", "zhang", "timm", "kobayashi")
"""Placements where the stem has no max-pool: the names mean what they say of blocks."""


class Halving:
    """How the first block of a stage halves its map, ready to be put into the block."""

    def __init__(self, pools: Pools, where: str, *, entering: int, main: int, leaving: int, size: int) -> None:
        if pools.strided:
            where = "strided"
        self.main_stride = 2 if where == "strided" else 1
        self.shortcut_stride = 2 if where in ("strided", "main") else 1
        self.entry: nn.Module = pools.pool(entering, size) if where == "entry" else nn.Identity()
        self.exit: nn.Module = pools.pool(leaving, size) if where == "exit" else nn.Identity()
        self.branches: nn.Module = Branches(nn.Identity(), nn.Identity())
        if where == "branches":
            self.branches = pools.branches(main, entering, size)
        elif where == "main":
            self.branches = pools.main_only(main, size)


class Block(nn.Module):
    """A residual block; the convolution before the halving sits in `reduce`, what follows in `expand`."""

    expansion: ClassVar[int] = 1

    def __init__(self, channels: int, width: int, halving: Halving | None, dilation: int = 1) -> None:
        super().__init__()
        out = width * self.expansion
        self.entry: nn.Module = halving.entry if halving else nn.Identity()
        self.branches: nn.Module = halving.branches if halving else Branches(nn.Identity(), nn.Identity())
        self.exit: nn.Module = halving.exit if halving else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if halving or channels != out:
            stride = halving.shortcut_stride if halving else 1
            conv = nn.Conv2d(channels, out, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out))

    def reduce(self, x: Tensor) -> Tensor:
        """Up to the ReLU after the 3 x 3 convolution that a stride would sit on."""
        raise NotImplementedError

    def expand(self, y: Tensor) -> Tensor:
        """The rest of the main branch, without its last ReLU."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, width * expansion, H', W']."""
        x = self.entry(x)
        y, x = self.branches(self.reduce(x), x)
        y = self.expand(y)
        if self.downsample is not None:
            x = self.downsample(x)
        y += x
        out: Tensor = self.exit(self.relu(y))
        return out


class BasicBlock(Block):
    """Two 3 x 3 convolutions."""

    def __init__(self, channels: int, width: int, halving: Halving | None, dilation: int = 1) -> None:
        super().__init__(channels, width, halving, dilation)
        stride = halving.main_stride if halving else 1
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def reduce(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.bn1(self.conv1(x)))
        return out

    def expand(self, y: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(y))
        return out


class Bottleneck(Block):
    """1 x 1, 3 x 3, 1 x 1 to four times the width."""

    expansion = 4

    def __init__(self, channels: int, width: int, halving: Halving | None, dilation: int = 1) -> None:
        super().__init__(channels, width, halving, dilation)
        stride = halving.main_stride if halving else 1
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * 4)

    def reduce(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(x)))
        return out

    def expand(self, y: Tensor) -> Tensor:
        out: Tensor = self.bn3(self.conv3(y))
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class Stem:
    """The first convolution and whether a max-pool follows."""

    width: int
    kernel: int
    stride: int
    max_pool: bool


IMAGENET_STEM = Stem(width=64, kernel=7, stride=2, max_pool=True)
SMALL_IMAGENET_STEM = Stem(width=16, kernel=7, stride=2, max_pool=True)
CIFAR_STEM = Stem(width=16, kernel=3, stride=1, max_pool=False)
SMALL_STEM = Stem(width=16, kernel=3, stride=2, max_pool=False)
"""Pooled in every placement: its convolution has stride 1 and a pooling follows, whatever the pooling but skip."""


class ResNet(nn.Module):
    """A residual network that takes a pooling.

    Args:
        pools: the pooling.
        arrangement: where it sits.
        block: BasicBlock or Bottleneck.
        depths: blocks in each stage.
        widths: of each stage, before the block's expansion.
        stem: first convolution.
        num_classes: K; None leaves out the classifier: `maps` alone can be asked for.
        input_size: side of the images; only poolings tied to a map size need it.
        dilated: whether the last stage keeps its size, its blocks after the first dilated by 2 (torchvision's
            `replace_stride_with_dilation` of the last stage).
    """

    def __init__(
        self,
        pools: Pools,
        arrangement: Arrangement,
        *,
        block: type[Block],
        depths: Sequence[int],
        widths: Sequence[int],
        stem: Stem,
        num_classes: int | None,
        input_size: int,
        dilated: bool = False,
    ) -> None:
        super().__init__()
        channels = stem.width
        whole = not pools.strided and (arrangement.stem in ("dense", "quad") if stem.max_pool else stem.stride == 2)
        stride = 1 if whole else stem.stride
        self.conv1 = nn.Conv2d(3, channels, stem.kernel, stride=stride, padding=stem.kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        size = input_size if stride == 1 else halved(input_size)
        self.stem_pool: nn.Module = nn.Identity()
        self.maxpool: nn.Module = nn.Identity()
        if whole and not (stem.max_pool and arrangement.stem == "quad"):
            self.stem_pool = pools.pool(channels, size)
            size = halved(size)
        if stem.max_pool:
            if pools.strided or arrangement.stem == "kept":
                self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
            elif arrangement.stem == "quad":
                self.maxpool = pools.twice(channels, size)
                size = halved(size)
            else:
                kernel = arrangement.max_kernel
                self.maxpool = pools.instead_of_max(channels, size, kernel=kernel, padding=kernel // 3)
            size = halved(size)
        self.channels = tuple(width * block.expansion for width in widths)
        for index, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks: list[Block] = []
            kept = dilated and index == len(depths) - 1
            for position in range(depth):
                halving = None
                if index > 0 and position == 0 and not kept:
                    leaving = width * block.expansion
                    halving = Halving(
                        pools, arrangement.block, entering=channels, main=width, leaving=leaving, size=size
                    )
                    size = halved(size)
                blocks.append(block(channels, width, halving, 2 if kept and position else 1))
                channels = width * block.expansion
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.fc = nn.Identity() if num_classes is None else nn.Linear(channels, num_classes)
        initialise(self)

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Normalised images [N, 3, H, W] -> the map of each stage."""
        x = self.maxpool(self.stem_pool(self.relu(self.bn1(self.conv1(x)))))
        found = []
        for index in range(self.stages):
            x = getattr(self, f"layer{index + 1}")(x)
            found.append(x)
        return tuple(found)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, K]."""
        x = self.maxpool(self.stem_pool(self.relu(self.bn1(self.conv1(x)))))
        for index in range(self.stages):
            x = getattr(self, f"layer{index + 1}")(x)
        logits: Tensor = self.fc(torch.flatten(x.mean((2, 3)), 1))
        return logits


def from_antialiased(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of antialiased-cnns' ResNets, where BlurPools are members of Sequentials, to ours.

    >>> sorted(from_antialiased({"layer2.0.conv3.1.weight": 0, "layer2.0.conv3.0.filt": 0, "maxpool.1.filt": 0}))
    ['layer2.0.branches.main.filt', 'layer2.0.conv3.weight', 'maxpool.pool.filt']
    """
    rules = (
        (r"^maxpool\.1\.filt$", "maxpool.pool.filt"),
        (r"^(layer\d\.\d+)\.conv[23]\.0\.filt$", r"\1.branches.main.filt"),
        (r"^(layer\d\.\d+\.conv[23])\.1\.weight$", r"\1.weight"),
        (r"^(layer\d\.\d+)\.downsample\.0\.filt$", r"\1.branches.shortcut.filt"),
    )
    shifted = {key.rsplit(".", 2)[0] for key in weights if re.match(r"layer\d\.\d+\.downsample\.0\.filt$", key)}
    renamed = {}
    for key, value in weights.items():
        new = key
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        match = re.match(r"^(layer\d\.\d+\.downsample)\.([12])\.(.+)$", new)
        if match and match[1] in shifted:
            new = f"{match[1]}.{int(match[2]) - 1}.{match[3]}"
        renamed[new] = value
    return renamed


def build(pools: Pools, *, placement: str, num_classes: int, input_size: int, **layout: Any) -> nn.Module:
    """A residual network of some layout: block, depths, widths, stem."""
    return ResNet(pools, PLACEMENTS[placement], num_classes=num_classes, input_size=input_size, **layout)


def _register_imagenet(depth: int, block: type[Block], depths: tuple[int, ...], *others: str) -> None:
    backbone(
        f"resnet{depth}",
        idea=f"ResNet-{depth} for ImageNet; with skip it is torchvision's",
        input_size=224,
        placements=tuple(PLACEMENTS),
        antialiased=from_antialiased,
        same_keys=(f"torchvision:resnet{depth}", *(f"timm:{other}" for other in others)),
    )(partial(build, block=block, depths=depths, widths=(64, 128, 256, 512), stem=IMAGENET_STEM))


def _register_small(name: str, idea: str, input_size: int, depth: int, stem: Stem) -> None:
    backbone(name, idea=idea, input_size=input_size, placements=STEMLESS_PLACEMENTS)(
        partial(build, block=BasicBlock, depths=(depth,) * 3, widths=(16, 32, 64), stem=stem)
    )


_register_imagenet(18, BasicBlock, (2, 2, 2, 2), "resnet18", "resnetblur18")
_register_imagenet(34, BasicBlock, (3, 4, 6, 3), "resnet34")
_register_imagenet(50, Bottleneck, (3, 4, 6, 3), "resnet50", "resnetblur50", "resnetaa50")
_register_imagenet(101, Bottleneck, (3, 4, 23, 3), "resnet101")
_register_small("resnet20", "ResNet-20 for CIFAR, projection shortcuts", 32, 3, CIFAR_STEM)
_register_small("resnet56", "ResNet-56 for CIFAR, projection shortcuts", 32, 9, CIFAR_STEM)
_register_small("resnet8", "ResNet of three blocks for 32 to 64 pixels", 64, 1, SMALL_STEM)
backbone(
    "resnet8-maxpool",
    idea="ResNet of three blocks with the stem of the ImageNet networks, a quarter as wide, for 64 pixels",
    input_size=64,
    placements=tuple(PLACEMENTS),
)(partial(build, block=BasicBlock, depths=(1,) * 3, widths=(16, 32, 64), stem=SMALL_IMAGENET_STEM))
