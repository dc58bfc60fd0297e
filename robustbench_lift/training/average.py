"""Averaged weights (EMA): what is tested and handed over where a recipe asks for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of a network's weights, or nothing at all when the decay is 0.

    After each step a <- decay * a + (1 - decay) * w for parameters; buffers are copied.

    Args:
        module: the network that is trained.
        decay: 0 (no average) to below 1.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> _ = layer.weight.data.fill_(1.0)
    >>> average = Average(layer, 0.75)
    >>> _ = layer.weight.data.fill_(3.0)
    >>> average.update()
    >>> with average.in_place():
    ...     layer.weight.item()
    1.5
    >>> layer.weight.item()
    3.0
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self._parameters = frozenset(name for name, _ in module.named_parameters())
        self.tensors: dict[str, Tensor] | None = None
        if decay:
            self.tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Count the weights after a step."""
        if self.tensors is None:
            return
        for name, value in self._module.state_dict().items():
            if name in self._parameters:
                self.tensors[name].lerp_(value.to(self.tensors[name].dtype), 1 - self._decay)
            else:
                self.tensors[name].copy_(value)

    def restore(self, tensors: Mapping[str, Tensor] | None) -> None:
        """Take over a stored average."""
        if self.tensors is not None and tensors is not None:
            for name, value in tensors.items():
                self.tensors[name].copy_(value)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The network holds the weights that are tested and handed over; the trained ones come back afterwards."""
        if self.tensors is None:
            yield
            return
        trained = {name: value.clone() for name, value in self._module.state_dict().items()}
        self._module.load_state_dict(self.tensors)
        try:
            yield
        finally:
            self._module.load_state_dict(trained)
