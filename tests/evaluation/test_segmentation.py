"""Segmentation networks from images to numbers: counts, protocols, shares, comparisons, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import metrics
from robustbench_lift.data.kinds import open_images
from robustbench_lift.data.suites import SUITES
from robustbench_lift.errors import DataError, RobustbenchError, UsageError
from robustbench_lift.evaluation.engine import evaluate
from robustbench_lift.protocols import Request
from robustbench_lift.regression import accept, compare
from robustbench_lift.report.build import document
from robustbench_lift.runs import Cell, PixelAgreement, PixelCounts, Run
from robustbench_lift.scores import Evidence, contributions, intervals, measured_normaliser, score
from robustbench_lift.shares import Share
from robustbench_lift.weights import LoadedModel, Preprocessing

CLASSES = 3
CLEAN = Cell("clean", "clean", 0)
PLAIN = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), resize=None, crop=None)


class Pixelwise(nn.Module):
    """A class by the brightest channel of each pixel alone; so it commutes with every shift."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, CLASSES, 1)
        with torch.no_grad():
            self.conv.weight[:] = torch.randn(CLASSES, 3, 1, 1, generator=torch.Generator().manual_seed(seed))
            self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


def model(seed: int = 0) -> LoadedModel:
    return LoadedModel.of(Pixelwise(seed), name=f"pixelwise{seed}", preprocessing=PLAIN)


def write(root: Path, sizes: list[tuple[int, int]], *, names: list[str] | None = None, void: float = 0.1) -> str:
    """Images of several sizes and label maps that follow the images in part."""
    rng = np.random.default_rng(1)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for k, (height, width) in enumerate(sizes):
        name = names[k] if names else f"{k:02d}"
        small = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        image = np.kron(small, np.ones((8, 8, 1), np.uint8))[:height, :width]
        target = image.argmax(axis=2).astype(np.uint8)
        target[rng.random(target.shape) < void] = 255
        Image.fromarray(image).save(root / f"images/{name}.png")
        Image.fromarray(target).save(root / f"labels/{name}.png")
    return f"label-folder:{root}?classes={CLASSES}"


SIZES = [(40, 56), (64, 64), (40, 56), (57, 41), (64, 64)]


def test_counts_are_those_of_each_whole_image(tmp_path: Path) -> None:
    spec = write(tmp_path / "d", SIZES)
    run = evaluate(model(), spec, run=tmp_path / "r", protocols=("clean",))
    stored = run.record(CLEAN, PixelCounts)
    images = open_images(spec)
    for row in range(len(SIZES)):
        image = images.read(row)
        with torch.no_grad():
            x = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / 255
            said = model().module(x)[0].argmax(0).numpy()
        target = images.target(row, image.shape[:2])  # type: ignore[attr-defined]
        assert np.array_equal(stored.counts[row], metrics.pixel_counts(said, target, CLASSES))
        for place, width in enumerate((1, 2, 4, 8)):
            near = metrics.within_trimap(target, width)
            assert np.array_equal(stored.trimap[row, place], metrics.pixel_counts(said, near, CLASSES))
    total = stored.counts.sum(axis=0)
    scores = score(Run.open(run.path), None)
    assert scores["miou"] == pytest.approx(float(metrics.mean_iou(total)))
    assert scores["pixel_accuracy"] == pytest.approx(float(metrics.pixel_accuracy(total)))
    assert scores["trimap_miou/2"] == pytest.approx(float(metrics.mean_iou(stored.trimap[:, 1].sum(axis=0))))
    assert scores["iou/class-1"] == pytest.approx(float(metrics.class_iou(total)[1]))


def test_batches_workers_and_shares_leave_the_bytes_as_they_are(tmp_path: Path) -> None:
    spec = write(tmp_path / "d", [(height + 40, width + 40) for height, width in SIZES])
    asked = {"protocols": ("clean", "corruption", "shift"), "corruptions": ("fog",), "severities": (2,), "draws": 2}
    whole = evaluate(model(), spec, run=tmp_path / "w", **asked)
    assert not whole.missing()
    other = evaluate(model(), spec, run=tmp_path / "b", batch_size=2, workers=1, **asked)
    for index in (1, 0):
        shared = evaluate(model(), spec, run=tmp_path / "s", shard=Share(index, 2), **asked)
    for cell in whole.expected:
        assert whole.file(cell).read_bytes() == other.file(cell).read_bytes() == shared.file(cell).read_bytes()


def test_a_network_of_one_pixel_is_consistent_under_every_shift(tmp_path: Path) -> None:
    spec = write(tmp_path / "d", [(80, 72), (97, 81)])
    run = evaluate(model(), spec, run=tmp_path / "r", protocols=("shift",), draws=6)
    stored = run.record(run.expected[0], PixelAgreement)
    assert stored.agreement.shape == (2, 6, 4)
    assert np.array_equal(stored.agreement[..., 0], stored.agreement[..., 1])
    assert (stored.agreement[..., 3] < stored.agreement[..., 1]).all()
    assert score(Run.open(run.path), None)["pixel_consistency"] == 1.0


def test_windows_that_may_not_overlap_are_refused(tmp_path: Path) -> None:
    """Windows of 32 pixels that are moved by 32 have nothing in common: not scored as a disagreement."""
    with pytest.raises(DataError, match=r"windows of 32x40; it needs 33x33"):
        evaluate(model(), write(tmp_path / "d", [(64, 72)]), run=tmp_path / "r", protocols=("shift",))
    for side in (65, 66):
        spec = write(tmp_path / f"d{side}", [(side, side)])
        run = evaluate(model(), spec, run=tmp_path / f"r{side}", protocols=("shift",), draws=200)
        assert run.record(run.expected[0], PixelAgreement).agreement[..., 1].min() >= 1


def test_shifts_are_uniform_and_overlaps_are_as_large_as_they_leave(tmp_path: Path) -> None:
    (protocol,) = Request(data="scenes", protocols=("shift",), draws=200).build()
    offsets = protocol.offsets(["a", "b"]).numpy()  # type: ignore[attr-defined]
    moved = offsets[:, 1::2] - offsets[:, 0::2]
    assert offsets.min() == 0
    assert offsets.max() == 8
    assert moved.min() == -8
    assert moved.max() == 8
    assert np.abs(moved.mean()) < 1


def test_the_suite_has_noise_at_three_severities(tmp_path: Path) -> None:
    (protocol,) = Request(data="scenes", protocols=("corruption",)).build()
    cells = protocol.cells()
    assert len(cells) == 4 * 3 + 12 * 5
    assert Cell("corruption", "shot_noise", 3) in cells
    assert Cell("corruption", "shot_noise", 4) not in cells
    assert protocol.fields()["set"] == "kamann-rother16"
    assert protocol.fields()["table"] == "64"
    (named,) = Request(data="scenes", protocols=("corruption",), corruptions=("shot_noise",)).build()
    assert [cell.severity for cell in named.cells()] == [1, 2, 3, 4, 5]
    (every,) = Request(data="scenes", protocols=("corruption",), corruptions=("all19",)).build()
    assert len(every.cells()) == 95


@pytest.mark.parametrize(
    "corruption", ["fog", "glass_blur", "snow", "frost", "spatter", "motion_blur", "jpeg_compression"]
)
def test_corruptions_take_whole_images_of_any_size(tmp_path: Path, corruption: str) -> None:
    spec = write(tmp_path / "d", [(45, 77)])
    asked = {"protocols": ("corruption",), "corruptions": (corruption,), "severities": (3,)}
    run = evaluate(model(), spec, run=tmp_path / "r", **asked)
    assert "table:224" in run.signature
    resized = evaluate(model(), f"{spec}&resize=32", run=tmp_path / "z", **asked)
    assert "whole-resize32" in resized.signature
    (one,) = run.expected
    a, b = (r.record(one, PixelCounts).counts for r in (run, resized))
    assert np.array_equal(a[..., 1], b[..., 1]), "labels keep their size"


def full_run(tmp_path: Path, seed: int) -> Run:
    spec = f"label-folder:{tmp_path / 'd'}?classes={CLASSES}"
    if not (tmp_path / "d").exists():
        write(tmp_path / "d", [(32, 32)] * 4)
    return evaluate(model(seed), spec, run=tmp_path / f"r{seed}", protocols=("clean", "corruption"))


def test_degradation_is_against_a_named_network(tmp_path: Path) -> None:
    reference, other = full_run(tmp_path, 0), full_run(tmp_path, 1)
    divisor = measured_normaliser(reference)
    assert score(reference, divisor)["mcd"] == pytest.approx(1.0)
    assert "mcd" not in score(other, None)
    scores = score(other, divisor)
    cells = {c: float(metrics.mean_iou(other.record(c, PixelCounts).counts.sum(0))) for c in other.expected}
    found, means = [], []
    for name in SUITES["kamann-rother"].conditions:
        ours = [iou for cell, iou in cells.items() if cell.condition == name]
        theirs = [1 - error for error in divisor.corruption_errors[name]]
        found.append(metrics.corruption_degradation(ours, theirs))
        means.append(np.mean(ours))
        assert scores[f"cd/{name}"] == pytest.approx(found[-1])
    assert scores["mcd"] == pytest.approx(np.mean(found))
    assert scores["mean_miou"] == pytest.approx(np.mean(means))
    assert scores["retention"] == pytest.approx(np.mean(means) / cells[CLEAN])
    assert scores["miou_lost"] == pytest.approx(cells[CLEAN] - np.mean(means))
    comparison = compare(reference, other, replicates=50)
    assert {"miou", "mean_miou", "pixel_accuracy"} <= set(comparison.metrics)
    assert comparison.metrics["miou"].candidate == pytest.approx(scores["miou"])


def test_a_part_of_the_suite_has_no_mean(tmp_path: Path) -> None:
    spec = write(tmp_path / "d", [(32, 32)] * 2)
    run = evaluate(model(), spec, run=tmp_path / "r", protocols=("corruption",), corruptions=("fog", "snow"))
    scores = score(run, None)
    assert "mean_miou" not in scores
    assert {"corrupted_miou/fog", "corrupted_miou/snow"} <= set(scores)
    short = evaluate(
        model(), spec, run=tmp_path / "s", protocols=("corruption",), corruptions=("fog",), severities=(1, 3)
    )
    assert "corrupted_miou/fog" not in score(short, None), "a mean over other severities is another number"


def test_neighbouring_frames_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    n = 40
    target = rng.integers(50, 100, (n, CLASSES))
    right = np.minimum((target * np.repeat(rng.random(n // 10), 10)[:, None]).astype(int), target)
    counts = np.stack([right, target, target], axis=2)
    spreads = []
    for block in (np.arange(n), np.arange(n) // 10):
        evidence = Evidence([CLEAN])
        stored = PixelCounts.from_rows(
            [f"{k:02d}" for k in range(n)],
            {"block": block, "counts": counts, "trimap": np.repeat(counts[:, None], 4, axis=1)},
        )
        evidence.add(CLEAN, stored)
        vector = evidence.vectors(None)["miou"]
        assert len(vector) == len(np.unique(block))
        assert evidence.values(None)["miou"] == pytest.approx(float(metrics.mean_iou(counts.sum(0))))
        spreads.append(vector.std(ddof=1) / np.sqrt(len(vector)))
    assert spreads[1] > 1.5 * spreads[0]


def test_intervals_hold_the_score(tmp_path: Path) -> None:
    run = evaluate(model(), write(tmp_path / "d", SIZES), run=tmp_path / "r", protocols=("clean",))
    span = intervals(run, normaliser=None, replicates=200)["miou"]
    value = score(run, None)["miou"]
    assert span.low <= value <= span.high
    assert contributions(run, None)["miou"].mean() == pytest.approx(value, abs=0.02)


def test_a_class_of_one_image_has_an_interval_of_the_draws_that_have_it(tmp_path: Path) -> None:
    spec = write(tmp_path / "d", SIZES)
    for k in range(1, len(SIZES)):
        file = tmp_path / f"d/labels/{k:02d}.png"
        target = np.array(Image.open(file))
        target[target == 2] = 255
        Image.fromarray(target).save(file)

    class Never(Pixelwise):
        """The class is answered where it is, and nowhere else."""

        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            return torch.cat([out[:, :2], out[:, 2:] - 1e9], dim=1)

    never = LoadedModel.of(Never(), name="never", preprocessing=PLAIN)
    run = evaluate(never, spec, run=tmp_path / "r", protocols=("clean",))
    other = evaluate(model(), spec, run=tmp_path / "o", protocols=("clean",))
    found = intervals(run, normaliser=None, replicates=200)
    assert found["iou/class-2"] == (0.0, 0.0)
    assert all(np.isfinite(interval).all() for interval in found.values())
    made = document([run, other], replicates=200)
    assert "NaN" not in made.to_json()
    assert "iou/class-2" not in contributions(run, None), "its spread is not known"
    accept(run, tmp_path / "baseline.json")
    assert "NaN" not in (tmp_path / "baseline.json").read_text()
    compared = compare(run, other, replicates=50, numbers=("classes",))
    assert all(np.isfinite((d.low, d.high)).all() for d in compared.metrics.values())


def test_tasks_that_do_not_fit_are_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"resnet8/lift is a network for classification.*scenes.* needs segmentation"):
        evaluate("resnet8/lift?num_classes=6@random", "scenes", run=tmp_path / "a", limit=2, protocols=("clean",))
    with pytest.raises(UsageError, match=r"segnet/max.* is a network for segmentation.*photos.* needs classification"):
        evaluate(
            "segnet/max?num_classes=15&width=0.0625@random",
            "photos",
            run=tmp_path / "b",
            limit=15,
            protocols=("clean",),
        )
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 6))
    with pytest.raises(RobustbenchError, match="one class for an image"):
        evaluate(pooled, "scenes", run=tmp_path / "c", limit=2, protocols=("clean",))


def test_other_requests_that_cannot_be_are_one_message(tmp_path: Path) -> None:
    for asked, words in (
        ({"protocols": ("perturbation",)}, "perturbation"),
        ({"protocols": ("shift",), "shift_mode": "circular"}, "circular"),
    ):
        with pytest.raises(UsageError, match=words):
            Request(data="scenes", **asked).build()  # type: ignore[arg-type]
    spec = write(tmp_path / "d", [(40, 40)])
    with pytest.raises(UsageError, match="resize"):
        Request(data=f"{spec}&resize=32", protocols=("shift",)).build()
    with pytest.raises(DataError, match="shift out of"):
        evaluate(model(), spec, run=tmp_path / "s", protocols=("shift",))
    void = write(tmp_path / "v", [(40, 40)], void=1.1)
    with pytest.raises(DataError, match="all are void"):
        evaluate(model(), void, run=tmp_path / "r", protocols=("clean",))
    with pytest.raises(DataError, match="3 outputs"):
        evaluate(model(), "scenes", run=tmp_path / "k", limit=2, protocols=("clean",))


def test_labels_that_are_changed_make_another_run(tmp_path: Path) -> None:
    spec = write(tmp_path / "d", [(40, 40)])
    evaluate(model(), spec, run=tmp_path / "r", protocols=("clean",))
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "d/labels/00.png")
    with pytest.raises(RobustbenchError, match="something else"):
        evaluate(model(), spec, run=tmp_path / "r", protocols=("clean",))
