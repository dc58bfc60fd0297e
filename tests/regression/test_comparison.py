"""Two runs compared: differences, verdicts, and what must not be compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import metrics
from robustbench_lift.errors import IncomparableError, IncompleteError, UsageError
from robustbench_lift.regression import compare
from robustbench_lift.runs import Cell, Predictions
from robustbench_lift.scores.scoring import score

QUICK = {"replicates": 200}


@pytest.fixture(scope="module")
def good(make_run: Callable[..., Any]) -> Any:
    return make_run("good", quality=1.4)


@pytest.fixture(scope="module")
def bad(make_run: Callable[..., Any]) -> Any:
    return make_run("bad", quality=0.7)


def test_differences_are_those_of_the_scores(good: Any, bad: Any) -> None:
    found = compare(good, bad, **QUICK)
    a, b = score(good, metrics.ALEXNET), score(bad, metrics.ALEXNET)
    for name in ("clean_error", "mean_error", "mce", "relative_mce", "mean_flip_probability", "mfr", "consistency"):
        one = found.metrics[name]
        assert (one.baseline, one.candidate) == pytest.approx((a[name], b[name]))
        assert one.low <= one.delta <= one.high
    assert list(found.metrics)[:7] == [
        "clean_error", "mean_error", "mce", "relative_mce", "mean_flip_probability", "mfr", "consistency",
    ]  # fmt: skip


def test_better_and_worse_are_mirror_images(good: Any, bad: Any) -> None:
    there, back = compare(good, bad, **QUICK), compare(bad, good, **QUICK)
    for name, one in there.metrics.items():
        other = back.metrics[name]
        assert one.delta == pytest.approx(-other.delta)
        assert one.p_value == pytest.approx(other.p_improved)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert there.metrics["mce"].verdict == "regressed"
    assert back.metrics["mce"].verdict == "improved"
    assert there.metrics["consistency"].worsening == pytest.approx(-there.metrics["consistency"].delta)


def test_p_values_against_scipy(good: Any, bad: Any) -> None:
    from robustbench_lift.scores import contributions

    a, b = contributions(good, metrics.ALEXNET)["mce"], contributions(bad, metrics.ALEXNET)["mce"]
    expected = stats.ttest_rel(b, a, alternative="greater").pvalue
    assert compare(good, bad, **QUICK).metrics["mce"].p_value == pytest.approx(expected)


def test_cells_count_what_was_gained_and_lost(good: Any, bad: Any) -> None:
    found = compare(good, bad, **QUICK)
    cell = Cell("corruption", "fog", 2)
    a, b = good.read(cell).correct[:, 0], bad.read(cell).correct[:, 0]
    one = found.cells[cell.key]
    assert (one.gained, one.lost) == (int((b & ~a).sum()), int((a & ~b).sum()))
    assert one.delta == pytest.approx((one.lost - one.gained) / 60)
    assert found.changed_labels[cell.key] == int((good.read(cell).top1 != bad.read(cell).top1).sum())
    assert found.compared_labels["perturbation/tilt/1"] == 60 * 4
    assert [d.worsening for d in found.worst] == sorted((d.worsening for d in found.worst), reverse=True)
    assert set(found.cells) == {c.key for c in good.expected if c.protocol in ("clean", "corruption")}


def test_the_clean_error_is_tested_as_its_cell(good: Any, bad: Any) -> None:
    found = compare(good, bad, **QUICK)
    clean, cell = found.metrics["clean_error"], found.cells["clean/clean/0"]
    assert clean.p_value == cell.p_value
    assert (clean.gained, clean.lost) == (cell.gained, cell.lost)


def test_a_run_against_itself(good: Any) -> None:
    found = compare(good, good, **QUICK)
    assert {one.verdict for one in (*found.metrics.values(), *found.cells.values())} == {"same"}
    assert set(found.changed_labels.values()) == {0}
    assert found.same_weights
    assert all(one.low == one.high == 0 for one in found.metrics.values())


def test_unknown_weights_are_not_the_same(make_run: Callable[..., Any]) -> None:
    runs = [make_run("m"), make_run("m")]
    for run in runs:
        run.manifest.model["weights_sha256"] = None
    assert not compare(*runs, **QUICK).same_weights


def test_both_significance_and_margin(good: Any, bad: Any) -> None:
    loss = compare(good, bad, **QUICK).metrics["mce"].delta
    beyond = compare(good, bad, margins={"mce": loss + 0.01}, **QUICK).metrics["mce"]
    within = compare(good, bad, margins={"mce": loss / 4}, **QUICK).metrics["mce"]
    assert (beyond.verdict, within.verdict) == ("same", "regressed")
    assert beyond.p_value > 0.5 > within.p_value


def test_margin_of_cells(good: Any, bad: Any) -> None:
    assert any(d.verdict == "regressed" for d in compare(good, bad, **QUICK).cells.values())
    assert not any(d.verdict == "regressed" for d in compare(good, bad, margins={"cells": 0.9}, **QUICK).cells.values())


def test_families_are_corrected_apart(good: Any, bad: Any) -> None:
    from robustbench_lift.regression.statistics import adjust

    found = compare(good, bad, correction="holm", **QUICK).metrics
    for prefix in ("ce/", "fr/"):
        family = [d for name, d in found.items() if name.startswith(prefix)]
        assert [d.p_adjusted for d in family] == adjust([d.p_value for d in family], "holm")


def test_numbers_and_cells_on_one_side(make_run: Callable[..., Any], good: Any) -> None:
    shorter = make_run("short", cells=[c for c in good.expected if c.protocol != "shift" and c.condition != "tilt"])
    found = compare(good, shorter, **QUICK)
    assert set(found.one_sided) == {"consistency", "fp/tilt", "fr/tilt", "mfr", "mean_flip_probability"}
    assert found.missing_cells == ("perturbation/tilt/1", "shift/crop/0")


def test_runs_without_a_common_cell_are_refused(make_run: Callable[..., Any], good: Any) -> None:
    corruption = [cell for cell in good.expected if cell.protocol == "corruption"]
    one, others = make_run("one", cells=corruption[:1]), make_run("others", cells=corruption[1:])
    with pytest.raises(IncompleteError, match="no cell that is complete in both: nothing can be compared"):
        compare(one, others, **QUICK)


def test_another_protocol_is_refused_by_field(make_run: Callable[..., Any], good: Any) -> None:
    other = make_run("other", signature={"seed": "1"})
    with pytest.raises(IncomparableError) as caught:
        compare(good, other, **QUICK)
    message = str(caught.value)
    assert "different protocols" in message
    assert "signature.clean.seed: 0 != 1" in message
    assert "--allow-protocol-diff" in message
    assert caught.value.exit_code == 3
    found = compare(good, other, allow_protocol_diff=True, **QUICK)
    assert found.notes[0] == "PROTOCOLS DIFFER: signature.clean.seed: 0 != 1"


def test_other_images_are_refused_even_so(make_run: Callable[..., Any], good: Any) -> None:
    other = make_run("other", images=59)
    with pytest.raises(IncomparableError, match=r"different images:\n  data\.sets\.clean\.images: 60 != 59"):
        compare(good, other, allow_protocol_diff=True, **QUICK)
    other = make_run("other", data={"name": "elsewhere"})
    with pytest.raises(IncomparableError, match=r"data\.name: imaginary != elsewhere"):
        compare(good, other, **QUICK)


def test_rows_of_other_images_are_refused(make_run: Callable[..., Any], good: Any) -> None:
    other = make_run("other")
    cell = Cell("clean", "clean", 0)
    p = other.arrays[cell]
    other.arrays[cell] = Predictions(p.ids, (p.labels + 1) % 8, p.top5, p.confidence)
    with pytest.raises(IncomparableError, match=r"clean/clean/0: good and other hold other images, labels or frames"):
        compare(good, other, **QUICK)


def test_nothing_in_common(make_run: Callable[..., Any], good: Any) -> None:
    clean = make_run("clean", cells=[Cell("clean", "clean", 0)])
    shift = make_run("shift", cells=[Cell("shift", "crop", 0)])
    with pytest.raises(IncomparableError, match="share no protocol"):
        compare(clean, shift, **QUICK)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"margins": {"mce": 5}}, r"margins: mce, a fraction \(0\.01 is one point\), is 5"),
        ({"margins": {"cells": -0.1}}, "margins: cells"),
        ({"margins": {"mce": float("nan")}}, "margins: mce"),
        ({"confidence": 95}, "confidence is 95"),
        ({"alpha": 5}, "alpha is 5"),
        ({"replicates": 0}, "replicates must be a whole number of at least 1"),
        ({"seed": 1.5}, "seed must be a whole number"),
    ],
    ids=str,
)
def test_values_outside_their_range(good: Any, bad: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compare(good, bad, **options)


def test_unknown_names(good: Any, bad: Any) -> None:
    with pytest.raises(UsageError, match=r"unknown number 'mcee'\. Did you mean 'mce'"):
        compare(good, bad, margins={"mcee": 0.1}, **QUICK)
    with pytest.raises(UsageError, match="unknown correction 'bhh'"):
        compare(good, bad, correction="bhh", **QUICK)


def test_one_image_is_no_evidence(make_run: Callable[..., Any]) -> None:
    a, b = make_run("a", images=1, quality=5.0), make_run("b", images=1, quality=-5.0)
    found = compare(a, b, **QUICK)
    assert found.metrics["mce"].delta > 0.5
    assert not any(d.verdict == "regressed" for d in found.metrics.values())


def test_images_that_all_fail_alike_are_evidence(make_run: Callable[..., Any]) -> None:
    """No spread to divide by, and yet thirty losses of thirty."""
    a, b = make_run("a", images=30, quality=50.0), make_run("b", images=30, quality=-50.0)
    found = compare(a, b, **QUICK)
    assert found.metrics["mean_error"].p_value == pytest.approx(0.5**30)
    assert found.metrics["mean_error"].verdict == "regressed"


def test_intervals_of_pairs_are_narrower(make_run: Callable[..., Any]) -> None:
    """What both models have in common is taken out."""
    from robustbench_lift.scores import intervals

    a, b = make_run("a", quality=1.0, shared=0.98), make_run("b", quality=0.95, shared=0.98)
    paired = compare(a, b, **QUICK).metrics["mce"]
    alone = [intervals(run, normaliser=metrics.ALEXNET, replicates=200)["mce"] for run in (a, b)]
    independent = np.hypot(*(interval.high - interval.low for interval in alone))
    assert paired.high - paired.low < 0.6 * independent
