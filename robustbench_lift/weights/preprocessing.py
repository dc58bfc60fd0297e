"""What a model expects of its images: it travels with the weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from robustbench_lift.errors import CheckpointError
from robustbench_lift.weights.spec import NORMALISATIONS


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Normalisation, and the resizing and cropping that clean images had when the model was published.

    >>> Preprocessing().mean
    (0.485, 0.456, 0.406)
    """

    mean: tuple[float, float, float] = NORMALISATIONS["imagenet"][0]
    """Of the channels, for pixels in 0..1."""
    std: tuple[float, float, float] = NORMALISATIONS["imagenet"][1]
    """Of the channels, for pixels in 0..1."""
    resize: int | None = 256
    """Shorter side before the crop, in pixels; None: no resizing."""
    crop: int | None = 224
    """Side of the central crop, in pixels; None: no crop."""
    interpolation: str = "bilinear"
    """bilinear, bicubic or nearest."""
    antialias: bool = True
    """Whether downscaling filters first."""

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not all(isinstance(v, int | float) and v == v and abs(v) < 1e6 for v in values):
                raise CheckpointError(f"{name} must be three finite numbers, not {values!r}.")
        if min(self.std) <= 0:
            raise CheckpointError(f"std must be positive, not {self.std!r}.")

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] -> float32 (pixel / 255 - mean) / std."""
        offset, scale = _constants(self.mean, self.std, images.device)
        return torch.addcmul(offset, images.to(torch.float32), scale)


@lru_cache(maxsize=64)
def _constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):
        offset = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32)
        scale = torch.tensor([1 / (255 * s) for s in std], dtype=torch.float32)
        return offset.view(1, 3, 1, 1).to(device), scale.view(1, 3, 1, 1).to(device)


def from_card(card: Mapping[str, str], source: str) -> Preprocessing:
    """What the card of one of our files says; values it lacks are ImageNet's."""
    default = Preprocessing()

    def number(key: str, fallback: int | None) -> int | None:
        if key not in card:
            return fallback
        if card[key] and not re.fullmatch(r"[1-9]\d{0,4}", card[key], re.ASCII):
            raise ValueError(f"{key} must be a number of pixels, not {card[key][:40]!r}")
        return int(card[key]) if card[key] else None

    try:
        return Preprocessing(
            mean=_triple(json.loads(card["mean"])) if "mean" in card else default.mean,
            std=_triple(json.loads(card["std"])) if "std" in card else default.std,
            resize=number("resize", default.resize),
            crop=number("crop", default.crop),
            interpolation=card.get("interpolation", default.interpolation),
            antialias=card.get("antialias", "true") == "true",
        )
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise CheckpointError(f"the card of {source} has a preprocessing that cannot be read: {error}.") from None


def to_card(preprocessing: Preprocessing) -> dict[str, str]:
    """The entries of a card from which `from_card` reads the same back.

    >>> from_card(to_card(Preprocessing(crop=64, resize=None)), "example").crop
    64
    """
    return {
        "mean": json.dumps(list(preprocessing.mean)),
        "std": json.dumps(list(preprocessing.std)),
        "resize": "" if preprocessing.resize is None else str(preprocessing.resize),
        "crop": "" if preprocessing.crop is None else str(preprocessing.crop),
        "interpolation": preprocessing.interpolation,
        "antialias": str(preprocessing.antialias).lower(),
    }


def from_torchvision(weights: Any) -> Preprocessing:
    """What torchvision's weights entry prescribes (`weights.transforms()`)."""
    given = weights.transforms()
    crop = getattr(given, "crop_size", None)  # segmentation networks see whole images
    return Preprocessing(
        mean=_triple(given.mean),
        std=_triple(given.std),
        resize=given.resize_size[0],
        crop=crop[0] if crop else None,
        interpolation=str(given.interpolation.value),
        antialias=bool(given.antialias),
    )


def from_timm(config: Mapping[str, Any]) -> Preprocessing:
    """What a timm configuration prescribes: the test size and crop share where there are some."""
    _, height, _ = config.get("test_input_size") or config.get("input_size") or (3, 224, 224)
    share = config.get("test_crop_pct") or config.get("crop_pct") or 0.875
    return Preprocessing(
        mean=_triple(config.get("mean") or NORMALISATIONS["imagenet"][0]),
        std=_triple(config.get("std") or NORMALISATIONS["imagenet"][1]),
        resize=int(height / share),
        crop=int(height),
        interpolation=str(config.get("interpolation") or "bilinear"),
    )


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
