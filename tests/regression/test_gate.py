"""The gate's three questions, its policy, and every exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import metrics
from robustbench_lift.errors import IncompleteError, UsageError
from robustbench_lift.regression import Policy, compare, gate, read_policy
from robustbench_lift.regression.policy import MARGINS
from robustbench_lift.runs import Cell
from robustbench_lift.scores import contributions, score
from robustbench_lift.scores.numbers import gated

QUICK = Policy(replicates=100)


def policy(**fields: Any) -> Policy:
    return Policy(replicates=100, **fields)


@pytest.fixture(scope="module")
def good(make_run: Callable[..., Any]) -> Any:
    return make_run("good", quality=1.4)


@pytest.fixture(scope="module")
def bad(make_run: Callable[..., Any]) -> Any:
    return make_run("bad", quality=0.7)


class TestCandidate:
    def test_a_loss_fails(self, good: Any, bad: Any) -> None:
        outcome = gate(good, bad, QUICK)
        assert (outcome.exit_code, outcome.word, outcome.mode, outcome.paired) == (1, "regression", "candidate", True)
        assert any(reason.startswith("mce: worse by") and "interval" in reason for reason in outcome.reasons)
        assert outcome.accept == "robustbench-lift gate robustness-baseline.json bad --accept"
        assert outcome.reproduce == "robustbench-lift compare good bad"

    def test_a_gain_passes_and_is_told(self, good: Any, bad: Any) -> None:
        outcome = gate(bad, good, QUICK)
        assert outcome.exit_code == 0
        assert outcome.reasons[0] == "none of 7 numbers is worse by more than its margin and more than chance."
        assert any(reason.startswith("mce: better by") for reason in outcome.reasons)
        assert outcome.reasons[-1] == f"to make the better run the baseline: {outcome.accept}"

    def test_a_gain_can_be_made_to_fail(self, good: Any, bad: Any) -> None:
        assert gate(bad, good, policy(on_improved="fail")).exit_code == 1

    def test_a_loss_within_the_margin_passes(self, good: Any, bad: Any) -> None:
        assert gate(good, bad, policy(metrics=("mce",), margins={"mce": 60.0})).exit_code == 0
        assert gate(good, bad, policy(metrics=("mce",), margins={"mce": 0.5})).exit_code == 1

    def test_a_loss_within_chance_passes(self, make_run: Callable[..., Any]) -> None:
        a, b = make_run("a", images=12, quality=1.0), make_run("b", images=12, quality=0.97)
        outcome = gate(a, b, policy(metrics=("clean_error",)))
        assert outcome.exit_code == 0

    def test_only_named_numbers_can_fail(self, make_run: Callable[..., Any], good: Any) -> None:
        blurred = make_run("good", weights="other")
        for severity in (3, 4, 5):
            cell = Cell("corruption", "fog", severity)
            blurred.arrays[cell] = make_run("bad", quality=-3.0).arrays[cell]
        clean = policy(metrics=("clean_error",))
        assert gate(make_run("good"), blurred, clean).exit_code == 0
        assert gate(make_run("good"), blurred, policy(metrics=("clean_error",), cells=True)).exit_code == 1

    def test_the_correction_counts_only_what_can_fail(self, good: Any, bad: Any) -> None:
        alone = gate(good, bad, policy(metrics=("clean_error",))).comparison.metrics["clean_error"]
        assert alone.p_adjusted == alone.p_value

    def test_numbers_and_cells_that_can_fail_are_corrected_together(self, good: Any, bad: Any) -> None:
        found = gate(good, bad, policy(metrics=("mce",), cells=True, correction="holm")).comparison
        both = [found.metrics["mce"], *found.cells.values()]
        smallest = min(both, key=lambda d: d.p_value)
        assert smallest.p_adjusted == pytest.approx(77 * smallest.p_value)

    def test_a_number_on_one_side_only(self, make_run: Callable[..., Any], good: Any) -> None:
        without = make_run(
            "good", weights="other", quality=1.4, cells=[c for c in good.expected if c.protocol != "shift"]
        )
        failed = gate(good, without, QUICK)
        assert failed.exit_code == 3
        assert "consistency is known on one side only: evaluate the other one on its protocol too." in failed.reasons
        assert gate(good, without, policy(on_missing="warn")).exit_code == 0

    def test_cells_that_the_candidate_lacks_are_told(self, make_run: Callable[..., Any]) -> None:
        """Of one corruption at one severity no gated number follows, and yet the candidate was not shown it."""
        clean = Cell("clean", "clean", 0)
        before = make_run("before", cells=(clean, Cell("corruption", "fog", 3)))
        after = make_run("after", model=1, quality=2.0, cells=(clean,))
        outcome = gate(before, after, QUICK)
        assert outcome.exit_code == 0
        told = "not compared, because the candidate lacks them: corruption/fog/3. Evaluate it on them too."
        assert told in outcome.reasons
        assert gate(before, after, policy(cells=True)).exit_code == 3, "where cells can fail the gate, none may vanish"
        assert gate(before, after, policy(cells=True, on_missing="warn")).exit_code == 0
        assert told not in gate(after, before, QUICK).reasons

    def test_a_number_on_neither_side_is_told(self, make_run: Callable[..., Any]) -> None:
        cells = [Cell("clean", "clean", 0), Cell("shift", "crop", 0)]
        outcome = gate(make_run("a", cells=cells), make_run("b", cells=cells, quality=1.01), QUICK)
        assert outcome.exit_code == 0
        assert outcome.reasons[-1] == (
            "not tested, because neither side has it: mean_error, mce, relative_mce, mean_flip_probability, mfr."
        )

    def test_nothing_that_the_policy_tests(self, make_run: Callable[..., Any]) -> None:
        cells = [Cell("clean", "clean", 0)]
        outcome = gate(make_run("a", cells=cells), make_run("b", cells=cells), policy(metrics=("mce",)))
        assert outcome.exit_code == 3
        assert outcome.reasons == ("the two sides share no number that the policy tests.",)

    def test_too_few_images_are_inconclusive_where_power_is_asked_for(self, make_run: Callable[..., Any]) -> None:
        a, b = make_run("a", images=30), make_run("b", images=30)
        outcome = gate(a, b, policy(metrics=("mce",), require_power=0.2))
        assert (outcome.exit_code, outcome.word) == (4, "inconclusive")
        assert "the policy asks for 0.2. Use more images." in outcome.reasons[0]
        assert gate(a, b, policy(metrics=("mce",), require_power=90.0)).exit_code == 0

    def test_an_incomplete_run_is_refused(self, make_run: Callable[..., Any], good: Any) -> None:
        part = make_run("part")
        del part.arrays[Cell("corruption", "fog", 1)]
        with pytest.raises(IncompleteError, match=r"part lacks 1 of 87 cells \(first: corruption/fog/1\)") as caught:
            gate(good, part, QUICK)
        assert caught.value.exit_code == 3
        with pytest.raises(IncompleteError, match="part lacks 1"):
            gate(part, good, QUICK)

    def test_an_empty_run_is_refused(self, make_run: Callable[..., Any], good: Any) -> None:
        empty = make_run("empty")
        empty.arrays.clear()
        with pytest.raises(IncompleteError, match="empty lacks 87 of 87 cells"):
            gate(good, empty, QUICK)
        with pytest.raises(UsageError, match="needs a run on each side"):
            gate(good, [], QUICK)


class TestIdentity:
    def test_equal_labels_pass(self, make_run: Callable[..., Any]) -> None:
        outcome = gate(make_run("m"), make_run("m"), QUICK)
        assert (outcome.exit_code, outcome.mode) == (0, "identity")
        assert outcome.reasons == ("no label changed beyond the budget of 0 % in 87 cells.",)

    def test_one_changed_label_fails_without_a_budget(
        self, make_run: Callable[..., Any], change_top1: Callable[..., Any]
    ) -> None:
        changed, cell = make_run("m"), Cell("corruption", "fog", 1)
        changed.arrays[cell] = change_top1(changed.arrays[cell], np.array([7]))
        outcome = gate(make_run("m"), changed, QUICK)
        assert outcome.exit_code == 1
        hint, cell_of_it = outcome.reasons
        assert "--mode candidate" in hint
        assert cell_of_it == "corruption/fog/1: 1 of 60 labels changed (1.667%), the budget is 0 %."
        assert gate(make_run("m"), changed, policy(flip_budget=2.0)).exit_code == 0

    def test_cells_that_were_not_compared_are_told(self, make_run: Callable[..., Any], good: Any) -> None:
        shorter = make_run("good", quality=1.4, cells=[c for c in good.expected if c.protocol != "shift"])
        outcome = gate(good, shorter, QUICK)
        assert outcome.exit_code == 3
        assert "1 cells are on one side only (first: shift/crop/0)" in outcome.reasons[0]
        assert gate(good, shorter, policy(on_missing="warn")).exit_code == 0

    def test_other_weights_can_be_held_to_it(self, good: Any, bad: Any) -> None:
        assert gate(good, bad, policy(mode="identity")).exit_code == 1


class TestRecipe:
    def side(self, make_run: Callable[..., Any], name: str, quality: float, seeds: int) -> list[Any]:
        return [make_run(f"{name}{k}", quality=quality + 0.02 * k, model=k + int(100 * quality)) for k in range(seeds)]

    def test_one_seed_is_inconclusive(self, make_run: Callable[..., Any], good: Any) -> None:
        outcome = gate(good, self.side(make_run, "b", 0.2, 2), QUICK)
        assert (outcome.exit_code, outcome.mode) == (4, "recipe")
        assert outcome.reasons == (
            "the baseline has one seed: a training cannot be judged from one. Train at least two of each side.",
        )
        one_each = gate(good, self.side(make_run, "b", 0.2, 1), policy(mode="recipe"))
        assert one_each.exit_code == 4

    def test_several_seeds_are_judged_by_welch(self, make_run: Callable[..., Any]) -> None:
        a, b = self.side(make_run, "a", 1.2, 3), self.side(make_run, "b", 0.6, 3)
        outcome = gate(a, b, policy(margins={"mce": 0}))
        assert (outcome.exit_code, outcome.mode) == (1, "recipe")
        values = [[contributions(run, metrics.ALEXNET)["mce"].mean() for run in side] for side in (a, b)]
        theirs = stats.ttest_ind(values[1], values[0], equal_var=False, alternative="greater")
        assert outcome.comparison.metrics["mce"].p_value == pytest.approx(theirs.pvalue)
        assert outcome.comparison.baseline == "a0 (3 seeds)"
        assert gate(b, a, QUICK).exit_code == 0

    def test_one_seed_given_twice_is_refused(self, make_run: Callable[..., Any], good: Any) -> None:
        with pytest.raises(UsageError, match="good and good are the same weights: one seed given twice"):
            gate([good, good], self.side(make_run, "b", 1.0, 2), QUICK)

    def test_other_modes_take_one_run(self, make_run: Callable[..., Any], good: Any) -> None:
        with pytest.raises(UsageError, match="mode candidate takes one run a side"):
            gate(good, self.side(make_run, "b", 1.0, 2), policy(mode="candidate"))


@pytest.mark.parametrize("side", [None, 3, {"a": 1}, "scores", [1]], ids=str)
def test_what_is_no_side_is_refused(side: Any, good: Any) -> None:
    given = score(good, None) if side == "scores" else side
    with pytest.raises(UsageError, match="each side of a gate is a run"):
        gate(given, good)
    with pytest.raises(UsageError, match="expected a run, or the path of its folder"):
        compare(good, given)


@pytest.mark.parametrize("rules", [{"alpha": 0.1}, "policy.toml"], ids=str)
def test_what_is_no_policy_is_refused(rules: Any, good: Any) -> None:
    with pytest.raises(UsageError, match="policy must be a Policy"):
        gate(good, good, rules)


class TestDefaultMargins:
    def test_a_small_loss_passes_a_first_gate_and_fails_a_strict_one(
        self, make_run: Callable[..., Any], change_top1: Callable[..., Any]
    ) -> None:
        cell = Cell("clean", "clean", 0)
        a, b = (make_run(name, images=4000, cells=[cell], model=0) for name in ("a", "b"))
        right = np.flatnonzero(a.arrays[cell].top5[:, 0, 0] == a.arrays[cell].labels)
        b.arrays[cell] = change_top1(b.arrays[cell], right[:20])  # half a point, beyond chance
        assert gate(a, b, policy(mode="candidate")).exit_code == 0
        assert gate(a, b, policy(mode="candidate", margins={"clean_error": 0})).exit_code == 1
        b.arrays[cell] = change_top1(b.arrays[cell], right[20:100])
        assert gate(a, b, policy(mode="candidate")).exit_code == 1

    def test_only_headline_numbers_that_gate_have_one(self) -> None:
        assert set(MARGINS) < set(gated())
        assert "ce/fog" not in Policy().fractions()
        assert policy(margins={"mce": 0}).fractions()["mce"] == 0


class TestPolicy:
    def test_file_and_options(self, tmp_path: Path) -> None:
        file = tmp_path / "gate.toml"
        file.write_text('alpha = 0.01\nmetrics = ["mce"]\n[margins]\nmce = 0.5\nclean_error = 0.2\n')
        found = read_policy(file, alpha=0.1, margins={"mce": 1.0}, correction=None)
        assert (found.alpha, found.metrics, found.correction) == (0.1, ("mce",), "bh")
        assert found.fractions() == Policy().fractions() | {"mce": 0.01, "clean_error": 0.002}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("alfa = 0.1", r"unknown field in the policy .*: 'alfa'\. Did you mean 'alpha'"),
            ("alpha = 2", "field alpha is 2: it must lie between 0 and 1"),
            ('alpha = "x"', "field alpha must be a number, not 'x'"),
            ("alpha = nan", "field alpha is nan"),
            ('metrics = "mce"', "field metrics is a list"),
            ("metrics = []", "field metrics is empty: nothing could ever fail"),
            ('metrics = ["mfrr"]', "field metrics: 'mfrr'. Did you mean 'mfr'"),
            ("margins = 3", "field margins is a table"),
            ("[margins]\nmcee = 1", "field margins: 'mcee'. Did you mean 'mce'"),
            ("[margins]\nmce = -1", "field margins.mce is -1"),
            ('mode = "ident"', "field mode: 'ident'. Did you mean 'identity'"),
            ('correction = "bonferroni"', "field correction: 'bonferroni'"),
            ('on_missing = "skip"', "field on_missing: 'skip'"),
            ('on_improved = "maybe"', "field on_improved: 'maybe'"),
            ("cells = 3", "field cells must be true or false, not 3"),
            ("replicates = 10", "field replicates must be a whole number of at least 100, not 10"),
            ("seed = -1", "field seed must be a whole number of at least 0, not -1"),
            ("require_power = true", "field require_power must be a number, not True"),
            ("alpha 3", "is not TOML"),
        ],
    )
    def test_what_is_no_policy(self, tmp_path: Path, text: str, message: str) -> None:
        file = tmp_path / "gate.toml"
        file.write_text(text)
        with pytest.raises(UsageError, match=message) as caught:
            read_policy(file)
        assert caught.value.exit_code == 2

    @pytest.mark.parametrize(
        "field", [{"metrics": "mce"}, {"metrics": None}, {"margins": None}, {"margins": [1]}], ids=str
    )
    def test_fields_of_another_kind(self, field: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=f"policy field {next(iter(field))}"):
            Policy(**field)

    def test_absent_file_and_unknown_field(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"absent\.toml cannot be read: No such file"):
            read_policy(tmp_path / "absent.toml")
        with pytest.raises(UsageError, match=r"unknown policy field 'alfa'\. Did you mean 'alpha'"):
            read_policy(None, alfa=1)
