"""Every pooling by name: what it is, what it takes, how to make one, and the decorator that adds one."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from .base import PoolingLayer, Source
from .errors import PoolingError, blamed, unknown

L = TypeVar("L", bound=type[PoolingLayer])


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
    source: Source | None
    """Where it was published; None for a pooling of your own."""
    options: Mapping[str, Option]
    needs_size: bool
    """Tied to one input size, which the option `size` gives."""
    polyphase: bool
    """Keeps one phase an image; the shortcut beside it must keep the same (PolyphasePooling.select and .take)."""
    circular: bool
    """Its promise holds where convolutions pad circularly."""
    stochastic: bool
    """Draws in training mode."""
    loss_names: tuple[str, ...]
    """Auxiliary losses that it may have (collect_losses)."""

    @classmethod
    def of(cls, name: str, layer: type[PoolingLayer]) -> Pooling:
        """The entry of a layer class, read from its constructor and class attributes.

        Raises:
            PoolingError: the class does not say what its entry needs.
        """
        if not (isinstance(layer, type) and issubclass(layer, PoolingLayer)):
            raise PoolingError(f"pooling {name!r}: expected a subclass of PoolingLayer, found {layer!r}.")
        parameters = list(inspect.signature(layer).parameters.values())
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        if [p.name for p in parameters if p not in keywords] != ["channels"]:
            raise PoolingError(
                f"pooling {name!r}: {layer.__name__}.__init__ must take (self, channels, *, option=default, ...): the "
                f"number of channels, then options by keyword; it takes {inspect.signature(layer)}."
            )
        for keyword in keywords:
            if keyword.name not in layer.options:
                raise PoolingError(
                    f"pooling {name!r}: say in one line what {keyword.name} does: "
                    f'options = {{"{keyword.name}": "..."}} in class {layer.__name__}.'
                )
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
            loss_names=layer.loss_names,
        )

    def parameters(self, channels: int, **options: object) -> int:
        """How many learned numbers a layer of `channels` has; nothing is allocated.

        >>> POOLINGS["lift"].parameters(256)
        3072
        """
        with torch.device("meta"):
            return sum(p.numel() for p in self.make(channels, **options).parameters())

    def make(self, channels: int, **options: object) -> PoolingLayer:
        """The layer.

        Raises:
            PoolingError: an option that it does not have or lacks, or an exception in the constructor of a pooling
                that is not of this package.
        """
        for option in options:
            if option not in self.options:
                raise unknown(f"option of pooling {self.name!r}", option, self.options)
        for option, known in self.options.items():
            if known.default is REQUIRED and option not in options:
                raise PoolingError(f"pooling {self.name!r} needs {option}: {known.doc}.")
        if getattr(self.factory, "built_in", False):
            return self.factory(channels, **options)
        try:
            if torch.empty(0).device.type == "meta":
                # Networks are checked without memory for their weights. A constructor that reads the value of a tensor
                # cannot run that way and need not: one layer is small.
                with torch.device("cpu"):
                    return self.factory(channels, **options)
            return self.factory(channels, **options)
        except PoolingError:
            raise
        except Exception as error:
            given = "".join(f", {key}={value!r}" for key, value in options.items())
            raise blamed(self.name, error, f"when it was made for {channels} channels{given}") from error


def changed(options: Mapping[str, object], known: Mapping[str, Option]) -> dict[str, object]:
    """The options that differ from their defaults: two layers of one name are alike where these are.

    >>> changed({"kernel_size": 5, "constraint": None, "bands": "LL"}, POOLINGS["lift"].options)
    {'bands': 'LL'}
    """
    return {key: value for key, value in options.items() if key not in known or known[key].default != value}


POOLINGS: dict[str, Pooling] = {}
"""Down-poolings by name; `@pooling` adds one."""

UP_POOLINGS: dict[str, Pooling] = {}
"""Up-poolings by name; forward(x, memory) takes what the `record` of their down-pooling returned."""


def pooling(name: str) -> Callable[[L], L]:
    """Register a down-pooling: `resnet50/NAME`, `train`, `list poolings` and `make_pooling(NAME, ...)` then know it.

    Args:
        name: letters, digits, dots and dashes; a taken name is an error.

    Raises:
        PoolingError: a taken or unreadable name, or a class that lacks what its entry needs.

    >>> @pooling("corner")
    ... class Corner(PoolingLayer):
    ...     idea = "The first sample of every window."
    ...     def pool(self, x):
    ...         return x[..., ::2, ::2]
    >>> make_pooling("corner", 3)(torch.ones(1, 3, 5, 4)).shape
    torch.Size([1, 3, 3, 2])
    >>> del POOLINGS["corner"]
    """
    return _registering(name, POOLINGS)


def up_pooling(name: str) -> Callable[[L], L]:
    """Register an up-pooling, as `pooling` does a down-pooling."""
    return _registering(name, UP_POOLINGS)


def _registering(name: str, registry: dict[str, Pooling]) -> Callable[[L], L]:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
        raise PoolingError(f"the name of a pooling is made of letters, digits, dots and dashes, not {name!r}.")

    def register(layer: L) -> L:
        known = POOLINGS.get(name) or UP_POOLINGS.get(name)
        if known is not None:
            taken, new = (
                f"{getattr(c, '__module__', '?')}.{getattr(c, '__qualname__', '?')}" for c in (known.factory, layer)
            )
            if taken != new:  # the same class again: a cell of a notebook, or importlib.reload
                raise PoolingError(f"the name {name!r} of pooling {new} is taken by {taken}; choose another.")
        registry[name] = Pooling.of(name, layer)
        return layer

    return register


def make_pooling(name: str, channels: int, **options: Any) -> PoolingLayer:
    """The pooling `name` for maps of `channels`.

    >>> make_pooling("lift", 8, kernel_size=7)
    LiftDownPool(
      8, kernel_size=7, bands='sum', constraint=None, gradient='features', padding='zeros', init='default'
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

    Raises:
        PoolingError: not name=value joined by &, an option twice, a number of more than 18 digits.

    >>> parse_options("kernel_size=7&bands=LL+HH&size=14x14&anneal=true&sigma=0.5")
    {'kernel_size': 7, 'bands': 'LL+HH', 'size': (14, 14), 'anneal': True, 'sigma': 0.5}
    """
    options: dict[str, object] = {}
    for part in filter(None, text.split("&")):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise PoolingError(f"cannot read {part[:80]!r} in options {text[:80]!r}: expected name=value, joined by &.")
        if name in options:
            raise PoolingError(f"option {name!r} is given twice in {text[:200]!r}.")
        options[name] = _typed(name, value)
    return options


def _typed(name: str, value: str) -> object:
    words: dict[str, object] = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    if re.search(r"\d{19}", value) and re.fullmatch(r"[-+x\d._e]+", value, re.ASCII | re.IGNORECASE):
        raise PoolingError(f"option {name!r} has a number of {len(value):,} digits; at most 18 make sense.")
    if sides := re.fullmatch(r"(\d+)x(\d+)", value, re.ASCII):
        return int(sides[1]), int(sides[2])
    for read in (int, float):
        try:
            number = read(value)
        except ValueError:
            continue
        if math.isfinite(number) and value.isascii():
            return number
    return value
