"""Frost: a weighted sum of the image and a random crop of a photograph of frost.

Rows: (weight of the image, weight of the frost). The photographs are read from the installed distribution
`imagecorruptions` (a dependency), which is not imported.
Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from corruptions.errors import CorruptionError
from corruptions.opencv import cv2
from corruptions.randomness import RandomSource
from corruptions.registry import corruption

SCALE: dict[int, float] = {32: 0.2, 64: 0.3, 224: 1.0, 299: 1.0}
"""Factor by which the textures are shrunk (bilinear) before they are cropped, by table."""

FILES: dict[str, str] = {
    "frost1.png": "6ead634ace1f366d77e87078b465863c",
    "frost2.png": "98f0d2b1d74a048d3bc9c7ecfd886939",
    "frost3.png": "b3ed8eb147824261888e730f916c0d8b",
    "frost4.jpg": "d70b9d6aa0b1fe7bd8133b113787e078",
    "frost5.jpg": "50984ae2c871b7df2c28f1d71ca460a0",
}
"""Texture files and their MD5. The original draws among five of its six; frost2 and frost3 are the same picture."""


@lru_cache(maxsize=1)
def textures() -> tuple[np.ndarray, ...]:
    """The five photographs: uint8 [H, W, 3], RGB.

    Raises:
        CorruptionError: when the distribution or a file is missing, or a file is not the original one.
    """
    spec = importlib.util.find_spec("imagecorruptions")  # finds the folder without running the package
    if spec is None or spec.origin is None:
        raise CorruptionError(
            "frost needs the photographs that the distribution imagecorruptions carries, and it is not installed; "
            "run: pip install imagecorruptions==1.1.2"
        )
    return tuple(_read(Path(spec.origin).parent / "frost" / name, md5) for name, md5 in FILES.items())


def _read(path: Path, md5: str) -> np.ndarray:
    repair = "reinstall it: pip install --force-reinstall --no-deps imagecorruptions==1.1.2"
    if not path.is_file():
        raise CorruptionError(f"frost photograph {path} is missing from the distribution imagecorruptions; {repair}")
    data = path.read_bytes()
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise CorruptionError(f"frost photograph {path} has MD5 {found}, expected {md5}; {repair}")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise CorruptionError(f"OpenCV cannot decode the frost photograph {path}; reinstall opencv-python")
    return np.ascontiguousarray(picture[..., ::-1])


@lru_cache(maxsize=8)
def _scaled(height: int, width: int, variant: str, table: int, device: torch.device) -> tuple[Tensor, ...]:
    """The textures as this image size and variant use them: uint8 [3, H, W] each."""
    result = []
    for picture in textures():
        rows, columns = picture.shape[:2]
        # imagecorruptions enlarges what is smaller than the image, and then everything by 1.1. ImageNet-C shrinks for
        # small tables; its script has no image larger than a texture, so there the enlargement is ours.
        if variant == "imagecorruptions":
            factor = max(1.0, height / rows, width / columns) * 1.1
            size = (math.ceil(columns * factor), math.ceil(rows * factor))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        else:
            if SCALE[table] != 1.0:
                picture = cv2.resize(picture, (0, 0), fx=SCALE[table], fy=SCALE[table])
            rows, columns = picture.shape[:2]
            factor = max((height + 1) / rows, (width + 1) / columns)
            if factor > 1.0:
                size = (math.ceil(columns * factor), math.ceil(rows * factor))
                picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        result.append(torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).to(device))
    return tuple(result)


@lru_cache(maxsize=16)
def _sums(image_weight: float, frost_weight: float, device: torch.device) -> Tensor:
    """The result for every pair (image level, frost level): uint8 [256 * 256], in float64 like the original."""
    levels = np.arange(256.0)
    total = image_weight * levels[:, None] + frost_weight * levels[None, :]
    return torch.from_numpy(np.clip(total, 0, 255).astype(np.uint8).ravel()).to(device)


@corruption(
    "frost",
    category="weather",
    rows={
        224: ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        299: ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        64: ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        32: ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    },
)
def frost(
    images: Tensor,
    draws: RandomSource,
    parameters: tuple[float, float],
    *,
    variant: str = "imagenet-c",
    table: int = 224,
) -> Tensor:
    """clip(w0 x + w1 f, 0, 255) with f a random crop of one of five photographs."""
    height, width = images.shape[-2:]
    pictures = _scaled(height, width, variant, table, images.device)
    which = draws.integers(0, len(pictures), ()).tolist()
    # Ranges depend on the photograph, and the original draws by them; one uniform integer source serves any range.
    chosen = [pictures[i] for i in which]
    tops = draws.ranges([picture.shape[1] - height for picture in chosen])
    lefts = draws.ranges([picture.shape[2] - width for picture in chosen])
    crops = [
        picture[:, top : top + height, left : left + width]
        for picture, top, left in zip(chosen, tops, lefts, strict=True)
    ]
    if images.device.type == "cpu":
        return _on_cpu(images.contiguous(), crops, parameters)
    pairs = (images.to(torch.int32) << 8).add_(torch.stack(crops))
    return _sums(*parameters, images.device).index_select(0, pairs.view(-1)).view(images.shape)


def _on_cpu(images: Tensor, crops: list[Tensor], weights: tuple[float, float]) -> Tensor:
    """`frost` plane by plane: OpenCV's weighted sum where it gives every pair its level, the table elsewhere."""
    result = torch.empty_like(images)
    sums = _sums(*weights, images.device)
    whole = _opencv_agrees(*weights)
    pairs = np.empty(images.shape[-2:], dtype=np.int32)
    for image, crop, target in zip(images, crops, result, strict=True):
        for plane, frozen, out in zip(image.numpy(), crop.numpy(), target, strict=True):
            if whole:
                cv2.addWeighted(plane, weights[0], frozen, weights[1], _FLOOR, out.numpy())
            else:
                pairs[:] = plane
                pairs <<= 8
                pairs += frozen
                torch.index_select(sums, 0, torch.from_numpy(pairs).view(-1), out=out.view(-1))
    return result


_FLOOR = 1e-4 - 0.5
"""OpenCV rounds to the nearest; whole sums, which float32 may miss by a little, must stay."""


@lru_cache(maxsize=16)
def _opencv_agrees(image_weight: float, frost_weight: float) -> bool:
    """Whether OpenCV's float32 sums are those of float64, which drops some whole ones by a level: for all pairs."""
    image, frost = (np.ascontiguousarray(side, dtype=np.uint8) for side in np.mgrid[:256, :256])
    found = cv2.addWeighted(image, image_weight, frost, frost_weight, _FLOOR)
    return np.array_equal(found.ravel(), _sums(image_weight, frost_weight, torch.device("cpu")).numpy())
