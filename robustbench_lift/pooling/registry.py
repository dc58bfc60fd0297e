"""Every pooling by name: what it is, what it takes, how to make one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .base import PoolingLayer, Source
from .blur import BlurPool
from .classic import AveragePool, MaxPool, Skip
from .dpp import DetailPreservingPool
from .errors import PoolingError, unknown
from .gauss import GaussPool
from .lift import LiftDownPool, LiftUpPool
from .mixed import GatedPool, MixedPool
from .polyphase import APSPool, LPSPool
from .s3 import S3Pool
from .softmax import GFGP, LIP, AdaPool, SoftPool
from .spectral import ASAPool, FLCPool, SpectralPool
from .tips import TIPSPool
from .unpool import MaxUpPool, MaxUpPoolBlur
from .wavelet import WaveletPool


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One keyword of a pooling."""

    default: object
    """The value when it is not given; `REQUIRED` when it must be."""
    doc: str
    """One line."""


REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooling:
    """An entry of the registry."""

    name: str
    factory: Callable[..., PoolingLayer]
    idea: str
    """One line."""
    source: Source
    options: Mapping[str, Option]
    needs_size: bool
    """Tied to one input size, which the option `size` gives."""
    polyphase: bool
    """Keeps one phase an image; the shortcut beside it must keep the same (PolyphasePooling.select and .take)."""
    circular: bool
    """Its promise holds where convolutions pad circularly."""
    stochastic: bool
    """Draws in training mode."""
    has_losses: bool
    """Has auxiliary losses (collect_losses)."""

    @classmethod
    def of(cls, name: str, layer: type[PoolingLayer]) -> Pooling:
        """The entry of a layer class, read from its constructor and class attributes."""
        keywords = [p for p in inspect.signature(layer).parameters.values() if p.kind is p.KEYWORD_ONLY]
        return cls(
            name=name,
            factory=layer,
            idea=layer.idea,
            source=layer.source,
            options={p.name: Option(default=p.default, doc=layer.options[p.name]) for p in keywords},
            needs_size=layer.needs_size,
            polyphase=layer.polyphase,
            circular=layer.circular,
            stochastic=layer.stochastic,
            has_losses=layer.has_losses,
        )

    def parameters(self, channels: int, **options: object) -> int:
        """How many learned numbers a layer of `channels` has; nothing is allocated.

        >>> POOLINGS["lift"].parameters(256)
        3072
        """
        with torch.device("meta"):
            return sum(p.numel() for p in self.make(channels, **options).parameters())

    def make(self, channels: int, **options: object) -> PoolingLayer:
        """The layer; PoolingError for an option it does not have or lacks."""
        for option in options:
            if option not in self.options:
                raise unknown(f"option of pooling {self.name!r}", option, self.options)
        for option, known in self.options.items():
            if known.default is REQUIRED and option not in options:
                raise PoolingError(f"pooling {self.name!r} needs {option}: {known.doc}.")
        return self.factory(channels, **options)


_DOWN: dict[str, type[PoolingLayer]] = {
    "max": MaxPool,
    "average": AveragePool,
    "skip": Skip,
    "mixed": MixedPool,
    "gated": GatedPool,
    "s3": S3Pool,
    "dpp": DetailPreservingPool,
    "spectral": SpectralPool,
    "wavelet": WaveletPool,
    "blur": BlurPool,
    "gauss": GaussPool,
    "gfgp": GFGP,
    "lift": LiftDownPool,
    "lip": LIP,
    "soft": SoftPool,
    "ada": AdaPool,
    "aps": APSPool,
    "lps": LPSPool,
    "tips": TIPSPool,
    "flc": FLCPool,
    "asap": ASAPool,
}
_UP: dict[str, type[PoolingLayer]] = {
    "lift-up": LiftUpPool,
    "max-up": MaxUpPool,
    "max-up-blur": MaxUpPoolBlur,
}

POOLINGS: dict[str, Pooling] = {name: Pooling.of(name, layer) for name, layer in _DOWN.items()}
"""Down-poolings by name. A new one is one line: POOLINGS["mine"] = Pooling.of("mine", MyPool)."""

UP_POOLINGS: dict[str, Pooling] = {name: Pooling.of(name, layer) for name, layer in _UP.items()}
"""Up-poolings by name; forward(x, memory) takes what the `record` of their down-pooling returned."""


def make_pooling(name: str, channels: int, **options: Any) -> PoolingLayer:
    """The pooling `name` for maps of `channels`.

    >>> make_pooling("lift", 8, kernel_size=7)
    LiftDownPool(
      8, kernel_size=7, bands='sum', constraint='mse', gradient='features', padding='zeros', init='default'
      (predict): LiftOperator()
      (update): LiftOperator()
    )

    Raises:
        PoolingError: an unknown name or option (with the known and near ones), or a value that cannot be.
    """
    entry = POOLINGS.get(name) or UP_POOLINGS.get(name)
    if entry is None:
        raise unknown("pooling", name, [*POOLINGS, *UP_POOLINGS])
    return entry.make(channels, **options)


def parse_options(text: str) -> dict[str, object]:
    """Options from a query string, with the type each value shows.

    >>> parse_options("kernel_size=7&bands=LL+HH&size=14x14&anneal=true&sigma=0.5")
    {'kernel_size': 7, 'bands': 'LL+HH', 'size': (14, 14), 'anneal': True, 'sigma': 0.5}
    """
    options: dict[str, object] = {}
    for part in filter(None, text.split("&")):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise PoolingError(f"cannot read {part!r} in options {text!r}: expected name=value, joined by &.")
        if name in options:
            raise PoolingError(f"option {name!r} is given twice in {text!r}.")
        options[name] = _typed(value)
    return options


def _typed(value: str) -> object:
    words: dict[str, object] = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    sides = value.split("x")
    if len(sides) == 2 and all(side.isdigit() for side in sides):
        return int(sides[0]), int(sides[1])
    for read in (int, float):
        try:
            return read(value)
        except ValueError:
            continue
    return value
