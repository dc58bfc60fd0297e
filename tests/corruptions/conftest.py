"""Photographs, and the repaired reference package, loaded by path because it lives beside the benchmarks."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "retina")


@pytest.fixture(scope="session")
def reference() -> Callable[..., np.ndarray]:
    """reference(image, name, severity, seed) -> what imagecorruptions 1.1.2 makes of uint8 [H, W, 3]."""
    path = Path(__file__).parents[2] / "benchmarks" / "reference_imagecorruptions.py"
    spec = importlib.util.spec_from_file_location("reference_imagecorruptions", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.reference_corrupt


@pytest.fixture(scope="session")
def photograph() -> Callable[[str, int, int], np.ndarray]:
    """photograph(name, height, width) -> one of scikit-image's, shrunk by area averaging: uint8 [height, width, 3]."""

    def load(name: str, height: int, width: int) -> np.ndarray:
        picture = np.ascontiguousarray(getattr(data, name)()[..., :3])
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)

    return load


@pytest.fixture(scope="session")
def batch(photograph) -> torch.Tensor:
    """Four photographs: uint8 [4, 3, 64, 64]."""
    arrays = np.stack([photograph(name, 64, 64) for name in PHOTOGRAPHS[:4]])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
