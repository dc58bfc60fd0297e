"""Speed of the perturbation sequences beside literal transcriptions of the original generator, before the codec.

    OMP_NUM_THREADS=1 python benchmarks/sequences.py
    OMP_NUM_THREADS=1 python benchmarks/sequences.py --names snow,tilt --repeats 3

The transcriptions are the tests' oracles (numpy, scipy, scikit-image, Pillow, OpenCV; one image at a time, as the
original). Its motion blur is ImageMagick's, which is C: the transcriptions of motion_blur and snow are numpy, slower:
their ratios, marked with a star, stand for themselves and enter no mean.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # this folder holds a corruptions.py, which would hide the package

from corruptions import EXTRA_PERTURBATIONS, PERTURBATIONS, perturb  # noqa: E402
from robustbench_lift.commands.memory import keep_freed_memory  # noqa: E402

STARRED = ("motion_blur", "snow")
PHOTOGRAPH = "astronaut"


def _tests(name: str) -> Any:
    """A module of the tests, by path."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "perturbations" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def noise(name: str, pixels: np.ndarray) -> list[np.ndarray]:
    """The three noise sequences, frame by frame."""
    state, x = np.random.RandomState(0), pixels / 255.0
    draws: dict[str, Callable[[], np.ndarray]] = {
        "gaussian_noise": lambda: x + 0.03 * state.standard_normal(x.shape),
        "shot_noise": lambda: state.poisson(x * 300) / 300.0,
        "speckle_noise": lambda: x + x * state.normal(size=x.shape, scale=0.05),
    }
    return [pixels, *((255 * np.clip(draws[name](), 0, 1)).astype(np.uint8) for _ in range(30))]


def transcription(name: str, base: np.ndarray) -> Callable[[], object]:
    """The original's way from a 256-pixel base to the frames of 224."""
    pixels, warps = _tests("test_pixel_oracles"), _tests("test_warp_oracles")
    centre = np.ascontiguousarray(base[16:240, 16:240])
    if "noise" in name:
        return partial(noise, name, centre)
    if name in pixels.ORACLES:
        return partial(pixels.ORACLES[name], centre, 224)
    if name == "tilt":
        return partial(_tilt, base)
    return partial(warps.oracle, name, base, 224, 224)


def _tilt(base: np.ndarray) -> list[np.ndarray]:
    """OpenCV's perspective warp about both axes, then the centre crop."""
    from corruptions.sequences.warps import tilt_matrix

    side = base.shape[0]
    return [cv2.warpPerspective(base, tilt_matrix(side, side, i - 15), (side, side))[16:240, 16:240] for i in range(31)]


def seconds(call: Callable[[], object]) -> float:
    """Processor time, which other programs on the machine do not blur."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    from skimage import data

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", default=",".join((*PERTURBATIONS, *EXTRA_PERTURBATIONS)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    base = cv2.resize(np.asarray(getattr(data, PHOTOGRAPH)()), (256, 256), interpolation=cv2.INTER_AREA)
    batch = torch.from_numpy(np.stack([base] * options.images)).permute(0, 3, 1, 2).contiguous()
    gains = []
    print(f"{'sequence':16} {'transcription':>13} {'ours':>8} {'ratio':>7}    milliseconds a sequence of 224 pixels")
    for name in options.names.split(","):
        literal, ours = transcription(name, base), partial(perturb, batch, name, crop=224)
        ours()
        pairs = [(seconds(literal), seconds(ours) / options.images) for _ in range(options.repeats)]
        theirs, mine = (1000 * min(column) for column in zip(*pairs, strict=True))
        star = "*" if name in STARRED else ""
        print(f"{name:16} {theirs:13.1f} {mine:8.1f} {theirs / mine:6.1f}x{star}", flush=True)
        if not star:
            gains.append(theirs / mine)
    if gains:
        print(
            f"geometric mean of {len(gains)} ratios without the starred: {statistics.geometric_mean(gains):.1f}x; "
            f"least: {min(gains):.1f}x"
        )


if __name__ == "__main__":
    main()
