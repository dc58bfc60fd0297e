"""Which network is trained, and how its first weights come from the seed alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from robustbench_lift.errors import UsageError
from robustbench_lift.networks import build_model
from robustbench_lift.pooling import parse_options
from robustbench_lift.training import draws

Builder = Callable[..., nn.Module]
"""Called as build(arch, pooling, num_classes=..., placement=..., options=...)."""


@dataclass(frozen=True, slots=True)
class Network:
    """An architecture with a pooling.

    >>> Network.parse("resnet8/lift?kernel_size=7&placement=zhang")
    Network(arch='resnet8', pooling='lift', placement='zhang', options={'kernel_size': 7})
    """

    arch: str
    """Name in `models.BACKBONES`."""
    pooling: str = "skip"
    """Name in `pooling.POOLINGS`."""
    placement: str | None = None
    """Where the pooling sits; None is the architecture's default."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Options of the pooling."""

    @classmethod
    def parse(cls, spec: str) -> Network:
        """A network from `arch`, `arch/pooling` or `arch/pooling?option=value&placement=...`.

        Raises:
            UsageError: the text has another form.
        """
        names, _, query = spec.partition("?")
        arch, _, pooling = names.partition("/")
        if not arch or "/" in pooling or "@" in spec or ":" in names:
            raise UsageError(
                f"{spec!r} is not a network to train. Write ARCH/POOLING, for example resnet8/lift or "
                "resnet50/lift?kernel_size=7&placement=zhang."
            )
        options = dict(parse_options(query)) if query else {}
        placement = options.pop("placement", None)
        return cls(arch, pooling or "skip", None if placement is None else str(placement), options)

    @property
    def spec(self) -> str:
        """The network as one string.

        >>> Network("resnet8", "blur", options={"filter": "tri-3"}).spec
        'resnet8/blur?filter=tri-3'
        """
        given = {**({"placement": self.placement} if self.placement else {}), **self.options}
        query = "&".join(f"{name}={value}" for name, value in given.items())
        return f"{self.arch}/{self.pooling}" + (f"?{query}" if query else "")

    @property
    def slug(self) -> str:
        """The network as a file name.

        >>> Network("resnet8", "blur", options={"filter": "tri-3"}).slug
        'resnet8-blur-filter=tri-3'
        """
        return self.spec.replace("/", "-").replace("?", "-").replace("&", ",")

    def record(self) -> dict[str, Any]:
        """The fields as plain types."""
        return {
            "architecture": self.arch,
            "pooling": self.pooling,
            "placement": self.placement,
            "options": json.loads(json.dumps(dict(self.options))),
        }

    def check(self) -> None:
        """Make sure that the network can be built, without memory for its weights.

        Raises:
            UsageError: an unknown architecture or placement.
            PoolingError: an unknown pooling or option.

        >>> Network("resnet8", "lift", options={"kernel_size": 7}).check()
        """
        with torch.device("meta"):
            self.build(10, seed=0)

    def build(self, num_classes: int, *, seed: int, builder: Builder | None = None) -> nn.Module:
        """The network with weights drawn from the seed; the global generator is left as it was."""
        builder = builder or build_model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draws.key(seed, 2) >> 1)
            return builder(
                self.arch, self.pooling, num_classes=num_classes, placement=self.placement, options=self.options
            )
