"""A tree that `corrupt` wrote of one's own classes is run by its name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from robustbench_lift import Run
from robustbench_lift.cli import app

CLASSES = ("apple", "pear", "plum")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clean` and the tree `corrupted` of it: one corruption at two severities, 64 pixels."""
    root = tmp_path_factory.mktemp("own")
    pixels = np.random.default_rng(0)
    for name in CLASSES:
        (root / "clean" / name).mkdir(parents=True)
        for index in range(2):
            image = pixels.integers(0, 256, (80, 90, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / "clean" / name / f"{name}{index}.png")
    arguments = ["corrupt", str(root / "clean"), str(root / "corrupted"), "--corruptions", "fog", "--severities", "1,3"]
    done = CliRunner().invoke(app, [*arguments, "--size", "64", "--workers", "1"])
    assert done.exit_code == 0, done.output + done.stderr
    return root


def run(data: str, out: Path, *more: str) -> Run:
    arguments = ["run", "resnet8/skip?num_classes=3@random", "--data", data, "--corruptions", "fog", "--severities"]
    arguments += ["1,3", "--normaliser", "none", "--allow-chance", "--no-report", "--out", str(out), *more]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output + done.stderr
    (folder,) = [path.parent for path in out.glob("*/run.json")]
    return Run.open(folder)


def test_a_tree_of_ones_own_classes_is_run(folders: Path, tmp_path: Path) -> None:
    found = run(f"folder-c:{folders / 'corrupted'}?size=64", tmp_path)
    assert [cell.key for cell in found.expected] == ["corruption/fog/1", "corruption/fog/3"]
    assert found.read(found.expected[0]).labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.manifest.signature["corruption"]["files"] == "folder-c-jpeg"
    assert found.scores()["evaluated_error"] is not None


def test_clean_images_and_their_tree_are_one_data_set(folders: Path, tmp_path: Path) -> None:
    data = f"folder:{folders / 'clean'}?resize=64&crop=64,folder-c:{folders / 'corrupted'}?size=64"
    found = run(data, tmp_path, "--protocols", "clean,corruption")
    record = json.loads((found.path / "run.json").read_text())
    assert record["data"]["name"] == "clean"
    assert len(set(found.read(found.expected[0]).ids)) == len(found.read(found.expected[-1]).ids) == 6


def test_another_tree_beside_clean_images_is_refused(folders: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name in CLASSES:
        (other / name).mkdir(parents=True)
        Image.new("RGB", (80, 80)).save(other / name / "another.png")
    arguments = ["run", "resnet8/skip?num_classes=3@random", "--data"]
    arguments += [f"folder:{other}?resize=64&crop=64,folder-c:{folders / 'corrupted'}?size=64", "--normaliser", "none"]
    done = CliRunner().invoke(app, [*arguments, "--protocols", "clean,corruption", "--out", str(tmp_path / "runs")])
    assert done.exit_code in (2, 3)
    assert "Traceback" not in done.output + done.stderr
