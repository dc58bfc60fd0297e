"""The published package `imagecorruptions` 1.1.2, repaired so that it runs today: the oracle of tests and benchmarks.

What is repaired, and nothing else: the import of pkg_resources (gone from setuptools 82), `numpy.float_` (gone from
numpy 2), `gaussian(multichannel=)` (gone from scikit-image 0.20), the deprecated `scipy.ndimage.interpolation`,
and impulse_noise, which draws from a generator that nobody can seed: it gets the law of scikit-image 0.18.
"""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np


def _gaussian(image: Any, *args: Any, multichannel: bool = False, **kwargs: Any) -> Any:
    from skimage.filters import gaussian

    if multichannel:
        kwargs["channel_axis"] = -1
    blurred: Any = gaussian
    return blurred(image, *args, **kwargs)


def _impulse_noise(image: Any, severity: int = 1) -> Any:
    amount = [0.03, 0.06, 0.09, 0.17, 0.27][severity - 1]
    x = np.array(image) / 255.0
    flipped = np.random.random_sample(x.shape) < amount  # noqa: NPY002
    salted = np.random.random_sample(x.shape) < 0.5  # noqa: NPY002
    x[flipped & salted] = 1
    x[flipped & ~salted] = 0
    return np.clip(x, 0, 1) * 255


@lru_cache(maxsize=1)
def reference() -> types.ModuleType:
    """The repaired module `imagecorruptions.corruptions`, under a private name."""
    spec = importlib.util.find_spec("imagecorruptions")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    stand_in = types.ModuleType("pkg_resources")
    stand_in.resource_filename = lambda _package, name: str(folder / name)  # type: ignore[attr-defined]
    before = sys.modules.get("pkg_resources")
    sys.modules["pkg_resources"] = stand_in
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            own = importlib.util.spec_from_file_location("_reference_imagecorruptions", folder / "corruptions.py")
            assert own is not None
            assert own.loader is not None
            module = importlib.util.module_from_spec(own)
            own.loader.exec_module(module)
    finally:
        if before is None:
            del sys.modules["pkg_resources"]
        else:
            sys.modules["pkg_resources"] = before
    numpy = types.ModuleType("numpy")
    numpy.__dict__.update(vars(np))
    numpy.float_ = np.float64  # type: ignore[attr-defined]
    vars(module).update(np=numpy, gaussian=_gaussian, impulse_noise=_impulse_noise)
    return module


def reference_corrupt(image: np.ndarray, name: str, severity: int, seed: int | None = None) -> np.ndarray:
    """uint8 [H, W, 3] corrupted by the package; `seed` sets numpy's global generator and puts it back afterwards."""
    from PIL import Image

    state = np.random.get_state()  # noqa: NPY002
    try:
        if seed is not None:
            np.random.seed(seed)  # noqa: NPY002
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(getattr(reference(), name)(Image.fromarray(image), severity), dtype=np.uint8)
    finally:
        np.random.set_state(state)  # noqa: NPY002
