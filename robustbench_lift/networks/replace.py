"""Exchange the downsampling of any torch model: what is safe is replaced, what is not is named with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.networks.placement import Pools, halved, image_side
from robustbench_lift.pooling import PoolingLayer

PLACEMENTS = ("before", "after", "pools")
"""Of the pooling beside a strided convolution: before the convolution, which then works on the small map and costs what
it did; after it, on the large map; or strided convolutions are left alone."""
ANTIALIASED = ("BlurPool2d", "BlurPool", "BlurPool2D")
"""Class names of layers that already pool against aliasing (timm, antialiased-cnns, kornia)."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """One layer that was exchanged."""

    name: str
    """Its path in the model."""
    was: str
    """What stood there, in words."""
    now: str
    """What stands there."""
    channels: int
    """C of the pooled map."""
    size: tuple[int, int]
    """(H, W) of the map before pooling, at the probe's input size."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One layer that was left as it is."""

    name: str
    was: str
    why: str


@dataclass(frozen=True, slots=True)
class Replacement:
    """What `replace_pooling` did to a model."""

    pooling: str
    placement: str
    replaced: tuple[Replaced, ...]
    kept: tuple[Kept, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.replaced)} layers replaced by {self.pooling}, {len(self.kept)} kept"]
        lines += [f"  {r.name}: {r.was} -> {r.now}, {r.channels} x {r.size[0]} x {r.size[1]}" for r in self.replaced]
        lines += [f"  {k.name}: {k.was} kept: {k.why}" for k in self.kept]
        return "\n".join(lines)


def replace_pooling(
    model: nn.Module, name: str, *, placement: str = "before", input_size: int = 224, **options: Any
) -> Replacement:
    """Replace max-pools, average pools and strided convolutions of stride 2 by a pooling, in place.

    The model is asked once with zeros [1, 3, input_size, input_size] to learn which layers halve which maps, and once
    more afterwards: the answer must keep its shape, or the model is restored. Weights stay; the network has to be
    trained again to be a fair model of its pooling.

    Replaced is what keeps every map's size: pools of stride 2 whose output has ceil(n / 2) pixels, and convolutions of
    stride 2 with an odd kernel and padding that centres it. Kept, and reported: the first convolution with placement
    "before", because the image itself would be pooled; patch embeddings and other
    convolutions whose kernel moves by its own size, other strides, pools that crop, one layer that is used for
    several maps, layers that already pool against aliasing, and pooling by function calls, which no layer stands for.

    Args:
        model: any module from images [N, 3, H, W]; changed in place.
        name: a name of `robustbench_lift.pooling.POOLINGS`.
        placement: "before", "after" or "pools"; see PLACEMENTS.
        input_size: side of the images the model takes, in pixels.
        options: of the pooling.

    Raises:
        UsageError: nothing can be replaced, `input_size` is no side of an image, the model does not take such an image,
            or the pooling chooses a phase that branches of an unknown model would not share.
        PoolingError: an unknown pooling or option.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, stride=2, padding=1))
    >>> print(replace_pooling(net, "lift", input_size=32))
    2 layers replaced by lift, 0 kept
      1: MaxPool2d 2x2 stride 2 -> LiftDownPool, 8 x 32 x 32
      2: Conv2d 3x3 stride 2 -> LiftDownPool before Conv2d 3x3, 8 x 16 x 16
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"expected a torch.nn.Module whose layers can be exchanged, found a {type(model).__name__}.")
    if placement not in PLACEMENTS:
        raise unknown("placement of replace_pooling", placement, PLACEMENTS)
    pools = Pools(name=name, options=options)
    pools.check()
    if pools.strided:
        raise UsageError("skip is what strided convolutions do already; name the pooling that takes their place.")
    input_size = image_side(input_size)
    seen = _observe(model, input_size)
    replaced: list[Replaced] = []
    kept: list[Kept] = []
    undo: list[tuple[nn.Module, str, nn.Module]] = []
    for path, module in list(model.named_modules()):
        was = _describe(module)
        if was is None or not path:
            continue
        calls = seen.calls.get(path, [])
        why = _reason_to_keep(module, calls, placement, pools)
        if not why and isinstance(module, nn.Conv2d) and placement == "before" and calls[0][0] == seen.image:
            why = "a pooling before it would pool the image; placement=after replaces it"
        if why:
            kept.append(Kept(path, was, why))
            continue
        before, after = calls[0]
        new, pooled = _successor(module, before, after, placement, pools)
        _install(model, path, new, undo)
        replaced.append(Replaced(path, was, _now(new), pooled[1], (pooled[2], pooled[3])))
    kept += [Kept("(function call)", call, "no layer stands for it; make it a module") for call in seen.functions]
    if not replaced:
        reasons = "; ".join(f"{k.name} ({k.was}): {k.why}" for k in kept[:8]) or "no layer of stride 2"
        raise UsageError(f"nothing in this {type(model).__name__} can be replaced by {name}: {reasons}.")
    _verify(model, seen, input_size, undo)
    return Replacement(name, placement, tuple(replaced), tuple(kept))


@dataclass(slots=True)
class _Seen:
    """What one forward pass showed."""

    calls: dict[str, list[tuple[torch.Size, torch.Size]]]
    functions: list[str]
    image: torch.Size
    answer: torch.Size


class _FunctionCalls(TorchFunctionMode):
    """Notes pooling functions that are called outside of pooling modules."""

    POOLS = (F.max_pool2d, F.avg_pool2d, torch.max_pool2d, F.max_pool2d_with_indices)

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outermost = self.inside == 0
        self.inside += 1  # functions that this one calls are its own
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self.inside -= 1
        if (
            outermost
            and func in self.POOLS
            and isinstance(result, Tensor)
            and 2 * result.shape[-1] - 1 <= args[0].shape[-1]
        ):
            self.found.append("avg_pool2d" if func is F.avg_pool2d else "max_pool2d")
        return result


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _observe(model: nn.Module, input_size: int) -> _Seen:
    calls: dict[str, list[tuple[torch.Size, torch.Size]]] = {}
    functions = _FunctionCalls()
    handles = []
    for path, module in model.named_modules():
        if not isinstance(module, nn.MaxPool2d | nn.AvgPool2d | PoolingLayer) and _describe(module) is None:
            continue

        def enter(module: nn.Module, inputs: Any) -> None:
            functions.inside += 1

        def leave(module: nn.Module, inputs: Any, output: Any, path: str = path) -> None:
            functions.inside -= 1
            if isinstance(output, Tensor) and inputs and isinstance(inputs[0], Tensor):
                calls.setdefault(path, []).append((inputs[0].shape, output.shape))

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        answer = _answer(model, input_size, functions)
    finally:
        for handle in handles:
            handle.remove()
    return _Seen(calls, functions.found, torch.Size((1, 3, input_size, input_size)), answer)


def _answer(model: nn.Module, input_size: int, mode: TorchFunctionMode | None = None) -> torch.Size:
    like = next(model.parameters(), torch.empty(0))
    image = torch.zeros(1, 3, input_size, input_size, device=like.device, dtype=like.dtype)
    try:
        with _evaluating(model), torch.no_grad():
            if mode is None:
                output = model(image)
            else:
                with mode:
                    output = model(image)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UsageError(
            f"{type(model).__name__} does not take an image of {input_size} pixels, give input_size: "
            f"{str(error).splitlines()[0][:200]}"
        ) from None
    return output.shape if isinstance(output, Tensor) else torch.Size()


def _describe(module: nn.Module) -> str | None:
    """A downsampling layer in words; None for any other module."""
    if type(module).__name__ in ANTIALIASED:
        return type(module).__name__
    if isinstance(module, PoolingLayer) or not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return None
    stride = _pair(module.stride)
    if stride == (1, 1):
        return None
    kernel = _pair(module.kernel_size)
    shape = f"{kernel[0]}x{kernel[1]} stride " + (str(stride[0]) if stride[0] == stride[1] else f"{stride}")
    return f"{type(module).__name__} {shape}"


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _reason_to_keep(module: nn.Module, calls: list[tuple[torch.Size, torch.Size]], placement: str, pools: Pools) -> str:
    """Why a downsampling layer stays as it is; empty when it can go."""
    if type(module).__name__ in ANTIALIASED:
        return "it already pools against aliasing"
    assert isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
    if not calls:
        return "it was not called, or not with a map"
    if len(calls) > 1:
        return f"one layer is used {len(calls)} times; give each map a layer of its own"
    before, after = calls[0]
    if _pair(module.stride) != (2, 2):
        return "only stride 2 is replaced"
    if len(before) != 4:
        return f"it was given {len(before)} dimensions, not [N, C, H, W]"
    if isinstance(module, nn.Conv2d):
        return _reason_to_keep_conv(module, placement, pools)
    if isinstance(module, nn.MaxPool2d) and (_pair(module.dilation) != (1, 1) or module.return_indices):
        return "dilated, or its indices are used"
    expected = (halved(before[2]), halved(before[3]))
    if tuple(after[2:]) != expected:
        return (
            f"it makes {after[2]} x {after[3]} pixels of {before[2]} x {before[3]}, a pooling would make {expected[0]}"
        )
    return ""


def _reason_to_keep_conv(module: nn.Conv2d, placement: str, pools: Pools) -> str:
    if placement == "pools":
        return "placement is pools"
    if type(module) is not nn.Conv2d:
        return f"{type(module).__name__} is a kind of convolution that is not known"
    if pools.entry.polyphase:
        return (
            f"{pools.name} chooses a phase, which other branches would not follow; build the network with build_model"
        )
    kernel, dilation = _pair(module.kernel_size), _pair(module.dilation)
    centred = tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True))
    if not all(k % 2 for k in kernel) or isinstance(module.padding, str) or _pair(module.padding) != centred:
        return "its kernel is not centred (a patch embedding?), so stride 1 would make a map of another size"
    return ""


def _successor(
    module: nn.Module, before: torch.Size, after: torch.Size, placement: str, pools: Pools
) -> tuple[nn.Module, torch.Size]:
    """The module that takes the place, and the shape of the map it pools."""
    size = before[2]
    if isinstance(module, nn.Conv2d):
        dense = torch.Size((after[0], after[1], before[2], before[3]))
        module.stride = (1, 1)
        if placement == "before":
            return _like(module, nn.Sequential(pools.pool(before[1], size), module)), before
        return _like(module, nn.Sequential(module, pools.pool(after[1], size))), dense
    if isinstance(module, nn.MaxPool2d):
        kernel = _pair(module.kernel_size)[0]
        return pools.instead_of_max(before[1], size, kernel=kernel, padding=kernel // 3), before
    return pools.pool(before[1], size), before


def _like(module: nn.Conv2d, new: nn.Sequential) -> nn.Sequential:
    return new.to(device=module.weight.device, dtype=module.weight.dtype)


def _install(model: nn.Module, path: str, new: nn.Module, undo: list[tuple[nn.Module, str, nn.Module]]) -> None:
    parent_path, _, leaf = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    old = getattr(parent, leaf)
    like = next(model.parameters(), None)
    if like is not None:
        new.to(device=like.device, dtype=like.dtype)
    new.train(old.training)
    setattr(parent, leaf, new)
    undo.append((parent, leaf, old))


def _now(new: nn.Module) -> str:
    if isinstance(new, nn.Sequential):
        first, second = new[0], new[1]
        conv = first if isinstance(first, nn.Conv2d) else second
        kernel = _pair(getattr(conv, "kernel_size", 1))
        text = f"Conv2d {kernel[0]}x{kernel[1]}"
        if conv is second:
            return f"{type(first).__name__} before {text}"
        return f"{type(second).__name__} after {text}"
    inner = getattr(new, "pool", None)
    return f"dense max, {type(inner).__name__}" if isinstance(inner, nn.Module) else type(new).__name__


def _verify(model: nn.Module, seen: _Seen, input_size: int, undo: list[tuple[nn.Module, str, nn.Module]]) -> None:
    """The changed model must answer in the same shape; otherwise everything is put back."""
    try:
        answer = _answer(model, input_size)
        if answer != seen.answer:
            raise UsageError(f"the model would answer with {tuple(answer)} instead of {tuple(seen.answer)}.")
    except Exception as error:
        for parent, leaf, old in reversed(undo):
            if isinstance(old, nn.Conv2d):
                old.stride = (2, 2)
            setattr(parent, leaf, old)
        raise UsageError(
            f"{type(model).__name__} does not work with other poolings, it was left as it was: {error}"
        ) from None
