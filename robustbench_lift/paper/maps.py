"""Feature maps of a network on a picture: what enters and leaves a layer, and which channels are worth a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from robustbench_lift.data.decode import decode_image
from robustbench_lift.data.photos import PHOTOGRAPHS, pixels
from robustbench_lift.data.store import FolderBlobs
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.pooling import LiftDownPool
from robustbench_lift.pooling.base import PoolingLayer
from robustbench_lift.text import printable
from robustbench_lift.weights import LoadedModel

Pixels = npt.NDArray[np.uint8]

USUAL = "astronaut"
"""The photograph where none is named."""
LARGE = 256
"""Side of the picture for a network of small images, pixels: convolutions take any size, and 64 show little."""
SMALL = 128
"""Networks that were trained below this side see the larger picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Maps:
    """What one layer of a network did to one picture."""

    layer: str
    """Name of the layer in the network."""
    module: nn.Module
    entering: Tensor
    """[1, C, H, W]."""
    leaving: Tensor
    """[1, C', h, w]."""


def photograph(name: str | None) -> Pixels:
    """An embedded photograph by name, or any picture file: RGB uint8 [H, W, 3]; the astronaut where none is named.

    Raises:
        UsageError: neither a photograph nor a file.
        DataError: a file that is no picture.

    >>> photograph("astronaut").shape
    (512, 512, 3)
    """
    known = {one.name: one for one in PHOTOGRAPHS}
    name = name or USUAL
    if name in known:
        return pixels(known[name])
    path = Path(name).expanduser()
    if not path.is_file():
        raise unknown("picture (a file, or an embedded photograph)", printable(name), known)
    return decode_image(FolderBlobs(path.parent, (path.name,)).read(0), printable(path))


def picture_for(model: LoadedModel, image: Pixels) -> Pixels:
    """The picture as the network sees it: its short side resized to the network's size, the centre cropped.

    A network of images below 128 pixels sees 256, so that its maps show more than a few samples.
    """
    side = model.preprocessing.crop or 224
    side = LARGE if side < SMALL else side
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = Image.fromarray(image[top : top + short, left : left + short])
    return np.asarray(square.resize((side, side), Image.Resampling.BILINEAR))


def maps_of(model: LoadedModel, image: Pixels, layer: str | None = None) -> Maps:
    """What enters and leaves a layer when the network sees the picture.

    Args:
        model: in eval mode.
        image: uint8 [H, W, 3], as `picture_for` gives it.
        layer: a name of `module.named_modules()`; None is the first pooling layer.

    Raises:
        UsageError: there is no such layer, no pooling, or the network does not use it.

    >>> from robustbench_lift import load_model
    >>> found = maps_of(load_model("photos/resnet-lift"), np.zeros((64, 64, 3), np.uint8))
    >>> found.layer, tuple(found.entering.shape), tuple(found.leaving.shape)
    ('maxpool', (1, 16, 32, 32), (1, 16, 16, 16))
    """
    modules = dict(model.module.named_modules())
    modules.pop("", None)
    poolings = [name for name, module in modules.items() if _pools(module)]
    if layer is None:
        if not poolings:
            raise UsageError(f"{model.name} has no pooling layer; name a layer (--layer): {_some(modules)}.")
        layer = poolings[0]
    if layer not in modules:
        raise unknown(f"layer of {model.name}", printable(layer), poolings or list(modules)[:20])
    seen: list[tuple[Tensor, Tensor]] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        seen.append((given[0].detach().float().cpu(), answer.detach().float().cpu()))

    handle = modules[layer].register_forward_hook(note)
    device = next((value.device for value in model.module.state_dict().values()), torch.device("cpu"))
    try:
        with torch.no_grad():
            model.logits(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].contiguous().to(device))
    finally:
        handle.remove()
    if not seen or any(part.dim() != 4 for part in seen[0]):
        raise UsageError(f"{layer} of {model.name} shows no map [N, C, H, W] here; name another layer (--layer).")
    return Maps(layer=layer, module=modules[layer], entering=seen[0][0], leaving=seen[0][1])


def lift_of(maps: Maps, model: LoadedModel) -> LiftDownPool:
    """The layer as a LiftDownPool.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(maps.module, LiftDownPool):
        raise UsageError(
            f"{maps.layer} of {model.name} is a {type(maps.module).__name__}; its bands are shown of a LiftDownPool. "
            "Name a network with lift (--model), or another layer (--layer)."
        )
    return maps.module


def strongest(x: Tensor, count: int) -> list[int]:
    """The `count` channels of x [1, C, H, W] that vary most, in falling order.

    >>> strongest(torch.stack([torch.zeros(2, 2), torch.eye(2), 2 * torch.eye(2)])[None], 2)
    [2, 1]
    """
    order = x[0].flatten(1).var(1).sort(descending=True, stable=True).indices
    return [int(k) for k in order[:count]]


def chosen_channels(x: Tensor, channels: Sequence[int], count: int) -> list[int]:
    """The channels that were asked for, or the strongest ones.

    Raises:
        UsageError: a channel that the map does not have.
    """
    for channel in channels:
        if not 0 <= channel < x.shape[1]:
            raise UsageError(f"--channels {channel}: the map has channels 0 to {x.shape[1] - 1}.")
    return list(channels) or strongest(x, count)


def _pools(module: nn.Module) -> bool:
    return isinstance(module, PoolingLayer | nn.MaxPool2d | nn.AvgPool2d)


def _some(names: object) -> str:
    return ", ".join(list(names)[:12])  # type: ignore[call-overload]
