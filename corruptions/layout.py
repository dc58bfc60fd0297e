"""Pixels beside each other or planes beside each other: uint8 images from one memory layout to the other.

On a CPU OpenCV takes pixels apart and puts them together, ten times as fast as a copy with strides.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from corruptions.opencv import cv2

Pixels = npt.NDArray[np.uint8]


def planes(images: Tensor) -> Tensor:
    """Images [N, 3, H, W] of any strides, contiguous.

    >>> pixels = torch.arange(24, dtype=torch.uint8).view(1, 2, 4, 3)
    >>> bool((planes(pixels.permute(0, 3, 1, 2)) == pixels.permute(0, 3, 1, 2)).all())
    True
    """
    pixels = images.permute(0, 2, 3, 1)
    if images.device.type != "cpu" or images.is_contiguous() or not pixels.is_contiguous():
        return images.contiguous()
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    for image, target in zip(pixels.numpy(), result.numpy(), strict=True):
        cv2.split(image, list(target))
    return result


def channels_last(images: Tensor) -> Pixels:
    """Images [..., 3, H, W] on any device as a contiguous array [..., H, W, 3].

    >>> channels_last(torch.tensor([1, 2, 3], dtype=torch.uint8).view(1, 3, 1, 1)).tolist()
    [[[[1, 2, 3]]]]
    """
    *outer, channels, height, width = images.shape
    result = np.empty((*outer, height, width, channels), np.uint8)
    source = images.cpu().contiguous().view(-1, channels, height, width).numpy()
    for image, target in zip(source, result.reshape(-1, height, width, channels), strict=True):
        cv2.merge(list(image), target)
    return result
