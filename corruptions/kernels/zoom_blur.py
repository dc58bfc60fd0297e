"""Zoom blur: the mean of enlargements about the centre. Rows: the zoom factors.

Source: Hendrycks and Dietterich, ICLR 2019, section 4.1 and `make_imagenet_c.py`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from corruptions.randomness import RandomSource
from corruptions.registry import corruption
from corruptions.smoothing import truncate
from corruptions.zoom import zoom_matrix


def _factors(step: int, count: int) -> tuple[float, ...]:
    """1.00, 1.00 + step/100, ...: as the floating-point ranges of the original give them.

    The last bit matters: 385 pixels times 1.3 make 500 or 501.
    """
    increment = (1 + step / 100) - 1
    return tuple(1 + increment * i for i in range(count))


_LARGE = (_factors(1, 12), _factors(1, 16), _factors(2, 11), _factors(2, 13), _factors(3, 11))
_SMALL = (_factors(1, 7), _factors(1, 12), _factors(1, 16), _factors(1, 21), _factors(1, 26))


@lru_cache(maxsize=5)  # all severities of a size, 60 MB at 224 pixels: `corrupt` goes through them with each few images
def _blur_operator(height: int, width: int, factors: tuple[float, ...], trim: bool) -> scipy.sparse.csr_array:
    """Mean of the image and its zooms as one sparse matrix: float32 [H W, H W], some 40 entries a row."""
    total = scipy.sparse.eye_array(height * width, format="csr")
    for factor in factors:
        down = zoom_matrix(height, factor, trim=trim)[:height]
        across = zoom_matrix(width, factor, trim=trim)[:width]
        total = total + scipy.sparse.kron(scipy.sparse.csr_array(down), scipy.sparse.csr_array(across), format="csr")
    total = total / (len(factors) + 1)
    total.sum_duplicates()
    result: scipy.sparse.csr_array = total.astype(np.float32)
    result.indices = result.indices.astype(np.int32)
    result.indptr = result.indptr.astype(np.int32)
    return result


@lru_cache(maxsize=2)
def _blur_operator_on(height: int, width: int, factors: tuple[float, ...], trim: bool, device: torch.device) -> Tensor:
    matrix = _blur_operator(height, width, factors, trim)
    rows, columns, weights = (
        torch.from_numpy(part).to(device) for part in (matrix.indptr, matrix.indices, matrix.data)
    )
    return torch.sparse_csr_tensor(rows, columns, weights, size=list(matrix.shape))


@corruption(
    "zoom_blur",
    category="blur",
    rows={
        224: _LARGE,
        299: _LARGE,
        64: _SMALL,
        32: _SMALL,
    },
    piece=16,
)
def zoom_blur(
    images: Tensor, draws: RandomSource, factors: tuple[float, ...], *, variant: str = "imagenet-c"
) -> Tensor:
    """Mean of the image and its enlargements by every factor; factor 1 is among them, so the image counts twice.

    The whole mean is linear in the image, so it is one sparse matrix applied to all planes at once.
    """
    height, width = images.shape[-2:]
    trim = variant != "imagecorruptions"
    columns = images.reshape(-1, height * width).T.to(torch.float32)
    if images.device.type == "cpu":
        # scipy's product needs no vendor library and beats torch's on a CPU
        blurred = torch.from_numpy(_blur_operator(height, width, factors, trim) @ columns.contiguous().numpy())
    else:
        blurred = _blur_operator_on(height, width, factors, trim, images.device) @ columns
    return truncate(blurred).T.reshape(images.shape)
