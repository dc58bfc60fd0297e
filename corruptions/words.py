"""Tables of 65,536 entries on a CPU: looked up by 16 bits, which may be two levels."""

from __future__ import annotations

import sys
from functools import lru_cache

import numpy as np

from corruptions.opencv import cv2


def look_up(words: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    """The entries of uint16 words [H, W], into `out` of the table's type.

    >>> found = np.empty((1, 2), np.uint8)
    >>> look_up(np.array([[3, 65535]], np.uint16), np.arange(1 << 16).astype(np.uint8), found)
    >>> found.tolist()
    [[3, 255]]
    """
    if _opencv_does():
        cv2.LUT(words, table, out)
    else:
        table.take(words, out=out, mode="wrap")


def paired(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The words low + 256 high of uint8 planes [H, W].

    >>> paired(np.array([[1]], np.uint8), np.array([[2]], np.uint8)).tolist()
    [[513]]
    """
    pair = cv2.merge([low, high] if sys.byteorder == "little" else [high, low])
    return np.asarray(pair.view(np.uint16)[..., 0])


@lru_cache(maxsize=1)
def _opencv_does() -> bool:
    """Whether this OpenCV has tables for 16 bits; before 5.0 they are for 8."""
    try:
        cv2.LUT(np.zeros((1, 1), np.uint16), np.zeros(1 << 16, np.uint16))
    except cv2.error:
        return False
    return True
