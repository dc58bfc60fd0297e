"""Against the published package, fed the same draws in the same order.

The bound: at least 99.9 % of the values of a (corruption, severity) over all photographs and shapes are identical and
none is off by more than one level. What differs lies within float32 of a whole level.
"""

from __future__ import annotations

import numpy as np
import pytest

from corruptions import BENCHMARK, EXTRA, corrupt

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "retina")
QUICK = [("astronaut", 96, 128), ("retina", 64, 64), ("coffee", 33, 47)]
SHAPES = ((224, 224), (96, 128), (33, 47), (299, 299), (500, 375), (64, 64), (32, 32))
FULL = [(name, *shape) for name in PHOTOGRAPHS for shape in SHAPES]


def compare(reference, photograph, name, severity, cases):
    same = total = 0
    for picture, height, width in cases:
        image = photograph(picture, height, width)
        expected = reference(image, name, severity, 5)
        found = corrupt(image, name, severity, variant="imagecorruptions", random_state=np.random.RandomState(5))
        difference = np.abs(expected.astype(np.int16) - found)
        assert difference.max() <= 1, (picture, height, width, int((difference > 1).sum()))
        same += int((difference == 0).sum())
        total += difference.size
    assert same >= 0.999 * total, f"{same / total:.5f} of the values are identical"


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", [name for name in (*BENCHMARK, *EXTRA) if name != "glass_blur"])
def test_equals_the_package(reference, photograph, name, severity):
    compare(reference, photograph, name, severity, QUICK)


@pytest.mark.parametrize("severity", range(1, 6))
def test_glass_blur_equals_the_package(reference, photograph, severity):
    compare(reference, photograph, "glass_blur", severity, [("astronaut", 64, 96), ("coffee", 33, 47)])


@pytest.mark.slow
@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", [*BENCHMARK, *EXTRA])
def test_equals_the_package_on_every_photograph_and_shape(reference, photograph, name, severity):
    compare(reference, photograph, name, severity, FULL)


def test_the_reference_leaves_numpys_global_state_alone(reference, photograph):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    reference(photograph("coffee", 33, 47), "gaussian_noise", 1, 3)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
