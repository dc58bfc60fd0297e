"""OpenCV, or one sentence that says how to get it: its wheel links against libraries that slim machines lack."""

from __future__ import annotations

from corruptions.errors import OpenCVError

try:
    import cv2
except ImportError as error:
    raise OpenCVError(
        f"OpenCV cannot be imported ({error}). On Debian and Ubuntu: apt-get install libgl1 libglib2.0-0. Without root "
        "rights: pip uninstall opencv-python && pip install --force-reinstall opencv-python-headless (the same pixels)."
    ) from None

__all__ = ["cv2"]
