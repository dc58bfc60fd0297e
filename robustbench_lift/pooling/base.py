"""What every pooling layer shares: one shape rule, one check of the input, auxiliary losses, loading of weights.

Legend: N images, C channels, H x W pixels; h = ceil(H / 2), w = ceil(W / 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from .errors import PoolingError, blamed


class Source(NamedTuple):
    """Where a method was published."""

    authors: str
    paper: str
    venue: str
    year: int

    def __str__(self) -> str:
        return f"{self.authors}: {self.paper}, {self.venue} {self.year}"


class PoolingLayer(nn.Module):
    """Base of all pooling layers that halve: x [N, C, H, W] -> [N, C, ceil(H/2), ceil(W/2)].

    A family defines `pool` and the class attributes below; the registry reads them. Layers take real floating point
    tensors of any memory format and any size from 1 x 1.

    Args:
        channels: C, the number of channels of the maps that will come.
    """

    idea: ClassVar[str] = ""
    """One line that says what the method does."""
    source: ClassVar[Source | None] = None
    """Where it was published."""
    options: ClassVar[Mapping[str, str]] = {}
    """One line for each keyword of the constructor."""
    needs_size: ClassVar[bool] = False
    """The layer is tied to one input size, given as the option `size`."""
    polyphase: ClassVar[bool] = False
    """The layer keeps one of the four 2 x 2 phases an image; a shortcut beside it must keep the same."""
    circular: ClassVar[bool] = False
    """What the method promises holds in a network whose convolutions pad circularly."""
    stochastic: ClassVar[bool] = False
    """Training draws from `self.generator`, or from torch's ambient generator while that is None; eval never draws."""
    loss_names: ClassVar[tuple[str, ...]] = ()
    """Auxiliary losses that `losses()` may hold after a forward in training mode."""

    built_in: ClassVar[bool] = True
    """Whether the class belongs to this package; others are checked, and their exceptions carry their name."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "built_in" not in cls.__dict__:
            cls.built_in = cls.__module__.startswith(f"{__package__}.")

    def __init__(self, channels: int) -> None:
        super().__init__()
        if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
            raise PoolingError(f"{type(self).__name__}: channels must be an integer of at least 1, not {channels!r}.")
        self.channels = channels
        self.generator: torch.Generator | None = None
        self._losses: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C, ceil(H/2), ceil(W/2)]; or PoolingError (see `check`)."""
        self.check(x)
        return self.pool(x) if self.built_in else self._checked(x)

    def _checked(self, x: Tensor) -> Tensor:
        """`pool` of a class that is not of this package."""
        name, shape = type(self).__name__, tuple(x.shape)
        try:
            y = self.pool(x)
        except (PoolingError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if "DefaultCPUAllocator" in str(error):  # no memory, which is nobody's mistake
                raise
            raise blamed(name, error, f"on a map of shape {shape}") from error
        expected = (*shape[:2], (shape[2] + 1) // 2, (shape[3] + 1) // 2)
        if not isinstance(y, Tensor) or y.shape != expected:
            found = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
            raise PoolingError(
                f"your pooling {name} made {found} of a map of shape {shape}; a pooling makes {expected}, also of odd "
                "sides ([N, C, ceil(H/2), ceil(W/2)])."
            )
        return y

    def pool(self, x: Tensor) -> Tensor:
        """The method itself, on an input that was checked."""
        raise NotImplementedError

    def losses(self) -> dict[str, Tensor]:
        """Auxiliary losses of the last forward, by name; empty unless that was in training mode."""
        return dict(self._losses)

    def check(self, x: Tensor) -> None:
        """Refuse what is not a floating point map [N, C, H, W] of this layer's channels."""
        name = type(self).__name__
        if x.dim() != 4:
            raise PoolingError(f"{name}: expected [N, C, H, W], found {x.dim()} dimensions, shape {tuple(x.shape)}.")
        if x.shape[1] != self.channels:
            raise PoolingError(f"{name}: built for {self.channels} channels, the input has {x.shape[1]}.")
        if not x.is_floating_point():
            raise PoolingError(f"{name}: expected a floating point tensor, found {x.dtype}; convert it first.")
        if x.shape[2] == 0 or x.shape[3] == 0:
            raise PoolingError(f"{name}: the map has no pixels, shape {tuple(x.shape)}; at least 1 x 1 is needed.")

    def extra_repr(self) -> str:
        return ", ".join([str(self.channels), *(f"{k}={getattr(self, k)!r}" for k in self.options if hasattr(self, k))])

    def __getstate__(self) -> dict[str, Any]:
        # Losses belong to one graph, a generator to one process: neither is copied, saved or sent.
        return {**self.__dict__, "_losses": {}, "generator": None}

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        found = {key[len(prefix) :] for key in state_dict if key.startswith(prefix)}
        expected = set(self.state_dict())
        # Torch alone would list the keys of a whole network; say once, here, that the pooling is another.
        if strict and found != expected and (found or expected):
            where = prefix.rstrip(".") or "this layer"
            error_msgs.append(
                f"{where} is {type(self).__name__}({self.extra_repr()}) and expects {_listing(expected)}, "
                f"the weights have {_listing(found)}: they belong to another pooling or to other options. "
                f"Build the model with the pooling that the weights were trained with."
            )
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def _listing(keys: set[str]) -> str:
    return ", ".join(sorted(keys)) or "no parameters"


def collect_losses(model: nn.Module) -> dict[str, Tensor]:
    """Auxiliary losses of all pooling layers of `model`, summed by name; valid after a forward in training mode.

    LiftPool adds them to the task's loss with weights 0.01 (c_u) and 0.1 (c_p).

    >>> from robustbench_lift.pooling import LiftDownPool
    >>> net = nn.Sequential(LiftDownPool(3, constraint="mse"), LiftDownPool(3, constraint="mse"))
    >>> _ = net(torch.rand(2, 3, 8, 8))
    >>> sorted(collect_losses(net))
    ['c_p', 'c_u']
    """
    total: dict[str, Tensor] = {}
    for module in model.modules():
        if isinstance(module, PoolingLayer):
            for name, loss in module.losses().items():
                total[name] = total[name] + loss if name in total else loss
    return total
