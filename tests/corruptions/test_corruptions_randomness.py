"""The generator: known answers, laws with fixed seeds, dependence on (seed, condition, severity, id) alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from corruptions.channel import Gaussian, Impulse, Shot, Speckle, guide, send
from corruptions.randomness import Draws, LegacyDraws, image_keys, philox_words

COUNT = 200_000


def test_tensor_arithmetic_gives_the_published_philox_words():
    # Random123, kat_vectors: philox4x64, 10 rounds, counter and key zero. numpy steps the counter before the block.
    answer = (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)
    generator = np.random.Philox(key=[0, 0], counter=[2**64 - 1] * 4)
    assert tuple(int(word) for word in generator.random_raw(4)) == answer
    # The generator goes on with blocks 1, 2, ..., which are ours.
    following = generator.random_raw(12).view(np.int64)
    assert (philox_words(torch.zeros(1, 2, dtype=torch.int64), 0, 12)[0].numpy() == following).all()


@pytest.mark.parametrize("count", [1, 3, 4, 5, 1000])
def test_numpys_generator_and_tensor_arithmetic_agree(count):
    draws = Draws(7, "snow", 3, ["a", 12, "b/c.png"])
    keys = torch.from_numpy(draws.keys.view(np.int64).copy())
    for stream in range(3):
        assert torch.equal(draws.words(count), philox_words(keys, stream, count))


def test_keys_differ_in_every_part_and_ids_may_be_numbers_or_text():
    keys = [
        tuple(image_keys(seed, name, severity, [image_id])[0])
        for seed in (0, 1)
        for name in ("fog", "snow")
        for severity in (1, 2)
        for image_id in ("1", "11", "a")
    ]
    assert len(set(keys)) == len(keys)
    assert (image_keys(0, "fog", 1, [5]) == image_keys(0, "fog", 1, ["5"])).all()


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_real_draws_an_image_at_a_time_are_those_of_the_batch(count):
    def draws():
        return Draws(7, "snow", 3, ["a", 12, "b/c.png"])

    signed = draws().words_32(count).bitwise_and(-256)
    unit = signed.float() * 2.0**-32 + 0.5
    assert torch.equal(draws().uniform((count,)), unit)
    assert torch.equal(draws().uniform((count,), -45.0, 45.0), unit * 90 - 45)
    assert torch.equal(draws().uniform((count,), -0.5, 0.5), unit - 0.5)
    assert torch.equal(draws().uniform((count,), -1.0, 1.0), unit * 2 - 1)
    assert torch.equal(draws().normal((count,)), (signed + 128).float().mul(2.0**-31).erfinv() * 2**0.5)


def kolmogorov(values, law) -> float:
    return stats.kstest(np.asarray(values, dtype=np.float64).ravel(), law).pvalue


def test_uniform_and_normal_follow_their_laws():
    draws = Draws(1, "test", 1, ["x"])
    uniform, normal = draws.uniform((COUNT,)), draws.normal((COUNT,))
    assert uniform.dtype == normal.dtype == torch.float32
    assert 0 <= float(uniform.min()) < float(uniform.max()) < 1
    assert kolmogorov(uniform, "uniform") > 0.01
    assert kolmogorov(normal, "norm") > 0.01
    assert bool(normal.isfinite().all())
    assert kolmogorov((draws.uniform((COUNT,), -45, 45) + 45) / 90, "uniform") > 0.01


def test_the_ends_of_the_normal_are_finite_and_symmetric():
    draws = Draws(0, "test", 1, ["x"])
    words = np.array([-(2**31), 2**31 - 1, 0, -1], dtype=np.int32).view(np.uint64)
    draws.by_image = lambda: lambda _image, _count: words
    low, high, above, below = draws.normal((4,))[0].tolist()
    assert low == -high
    assert 5.2 < high < 5.6
    assert above == -below > 0


@pytest.mark.parametrize(("low", "high"), [(0, 5), (-4, 4), (3, 1003)])
def test_integers_are_even(low, high):
    values = Draws(2, "test", 1, ["x"]).integers(low, high, (COUNT,)).numpy().ravel()
    counts = np.bincount(values - low, minlength=high - low)
    assert len(counts) == high - low
    assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize("reach", [1, 2, 3, 4, 5])
def test_offsets_are_even_over_all_pairs(reach):
    codes = Draws(3, "test", 1, ["x"]).offsets(reach, COUNT).numpy().ravel()
    counts = np.bincount(codes, minlength=4 * reach * reach)
    assert len(counts) == 4 * reach * reach
    assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize("rate", [0.3, 4.0, 60.0])
def test_poisson_counts_follow_their_law(rate):
    counts = Draws(4, "test", 1, ["x"]).poisson(torch.full((1, COUNT), rate)).numpy().ravel().astype(int)
    observed = np.bincount(counts, minlength=200)
    expected = stats.poisson.pmf(np.arange(len(observed)), rate) * COUNT
    often = expected > 5
    statistic = ((observed - expected)[often] ** 2 / expected[often]).sum()
    assert stats.chi2.sf(statistic, often.sum() - 1) > 0.01


@pytest.mark.parametrize(
    "law", [Gaussian(0.08), Gaussian(0.38), Speckle(0.15), Speckle(0.6), Shot(500), Shot(3), Impulse(0.1)]
)
def test_channels_follow_the_law_of_their_formula(law):
    """The 256 x 256 counts against the probabilities, and those against draws of the literal formula."""
    image = torch.arange(256, dtype=torch.uint8).repeat(2000).view(1, -1)
    found = send(image, law, Draws(5, "test", 1, ["x"]))
    steps = law.distribution()
    effects = law.effects(steps.shape[1] + 1)
    mass = np.diff(np.column_stack([steps, np.ones(len(steps))]), axis=1, prepend=0)
    probability = np.zeros((256, 256))
    for level in range(256):
        results = np.clip(level + effects, 0, 255) if law.adds else effects
        np.add.at(probability[level], results, mass[level if len(mass) > 1 else 0])
    literal = law.literal(image, LegacyDraws(np.random.RandomState(5)))
    for results in (found, literal):
        observed = np.zeros((256, 256))
        np.add.at(observed, (image.numpy().ravel(), results.numpy().ravel()), 1)
        expected = probability * 2000
        often = expected > 5
        assert observed[expected < 1e-9].sum() == 0
        statistic = ((observed - expected)[often] ** 2 / expected[often]).sum()
        freedom = often.sum() - (often.all(1) | (expected[~often].sum() == 0)).sum() - (probability > 1 - 1e-12).sum()
        # The cells of a row add up to 2000, so a row loses one degree of freedom where all its cells count.
        assert stats.chi2.sf(statistic, max(freedom, 1)) > 1e-3
        assert stats.chi2.cdf(statistic, often.sum()) < 1 - 1e-3


def test_guide_tables_hold_the_exact_distribution():
    law = Shot(60)
    table = guide(law, torch.device("cpu"))
    exact = (table.exact.view(256, -1).numpy() & ((1 << 49) - 1)) / 2.0**48
    assert np.abs(exact[:, :-1] - law.distribution()).max() < 2.0**-48
    settled = table.entries[table.entries >= 0].numel()
    assert settled > 0.97 * table.entries.numel()


def test_images_are_independent():
    draws = Draws(6, "test", 1, [f"image {i}" for i in range(8)])
    correlation = np.corrcoef(draws.normal((COUNT // 4,)).numpy())
    assert np.abs(correlation - np.eye(8)).max() < 4 / np.sqrt(COUNT // 4)
    other = Draws(6, "test", 2, [f"image {i}" for i in range(8)]).normal((COUNT // 4,)).numpy()
    first = Draws(6, "test", 1, [f"image {i}" for i in range(8)]).normal((COUNT // 4,)).numpy()
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(2 * COUNT)


def test_legacy_draws_consume_numpys_stream():
    state, again = np.random.RandomState(3), np.random.RandomState(3)
    draws = LegacyDraws(state)
    assert np.array_equal(draws.normal((3, 2))[0], again.normal(size=(3, 2)))
    assert np.array_equal(draws.uniform((4,), -2, 3)[0], again.uniform(-2, 3, 4))
    assert draws.ranges([7]) == [again.randint(0, 7)]
    codes = draws.offsets(3, 50)[0].numpy()
    pairs = np.array([again.randint(-3, 3, size=2) for _ in range(50)])
    assert np.array_equal(np.stack([codes % 6 - 3, codes // 6 - 3], axis=1), pairs)
    assert np.array_equal(draws.poisson(torch.full((1, 9), 2.5))[0], again.poisson(2.5, 9))
    assert np.array_equal(draws.integers(0, 5, (6,))[0], again.randint(0, 5, 6))
