"""OpenCV, imported where a kernel first uses it: what only names kernels works without it.

Its wheel links against libraries that slim machines lack; the error is one sentence that says how to get them.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from corruptions.errors import OpenCVError


def require_opencv() -> ModuleType:
    """The module, before the first of many images needs it.

    Raises:
        OpenCVError: it is not installed, or a library that it links against is missing.
    """
    try:
        import cv2
    except ImportError as error:
        raise OpenCVError(
            f"OpenCV cannot be imported ({error}). On Debian and Ubuntu: apt-get install libgl1 libglib2.0-0. Without "
            "root rights: pip uninstall opencv-python && pip install --force-reinstall opencv-python-headless (the "
            "same pixels)."
        ) from None
    return cv2


class _WhenUsed:
    """Stands in for the module; each of its names is looked up once."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(require_opencv(), name)
        setattr(self, name, found)
        return found


if TYPE_CHECKING:
    import cv2
else:
    cv2 = _WhenUsed()

__all__ = ["cv2", "require_opencv"]
