"""The lifting of LiftPool on a CPU, in as few passes over memory as torch's operations allow.

`step` is one transform, (s, d) of lines; `summed` is the whole layer, the sum of the four bands. Both work in blocks,
which stay near the processor between operations. The sign of a gain leaves the operator and its size goes into the
taps, tanh(g relu(z)) = sign(g) relu(tanh(|g| z)), so that one convolution with tanh in it, one ReLU and one
multiplication with addition are an operator. The gradient is written out: it needs the lines, d and the two values of
tanh, and gives the gradients of taps and gain by one filter gradient,

    h = grad (1 - t^2) [t > 0],    W_k = sum of h x shifted by k,    d taps = gain W,    d gain = sum over k of taps W.

Lines here are [..., L, R, C], with any axes before L: the two parts of a map's rows are columns at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernels import TO_MAP, TO_PIXELS
from .tensors import memory_format

OPAQUE = "robustbench_lift::lift_sum"
"""`summed` as one operation of torch. It takes maps in any memory format and gives them channels last, as compiled
convolutions have them: a fixed format would cost a copy before and one after."""
GRADIENTS = "robustbench_lift::lift_sum_gradients"
"""The gradients of the map and the four filters as another; it computes the layer again, and nothing else is kept."""
EXPORTING: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
"""Whether a program is exported; torch 2.6 cannot tell that from compiling."""
HALVES = torch.bfloat16, torch.float16
BLOCK = 1 << 20
"""Values that are transformed at once, 4 MB in float32: of fewer, calls take longer than the memory that they save."""
LONGEST_DILATED = 5
"""Taps of the longest filter that oneDNN runs over every other sample as fast as over a copy of these, as long as they
are not fewer than its padding; otherwise the convolution becomes products of matrices, a hundred times as slow."""
TINY = 2.0**-40
"""Least size of a gain inside the tanh, which is linear there: a gain of zero still learns, as [t > 0] is known."""


def applies(x: Tensor, padding: str) -> bool:
    """Whether both do what the plain operations do: on a CPU, at most float32, zeros at the border, nothing traced."""
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, *HALVES)
        and padding == "zeros"
        and x.numel() > 0
        and not torch._C._are_functorch_transforms_active()  # vmap and its like trace the plain operations
    )


def compiles(x: Tensor, padding: str) -> bool:
    """Whether a compiler that meets the sum of the bands should call `summed` as one operation, and not look inside.

    With this a compiled ResNet-50 takes 1.03 of the time of torchvision's, with the code that torch 2.14 makes of the
    equations 1.26 to 1.49 (measured on a CPU). Where a program is exported, the equations are what it needs.
    """
    return (
        torch.compiler.is_compiling()
        and not EXPORTING()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and padding == "zeros"
    )


def plain(lines: Tensor, taps_p: Tensor, gain_p: Tensor, taps_u: Tensor, gain_u: Tensor) -> tuple[Tensor, Tensor]:
    """(s, d) of lines by the equations."""
    x_e, x_o = _parity(lines)
    d = x_o - torch.tanh(gain_p * torch.relu(_filtered(x_e, taps_p)))
    return x_e + torch.tanh(gain_u * torch.relu(_filtered(d, taps_u))), d


def plain_sum(x: Tensor, *filters: Tensor) -> Tensor:
    """The sum of the four bands of a map by the equations."""
    parts = torch.stack(plain(x.permute(TO_PIXELS).unsqueeze(-2), *filters)).squeeze(-2)
    s, d = plain(parts, *filters)
    return (s + d).sum(0).permute(TO_MAP)


def step(lines: Tensor, *filters: Tensor) -> tuple[Tensor, Tensor]:
    """(s, d), each [B, L/2, R, C], of lines [B, L, R, C] of even L; filters: taps [C, K] and gain [C] of P, of U.

    Computed in float32, whatever the type of the lines: half precision takes longer on a CPU, and more than it saves.
    """
    if _is_half(lines):
        with torch.autocast("cpu", enabled=False):
            s, d = step(lines.float(), *(one.float() for one in filters))
        return s.to(lines.dtype), d.to(lines.dtype)
    if torch.is_grad_enabled():
        found: tuple[Tensor, Tensor] = Step.apply(lines, *filters)
        return found
    return _stepped(lines, filters, [])  # `apply` takes a tenth of a millisecond


def summed(x: Tensor, *filters: Tensor) -> Tensor:
    """The sum of the four bands of a map [N, C, H, W] of even sides; filters and precision as those of `step`."""
    if _is_half(x):
        with torch.autocast("cpu", enabled=False):
            return summed(x.float(), *(one.float() for one in filters)).to(x.dtype)
    if torch.is_grad_enabled():
        found: Tensor = Sum.apply(x, *filters)
        return found
    return _summed(x, filters, None)


class Step(torch.autograd.Function):
    """`step` with its gradient."""

    @staticmethod
    def forward(ctx: Any, lines: Tensor, *filters: Tensor) -> Any:
        values: list[Tensor] = []
        s, d = _stepped(lines, filters, values)
        ctx.save_for_backward(lines, *filters, d, *values)
        return s, d

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        lines, *others = ctx.saved_tensors  # once: checkpointed, each reading computes the layer again
        filters, (d, *values) = others[:4], others[4:]
        if torch.is_grad_enabled():  # a graph of the gradient is asked for: that of the plain operations
            outputs = plain(lines, *filters)
            return torch.autograd.grad(outputs, (lines, *filters), grads, create_graph=True, allow_unused=True)
        gradient, back = torch.empty_like(lines), Back(*filters)
        for block, t_p, t_u in zip(_blocks(lines), values[0::2], values[1::2], strict=True):
            back(grads[0][block], grads[1][block], lines[block], d[block], t_p, t_u, out=gradient[block])
        return gradient, *back.of_filters()


class Sum(torch.autograd.Function):
    """`summed` with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *filters: Tensor) -> Any:
        kept: list[Tensor] = []
        y = _summed(x, filters, kept)
        ctx.save_for_backward(x, *filters, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, *others = ctx.saved_tensors  # once, as in Step
        filters = others[:4]
        if torch.is_grad_enabled():
            return torch.autograd.grad(plain_sum(x, *filters), (x, *filters), grads, create_graph=True)
        return _gradients(grads[0], x, filters, others[4:])


class Back:
    """From the gradients of s and d to that of their lines, block by block; those of the filters add up."""

    def __init__(self, taps_p: Tensor, gain_p: Tensor, taps_u: Tensor, gain_u: Tensor) -> None:
        self.taps = taps_p, taps_u
        self.gains = -gain_p[:, None], gain_u[:, None]
        self.filters = [taps * gain for taps, gain in zip(self.taps, self.gains, strict=True)]
        self.weights = [torch.zeros_like(taps) for taps in self.taps]

    def __call__(
        self, grad_s: Tensor, grad_d: Tensor, lines: Tensor, d: Tensor, t_p: Tensor, t_u: Tensor, *, out: Tensor
    ) -> None:
        of_e, of_o = _parity(out)
        torch.add(self._filtered(1, _through_tanh(grad_s, t_u), d), grad_d, out=of_o)
        torch.add(self._filtered(0, _through_tanh(of_o, t_p), _parity(lines)[0].contiguous()), grad_s, out=of_e)

    def _filtered(self, which: int, h: Tensor, x: Tensor) -> Tensor:
        """The gradient of the lines x that P (0) or U (1) filters; that of the filters is added."""
        filters = self.filters[which]
        if x.shape[-3] < filters.shape[1]:
            self.weights[which] += _correlation(h, x, filters.shape[1])
        else:
            columns = filters[:, None, :, None]
            self.weights[which] += _of_convolution(_as_map(h), _as_map(x), columns, weights=True)[:, 0, :, 0]
        (map_h, taps), (map_x, _) = (_with_filters(lines, filters) for lines in (h, x))
        return _as_lines(_of_convolution(map_h, map_x, taps, weights=False), x)

    def of_filters(self) -> Iterator[Tensor]:
        """The gradients of taps and gain of P, then of U."""
        yield self.weights[0] * self.gains[0]
        yield -(self.weights[0] * self.taps[0]).sum(1)
        yield self.weights[1] * self.gains[1]
        yield (self.weights[1] * self.taps[1]).sum(1)


def _is_half(x: Tensor) -> bool:
    return x.dtype in HALVES or torch.is_autocast_enabled("cpu")


def _stepped(lines: Tensor, filters: tuple[Tensor, ...], values: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(s, d); the values of tanh of each block, which a gradient needs, are added to `values`."""
    inner = _inside_and_out(*filters)
    s, d = (torch.empty_like(part, memory_format=torch.contiguous_format) for part in _parity(lines))
    for block in _blocks(lines):
        values += _split(lines[block], inner, s[block], d[block])
    return s, d


def _summed(x: Tensor, filters: tuple[Tensor, ...], kept: list[Tensor] | None) -> Tensor:
    """The sum of the bands; what a gradient needs of each block is added to `kept` where that is a list."""
    inner = _inside_and_out(*filters)
    images, channels, height, width = x.shape
    y = torch.empty(
        (images, channels, height // 2, width // 2), dtype=x.dtype, device=x.device, memory_format=memory_format(x)
    )
    parts = s = d = x.new_empty(0, 0)
    for block in _blocks(x):
        pixels = x[block].permute(TO_PIXELS).contiguous()
        if kept is not None or parts.shape[1] != len(pixels):  # otherwise the last block's memory, which is in cache
            parts = x.new_empty(2, len(pixels), height, width // 2, channels)
            s, d = (x.new_empty(2, len(pixels), height // 2, width // 2, channels) for _ in range(2))
        of_rows = _split(pixels.unsqueeze(-2), inner, *parts.unsqueeze(-2))
        of_columns = _split(parts, inner, s, d)
        if kept is not None:
            kept += [*of_rows, parts, d, *of_columns]
        (ll, hl), (lh, hh) = s, d
        torch.add(ll.add_(lh).add_(hl), hh, out=y[block].permute(TO_PIXELS))
    return y


def _gradients(grad: Tensor, x: Tensor, filters: Sequence[Tensor], kept: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradients of the map and the filters, of that of the sum and what `_summed` kept."""
    gradient, back, values = torch.empty_like(x), Back(*filters), iter(kept)
    for block in _blocks(x):
        of_sum, pixels = (one[block].permute(TO_PIXELS).contiguous() for one in (grad, x))
        t_p, t_u, parts, *of_columns = (next(values) for _ in range(6))
        of_parts, out = torch.empty_like(parts), gradient[block].permute(TO_PIXELS)
        back(of_sum, of_sum, parts, *of_columns, out=of_parts)
        of_pixels = out if out.is_contiguous() else torch.empty_like(pixels)
        of_s, of_d = of_parts.unsqueeze(-2)
        back(of_s, of_d, pixels.unsqueeze(-2), parts[1].unsqueeze(-2), t_p, t_u, out=of_pixels.unsqueeze(-2))
        if of_pixels is not out:
            out.copy_(of_pixels)
    return gradient, *back.of_filters()


def _opaque(x: Tensor, *filters: Tensor) -> Tensor:
    return _summed(x, filters, None).contiguous(memory_format=torch.channels_last)


def _opaque_shape(x: Tensor, *filters: Tensor) -> Tensor:
    images, channels, height, width = x.shape
    y = x.new_empty(images, channels, height // 2, width // 2)
    return y.contiguous(memory_format=torch.channels_last)


def _opaque_gradients(grad: Tensor, x: Tensor, *filters: Tensor) -> tuple[Tensor, ...]:
    kept: list[Tensor] = []
    _summed(x, filters, kept)
    gradient, *of_filters = _gradients(grad, x, filters, kept)
    return gradient.contiguous(memory_format=torch.channels_last), *of_filters


def _gradients_shape(grad: Tensor, x: Tensor, *filters: Tensor) -> tuple[Tensor, ...]:
    return torch.empty_like(x, memory_format=torch.channels_last), *(torch.empty_like(one) for one in filters)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _opaque_backward(ctx: Any, grad: Tensor) -> Any:
    return torch.ops.robustbench_lift.lift_sum_gradients(grad, *ctx.saved_tensors)


def _blocks(x: Tensor) -> Iterator[slice]:
    size = max(1, BLOCK // max(1, x.shape[1:].numel()))
    return (slice(start, start + size) for start in range(0, len(x), size))


def _parity(lines: Tensor) -> tuple[Tensor, Tensor]:
    """The even and the odd samples."""
    return lines[..., 0::2, :, :], lines[..., 1::2, :, :]


def _inside_and_out(taps_p: Tensor, gain_p: Tensor, taps_u: Tensor, gain_u: Tensor) -> list[Tensor]:
    """Of -P, then of U: the filters with the size of the gain in them, and what is left of it outside the tanh."""
    made = []
    for taps, gain in ((taps_p, -gain_p), (taps_u, gain_u)):
        size = gain.abs().clamp_min(TINY)
        made += [taps * size[:, None], gain / size]
    return made


def _split(lines: Tensor, inner: list[Tensor], s: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Write s and d of the lines; the values of tanh in P and U."""
    inner_p, outer_p, inner_u, outer_u = inner
    x_e, x_o = _parity(lines)
    t_p = _tanh_of_filtered(lines, inner_p, step=2)
    torch.addcmul(x_o, t_p, outer_p, out=d)
    t_u = _tanh_of_filtered(d, inner_u, step=1)
    torch.addcmul(x_e, t_u, outer_u, out=s)
    return t_p, t_u


def _as_map(lines: Tensor) -> Tensor:
    return lines.flatten(0, -4).permute(TO_MAP)


def _as_lines(map_: Tensor, like: Tensor) -> Tensor:
    return map_.permute(TO_PIXELS).view(*like.shape[:-3], -1, *like.shape[-2:])


def _filtered(x: Tensor, taps: Tensor) -> Tensor:
    channels, size = taps.shape
    y = F.conv2d(_as_map(x), taps[:, None, :, None], padding=(size // 2, 0), groups=channels)
    return y.permute(TO_PIXELS).reshape(x.shape)


def _tanh_of_filtered(x: Tensor, taps: Tensor, *, step: int) -> Tensor:
    """ReLU of tanh of the filtered lines; with step 2 of their even samples, copied for it only where that pays."""
    channels, size = taps.shape
    if step == 2 and (x.shape[-3] // 2 < size - 1 or size > LONGEST_DILATED):
        x, step = _parity(x)[0].contiguous(), 1
    map_, filters = _with_filters(x, taps)
    padding, stride = [step * (size // 2), 0], [step, 1]
    if _are_rows(x):
        padding, stride = padding[::-1], stride[::-1]
    if FUSED and x.dtype == torch.float32:
        y = torch.ops.mkldnn._convolution_pointwise(
            map_, filters, None, padding, stride, stride, channels, "tanh", [], ""
        )
    else:
        y = F.conv2d(map_, filters, padding=padding, stride=stride, dilation=stride, groups=channels)
        y = y.mul_(2).sigmoid_().mul_(2).sub_(1)  # tanh, a fifth of torch.tanh's time
    return _as_lines(y.relu_(), x)


def _with_filters(x: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
    """Lines as a map and the filters along them; rows of a map along its width, where kernels for few channels run."""
    filters = taps[:, None, :, None]
    return (_as_map(x.squeeze(-2)), filters.mT) if _are_rows(x) else (_as_map(x), filters)


def _are_rows(lines: Tensor) -> bool:
    return lines.dim() > 4 and lines.shape[-2] == 1


def _of_convolution(grad: Tensor, x: Tensor, filters: Tensor, *, weights: bool) -> Tensor:
    """The gradient of the filters of a convolution, or that of its map."""
    padding = [side // 2 for side in filters.shape[2:]]
    wanted = [not weights, weights, False]
    of_x, of_filters, _ = torch.ops.aten.convolution_backward(
        grad, x, filters, None, [1, 1], padding, [1, 1], False, [0, 0], len(filters), wanted
    )
    found: Tensor = of_filters if weights else of_x
    return found


def _correlation(h: Tensor, x: Tensor, size: int) -> Tensor:
    """Sums of h times x shifted by each tap, [C, K]: the gradient of filters over lines that are shorter than they.

    For those oneDNN has a kernel of whole groups of channels alone, which takes up to fifty times as long.
    """
    length, channels = x.shape[-3], x.shape[-1]
    found = x.new_zeros(size, channels)
    for tap in range(size):
        shift = tap - size // 2
        common = length - abs(shift)
        if common > 0:
            product = h.narrow(-3, max(0, -shift), common) * x.narrow(-3, max(0, shift), common)
            found[tap] = product.flatten(0, -2).sum(0)
    return found.mT


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
    result: Tensor = torch.ops.aten.threshold_backward(h, t, 0, grad_input=h)
    return result


_FILTERS = "Tensor taps_p, Tensor gain_p, Tensor taps_u, Tensor gain_u"
_TAGS = torch.Tag.flexible_layout, torch.Tag.pt2_compliant_tag
torch.library.define(OPAQUE, f"(Tensor x, {_FILTERS}) -> Tensor", tags=_TAGS)
torch.library.define(
    GRADIENTS, f"(Tensor grad, Tensor x, {_FILTERS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)", tags=_TAGS
)
torch.library.impl(OPAQUE, "CPU", _opaque)
torch.library.impl(GRADIENTS, "CPU", _opaque_gradients)
torch.library.register_fake(OPAQUE, _opaque_shape)
torch.library.register_fake(GRADIENTS, _gradients_shape)
torch.library.register_autograd(OPAQUE, _opaque_backward, setup_context=_keep)
