"""The architectures by name, and the one function that builds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.networks import mobilenet, resnet, vgg
from robustbench_lift.networks.alexnet import AlexNet, SmallAlexNet
from robustbench_lift.networks.placement import CONV_PADDINGS, Pools, pad_convolutions

Renaming = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

NETWORK_OPTIONS = ("input_size", "conv_padding")
"""Options that speak of the network and not of its pooling."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """An entry of the registry."""

    build: Callable[[Pools, str, int, int], nn.Module]
    """(pools, placement, num_classes, input_size) -> the network."""
    idea: str
    """One line."""
    input_size: int
    """Side of the images that it is made for, in pixels."""
    placements: tuple[str, ...] = ("stage",)
    """Names of the placements, the default first."""
    published_pooling: str = "skip"
    """The pooling with which it is the published network."""
    antialiased: Renaming | None = None
    """How antialiased-cnns' keys become ours."""
    same_keys: tuple[str, ...] = ()
    """Networks of other sources whose keys and shapes are the same; such weights cannot tell which they are."""


def _residual(pools: Pools, placement: str, num_classes: int, input_size: int, **layout: Any) -> nn.Module:
    arrangement = resnet.PLACEMENTS[placement]
    return resnet.ResNet(pools, arrangement, num_classes=num_classes, input_size=input_size, **layout)


def _imagenet_resnet(depth: int, block: type[resnet.Block], depths: tuple[int, ...], others: str) -> Architecture:
    layout: dict[str, Any] = {
        "block": block,
        "depths": depths,
        "widths": (64, 128, 256, 512),
        "stem": resnet.IMAGENET_STEM,
    }
    return Architecture(
        build=partial(_residual, **layout),
        idea=f"ResNet-{depth} for ImageNet; with skip it is torchvision's",
        input_size=224,
        placements=tuple(resnet.PLACEMENTS),
        antialiased=resnet.from_antialiased,
        same_keys=tuple(others.split()),
    )


def _small_resnet(idea: str, size: int, depth: int, stem: resnet.Stem) -> Architecture:
    layout: dict[str, Any] = {"block": resnet.BasicBlock, "depths": (depth,) * 3, "widths": (16, 32, 64), "stem": stem}
    return Architecture(
        build=partial(_residual, **layout), idea=idea, input_size=size, placements=resnet.STEMLESS_PLACEMENTS
    )


def _mobilenet(pools: Pools, placement: str, num_classes: int, input_size: int) -> nn.Module:
    return mobilenet.MobileNetV2(pools, placement, num_classes=num_classes, input_size=input_size)


def _plain(network: Callable[..., nn.Module]) -> Callable[[Pools, str, int, int], nn.Module]:
    def build(pools: Pools, placement: str, num_classes: int, input_size: int) -> nn.Module:
        return network(pools, num_classes=num_classes, input_size=input_size)

    return build


ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": _imagenet_resnet(
        18, resnet.BasicBlock, (2, 2, 2, 2), "torchvision:resnet18 timm:resnet18 timm:resnetblur18"
    ),
    "resnet34": _imagenet_resnet(34, resnet.BasicBlock, (3, 4, 6, 3), "torchvision:resnet34 timm:resnet34"),
    "resnet50": _imagenet_resnet(
        50,
        resnet.Bottleneck,
        (3, 4, 6, 3),
        "torchvision:resnet50 timm:resnet50 timm:resnetblur50 timm:resnetaa50",
    ),
    "resnet101": _imagenet_resnet(101, resnet.Bottleneck, (3, 4, 23, 3), "torchvision:resnet101 timm:resnet101"),
    "vgg13": Architecture(
        build=_plain(vgg.VGG),
        idea="VGG-13 with batch norm for ImageNet; with max it is torchvision's vgg13_bn",
        input_size=224,
        published_pooling="max",
        antialiased=vgg.from_antialiased,
    ),
    "vgg13-cifar": Architecture(
        build=_plain(partial(vgg.VGG, hidden=0)),
        idea="VGG-13 with batch norm and one linear layer for CIFAR",
        input_size=32,
        published_pooling="max",
    ),
    "mobilenetv2": Architecture(
        build=_mobilenet,
        idea="MobileNetV2 for ImageNet; with skip it is torchvision's",
        input_size=224,
        placements=mobilenet.PLACEMENTS,
        antialiased=mobilenet.from_antialiased,
    ),
    "alexnet": Architecture(
        build=_plain(AlexNet),
        idea="AlexNet for ImageNet; with max it is torchvision's",
        input_size=224,
        published_pooling="max",
    ),
    "resnet20": _small_resnet("ResNet-20 for CIFAR, projection shortcuts", 32, 3, resnet.CIFAR_STEM),
    "resnet56": _small_resnet("ResNet-56 for CIFAR, projection shortcuts", 32, 9, resnet.CIFAR_STEM),
    "resnet8": _small_resnet("ResNet of three blocks for 32 to 64 pixels", 64, 1, resnet.SMALL_STEM),
    "alexnet-small": Architecture(
        build=_plain(SmallAlexNet),
        idea="AlexNet of 0.26 million parameters for 32 to 64 pixels",
        input_size=64,
        published_pooling="max",
    ),
}
"""All architectures; a new one is one line."""


def architecture(name: str) -> Architecture:
    """The entry of a name, or UsageError with the near ones."""
    if name not in ARCHITECTURES:
        raise unknown("architecture", name, ARCHITECTURES)
    return ARCHITECTURES[name]


def build_model(
    arch: str,
    pooling: str = "skip",
    *,
    num_classes: int = 1000,
    placement: str | None = None,
    options: Mapping[str, object] | None = None,
) -> nn.Module:
    """An untrained network with a pooling; weights are drawn from torch's ambient generator.

    Args:
        arch: a name of ARCHITECTURES.
        pooling: a name of `robustbench_lift.pooling.POOLINGS`; "skip" keeps strided convolutions, and the network is
            then the same at every placement.
        num_classes: K, at least 1.
        placement: where the pooling sits; None is the architecture's default, its first.
        options: options of the pooling, and two of the network: `input_size` (side of the images, for poolings tied
            to a map size) and `conv_padding` ("zeros", "reflect", "replicate", "circular"; circular where the pooling
            promises invariance under circular shifts, else zeros).

    Raises:
        UsageError: an unknown architecture, pooling or placement, or a pooling that cannot sit there.
        PoolingError: an unknown option of the pooling, or a value that it cannot have.

    >>> model = build_model("resnet50", "lift")
    >>> sum(p.numel() for p in model.parameters())
    25579304
    """
    entry = architecture(arch)
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise UsageError(f"num_classes must be an integer of at least 1, not {num_classes!r}.")
    placement = placement or entry.placements[0]
    if placement not in entry.placements:
        raise unknown(f"placement of {arch}", placement, entry.placements)
    rest = dict(options or {})
    input_size = rest.pop("input_size", entry.input_size)
    if isinstance(input_size, bool) or not isinstance(input_size, int) or input_size < 1:
        raise UsageError(f"input_size must be the side of the images in pixels, for example 224, not {input_size!r}.")
    pools = Pools(name=pooling, options=rest)
    asked = rest.pop("conv_padding", "circular" if pools.entry.circular else "zeros")
    padding = next((mode for mode in CONV_PADDINGS if mode == asked), None)
    if padding is None:
        raise unknown("conv_padding", asked, CONV_PADDINGS)
    pools = Pools(name=pooling, options=rest, circular=padding == "circular")
    pools.check()
    model = entry.build(pools, placement, num_classes, input_size)
    if padding != "zeros":
        pad_convolutions(model, padding)
    return model
