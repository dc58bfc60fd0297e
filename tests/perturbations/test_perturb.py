"""perturb(): counts, laws of the noise, independence, invariance, errors."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

import corruptions
from corruptions import CorruptionError, perturb
from corruptions.perturbations import frames
from corruptions.randomness import Draws, LegacyDraws
from corruptions.registry import SEQUENCES, frame_count

ALL = (*corruptions.PERTURBATIONS, *corruptions.EXTRA_PERTURBATIONS)
NOISE = ("gaussian_noise", "shot_noise", "speckle_noise")
RANDOM = (*NOISE, "snow", "spatter")


def photographs(count: int, size: int) -> torch.Tensor:
    image = skimage.data.chelsea()
    crops = [image[20 * k : 20 * k + size, 30 * k : 30 * k + size] for k in range(count)]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def test_the_names_are_those_of_the_benchmark_in_its_order():
    assert corruptions.PERTURBATIONS == (
        "gaussian_noise",
        "shot_noise",
        "motion_blur",
        "zoom_blur",
        "snow",
        "brightness",
        "translate",
        "rotate",
        "tilt",
        "scale",
    )
    assert corruptions.EXTRA_PERTURBATIONS == ("speckle_noise", "gaussian_blur", "spatter", "shear")


@pytest.mark.parametrize("size", [32, 64, 224, 299])
@pytest.mark.parametrize("name", ALL)
def test_frame_counts(name, size):
    special = {("translate", 299): 41, ("translate", 224): 41, ("translate", 32): 16, ("motion_blur", 32): 21}
    expected = special.get((name, size), 31)
    assert frame_count(name, size) == expected
    found = perturb(photographs(1, 32), name, table=size)
    assert found.shape == (1, expected, 3, 32, 32)
    assert found.dtype == torch.uint8


@pytest.mark.parametrize("size", [32, 64, 224, 299])
@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_noise_equals_the_formula_on_numpy_draws(size, difficulty):
    parameters = {
        32: ((0.02, 0.04, 0.06), (700, 400, 200), (0.05, 0.07, 0.1)),
        64: ((0.025, 0.05, 0.075), (500, 250, 125), (0.05, 0.10, 0.15)),
        224: ((0.03, 0.05, 0.08), (300, 120, 60), (0.05, 0.10, 0.15)),
        299: ((0.035, 0.055, 0.085), (250, 100, 50), (0.06, 0.11, 0.16)),
    }[size]
    gaussian, photons, speckle = (group[difficulty - 1] for group in parameters)
    images = photographs(1, 32)
    x = images[0].permute(1, 2, 0).numpy() / 255.0
    formulas = {
        "gaussian_noise": lambda state: np.clip(x + gaussian * state.standard_normal(x.shape), 0, 1),
        "shot_noise": lambda state: np.clip(state.poisson(x * photons) / float(photons), 0, 1),
        "speckle_noise": lambda state: np.clip(x + x * state.normal(size=x.shape, scale=speckle), 0, 1),
    }
    for name, formula in formulas.items():
        draws = LegacyDraws(np.random.RandomState(5))
        found = list(frames(images, name, size, draws, difficulty=difficulty))
        state = np.random.RandomState(5)
        assert (found[0] == images).all()
        for frame in found[1:4]:
            difference = np.abs(frame[0].permute(1, 2, 0).numpy().astype(int) - np.uint8(255 * formula(state)))
            assert difference.max() <= 1
            assert (difference == 0).mean() >= 0.999


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_noise_follows_its_law(difficulty):
    """Chi-square of a flat image's frames against the exact distribution of levels."""
    level = 90
    image = torch.full((1, 3, 64, 64), level, dtype=torch.uint8)
    x = level / 255.0
    edges = np.arange(1, 256) / 255.0
    sd, photons, speckle = (SEQUENCES[name].rows[64][difficulty - 1] for name in NOISE)
    laws = {
        "gaussian_noise": stats.norm.cdf(edges, x, sd),
        "shot_noise": stats.poisson.cdf(np.ceil(edges * photons - 1e-9) - 1, x * photons),
        "speckle_noise": stats.norm.cdf(edges, x, x * speckle),
    }
    for name, below in laws.items():
        noisy = perturb(image, name, difficulty=difficulty, seed=3)[0, 1:]
        observed = np.bincount(noisy.numpy().ravel(), minlength=256)
        expected = np.diff(np.concatenate([[0.0], below, [1.0]])) * noisy.numel()
        kept = expected >= 5
        pooled_observed = np.append(observed[kept], observed[~kept].sum())
        pooled_expected = np.append(expected[kept], expected[~kept].sum())
        if pooled_expected[-1] < 1e-6:
            assert pooled_observed[-1] == 0, name
            pooled_observed, pooled_expected = pooled_observed[:-1], pooled_expected[:-1]
        p = stats.chisquare(pooled_observed, pooled_expected * pooled_observed.sum() / pooled_expected.sum()).pvalue
        assert p > 1e-4, (name, p)


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_independent_between_frames_images_channels_and_pixels(name):
    images = torch.full((2, 3, 64, 64), 120, dtype=torch.uint8)
    noise = perturb(images, name, seed=9)[:, 1:].double() - 120
    noise -= noise.mean()
    variance = float((noise**2).mean())

    def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a * b).mean()) / variance

    values = noise[0].numel()
    bound = 5 / (values / 2) ** 0.5
    assert abs(correlation(noise[0], noise[1])) < bound
    assert abs(correlation(noise[0, 1:], noise[0, :-1])) < bound
    assert abs(correlation(noise[0, :, 0], noise[0, :, 1])) < 2 * bound
    assert abs(correlation(noise[..., 1:], noise[..., :-1])) < bound


def test_difficulty_is_a_parameter_of_noise_and_a_stride_of_everything_else():
    images = photographs(1, 32)
    for name in ALL:
        easy, hard = (perturb(images, name, difficulty=d) for d in (1, 3))
        assert torch.equal(easy, hard) == (name not in NOISE), name
        if name in NOISE:
            assert torch.equal(easy[:, 0], images)
            assert torch.equal(hard[:, 0], images)
            assert (hard[:, 1:].float() - images[:, None].float()).std() > (
                easy[:, 1:].float() - images[:, None].float()
            ).std()


@pytest.mark.parametrize("name", ALL)
def test_results_do_not_depend_on_batch_order_or_split(name):
    images = photographs(4, 32)
    ids = ["a/1", "a/2", "b/1", "b/2"]
    together = perturb(images, name, seed=5, ids=ids)
    order = [2, 0, 3, 1]
    shuffled = perturb(images[order], name, seed=5, ids=[ids[k] for k in order])
    assert torch.equal(shuffled, together[order])
    single = torch.cat([perturb(images[k : k + 1], name, seed=5, ids=[ids[k]]) for k in range(4)])
    assert torch.equal(single, together)


@pytest.mark.parametrize("name", RANDOM)
def test_seed_and_id_decide_the_draws(name):
    images = torch.full((2, 3, 64, 64), 120, dtype=torch.uint8)
    first = perturb(images, name, seed=1, ids=["a", "b"])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, perturb(images, name, seed=2, ids=["a", "b"]))
    assert torch.equal(first, perturb(images, name, seed=1, ids=["a", "b"]))


@pytest.mark.parametrize("name", ALL)
def test_global_random_state_is_neither_read_nor_changed(name):
    image = photographs(1, 32)
    np.random.seed(0)  # noqa: NPY002 - the global state is what is tested
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first = perturb(image, name)
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
    torch.manual_seed(1)
    assert torch.equal(perturb(image, name), first)


def test_numpy_and_torch_agree():
    images = photographs(2, 32)
    pixels = images.permute(0, 2, 3, 1).numpy()
    for name in ALL:
        expected = perturb(images, name, seed=4).permute(0, 1, 3, 4, 2).numpy()
        assert (perturb(pixels, name, seed=4) == expected).all()
        assert (perturb(pixels[0], name, seed=4, ids=[0]) == expected[0]).all()


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(ALL),
    count=st.integers(0, 3),
    height=st.integers(32, 70),
    width=st.integers(32, 70),
    table=st.sampled_from([32, 64, 224, "nearest"]),
    layout=st.sampled_from(["contiguous", "channels_last", "strided"]),
)
def test_any_shape_and_memory_layout(name, count, height, width, table, layout):
    generator = torch.Generator().manual_seed(height * 100 + width)
    images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)
    expected = perturb(images, name, table=table)
    assert expected.shape[0] == count
    assert expected.shape[2:] == (3, height, width)
    if layout == "channels_last":
        images = images.contiguous(memory_format=torch.channels_last)
    elif layout == "strided":
        images = images.repeat_interleave(2, dim=3)[..., ::2]
    before = images.clone()
    assert torch.equal(perturb(images, name, table=table), expected)
    assert torch.equal(images, before)


class LargestTensor(TorchDispatchMode):
    """Records the bytes of the largest tensor that any operation gives."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for made in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(made, torch.Tensor):
                self.bytes = max(self.bytes, made.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("name", ALL)
def test_memory_is_bounded_by_one_frame_of_the_batch(name):
    """Nothing but the result holds the frames of a sequence; no tensor exceeds 48 bytes a value of one frame."""
    images = photographs(2, 64)
    result_bytes = perturb(images, name).numel()
    batch = images.numel()
    mode = LargestTensor()
    with mode:
        for frame in frames(images, name, 64, Draws(0, name, 1, [0, 1])):
            assert frame.shape == images.shape
    assert mode.bytes <= 48 * batch
    assert result_bytes >= 31 * batch


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (torch.zeros(1, 3, 64, 64), {}, "must be uint8 with levels 0..255, found torch.float32"),
        (torch.zeros(1, 1, 64, 64, dtype=torch.uint8), {}, "grey images must be repeated to three channels"),
        (np.zeros((64, 64, 4), np.uint8), {}, "drop the alpha channel"),
        (np.zeros((64, 64), np.uint8), {}, r"must be \[H, W, 3\] or \[N, H, W, 3\], found shape \[64, 64\]"),
        ([[1]], {}, "found list"),
        (torch.zeros(1, 3, 20, 64, dtype=torch.uint8), {}, "at least 32 x 32 pixels, found 20 x 64"),
        (torch.zeros(1, 3, 70, 70, dtype=torch.uint8), {}, "no severity table for images of 70 x 70 pixels"),
        (torch.zeros(1, 3, 64, 70, dtype=torch.uint8), {}, "for example table=224 or table='nearest'"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), {"table": 65}, "one of 32, 64, 224, 299 or 'nearest', found 65"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), {"seed": 0.5}, "seed must be an integer, found 0.5"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), {"crop": 65}, "crop 65 does not fit images of 64x64"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), {"crop": 40.0}, "crop must be an integer, found 40.0"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), {"difficulty": 4}, "difficulties are 1, 2 and 3"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), {"difficulty": 2.0}, "difficulty must be an integer"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), {"ids": ["a", "b"]}, "found 2 ids for 1 images"),
    ],
)
def test_errors_teach(images, options, message):
    with pytest.raises(CorruptionError, match=message):
        perturb(images, "tilt", **options)


def test_an_unknown_name_shows_the_near_ones():
    with pytest.raises(CorruptionError, match="Did you mean 'translate'"):
        perturb(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "translation")
    with pytest.raises(CorruptionError, match="unknown perturbation"):
        perturb(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), ["tilt"])


def test_the_nearest_table_is_an_explicit_choice():
    images = photographs(1, 72)
    assert torch.equal(perturb(images, "tilt", table="nearest"), perturb(images, "tilt", table=64))
    with pytest.raises(CorruptionError):
        perturb(images, "tilt")
    assert perturb(images, "tilt", crop=64).shape == (1, 31, 3, 64, 64)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ALL)
def test_cuda_agrees_with_the_cpu(name):
    images = photographs(2, 64)
    cpu = perturb(images, name, seed=2).int()
    cuda = perturb(images.cuda(), name, seed=2).cpu().int()
    assert (cpu - cuda).abs().max() <= 1
    assert (cpu == cuda).float().mean() >= 0.999
