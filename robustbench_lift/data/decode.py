"""From the bytes of a file to RGB pixels, and from hostile or broken bytes to one clear message.

Pillow decodes and converts with `convert("RGB")`; EXIF orientation is ignored, as the reference scripts do. Grey images
of 16 bits are scaled to 8 (Pillow, and torchvision with it, would clip nearly all of them to white); floating point
numbers, whose range nobody knows, are refused. Only raster formats are tried: Pillow would start Ghostscript for EPS.
"""

from __future__ import annotations

import io
import re
import threading
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from robustbench_lift.data.base import Pixels
from robustbench_lift.errors import DataError, NoImageError

FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")
"""What counts as an image, whatever the ending says (ImageNet holds PNG files named .JPEG)."""
SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp"})
"""Endings of images, lower case."""
_KNOWN = "a format that is read (" + ", ".join(FORMATS) + ")"
_OTHER_FORMATS = {
    b"GIF8": "a GIF",
    b"%PDF": "a PDF document",
    b"%!PS": "PostScript",
    b"8BPS": "a Photoshop document",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip data",
    b"\x93NUMPY": "a NumPy array",
    b"<svg": "an SVG drawing",
    b"<?xml": "XML",
    b"\x1aE\xdf\xa3": "a video",
}
_CONTAINERS = dict.fromkeys((b"heic", b"heix", b"mif1", b"msf1"), "HEIF") | dict.fromkeys((b"avif", b"avis"), "AVIF")
_CONTAINERS |= dict.fromkeys((b"isom", b"mp41", b"mp42", b"qt  "), "a video")
PIXEL_LIMIT = 64_000_000
"""Largest image that is decoded, in pixels; the largest of ImageNet has 15 million."""
FRAME_LIMIT = 256
"""Most frames of a clip; the longest of ImageNet-P has 41."""
_WARNINGS = threading.Lock()  # the filters of warnings are those of the whole process


def decode_image(content: bytes, name: str) -> Pixels:
    """The pixels of an image file.

    Args:
        content: the bytes of the file.
        name: what to call it in a message.

    Returns:
        RGB uint8 [H, W, 3].

    Raises:
        DataError: not an image, truncated, or so large that decoding it would fill the memory.

    >>> buffer = io.BytesIO()
    >>> Image.new("L", (4, 3), 7).save(buffer, "PNG")
    >>> decode_image(buffer.getvalue(), "x.png").shape
    (3, 4, 3)
    """
    try:
        with _open(content) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise DataError(_bomb(name, f"{image.width}x{image.height} pixels"))
            return _rgb(image, name)
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise DataError(_bomb(name, f"{pixels[0]} pixels" if pixels else "too many pixels")) from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        other = _something_else(content)
        if other is not None:
            raise NoImageError(f"{name} {other}. Replace it from the original.") from None
        known = not isinstance(error, UnidentifiedImageError)
        reason = f"cannot be decoded ({error})" if known else f"is not an image in {_KNOWN}"
        raise DataError(f"{name} {reason}. Replace it from the original.") from None


def _open(content: bytes) -> Image.Image:
    """An image whose header is read, without Pillow's warnings of broken metadata, which name no file."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(content), formats=FORMATS)


def _rgb(image: Image.Image, name: str) -> Pixels:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        wide = np.asarray(image).astype(np.int64)
        grey = ((wide + 128) // 257).astype(np.uint8)  # 65,535 is 255, rounded
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise DataError(
            f"{name} has pixels of {'32-bit integers' if image.mode == 'I' else 'floating point numbers'}, and nothing "
            "says which is white. Store it with 8 or 16 bits a channel."
        )
    image.load()
    image.info.pop("transparency", None)  # convert would warn of it; colours are the same without
    return np.asarray(image.convert("RGB"))


def require_video() -> None:
    """Make sure that videos can be read, before the first of many is.

    Raises:
        DataError: PyAV is missing.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        raise DataError(
            "ImageNet-P is stored as H.264 video, which needs PyAV: pip install 'robustbench-lift[video]' "
            "(or `pip install av`)."
        ) from None


def decode_clip(content: bytes, name: str) -> Pixels:
    """The frames of a video file: RGB uint8 [T, H, W, 3].

    Raises:
        DataError: not a video, damaged, without frames, of more frames or pixels than any sequence has; or no PyAV.
    """
    require_video()
    import av

    frames: list[Pixels] = []
    try:
        with av.open(io.BytesIO(content), "r") as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            if stream.width * stream.height > PIXEL_LIMIT // FRAME_LIMIT:
                raise DataError(f"{name} declares frames of {stream.width}x{stream.height} pixels; refused.")
            for frame in container.decode(stream):
                if len(frames) == FRAME_LIMIT:
                    raise DataError(f"{name} has more than {FRAME_LIMIT} frames; no perturbation sequence has.")
                if frame.is_corrupt:  # FFmpeg fills what it cannot decode from other frames, and goes on
                    raise DataError(f"{name}: frame {len(frames)} is damaged. Replace the file from the original.")
                frames.append(np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise DataError(f"{name} is not a video that can be read ({error}). Replace it from the original.") from None
    if not frames or any(frame.shape != frames[0].shape for frame in frames):
        raise DataError(f"{name} has {'frames of several sizes' if frames else 'no frames'}. Replace it.")
    return np.stack(frames)


def _bomb(name: str, size: str) -> str:
    return (
        f"{name} declares {size}, more than the {PIXEL_LIMIT:,} that are decoded: a decompression "
        "bomb, or no image of a data set. Remove or replace it."
    )


def _something_else(content: bytes) -> str | None:
    """What a file is that is no image; None for one that may be an image and is damaged."""
    head = content[:512].lstrip().lower()
    if not content:
        return "is empty"
    if head.startswith((b"<!doctype", b"<html")):
        return "is a web page saved under this name, not an image"
    if head.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the image itself"
    if content[:4] == b"\x00\x05\x16\x07":
        return "is an AppleDouble file of macOS, not an image"
    name = next((name for mark, name in _OTHER_FORMATS.items() if content.startswith(mark)), None)
    name = _CONTAINERS.get(content[8:12]) if content[4:8] == b"ftyp" else name
    return None if name is None else f"is not an image in {_KNOWN}: it is {name}"
