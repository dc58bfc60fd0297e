"""Flips and top-5 distances: against literal transcriptions of the definitions, and what they refuse."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metrics
from metrics import ALEXNET, PERTURBATIONS, MetricError

CLASSES = 12


def literal_flip_probability(frames: npt.NDArray[np.int64], *, noise: bool, step: int) -> float:
    """One clip after another; with a step, all interleaved sub-sequences."""
    clips = []
    for clip in frames.tolist():
        flips = []
        if noise:
            flips = [frame != clip[0] for frame in clip[1:]]
        else:
            for start in range(step):
                sub = clip[start::step]
                flips += [now != before for before, now in itertools.pairwise(sub)]
        clips.append(sum(flips) / len(flips))
    return sum(clips) / len(clips)


def literal_distance(before: list[int], after: list[int]) -> int:
    """The paper's double sum over full rankings: sum_{i<=5} sum_{min(i,s)<j<=max(i,s)} [1 <= j - 1 <= 5]."""
    total = 0
    for i in range(1, 6):
        rank = after.index(before[i - 1]) + 1
        for j in range(min(i, rank) + 1, max(i, rank) + 1):
            total += 1 <= j - 1 <= 5
    return total


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=n, max_size=n)
    ),
    st.booleans(),
    st.integers(1, 3),
)
def test_flip_probability_against_a_loop(clips: list[list[int]], noise: bool, step: int) -> None:
    frames = np.array(clips)
    used = 1 if noise else step
    expected = literal_flip_probability(frames, noise=noise, step=used)
    assert metrics.flip_probability(frames, noise=noise, step=used) == pytest.approx(expected)


def test_pairs_of_the_benchmark() -> None:
    """31 frames make 30 pairs; a single other frame flips twice among neighbours and once against the first."""
    clip = np.zeros((1, 31), dtype=int)
    clip[0, 10] = 1
    assert metrics.flip_probability(clip, noise=False) == pytest.approx(2 / 30)
    assert metrics.flip_probability(clip, noise=True) == pytest.approx(1 / 30)
    assert metrics.flip_probability(clip, noise=False, step=3) == pytest.approx(2 / 28)


@pytest.mark.parametrize("noise", [True, False])
def test_top5_distance_against_the_double_sum(noise: bool) -> None:
    """Lists of five are enough: the sum over full rankings is the same number."""
    rng = np.random.default_rng(1)
    full = np.stack([rng.permutation(CLASSES) for _ in range(40 * 6)]).reshape(40, 6, CLASSES)
    clips = []
    for clip in full.tolist():
        pairs = [(clip[0], b) for b in clip[1:]] if noise else list(itertools.pairwise(clip))
        clips.append(np.mean([literal_distance(a, b) for a, b in pairs]))
    assert metrics.top5_distance(full[:, :, :5], noise=noise) == pytest.approx(np.mean(clips))


@given(st.permutations(range(CLASSES)), st.permutations(range(CLASSES)))
def test_one_pair_against_the_double_sum(before: list[int], after: list[int]) -> None:
    found = metrics.top5_distance([[before[:5], after[:5]]], noise=False)
    assert found == literal_distance(before, after)
    assert 0 <= found <= 18


def test_extreme_distances() -> None:
    same, other = [1, 2, 3, 4, 5], [6, 7, 8, 9, 10]
    assert metrics.top5_distance([[same, same]], noise=False) == 0
    assert metrics.top5_distance([[same, other]], noise=False) == 15
    assert metrics.top5_distance([[same, [5, 4, 8, 9, 10]]], noise=False) == 18


def test_no_two_lists_are_further_apart() -> None:
    """Every way in which five classes can find ranks 1..5, or 6 for anything beyond."""
    ranks = itertools.product(range(1, 7), repeat=5)
    possible = (r for r in ranks if len({x for x in r if x < 6}) == sum(x < 6 for x in r))
    assert max(sum(abs(i - x) for i, x in enumerate(r, 1)) for r in possible) == 18


def test_fewer_than_five_classes() -> None:
    """Ranks without a class move nowhere."""
    same = [2, 0, 1, -1, -1]
    assert metrics.top5_distance([[same, same]], noise=False) == 0
    assert metrics.top5_distance([[same, [0, 2, 1, -1, -1]]], noise=False) == 2


@given(st.fixed_dictionaries({name: st.floats(0.0, 1.0) for name in PERTURBATIONS}))
def test_mfr_is_the_mean_of_ratios(flips: dict[str, float]) -> None:
    expected = np.mean([flips[name] / ALEXNET.flip_probabilities[name] for name in PERTURBATIONS])
    assert metrics.mean_flip_rate(flips) == pytest.approx(expected)


def test_missing_and_extra_perturbations_are_named() -> None:
    flips = dict(ALEXNET.flip_probabilities)
    with pytest.raises(MetricError, match="spatter do not enter the benchmark's mean of 10"):
        metrics.mean_flip_rate(flips | {"spatter": 0.1})
    del flips["tilt"]
    with pytest.raises(MetricError, match=r"values: 1 of the 10 perturbations are missing: tilt\. No mean is taken"):
        metrics.mean_flip_rate(flips)


def test_not_a_number_and_percent() -> None:
    flips = dict(ALEXNET.flip_probabilities)
    with pytest.raises(MetricError, match="tilt: nan is not between 0 and 1"):
        metrics.mean_flip_rate(flips | {"tilt": math.nan})
    with pytest.raises(MetricError, match=r"tilt: 7\.05 is not between 0 and 1"):
        metrics.mean_flip_rate(flips | {"tilt": 7.05})


def test_a_normaliser_that_never_flips() -> None:
    still = metrics.Baseline(
        name="still",
        source="",
        clean_error=0.1,
        corruption_errors={},
        flip_probabilities=dict(ALEXNET.flip_probabilities) | {"tilt": 0.0},
    )
    with pytest.raises(MetricError, match=r"still is 0\.0 on tilt: nothing can be divided by it"):
        metrics.mean_flip_rate(ALEXNET.flip_probabilities, still)
    percent = replace(still, flip_probabilities={p: 100 * f for p, f in ALEXNET.flip_probabilities.items()})
    with pytest.raises(MetricError, match=r"still on gaussian_noise: 23.* Fractions are expected, not percent"):
        metrics.mean_flip_rate(ALEXNET.flip_probabilities, percent)
    with pytest.raises(MetricError, match="tilt: expected one number"):
        metrics.mean_flip_rate({**ALEXNET.flip_probabilities, "tilt": {1: 0.1}})


def test_alexnet_has_no_published_distances() -> None:
    with pytest.raises(MetricError, match=r"AlexNet has no top-5 distances .* measure a normaliser"):
        metrics.mean_top5_distance(dict.fromkeys(PERTURBATIONS, 1.0), ALEXNET)


@pytest.mark.parametrize(
    ("frames", "noise", "step", "message"),
    [
        (np.zeros((0, 5), dtype=int), False, 1, "at least one clip"),
        (np.zeros(5, dtype=int), False, 1, "at least one clip"),
        (np.zeros((2, 1), dtype=int), False, 1, "a step of 1 leaves no pair among 1 frames"),
        (np.zeros((2, 4), dtype=int), False, 4, "a step of 4 leaves no pair among 4 frames"),
        (np.zeros((2, 4), dtype=int), False, 0, "a step must be a whole number, at least 1, not 0"),
        (np.zeros((2, 4), dtype=int), False, 1.5, "a step must be a whole number, at least 1, not 1.5"),
        (np.zeros((2, 4), dtype=int), False, True, "a step must be a whole number"),
        (np.zeros((2, 4), dtype=int), True, 2, "their step is 1"),
        (np.full((2, 4), math.nan), False, 1, "class indices, integers; found float64"),
    ],
)
def test_frames_that_cannot_be_compared(frames: npt.NDArray[np.int64], noise: bool, step: int, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        metrics.flip_probability(frames, noise=noise, step=step)


def test_top5_needs_five() -> None:
    with pytest.raises(MetricError, match=r"expected the five best classes \[n, T, 5\], found \(1, 2, 3\)"):
        metrics.top5_distance(np.zeros((1, 2, 3), dtype=int), noise=False)
