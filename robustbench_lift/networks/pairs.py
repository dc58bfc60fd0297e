"""Pairs of a down-pooling and the up-pooling that undoes it, for encoder-decoders: one registry, one line a pair.

`segnet/NAME` takes a pair. What goes down remembers something (positions of maxima, bands of details), and what comes
up takes the decoder's map and that memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_lift.errors import unknown
from robustbench_lift.pooling import POOLINGS, UP_POOLINGS, LiftDownPool, LiftUpPool, PoolingError, make_pooling
from robustbench_lift.pooling.registry import Option
from robustbench_lift.registry import add


class PoolPair(nn.Module):
    """A down-pooling with a `record` and its up-pooling.

    An up-pooling whose parameters are all those of the down-pooling (LiftUpPool.sharing) stays outside of the module
    tree: the parameters are listed, counted and stored once.

    Args:
        down: x -> (pooled, memory) by its method `record`.
        up: (map, memory) -> map of the size that x had.

    >>> down = LiftDownPool(8)
    >>> pair = PoolPair(down, LiftUpPool.sharing(down))
    >>> sorted(pair.state_dict())
    ['lower.predict.gain', 'lower.predict.taps', 'lower.update.gain', 'lower.update.taps']
    >>> x = torch.rand(1, 8, 7, 6)
    >>> torch.allclose(pair.up(*pair.down(x)), x, atol=1e-5)
    True
    """

    def __init__(self, down: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.lower = down
        own = {id(parameter) for parameter in down.parameters()}
        learned = [id(parameter) for parameter in up.parameters()]
        if learned and own.issuperset(learned):
            self.__dict__["upper"] = up  # nn.Module.__setattr__ would list its parameters a second time
        else:
            self.upper = up

    def down(self, x: Tensor) -> tuple[Tensor, Any]:
        """x [N, C, H, W] -> the pooled map [N, C, ceil(H/2), ceil(W/2)], and what `up` needs beside a map."""
        pooled: tuple[Tensor, Any] = self.lower.record(x)  # type: ignore[operator]
        return pooled

    def up(self, y: Tensor, memory: Any) -> Tensor:
        """y [N, C, h, w] -> [N, C, H, W]."""
        risen: Tensor = self.upper(y, memory)
        return risen


class WithoutDetails(PoolPair):
    """LiftPool whose details are zeros on the way up: what LiftUpPool does without the encoder's details.

    Those details are a skip connection of 3 C channels; this pair tells how much of LiftUpPool's gain is that.
    """

    def up(self, y: Tensor, memory: Any) -> Tensor:
        """y [N, C, h, w] -> [N, C, H, W]."""
        nothing = torch.zeros_like(y)
        return super().up(y, memory._replace(LH=nothing, HL=nothing, HH=nothing))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """An entry of the registry."""

    name: str
    """As model specs name it: segnet/NAME."""
    idea: str
    """One line."""
    make: Callable[..., PoolPair]
    """Called as make(channels, **options)."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """Keywords of `make`."""
    stochastic: bool = False
    """Whether training draws."""
    loss_names: tuple[str, ...] = ()
    """Auxiliary losses that its down-pooling may have."""


PAIRS: dict[str, Pair] = {}
"""Pairs by name; `register_pair` adds one."""


def register_pair(pair: Pair) -> Pair:
    """Add a pair: `segnet/NAME`, `train` and `list models` then know it.

    Raises:
        UsageError: the name is taken.

    >>> from robustbench_lift.pooling import AveragePool, MaxPool, MaxUpPool
    >>> _ = register_pair(Pair(name="doc", idea="As max.", make=lambda c: PoolPair(MaxPool(c), MaxUpPool(c))))
    >>> del PAIRS["doc"]
    """
    return add(PAIRS, "pair of poolings", pair.name, pair, module=pair.make.__module__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolPairs:
    """Makes the pairs of one network.

    >>> PoolPairs(name="lift", options={"kernel_size": 3}).pair(16).lower.kernel_size
    3
    """

    name: str
    """A name of `PAIRS`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the pair."""

    @property
    def entry(self) -> Pair:
        """The line in the registry."""
        if self.name not in PAIRS:
            raise unknown("pair of poolings", self.name, PAIRS)
        return PAIRS[self.name]

    def check(self) -> None:
        """Refuse an unknown pair or option before a network is made.

        Raises:
            UsageError, PoolingError: with the known names.
        """
        self.pair(16)

    def pair(self, channels: int) -> PoolPair:
        """The pair for maps of `channels`."""
        for option in self.options:
            if option not in self.entry.options:
                raise unknown(f"option of the pair {self.name!r}", option, self.entry.options or ("none",))
        return self.entry.make(channels, **self.options)


def _max(channels: int, *, kernel: int = 2, up: str = "max-up", **options: Any) -> PoolPair:
    if kernel != 2:
        raise PoolingError(
            "a pair needs max-pools of kernel=2: larger windows overlap, and one sample can be put twice."
        )
    return PoolPair(make_pooling("max", channels), make_pooling(up, channels, **options))


def _max_blur(channels: int, **options: Any) -> PoolPair:
    return _max(channels, up="max-up-blur", **options)


def _lift(channels: int, **options: Any) -> PoolPair:
    down = LiftDownPool(channels, bands="LL", **options)
    return PoolPair(down, LiftUpPool.sharing(down))


def _lift_without_details(channels: int, **options: Any) -> PoolPair:
    down = LiftDownPool(channels, bands="LL", **options)
    return WithoutDetails(down, LiftUpPool.sharing(down))


_LIFT_OPTIONS = {name: option for name, option in POOLINGS["lift"].options.items() if name != "bands"}
for _pair in (
    Pair(name="max", idea="MaxPool, and MaxUpPool at the maxima (SegNet)", make=_max),
    Pair(
        name="max-blur",
        idea="MaxPool, and MaxUpPool followed by a BlurPool of stride 1",
        make=_max_blur,
        options=UP_POOLINGS["max-up-blur"].options,
    ),
    Pair(
        name="lift",
        idea="LiftDownPool keeping LL, and LiftUpPool with the encoder's details; P and U are shared",
        make=_lift,
        options=_LIFT_OPTIONS,
        loss_names=POOLINGS["lift"].loss_names,
    ),
    Pair(
        name="lift-no-details",
        idea="the same with zeros for details: LiftUpPool without its skip connection",
        make=_lift_without_details,
        options=_LIFT_OPTIONS,
        loss_names=POOLINGS["lift"].loss_names,
    ),
):
    register_pair(_pair)
