"""Which network is trained, and how its first weights come from the seed alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_lift.errors import UsageError
from robustbench_lift.networks import BACKBONES, build_model
from robustbench_lift.text import printable
from robustbench_lift.training import draws
from robustbench_lift.weights import ModelSpec, untrained
from robustbench_lift.weights.spec import LIBRARIES
from robustbench_lift.weights.warm import WarmStart, file_sha256, warm_start

Builder = Callable[..., nn.Module]
"""Called as build(arch, pooling, num_classes=..., placement=..., options=...)."""


@dataclass(frozen=True, slots=True)
class Network:
    """A backbone with a pooling, or a network of torchvision or timm: a model spec without weights.

    >>> Network.parse("resnet8/lift?kernel_size=7&placement=zhang")
    Network(arch='resnet8', pooling='lift', placement='zhang', options={'kernel_size': 7}, start=None)
    """

    arch: str
    """Name in `networks.BACKBONES`, or `torchvision:NAME` or `timm:NAME`."""
    pooling: str = "skip"
    """Name in `pooling.POOLINGS`; skip leaves strides and a library's network as they are."""
    placement: str | None = None
    """Where the pooling sits; None is the backbone's default."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Options of the pooling and of the network."""
    start: Path | None = None
    """Weights that a training begins from, where they are not drawn from the seed."""

    @classmethod
    def parse(cls, text: str) -> Network:
        """A network from a model spec without weights: `resnet8/lift`, `torchvision:resnet50?pooling=lift`.

        Raises:
            UsageError: the text has another form.
        """
        spec = ModelSpec.parse(text)
        name = spec.name
        if spec.source == "shipped":  # a name of no backbone: `check` says which there are
            name, _, pooling = spec.name.partition("/")
            spec = replace(spec, source="zoo", name=name, pooling=pooling or None)
        elif spec.source in LIBRARIES:
            name = f"{spec.source}:{name}"
        if spec.source not in ("zoo", *LIBRARIES) or not name or spec != spec.network or "/" in (spec.pooling or ""):
            raise UsageError(
                f"{printable(text)!r} is not a network to train. Write ARCH/POOLING, for example resnet8/lift or "
                "resnet50/lift?kernel_size=7&placement=zhang, or torchvision:resnet50?pooling=lift."
            )
        default = BACKBONES[name].published_pooling if name in BACKBONES and BACKBONES[name].pairs else "skip"
        return cls(name, spec.pooling or default, spec.placement, dict(spec.options))

    @property
    def model(self) -> ModelSpec:
        """The network as a model spec."""
        source, colon, name = self.arch.partition(":")
        pooling = None if colon and self.pooling == "skip" else self.pooling
        placement = self.placement if pooling else None
        return ModelSpec(
            source=source if colon else "zoo",
            name=name if colon else self.arch,
            pooling=pooling,
            placement=placement,
            options=self.options,
        )

    @property
    def spec(self) -> str:
        """The network as one string.

        >>> Network("resnet8", "ada", options={"size": (4, 4)}).spec
        'resnet8/ada?size=4x4'
        """
        return str(self.model)

    @property
    def slug(self) -> str:
        """The network as a file name.

        >>> Network("resnet8", "blur", options={"filter": "tri-3"}).slug
        'resnet8-blur-filter=tri-3'
        """
        return self.model.slug

    def record(self) -> dict[str, Any]:
        """The fields as plain types; of weights that it begins from the sha256."""
        start = {} if self.start is None else {"start": file_sha256(self.start)}
        return {
            "architecture": self.arch,
            "pooling": self.pooling,
            "placement": self.placement,
            "options": json.loads(json.dumps(dict(self.options))),
            **start,
        }

    def check(self) -> None:
        """Make sure that the network can be built, without memory for its weights.

        Raises:
            UsageError: an unknown architecture or placement.
            PoolingError: an unknown pooling or option.

        >>> Network("resnet8", "lift", options={"kernel_size": 7}).check()
        """
        if self.model.source in LIBRARIES:  # replacing pooling shows the network an image, which takes memory
            self.build(10, seed=0)
            return
        with torch.device("meta"):
            self.build(10, seed=0)

    def begin(self, module: nn.Module) -> WarmStart | None:
        """Fill what `build` made with the weights that it begins from; None where it begins from the seed.

        Raises:
            CheckpointError: the weights are not those of such a network.
        """
        if self.start is None:
            return None
        task = BACKBONES[self.arch].task if self.arch in BACKBONES else "classification"
        return warm_start(module, self.start, segmentation=task == "segmentation")

    def build(self, num_classes: int, *, seed: int, builder: Builder | None = None) -> nn.Module:
        """The network with weights drawn from the seed; the global generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draws.key(seed, 2) >> 1)
            if builder is None and self.model.source in LIBRARIES:
                return untrained(self.model, num_classes)
            return (builder or build_model)(
                self.arch, self.pooling, num_classes=num_classes, placement=self.placement, options=self.options
            )
