"""McNemar's test, the score test with a margin, corrections and power: against other libraries and printed tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from robustbench_lift.errors import UsageError
from robustbench_lift.regression.seeds import welch
from robustbench_lift.regression.statistics import adjust, detectable_difference, paired_interval, worse_p

counts = st.integers(0, 60)


def mid_p_mcnemar(gained: int, lost: int) -> float:
    """Two-sided mid-p value of McNemar's test.

    Of the images on which two models disagree, `gained` became right and `lost` became wrong; under equality each
    disagreement is a fair coin. mid-p = 2 P(X < min) + P(X = min), X ~ Binomial(gained + lost, 1/2).

    Example:
        >>> round(mid_p_mcnemar(2, 10), 4)
        0.0225

    Source: Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91, 2013, equation 9.
    """
    discordant = gained + lost
    if discordant == 0 or gained == lost:
        return 1.0
    fewer = min(gained, lost)
    return float(min(1.0, 2 * stats.binom.cdf(fewer, discordant, 0.5) - stats.binom.pmf(fewer, discordant, 0.5)))


@given(counts, counts)
def test_mid_p_is_the_exact_p_less_half_the_observed_twice(gained: int, lost: int) -> None:
    exact = mcnemar([[5, gained], [lost, 5]], exact=True).pvalue
    observed = stats.binom.pmf(min(gained, lost), gained + lost, 0.5)
    expected = 1.0 if gained == lost else exact - observed
    assert mid_p_mcnemar(gained, lost) == pytest.approx(expected, abs=1e-12)


@given(counts, counts)
def test_one_sided_p_values_are_complements(gained: int, lost: int) -> None:
    worse, better = worse_p(gained, lost, 500), worse_p(lost, gained, 500)
    if gained + lost:
        assert worse + better == pytest.approx(1)
    if gained != lost:
        assert mid_p_mcnemar(gained, lost) == pytest.approx(2 * min(worse, better))


@given(st.integers(0, 80), st.integers(1, 80), st.sampled_from([0.001, 0.01, 0.05, 0.2]))
def test_score_test_against_the_maximum_of_the_likelihood(gained: int, lost: int, margin: float) -> None:
    n = 400

    def deviance(q: float) -> float:
        rest = n - gained - lost
        logs = lost * math.log(q + margin) + (gained * math.log(q) if gained else 0.0)
        return -(logs + rest * math.log(1 - 2 * q - margin))

    low, high = (1e-12, (1 - margin) / 2 - 1e-9)
    q = optimize.minimize_scalar(deviance, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    z = (lost - gained - n * margin) / math.sqrt(n * (2 * q + margin - margin**2))
    assert worse_p(gained, lost, n, margin=margin) == pytest.approx(stats.norm.sf(z), abs=1e-4)


def test_score_test_without_margin_is_mcnemars() -> None:
    z = math.sqrt(mcnemar([[5, 30], [50, 5]], exact=False, correction=False).statistic)
    assert worse_p(30, 50, 10_000, margin=1e-12) == pytest.approx(stats.norm.sf(z), abs=1e-6)


def test_no_disagreement_is_no_evidence() -> None:
    assert mid_p_mcnemar(0, 0) == worse_p(0, 0, 100) == 1.0
    assert worse_p(0, 0, 100, margin=0.01) > 0.8


@pytest.mark.parametrize(("lost", "gained", "most"), [(0.01, 0.01, 1.0), (0.04, 0.02, 0.99), (0.15, 0.1, 0.97)])
def test_paired_intervals_hold_the_truth(lost: float, gained: float, most: float) -> None:
    """Coverage over multinomial draws; too wide, not too narrow, where disagreements are few."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(100, [lost, gained, 1 - lost - gained], size=4000)
    held = [low <= lost - gained <= high for low, high in (paired_interval(g, b, 100, 1.96) for b, g, _ in draws)]
    assert 0.94 < np.mean(held) <= most


def test_paired_intervals_have_a_width() -> None:
    low, high = paired_interval(0, 0, 60, 1.96)
    assert -0.06 < low < 0 < high < 0.06
    assert paired_interval(0, 60, 60, 1.96).high == 1.0


def test_mid_p_holds_its_level() -> None:
    """At most 5.5 % false alarms at 5 %, summed exactly over all outcomes, where the exact test is far below."""
    for discordant in (10, 20, 40):
        law = stats.binom(discordant, 0.5)
        alarms = sum(law.pmf(lost) for lost in range(discordant + 1) if mid_p_mcnemar(discordant - lost, lost) < 0.05)
        assert 0.02 < alarms < 0.055


@pytest.mark.parametrize(
    ("images", "points"),
    [
        (500, (1.77, 3.07, 4.85, 8.86)),
        (1_000, (1.25, 2.17, 3.43, 6.26)),
        (5_000, (0.56, 0.97, 1.53, 2.80)),
        (50_000, (0.18, 0.31, 0.49, 0.89)),
    ],
)
def test_power_table(images: int, points: tuple[float, ...]) -> None:
    """Smallest difference, points: 80 % power, alpha 0.05 two-sided; the last column is unpaired at 50 % error."""
    paired = tuple(round(100 * detectable_difference(images, share), 2) for share in (0.02, 0.06, 0.15))
    # two independent errors of 50 % have the variance of a paired test in which half of all images disagree
    assert (*paired, round(100 * detectable_difference(images, 0.5), 2)) == points


def test_power_by_simulation() -> None:
    """The detectable difference is found about 80 times in 100."""
    n, discordant = 2000, 0.06
    delta = detectable_difference(n, discordant)
    rng = np.random.default_rng(0)
    lost, gained = (discordant + delta) / 2, (discordant - delta) / 2
    draws = rng.multinomial(n, [lost, gained, 1 - lost - gained], size=400)
    found = np.mean([mid_p_mcnemar(int(g), int(worse)) < 0.05 for worse, g, _ in draws])
    assert 0.74 < found < 0.87


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
    st.sampled_from([("bh", "fdr_bh"), ("by", "fdr_by"), ("holm", "holm")]),
)
def test_corrections_against_statsmodels(p_values: list[float], names: tuple[str, str]) -> None:
    ours, theirs = names
    assert adjust(p_values, ours) == pytest.approx(multipletests(p_values, method=theirs)[1], abs=1e-12)


def test_corrections_at_the_edges() -> None:
    assert adjust([0.2, 0.1], "none") == [0.2, 0.1]
    assert adjust([], "bh") == []
    with pytest.raises(UsageError, match="unknown correction 'bonferroni'"):
        adjust([0.1], "bonferroni")


@pytest.mark.parametrize("name", ["mce", "consistency"])
def test_welch_against_scipy(name: str) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.7, 0.02, 4), rng.normal(0.72, 0.03, 6)
    side = "greater" if name == "mce" else "less"
    theirs = stats.ttest_ind(b, a, equal_var=False, alternative=side)
    found = welch(name, a.tolist(), b.tolist(), margin=0.0, confidence=0.9)
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert found.p_improved == pytest.approx(1 - theirs.pvalue)
    interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_one_seed_proves_nothing() -> None:
    found = welch("mce", [0.5], [0.9, 0.91], margin=0.0, confidence=0.95)
    assert (found.p_value, found.p_improved) == (1.0, 1.0)
    assert found.high == math.inf
