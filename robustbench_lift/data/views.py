"""What several kinds of data share: options, and the geometry that they name."""

from __future__ import annotations

from collections.abc import Callable

from robustbench_lift.data.geometry import INTERPOLATIONS, AsStored, ResizeCrop, ZeroPad
from robustbench_lift.data.kind import KindOption, Views
from robustbench_lift.data.spec import DataSpec
from robustbench_lift.errors import UsageError

CLASSES = KindOption(
    "classes",
    "How folders become class indices: the 1,000 WNIDs, some of them, some numbered from 0, or numbers.",
    ("wnid", "partial", "subset", "numeric"),
)
EMPTY = KindOption("empty", "Class folders without images.", ("refuse", "allow"))
FRAME_SIZE = KindOption("size", "Side of the stored frames in pixels.", ("224", "299"))
PART = (
    KindOption(
        "part",
        "The part that `train --hold-out` sets aside for testing, or the part that it trains on.",
        ("test", "train"),
    ),
    KindOption("hold_out", "The fraction of each class that is set aside."),
)
GEOMETRY = (
    KindOption("resize", "Length of the shorter side in pixels, or `none`; 256 by default."),
    KindOption("crop", "Side of the central square in pixels; 224 by default."),
    KindOption(
        "interpolation", "Filter of the resizing.", ("bilinear", *(n for n in INTERPOLATIONS if n != "bilinear"))
    ),
    KindOption(
        "table", "Severity table of the corruptions: 32, 64, 224, 299 or `nearest`; that of the crop by default."
    ),
)


def resized(spec: DataSpec) -> Views:
    """Resize and crop, as the options say; windows move within the resized square."""
    resize, crop = spec.pixels("resize", 256), spec.pixels("crop", 224)
    if crop is None:
        raise UsageError("?crop=none: images of a batch need one size; give the side that the model takes.")
    interpolation = spec.options.get("interpolation", "bilinear")
    geometry = ResizeCrop(resize=resize, crop=crop, interpolation=interpolation)
    margin = resize is not None and resize > crop
    shift = ResizeCrop(resize=resize, crop=resize, interpolation=interpolation) if margin else None
    return Views(geometry=geometry, shift=shift, window=crop)


def stored(size: int, margin: int) -> Callable[[DataSpec], Views]:
    """Images as they lie; windows move within a black margin."""
    return lambda spec: Views(geometry=AsStored(size), shift=ZeroPad(size, margin), window=size)


def allows_empty(spec: DataSpec) -> bool:
    """Whether the spec says that class folders without images keep their index."""
    return spec.options.get("empty") == "allow"


def alexnet(spec: DataSpec) -> str | None:
    """AlexNet's published errors are those on all 1,000 classes."""
    return None if spec.options.get("classes") in ("partial", "subset") else "alexnet"
