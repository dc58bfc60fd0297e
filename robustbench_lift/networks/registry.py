"""The backbones by name, the decorator that adds one, and the one function that builds them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from torch import Tensor, nn

from robustbench_lift.device import out_of_memory
from robustbench_lift.errors import RobustbenchError, UsageError, unknown
from robustbench_lift.networks.pairs import PAIRS, Pair, PoolPairs
from robustbench_lift.networks.placement import CONV_PADDINGS, Pools, image_side, pad_convolutions
from robustbench_lift.pooling import POOLINGS, Pooling, PoolingError

KeyMap = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""Renames the keys of a state dict."""

Task = Literal["classification", "segmentation"]
"""What a network answers about an image: logits [N, K], or [N, K, H, W]."""
NETWORK_OPTIONS = ("input_size", "conv_padding")
"""Options of every backbone that speak of the network and not of its pooling."""


class Builder(Protocol):
    """Makes an untrained network."""

    def __call__(self, pools: Any, *, placement: str, num_classes: int, input_size: int, **options: Any) -> nn.Module:
        """The network, from normalised images [N, 3, H, W] to logits [N, num_classes], of a segmentation network
        [N, num_classes, H, W]; `pools` are `Pools`, or `PoolPairs` where the entry says so."""
        ...


B = TypeVar("B", bound=Callable[..., nn.Module])


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """An entry of the registry."""

    build: Callable[..., nn.Module]
    """A `Builder`."""
    idea: str
    """One line."""
    input_size: int
    """Side of the images that it is made for, in pixels."""
    placements: tuple[str, ...] = ("stage",)
    """Names of the placements, the default first."""
    published_pooling: str = "skip"
    """The pooling with which it is the published network."""
    antialiased: KeyMap | None = None
    """How antialiased-cnns' keys become ours."""
    same_keys: tuple[str, ...] = ()
    """Networks of other sources whose keys and shapes are the same; such weights cannot tell which they are."""
    task: Task = "classification"
    """What it answers."""
    pairs: bool = False
    """Whether it takes a pair of poolings (`PAIRS`), not a down-pooling alone."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Further options of the network, with their defaults."""

    @property
    def network_options(self) -> tuple[str, ...]:
        """All options that are not its pooling's."""
        return (*NETWORK_OPTIONS, *self.options)

    @property
    def classes(self) -> int:
        """Number of classes where nothing says it: ImageNet's, or VOC's."""
        return 1000 if self.task == "classification" else 21

    def pools(self, pooling: str | None, options: Mapping[str, object]) -> Pools | PoolPairs:
        """What makes its poolings."""
        chosen = {key: value for key, value in options.items() if key not in self.network_options}
        maker = PoolPairs if self.pairs else Pools
        return maker(name=pooling or self.published_pooling, options=chosen)


BACKBONES: dict[str, Backbone] = {}
"""All backbones; `@backbone` adds one."""


def backbone(
    name: str,
    *,
    idea: str,
    input_size: int,
    placements: tuple[str, ...] = ("stage",),
    published_pooling: str = "skip",
    antialiased: KeyMap | None = None,
    same_keys: tuple[str, ...] = (),
    task: Task = "classification",
    pairs: bool = False,
    options: Mapping[str, object] | None = None,
) -> Callable[[B], B]:
    """Register a function that builds a backbone: `NAME/lift`, `train` and `list models` then know it.

    Args:
        name: letters, digits, dots and dashes; a taken name is an error.
        idea: one line for listings.
        input_size: side of the images that it is made for, in pixels.
        placements: where pooling can sit, the default first.
        published_pooling: the pooling with which it is the published network.
        antialiased: how antialiased-cnns' keys become its keys.
        same_keys: specs of networks whose keys and shapes are the same.
        task: what it answers, "classification" or "segmentation".
        pairs: whether it takes pairs of poolings (`PoolPairs`).
        options: further keywords of the function with their defaults; specs give them as ?name=value.

    Raises:
        UsageError: a taken or unreadable name.

    >>> @backbone("doc-net", idea="One convolution and a pooling.", input_size=32)
    ... def net(pools, *, placement, num_classes, input_size):
    ...     head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
    ...     return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), pools.instead_of_max(8, input_size), *head)
    >>> type(build_model("doc-net", "lift", num_classes=4)[1]).__name__
    'LiftDownPool'
    >>> del BACKBONES["doc-net"]
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
        raise UsageError(f"the name of a backbone is made of letters, digits, dots and dashes, not {name!r}.")

    def register(build: B) -> B:
        if name in BACKBONES and _origin(BACKBONES[name].build) != _origin(build):
            raise UsageError(
                f"the name {name!r} of backbone {_origin(build)} is taken by {_origin(BACKBONES[name].build)}; "
                "choose another."
            )
        BACKBONES[name] = Backbone(
            build=build,
            idea=idea,
            input_size=input_size,
            placements=placements,
            published_pooling=published_pooling,
            antialiased=antialiased,
            same_keys=same_keys,
            task=task,
            pairs=pairs,
            options=dict(options or {}),
        )
        return build

    return register


def _origin(build: object) -> str:
    made = getattr(build, "func", build)
    return f"{getattr(made, '__module__', '?')}.{getattr(made, '__qualname__', type(made).__qualname__)}"


def find_backbone(name: str) -> Backbone:
    """The entry of a name, or UsageError with the near ones."""
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return BACKBONES[name]


def poolings_of(arch: str) -> Mapping[str, Pooling] | Mapping[str, Pair]:
    """What may stand behind the slash of a backbone: poolings, or pairs of them.

    >>> "max-blur" in poolings_of("segnet"), "dpp" in poolings_of("resnet50")
    (True, True)
    """
    return PAIRS if arch in BACKBONES and BACKBONES[arch].pairs else POOLINGS


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
        arch: a name of BACKBONES.
        pooling: a name of `robustbench_lift.pooling.POOLINGS`; "skip" keeps strided convolutions, and the network is
            then the same at every placement.
        num_classes: K, at least 1.
        placement: where the pooling sits; None is the backbone's default, its first.
        options: options of the pooling, and two of the network: `input_size` (side of the images, for poolings tied
            to a map size) and `conv_padding` ("zeros", "reflect", "replicate", "circular"; circular where the pooling
            promises invariance under circular shifts, else zeros); some backbones have more (`Backbone.options`).

    Raises:
        UsageError: an unknown backbone, pooling or placement, a pooling that cannot sit there, or a network that does
            not fit into memory.
        PoolingError: an unknown option of the pooling, or a value that it cannot have.

    >>> model = build_model("resnet50", "lift")
    >>> sum(p.numel() for p in model.parameters())
    25579304
    """
    entry = find_backbone(arch)
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise UsageError(f"num_classes must be an integer of at least 1, not {num_classes!r}.")
    placement = placement or entry.placements[0]
    if placement not in entry.placements:
        raise unknown(f"placement of {arch}", placement, entry.placements)
    rest = dict(options or {})
    input_size = image_side(rest.pop("input_size", entry.input_size))
    given = {name: rest.pop(name) for name in entry.options if name in rest}
    pools = entry.pools(pooling, rest)
    tied = isinstance(pools, Pools) and pools.entry.needs_size
    if input_size != entry.input_size and not tied and _origin(entry.build).startswith(f"{__package__}."):
        raise UsageError(
            f"input_size={input_size} has no effect on {arch}/{pooling}: it is for poolings that are tied to one map "
            f"size ({', '.join(name for name, one in POOLINGS.items() if one.needs_size)}). The size of the images is "
            "an option of the data: --data 'folder:DIR?resize=256&crop=224'."
        )
    circular = isinstance(pools, Pools) and pools.entry.circular
    asked = rest.pop("conv_padding", "circular" if circular else "zeros")
    padding = next((mode for mode in CONV_PADDINGS if mode == asked), None)
    if padding is None:
        raise unknown("conv_padding", asked, CONV_PADDINGS)
    if isinstance(pools, Pools):
        pools = Pools(name=pooling, options=rest, circular=padding == "circular")
    try:
        pools.check()
        model = entry.build(pools, placement=placement, num_classes=num_classes, input_size=input_size, **given)
    except (RobustbenchError, PoolingError):
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise UsageError(f"{arch}/{pooling} with {num_classes:,} classes does not fit into memory.") from None
        if _origin(entry.build).startswith(f"{__package__}."):
            raise
        raise UsageError(f"your backbone {arch} raised {type(error).__name__}: {error}.") from error
    if padding != "zeros":
        pad_convolutions(model, padding)
    return model
