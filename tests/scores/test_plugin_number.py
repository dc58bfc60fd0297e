"""A number that somebody else registers is scored, resampled, compared and gated like ours."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from robustbench_lift.errors import UsageError
from robustbench_lift.runs import Cell, Predictions
from robustbench_lift.scores import NUMBERS, Counts, Evidence, Number, number_of, register_number, replicated
from robustbench_lift.scores.numbers import gated, headlines, sign, title

MIRROR = Cell("mirror", "horizontal", 0)


def agree(cell: Cell, predictions: Predictions) -> np.ndarray:
    return predictions.top1[:, 0] == predictions.top1[:, 1]


@pytest.fixture
def mirror() -> Iterator[Number]:
    number = Number(
        key="mirror_consistency", title="Mirror consistency", direction="higher", protocol="mirror", measure=agree
    )
    yield register_number(number)
    del NUMBERS["mirror_consistency"]


def evidence(seed: int) -> tuple[Evidence, float]:
    rng = np.random.default_rng(seed)
    top5 = np.zeros((50, 2, 5), dtype=np.int16)
    top5[..., 0] = rng.integers(0, 2, (50, 2))
    found = Evidence([MIRROR])
    found.add(MIRROR, Predictions.sorted([f"{i:02d}" for i in range(50)], np.zeros(50), top5, np.ones((50, 2))))
    return found, float((top5[:, 0, 0] == top5[:, 1, 0]).mean())


def test_one_entry_is_enough(mirror: Number) -> None:
    found, share = evidence(0)
    assert found.values(None) == {"mirror_consistency": pytest.approx(share)}
    assert found.vectors(None)["mirror_consistency"].mean() == pytest.approx(share)
    (drawn,) = replicated([found], None, replicates=200, seed=0)
    assert drawn["mirror_consistency"].mean() == pytest.approx(share, abs=0.03)
    assert "mirror_consistency" in gated()
    assert "mirror_consistency" in headlines()
    assert (title("mirror_consistency"), sign("mirror_consistency")) == ("mirror consistency", -1)


def test_names_are_taken_once(mirror: Number) -> None:
    with pytest.raises(UsageError, match=r"mirror_consistency.*test_plugin_number.*already"):
        register_number(mirror)
    with pytest.raises(UsageError, match="slash"):
        register_number(
            Number(key="a/b", title="x", direction="lower", protocol="mirror", measure=lambda c, p: Counts(p.labels, 1))
        )


def test_unknown_numbers_have_near_ones() -> None:
    with pytest.raises(UsageError, match="Did you mean 'mce'"):
        number_of("mcee")
    with pytest.raises(UsageError, match="unknown number 'ce'"):
        number_of("ce")
