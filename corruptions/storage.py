"""Storage is part of the data: the round trips that ImageNet-C and ImageNet-P images have been through.

| name   | what happens to an image                                              | data               |
|--------|-----------------------------------------------------------------------|--------------------|
| none   | nothing                                                               | CIFAR-C, CIFAR-P   |
| jpeg85 | Pillow JPEG, quality 85, optimised tables, 4:2:0                      | ImageNet-C, Tiny-C |
| h264   | libx264 `veryslow`, 1 frame a second, yuv444p, limited range, crf 20; | ImageNet-P         |
|        | noise sequences: `tune grain` and crf 23                              |                    |

Source: hendrycks/robustness, `create_c/make_imagenet_c.py` and `create_p/make_imagenet_p.py`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from corruptions.errors import CorruptionError, unknown
from corruptions.layout import Pixels

STORAGES: tuple[str, ...] = ("none", "jpeg85", "h264")
"""Names of the round trips."""

JPEG_QUALITY = 85
"""Quality of ImageNet-C's files."""

CRF_SMOOTH = 20
"""Rate factor of ImageNet-P's sequences without noise."""

SECOND = Fraction(1)
"""Time between two frames."""

CRF_NOISE = 23
"""Rate factor of ImageNet-P's noise sequences: libx264's own default, with `tune grain`."""


@overload
def round_trip(images: Tensor, name: str, *, noise: bool = False, threads: int | None = None) -> Tensor: ...
@overload
def round_trip(images: Pixels, name: str, *, noise: bool = False, threads: int | None = None) -> Pixels: ...
def round_trip(
    images: Tensor | Pixels, name: str, *, noise: bool = False, threads: int | None = None
) -> Tensor | Pixels:
    """Store the images in memory and read them back.

    Args:
        images: uint8; torch [N, 3, H, W] or sequences [N, T, 3, H, W] on any device, or numpy [H, W, 3], [N, H, W, 3]
            or [N, T, H, W, 3]. `h264` takes sequences only (numpy [T, H, W, 3] is one sequence).
        name: `none`, `jpeg85` or `h264`.
        noise: encode as ImageNet-P's noise sequences are encoded; `h264` only.
        threads: images or sequences encoded at a time; all cores unless given. The result does not depend on it.

    Returns:
        what was read back: same kind, shape and device.

    Raises:
        CorruptionError: an unknown name, images of another type or shape, or PyAV is missing.

    >>> image = np.full((32, 32, 3), 7, np.uint8)
    >>> round_trip(image, "jpeg85").shape, int(abs(round_trip(image, "jpeg85").astype(int) - 7).max())
    ((32, 32, 3), 0)
    """
    if name not in STORAGES:
        raise unknown("storage", name, STORAGES)
    if images.dtype not in (torch.uint8, np.uint8):
        raise CorruptionError(f"storage {name}: expected uint8 images, found {images.dtype}.")
    if name == "none":
        return images
    if isinstance(images, Tensor):
        if images.ndim not in ((5,) if name == "h264" else (4, 5)) or images.shape[-3] != 3:
            expected = "sequences, [N, T, 3, H, W]" if name == "h264" else "[N, 3, H, W] or [N, T, 3, H, W]"
            raise _wrong_shape(name, images.shape, expected)
        found = images.movedim(-3, -1).cpu().contiguous().numpy()
        stored = _round_trip(found, name, noise, threads)
        return torch.from_numpy(stored).to(images.device).movedim(-1, -3).contiguous()
    if images.ndim not in (3, 4, 5) or images.shape[-1] != 3:
        raise _wrong_shape(name, images.shape, "[H, W, 3], [N, H, W, 3] or [N, T, H, W, 3]")
    return _round_trip(np.ascontiguousarray(images), name, noise, threads)


def _round_trip(images: Pixels, name: str, noise: bool, threads: int | None) -> Pixels:
    item = 3 if name == "jpeg85" else 4
    if images.ndim < item:
        raise _wrong_shape(name, images.shape, "sequences, [T, H, W, 3] or [N, T, H, W, 3]")
    flat = images.reshape(-1, *images.shape[images.ndim - item :])

    def jpeg(pixels: Pixels) -> Pixels:
        return decode_jpeg(encode_jpeg(pixels))

    def video(pixels: Pixels) -> Pixels:
        return decode_video(encode_video(pixels, noise=noise))

    if not len(flat):
        return images
    done = _parallel(jpeg if name == "jpeg85" else video, list(flat), threads)
    return np.stack(done).reshape(images.shape)


def _parallel(work: Callable[[Pixels], Pixels], items: Sequence[Pixels], threads: int | None) -> list[Pixels]:
    """Both codecs release the interpreter, so threads are enough; the order is kept."""
    count = min(len(items), threads or os.cpu_count() or 1)
    if count == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, items))


def _wrong_shape(name: str, shape: Sequence[int], expected: str) -> CorruptionError:
    return CorruptionError(f"storage {name}: expected {expected}, found {list(shape)}.")


def encode_jpeg(image: Pixels) -> bytes:
    """The file of an RGB image [H, W, 3], byte for byte as Pillow writes it: quality 85, optimised, 4:2:0.

    >>> encode_jpeg(np.zeros((8, 8, 3), np.uint8))[:2].hex()
    'ffd8'
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def decode_jpeg(content: bytes) -> Pixels:
    """The pixels of a JPEG file as RGB [H, W, 3]."""
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGB"))


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise CorruptionError(
            "storage h264 needs PyAV: pip install 'robustbench-lift[video]' (or `pip install av`); "
            "without it choose storage none."
        ) from None
    return av


def require_video() -> None:
    """Make sure that videos can be written and read.

    Raises:
        CorruptionError: PyAV is missing.
    """
    _av()


def encode_video(frames: Pixels, *, noise: bool) -> bytes:
    """An .mp4 as ImageNet-P's: libx264 `veryslow`, 1 frame a second, yuv444p, one group of pictures.

    One thread encodes a video and x264 avoids what depends on the processor, so that the file is the same on machines
    with any number of cores.

    Args:
        frames: uint8 RGB [T, H, W, 3].
        noise: `tune grain` and crf 23 as the noise sequences have, instead of crf 20.

    Raises:
        CorruptionError: PyAV is missing or was built without libx264.
    """
    av = _av()
    options = {"preset": "veryslow", "crf": str(CRF_NOISE if noise else CRF_SMOOTH)}
    if noise:
        options["tune"] = "grain"
    # without it x264's macroblock tree reads memory that nobody wrote (AVX-512) and rounds as the processor likes
    options["x264-params"] = "cpu-independent=1"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        try:
            stream = container.add_stream("libx264", rate=1, options=options)
        except ValueError:  # PyAV's UnknownCodecError is one
            raise CorruptionError(
                "storage h264 needs a PyAV with libx264; the wheels of PyPI have it: pip install --force-reinstall av."
            ) from None
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p"
        stream.thread_count = 1
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(format="yuv444p", interpolation="BICUBIC")
            picture.pts, picture.time_base = number, SECOND
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode_video(content: bytes) -> Pixels:
    """All frames of an .mp4 as RGB [T, H, W, 3].

    Raises:
        CorruptionError: PyAV is missing, or the content is no video that it can read.
    """
    av = _av()
    try:
        with av.open(io.BytesIO(content)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    except (av.FFmpegError, IndexError) as error:
        raise CorruptionError(f"not a video that can be read ({error}). Write the file again.") from None
    if not frames:
        raise CorruptionError("a video without frames. Write the file again.")
    return np.stack(frames)
