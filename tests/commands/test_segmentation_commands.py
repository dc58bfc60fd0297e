"""Segmentation as its user meets it: VOC from the folder to the gate, command by command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from robustbench_lift.cli import app
from robustbench_lift.evaluation.engine import evaluate
from robustbench_lift.runs import Run
from robustbench_lift.scores import score
from robustbench_lift.weights import LoadedModel, Preprocessing

SHORT = ("--set", "epochs=1", "--set", "batch_size=4", "--set", "size=48")
NETWORK = "segnet/lift?width=0.0625"
ASKED = ("segnet/max?num_classes=21&width=0.0625@random", "--data")


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of several sizes in VOC's layout, eight for training."""
    root, rng = tmp_path_factory.mktemp("voc") / "VOC2012", np.random.default_rng(0)
    names = [f"2007_{k:06d}" for k in range(12)]
    for name in names:
        height, width = rng.integers(50, 70, 2)
        small = rng.integers(0, 256, (height // 12 + 1, width // 12 + 1, 3), dtype=np.uint8)
        image = np.kron(small, np.ones((12, 12, 1), np.uint8))[:height, :width]
        target = image[..., 0] // 13
        target[:2] = 255
        for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / f"JPEGImages/{name}.jpg", quality=95)
        labels = Image.fromarray(target)
        labels.putpalette([k // 3 for k in range(768)])
        for folder in ("SegmentationClass", "SegmentationClassAug"):
            labels.save(root / folder / f"{name}.png")
    for part, chosen in (("trainaug", names[:8]), ("val", names[8:])):
        (root / f"ImageSets/Segmentation/{part}.txt").write_text("\n".join(chosen) + "\n")
    return root


@pytest.fixture(scope="module")
def trained(voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trainings, one a seed."""
    out = tmp_path_factory.mktemp("trainings")
    for seed in (0, 1):
        said = call(
            "train", "voc-segnet", "--model", NETWORK, "--data", f"voc:{voc}?split=trainaug", "--test-data",
            f"voc:{voc}", "--seed", seed, "--out", out / f"seed{seed}", *SHORT,
        )  # fmt: skip
        assert said.exit_code == 0, said.output
        assert "clean 1 - mIoU" in said.output
        assert "test error" not in said.output
    return out


@pytest.fixture(scope="module")
def runs(voc: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the two networks were shown, whole, and one of them in shares."""
    out = tmp_path_factory.mktemp("runs")
    asked = ("--data", f"voc:{voc}", "--protocols", "clean,corruption", "--corruptions", "fog", "--severities", "3")
    for seed in (0, 1):
        said = call("run", f"@{trained / f'seed{seed}/final.safetensors'}", *asked, "--out", out / f"r{seed}")
        assert said.exit_code == 0, said.output
        assert "mIoU" in said.output
    for share in ("2/2", "1/2"):
        said = call("run", f"@{trained / 'seed0/final.safetensors'}", *asked, "--out", out / "shares", "--shard", share)
        assert said.exit_code == 0, said.output
    return {name: next((out / name).glob("*/run.json")).parent for name in ("r0", "r1", "shares")}


def test_check_counts_what_lies_there(voc: Path) -> None:
    said = call("check", f"voc:{voc}")
    assert said.exit_code == 0
    assert "4 images with label maps of 21 classes" in said.output


def test_shares_are_the_whole_run(runs: dict[str, Path]) -> None:
    whole, shared = Run.open(runs["r0"]), Run.open(runs["shares"])
    assert not whole.missing()
    assert not shared.missing()
    for cell in whole.expected:
        assert whole.file(cell).read_bytes() == shared.file(cell).read_bytes()


def test_the_gate_accepts_and_passes(runs: dict[str, Path], tmp_path: Path) -> None:
    """By a baseline file: the same labels, of shares that were merged, pass."""
    file = tmp_path / "baseline.json"
    accepted = call("gate", file, runs["r0"], "--accept")
    assert accepted.exit_code == 0, accepted.output
    value = score(Run.open(runs["r0"]), None)["miou"]
    assert f"{value:.6f}"[:7] in file.read_text()
    same = call("gate", file, runs["shares"], "--replicates", 100)
    assert same.exit_code == 0, same.output
    assert "REGRESSED" not in same.output


class Red(nn.Module):
    """The labels follow the red channel, and so does this network."""

    def forward(self, x: Tensor) -> Tensor:
        classes = (x[:, 0] * 255 / 13).long().clamp(0, 20)
        return nn.functional.one_hot(classes, 21).permute(0, 3, 1, 2).float()


def test_the_gate_fails_where_miou_falls(voc: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    red = LoadedModel.of(
        Red(), name="red", preprocessing=Preprocessing(mean=(0,) * 3, std=(1,) * 3, resize=None, crop=None)
    )
    good = evaluate(red, f"voc:{voc}", run=tmp_path / "red", protocols=("clean",))
    assert score(good, None)["miou"] > 0.5
    bad = tmp_path / "bad"
    said = call("run", *ASKED, f"voc:{voc}", "--protocols", "clean", "--out", bad)
    assert said.exit_code == 0, said.output
    (folder,) = (path.parent for path in bad.glob("*/run.json"))
    accepted = call("gate", tmp_path / "b.json", good.path, "--accept")
    assert accepted.exit_code == 0, accepted.output
    judged = call("gate", tmp_path / "b.json", folder, "--json", tmp_path / "g.json", "--margin", "miou=1")
    assert judged.exit_code == 1, judged.output
    assert "REGRESSED" in judged.output
    assert "mIoU" in judged.output
    (miou,) = (row for row in json.loads((tmp_path / "g.json").read_text())["metrics"] if row["name"] == "miou")
    assert miou["candidate"] < miou["baseline"]


def test_compare_names_what_differs(runs: dict[str, Path]) -> None:
    said = call("compare", runs["r0"], runs["r1"], "--replicates", 100)
    assert said.exit_code == 0
    assert "mIoU" in said.output
    assert "voc2012-val" in said.output


def test_table_6_takes_the_networks_of_a_user(voc: Path, trained: Path, tmp_path: Path) -> None:
    said = call(
        "paper", "table-6", "--scale", "paper", "--data", f"voc=voc:{voc}", "--checkpoints", trained, "--out", tmp_path
    )
    assert said.exit_code == 2
    assert "Wanted: segnet/max" in said.output
    assert NETWORK in said.output
