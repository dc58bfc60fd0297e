"""Errors by class, most confused classes, and effective robustness, against counts by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import metrics
from robustbench_lift.errors import UsageError
from robustbench_lift.runs import Cell, Manifest, Predictions, Run
from robustbench_lift.scores import class_frame, confused_frame, effective_frame

N, CLASSES = 60, 6
CELLS = [Cell("clean", "clean", 0), *(Cell("corruption", name, s) for name in ("fog", "snow") for s in (1, 2))]


def make_run(folder: Path, *, name: str = "m", right: float = 0.5, cells: list[Cell] = CELLS, seed: int = 0) -> Run:
    manifest = Manifest(
        model={"spec": name, "name": name, "arch": "a", "parameters": 3, "weights_sha256": name},
        data={"name": "toy", "images": N, "classes": CLASSES},
        signature={"common": {"data": "toy"}},
        cells=tuple(cell.key for cell in cells),
    )
    run = Run.prepare(folder, manifest)
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % CLASSES
    for cell in cells:
        top5 = np.stack([rng.permutation(CLASSES)[:5] for _ in range(N)])[:, None]
        wrong = (labels + 1 + rng.integers(0, 2, N)) % CLASSES
        top5[:, 0, 0] = np.where(np.arange(N) < right * N, labels, wrong)
        ids = [f"{'abcdef'[label]}/{k:03d}" for k, label in enumerate(labels)]
        run.write(cell, Predictions.sorted(ids, labels, top5, rng.random((N, 1))))
    return run


def test_errors_by_class_and_what_is_taken_for_what(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    table = class_frame(run, "corruption")
    assert set(table["condition"]) == {"fog", "snow", "all"}
    pairs: Counter[tuple[str, str]] = Counter()
    for cell in CELLS[1:]:
        stored = run.read(cell)
        pairs.update(zip(("abcdef"[k] for k in stored.labels), ("abcdef"[k] for k in stored.top1[:, 0]), strict=True))
    for row in table[table["condition"] == "all"].to_dict("records"):
        own = {answer: times for (label, answer), times in pairs.items() if label == row["name"]}
        assert row["images"] == sum(own.values()) == 40
        assert row["error"] == pytest.approx(1 - own[row["name"]] / 40)
        assert row["times"] == max(times for answer, times in own.items() if answer != row["name"])
    confused = confused_frame(run, "corruption", most=3)
    wrong = {pair: times for pair, times in pairs.items() if pair[0] != pair[1]}
    assert confused["times"].tolist() == sorted(wrong.values(), reverse=True)[:3]
    first = confused.iloc[0]
    assert wrong[first["label"], first["answer"]] == first["times"] == pytest.approx(40 * first["share"])
    assert class_frame(run)["error"].mean() == pytest.approx(1 - run.read(CELLS[0]).correct.mean())
    assert class_frame(run, class_names=list("ABCDEF"))["name"].tolist() == list("ABCDEF")


def test_what_has_no_classes_to_count_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(UsageError, match=r"no cells of shift.*clean, corruption"):
        class_frame(run, "shift")
    with pytest.raises(UsageError, match="2 class names for 6 classes"):
        confused_frame(run, class_names=["a", "b"])
    with pytest.raises(metrics.MetricError, match="0 to 2"):
        metrics.confusion_counts([0, 3], [0, 1], 3)
    with pytest.raises(metrics.MetricError, match="labels must be class indices"):
        metrics.confusion_counts([0.9, 1.2], [0, 1], 3)
    with pytest.raises(metrics.MetricError, match="number of classes must be a whole number"):
        metrics.confusion_counts([0, 1], [0, 1], 2.5)
    for table in ([[1, 2, 3], [3, 4, 5]], [1, 2], [[1, 0.5], [0, 1]], [[1, -1], [0, 1]]):
        with pytest.raises(metrics.MetricError, match=r"whole numbers \[K, K\]"):
            metrics.class_errors(table)
        with pytest.raises(metrics.MetricError, match=r"whole numbers \[K, K\]"):
            metrics.most_confused(table)


def test_effective_robustness_against_a_line_of_references(tmp_path: Path) -> None:
    accuracies = {"one": (0.5, 0.3), "two": (0.8, 0.6), "mine": (0.7, 0.6)}
    clean = [make_run(tmp_path / f"c-{k}", name=k, right=a, cells=CELLS[:1]) for k, (a, _) in accuracies.items()]
    under = [make_run(tmp_path / f"s-{k}", name=k, right=b, cells=CELLS[:1]) for k, (_, b) in accuracies.items()]
    table = effective_frame(clean, under, reference=["one", "two"]).set_index("model")
    assert table.loc[["one", "two"], "effective_robustness"].abs().max() < 1e-9, "two points lie on their line"

    def logit(a: float) -> float:
        return float(np.log(a / (1 - a)))

    slope = (logit(0.6) - logit(0.3)) / (logit(0.8) - logit(0.5))
    expected = 1 / (1 + np.exp(-(logit(0.3) + slope * (logit(0.7) - logit(0.5)))))
    assert table.loc["mine", "predicted"] == pytest.approx(expected)
    assert table.loc["mine", "effective_robustness"] == pytest.approx(0.6 - expected)
    assert table["line"].unique().tolist() == ["least squares between logits of one, two"]
    given = effective_frame(clean, under, line=metrics.AccuracyLine(1.0, 0.0, "identity"))
    assert given["effective_robustness"].tolist() == pytest.approx([-0.2, -0.2, -0.1])


def test_lines_that_cannot_be_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", name="one", cells=CELLS[:1])
    with pytest.raises(UsageError, match="needs a line"):
        effective_frame([run], [run])
    with pytest.raises(UsageError, match="reference two"):
        effective_frame([run], [run], reference=["one", "two"])
    with pytest.raises(UsageError, match="0 runs"):
        effective_frame([run], [make_run(tmp_path / "b", name="two", cells=CELLS[:1])], reference=["one"])
    with pytest.raises(metrics.MetricError, match="two networks"):
        metrics.fit_accuracy_line([0.5], [0.4], source="one")
    with pytest.raises(metrics.MetricError, match="no logit"):
        metrics.fit_accuracy_line([0.5, 1.0], [0.4, 0.9], source="two")
    with pytest.raises(metrics.MetricError, match="two networks"):  # no more apart than rounding
        metrics.fit_accuracy_line([0.5, 0.5000000000000001], [0.4, 0.9], source="two")
    line = metrics.AccuracyLine(1.0, 0.0, "identity")
    with pytest.raises(metrics.MetricError, match=r"under the shift: 60 is not between 0 and 1\. Fractions"):
        metrics.effective_robustness(0.5, 60, line)
    with pytest.raises(metrics.MetricError, match="accuracy: expected one number"):
        metrics.effective_robustness("0.5", 0.6, line)
    assert metrics.AccuracyLine(-1e6, 0.0, "steep")(0.9) == 0
