"""Operations of LiftPool that are faster on a CPU than torch's own, each with its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .tensors import memory_format


class _Tanh(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return (2 * x).sigmoid_().mul_(2).sub_(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        result: Tensor = torch.ops.aten.tanh_backward(grads[0], y)
        return result


def tanh(x: Tensor) -> Tensor:
    """tanh(x) = 2 sigmoid(2x) - 1: a fifth of the time of torch.tanh, within 2e-7 of it in float32."""
    y: Tensor = _Tanh.apply(x)
    return y


class _Move(torch.autograd.Function):
    """permute and copy; the gradient is copied back, or every operation before it would walk across its memory."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, there: tuple[int, ...], back: tuple[int, ...], last: bool, last_back: bool) -> Tensor:
        return _moved(x, there, last)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.back, ctx.last_back = inputs[2], inputs[4]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        return _moved(grads[0], ctx.back, ctx.last_back), None, None, None, None


def _moved(x: Tensor, axes: tuple[int, ...], last: bool) -> Tensor:
    return x.permute(axes).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _plain() -> bool:
    """Whether a move needs no gradient of its own: a compiler makes it, or nobody asks; `apply` takes 0.1 ms a call."""
    return torch.compiler.is_compiling() or not torch.is_grad_enabled()


TO_PIXELS, TO_MAP = (0, 2, 3, 1), (0, 3, 1, 2)


def to_pixels(x: Tensor) -> Tensor:
    """A map [N, C, H, W] as pixels [N, H, W, C], contiguous; no copy where the map is channels-last."""
    if _plain():
        return x.permute(TO_PIXELS).contiguous()
    y: Tensor = _Move.apply(x, TO_PIXELS, TO_MAP, False, memory_format(x) is torch.channels_last)
    return y


def to_map(pixels: Tensor, like: torch.memory_format) -> Tensor:
    """Pixels [N, H, W, C] as a map [N, C, H, W] in the memory format `like`."""
    if _plain():
        return pixels.permute(TO_MAP).contiguous(memory_format=like)
    y: Tensor = _Move.apply(pixels, TO_MAP, TO_PIXELS, like is torch.channels_last, False)
    return y
