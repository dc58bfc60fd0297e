"""One lifting step of LiftPool on a CPU, (s, d) of lines, in as few passes over memory as torch's operations allow.

The lines are worked through in blocks that stay in a processor's cache. The sign of a gain leaves the operator and its
size goes into the taps, tanh(g relu(z)) = sign(g) relu(tanh(|g| z)), so that one convolution with tanh in it, one ReLU
and one multiplication with addition are a whole step. The gradient is written out: it needs the lines, d and the two
values of tanh, and gives the gradients of taps and gain by one filter gradient,

    h = grad (1 - t^2) [t > 0],    W_k = sum of h x shifted by k,    d taps = gain W,    d gain = sum over k of taps W.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 1 << 19
"""Values of s that are computed at once, 2 MB in float32: what a step reads and writes of them stays in cache."""
TINY = 2.0**-40
"""Least size of a gain inside the tanh, which is linear there: a gain of zero still learns, as [t > 0] is known."""


def applies(lines: Tensor, padding: str) -> bool:
    """Whether `Step` does what the plain operations do: float32 on a CPU, zeros at the border, nothing traced."""
    return (
        not torch.compiler.is_compiling()
        and lines.device.type == "cpu"
        and lines.dtype == torch.float32
        and padding == "zeros"
        and lines.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()  # vmap and its like trace the plain operations
    )


def plain(
    x_e: Tensor, x_o: Tensor, taps_p: Tensor, gain_p: Tensor, taps_u: Tensor, gain_u: Tensor
) -> tuple[Tensor, Tensor]:
    """(s, d) by the equations, on lines [B, L, R, C]."""
    d = x_o - torch.tanh(gain_p * torch.relu(_filtered(x_e, taps_p)))
    return x_e + torch.tanh(gain_u * torch.relu(_filtered(d, taps_u))), d


def step(lines: Tensor, taps_p: Tensor, gain_p: Tensor, taps_u: Tensor, gain_u: Tensor) -> tuple[Tensor, Tensor]:
    """(s, d), each [B, L/2, R, C], of lines [B, L, R, C] of even L; taps [C, K] and gain [C] of P, then of U."""
    if torch.is_grad_enabled():
        found: tuple[Tensor, Tensor] = Step.apply(lines, taps_p, gain_p, taps_u, gain_u)
        return found
    return _computed(lines, taps_p, gain_p, taps_u, gain_u, values=None)  # `apply` takes a tenth of a millisecond


class Step(torch.autograd.Function):
    """`step` with its gradient."""

    @staticmethod
    def forward(ctx: Any, lines: Tensor, taps_p: Tensor, gain_p: Tensor, taps_u: Tensor, gain_u: Tensor) -> Any:
        values: list[Tensor] = []
        s, d = _computed(lines, taps_p, gain_p, taps_u, gain_u, values=values)
        ctx.save_for_backward(lines, taps_p, gain_p, taps_u, gain_u, d, *values)
        return s, d

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad_s, grad_d = grads
        inputs, d, values = ctx.saved_tensors[:5], ctx.saved_tensors[5], ctx.saved_tensors[6:]
        lines, taps_p, gain_p, taps_u, gain_u = inputs
        if torch.is_grad_enabled():  # a graph of the gradient is asked for: that of the plain operations
            outputs = plain(lines[:, 0::2], lines[:, 1::2], *inputs[1:])
            return torch.autograd.grad(outputs, inputs, grads, create_graph=True, allow_unused=True)
        gradient = torch.empty_like(lines)
        weights_p, weights_u = torch.zeros_like(taps_p), torch.zeros_like(taps_u)
        filter_p, filter_u = taps_p * -gain_p[:, None], taps_u * gain_u[:, None]
        for block, t_p, t_u in zip(_blocks(d), values[0::2], values[1::2], strict=True):
            of_d, more = _filter_gradients(_through_tanh(grad_s[block], t_u), d[block], filter_u)
            weights_u += more
            of_d += grad_d[block]
            of_e, more = _filter_gradients(_through_tanh(of_d, t_p), lines[block][:, 0::2].contiguous(), filter_p)
            weights_p += more
            gradient[block][:, 1::2] = of_d
            torch.add(of_e, grad_s[block], out=gradient[block][:, 0::2])
        return (
            gradient,
            weights_p * -gain_p[:, None],
            -(weights_p * taps_p).sum(1),
            weights_u * gain_u[:, None],
            (weights_u * taps_u).sum(1),
        )


def _computed(
    lines: Tensor, taps_p: Tensor, gain_p: Tensor, taps_u: Tensor, gain_u: Tensor, *, values: list[Tensor] | None
) -> tuple[Tensor, Tensor]:
    """(s, d); the values of tanh of each block, which a gradient needs, are added to `values` where that is a list."""
    bundles, length, beside, channels = lines.shape
    s = lines.new_empty(bundles, length // 2, beside, channels)
    d = torch.empty_like(s)
    inner_p, outer_p = _inside_and_out(taps_p, -gain_p)
    inner_u, outer_u = _inside_and_out(taps_u, gain_u)
    for block in _blocks(s):
        x = lines[block]
        t_p = _tanh_of_filtered(x, inner_p, step=2)
        torch.addcmul(x[:, 1::2], t_p, outer_p, out=d[block])
        t_u = _tanh_of_filtered(d[block], inner_u, step=1)
        torch.addcmul(x[:, 0::2], t_u, outer_u, out=s[block])
        if values is not None:
            values += [t_p, t_u]
    return s, d


def _blocks(s: Tensor) -> Iterator[slice]:
    size = max(1, BLOCK // s[0].numel())
    return (slice(start, start + size) for start in range(0, len(s), size))


def _inside_and_out(taps: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """(filters with the size of the gain in them, what is left of the gain outside the tanh)."""
    size = gain.abs().clamp_min(TINY)
    return taps * size[:, None], gain / size


def _filtered(x: Tensor, taps: Tensor) -> Tensor:
    channels, size = taps.shape
    y = F.conv2d(x.permute(0, 3, 1, 2), taps[:, None, :, None], padding=(size // 2, 0), groups=channels)
    return y.permute(0, 2, 3, 1)


def _tanh_of_filtered(x: Tensor, taps: Tensor, *, step: int) -> Tensor:
    """ReLU of tanh of the filtered lines; with step 2 of their even samples, which are not copied for it."""
    channels, size = taps.shape
    map_, filters = x.permute(0, 3, 1, 2), taps[:, None, :, None]
    padding, stride = [step * (size // 2), 0], [step, 1]
    if FUSED and x.dtype == torch.float32:
        y = torch.ops.mkldnn._convolution_pointwise(
            map_, filters, None, padding, stride, stride, channels, "tanh", [], ""
        )
    else:
        y = F.conv2d(map_, filters, padding=padding, stride=stride, dilation=stride, groups=channels)
        y = y.mul_(2).sigmoid_().mul_(2).sub_(1)  # tanh, a fifth of torch.tanh's time
    result: Tensor = y.relu_().permute(0, 2, 3, 1)
    return result


def _has_fused() -> bool:
    """Whether this torch has the convolution with a tanh in it that its compiler uses (oneDNN), with its signature."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        one = torch.ones(1, 1, 1, 1)
        y = torch.ops.mkldnn._convolution_pointwise(one, one, None, [0, 0], [1, 1], [1, 1], 1, "tanh", [], "")
    except (AttributeError, RuntimeError):
        return False
    return bool((y - torch.tanh(one)).abs().max() < 1e-6)


FUSED = _has_fused()


def _through_tanh(grad: Tensor, t: Tensor) -> Tensor:
    h = torch.ops.aten.tanh_backward(grad, t)
    result: Tensor = torch.ops.aten.threshold_backward(h, t, 0)
    return result


def _filter_gradients(h: Tensor, x: Tensor, filters: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of filtered lines by the lines x [B, L, R, C] and by the filters [C, K]."""
    channels, size = filters.shape
    of_x, of_filters, _ = torch.ops.aten.convolution_backward(
        h.permute(0, 3, 1, 2),
        x.permute(0, 3, 1, 2),
        filters[:, None, :, None],
        None,
        [1, 1],
        [size // 2, 0],
        [1, 1],
        False,
        [0, 0],
        channels,
        [True, True, False],
    )
    return of_x.permute(0, 2, 3, 1), of_filters[:, 0, :, 0]
