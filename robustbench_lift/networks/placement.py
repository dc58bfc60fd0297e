"""Where pooling sits in a backbone: what a backbone asks for, and what it gets.

A backbone says "here a map of C channels and this size is halved" and never asks which pooling it is given. `skip`
keeps the strided convolutions of the published network (`Pools.strided`). Everything that one pooling needs and another
does not happens here: the dense maximum before a pooling that only subsamples, one phase for both branches of a
residual block, the input size of poolings that are tied to one, circular padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.pooling import POOLINGS, PolyphasePooling, Pooling, PoolingLayer

LARGEST_SIDE = 8192
"""Side of images, in pixels, that an option may ask for: one such image takes 0.8 GB."""
SUBSAMPLERS = ("blur",)
"""Poolings that replace only the subsampling of a max-pool: the maximum itself stays, taken densely (Zhang 2019,
section 3.2). Polyphase poolings do the same (Chaman and Dokmanic 2021, section 4)."""

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
CONV_PADDINGS: tuple[PaddingMode, ...] = ("zeros", "reflect", "replicate", "circular")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pools:
    """Makes the poolings of one network.

    >>> Pools(name="blur", options={"filter": "tri-3"}).pool(8)
    BlurPool(8, filter='tri-3', padding='reflect', stride=2)
    """

    name: str
    """A name of `robustbench_lift.pooling.POOLINGS`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the pooling."""
    circular: bool = False
    """Whether the network's convolutions pad circularly, and with them the dense maxima."""

    @property
    def entry(self) -> Pooling:
        """The pooling's line in the registry."""
        if self.name not in POOLINGS:
            # also where make_pooling would know it: up-poolings
            raise UsageError(f"{unknown('pooling', self.name, POOLINGS)} One of your own comes with --plugin FILE.")
        return POOLINGS[self.name]

    @property
    def strided(self) -> bool:
        """Whether the network keeps its strided convolutions and pools nowhere."""
        return self.name == "skip"

    def check(self) -> None:
        """Refuse an unknown pooling or option before a network is made.

        Raises:
            PoolingError: with the known names.
        """
        if self.entry.needs_size and "size" in self.options:
            raise UsageError(f"pooling {self.name!r}: maps differ in size inside a network; give input_size instead.")
        self.pool(16, 16)

    def pool(self, channels: int, size: int = 0) -> nn.Module:
        """The pooling for maps of `channels` and `size` x `size` pixels."""
        tied = {"size": (size, size)} if self.entry.needs_size else {}
        return self.entry.make(channels, **{**self.options, **tied})

    def instead_of_max(self, channels: int, size: int = 0, *, kernel: int = 2, padding: int = 0) -> nn.Module:
        """What takes the place of a max-pool of stride 2; `kernel` and `padding` are those of its dense maximum."""
        pool = self.pool(channels, size)
        if self.name in SUBSAMPLERS or self.entry.polyphase:
            return DenseMaxThen(pool, kernel=kernel, padding=padding, circular=self.circular)
        return pool

    def twice(self, channels: int, size: int = 0) -> nn.Module:
        """One layer applied two times: a pooling of stride 4 with the parameters of one."""
        if self.entry.needs_size:
            raise UsageError(f"pooling {self.name!r} is tied to one map size and cannot be applied twice; use stage.")
        return Twice(self.entry.make(channels, **self.options))

    def branches(self, main: int, shortcut: int, size: int = 0) -> nn.Module:
        """A pooling for each branch of a residual block, of `main` and `shortcut` channels: (y, x) -> (y, x)."""
        pool = self.pool(main, size)
        if isinstance(pool, PolyphasePooling):
            return SamePhase(pool)
        return Branches(pool, self.pool(shortcut, size))

    def main_only(self, main: int, size: int = 0) -> nn.Module:
        """A pooling for the main branch beside a shortcut that keeps its strided convolution."""
        if self.entry.polyphase:
            raise UsageError(
                f"pooling {self.name!r} chooses a phase for each image, which the strided shortcut of this placement "
                "would not follow. Use the placement stage or zhang."
            )
        return Branches(self.pool(main, size), nn.Identity())


class Branches(nn.Module):
    """Two modules side by side on the main branch and the shortcut of a residual block."""

    def __init__(self, main: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.main = main
        self.shortcut = shortcut

    def forward(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, x) -> (y, x), both halved."""
        return self.main(y), self.shortcut(x)


class SamePhase(nn.Module):
    """The main branch chooses the phase, the shortcut keeps the same, so that both stay aligned."""

    def __init__(self, main: PolyphasePooling) -> None:
        super().__init__()
        self.main = main

    def forward(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(y, x) -> (y, x), both halved at the phase of y."""
        phase = self.main.select(y)
        return self.main.take(y, phase), self.main.take(x, phase)


class DenseMaxThen(nn.Module):
    """Maximum at stride 1, then a pooling that subsamples: MaxBlurPool and its kin."""

    def __init__(self, pool: nn.Module, *, kernel: int, padding: int, circular: bool) -> None:
        super().__init__()
        self.pool = pool
        self.kernel, self.padding, self.circular = kernel, padding, circular

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> the pooled dense maximum."""
        if self.circular:
            before, after = (self.kernel - 1) // 2, self.kernel // 2
            x = F.pad(x, (before, after, before, after), mode="circular")
        out: Tensor = self.pool(F.max_pool2d(x, self.kernel, 1, 0 if self.circular else self.padding))
        return out

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, padding={'circular' if self.circular else self.padding}"


class Twice(PoolingLayer):
    """One pooling applied two times with the same parameters; auxiliary losses of both times count."""

    built_in = True

    def __init__(self, layer: PoolingLayer) -> None:
        super().__init__(layer.channels)
        self.layer = layer

    def pool(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        # The layer itself, a module of its own, reports the losses of its last call; these are those of the first.
        self._losses = self.layer.losses()
        out: Tensor = self.layer(x)
        return out


def image_side(input_size: object) -> int:
    """`input_size` as the side of an image, which a network is asked with at least once.

    Raises:
        UsageError: it is no integer from 1 to LARGEST_SIDE.

    >>> image_side(224)
    224
    """
    if isinstance(input_size, bool) or not isinstance(input_size, int) or not 1 <= input_size <= LARGEST_SIDE:
        raise UsageError(
            f"input_size must be the side of the images in pixels, for example 224, not {input_size!r}; "
            f"at most {LARGEST_SIDE:,}."
        )
    return input_size


def halved(size: int) -> int:
    """The side of a map after one pooling."""
    return (size + 1) // 2


def outside_pooling(module: nn.Module) -> Iterator[nn.Module]:
    """All modules of a network but those inside its pooling layers, which initialise themselves."""
    yield module
    for child in module.children():
        if not isinstance(child, PoolingLayer):
            yield from outside_pooling(child)


def pad_convolutions(module: nn.Module, mode: PaddingMode) -> None:
    """Let every convolution of the backbone pad in this way."""
    for child in outside_pooling(module):
        if isinstance(child, nn.Conv2d):
            child.padding_mode = mode


def initialise(module: nn.Module) -> None:
    """Draw the backbone's weights: He et al. (2015), fan out, for convolutions; ones and zeros for batch norms."""
    for child in outside_pooling(module):
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.BatchNorm2d):
            nn.init.ones_(child.weight)
            nn.init.zeros_(child.bias)
