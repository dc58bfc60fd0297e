"""Prepared pixels that are kept: each image is decoded once, nothing that is stored changes, nothing stays behind."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from robustbench_lift.data import folders, labelmaps
from robustbench_lift.evaluation import prepared
from robustbench_lift.evaluation.engine import evaluate
from robustbench_lift.evaluation.prepared import KeptPixels
from robustbench_lift.evaluation.progress import Progress
from robustbench_lift.shares import Share
from robustbench_lift.weights import LoadedModel, Preprocessing

ROWS, SHAPE = range(2, 14, 3), (3, 8, 8)
ROOM = 3 * 8 * 8 + 2 * 8 * 8


class Quadrants(nn.Module):
    """The class is the brightest quadrant: reads pixels, learns nothing."""

    def forward(self, x: Tensor) -> Tensor:
        quadrants: Tensor = nn.functional.adaptive_avg_pool2d(x, 2).mean(1).flatten(1)
        return quadrants


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four classes of five JPEG files of different sizes."""
    rng = np.random.default_rng(0)
    for k in range(20):
        file = tmp_path / "val" / "abcd"[k % 4] / f"{k:02d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 180, (80 + k, 90, 3), dtype=np.uint8)
        image[: 40 + k // 2 if k % 4 < 2 else None, slice(0, 45) if k % 2 == 0 else slice(45, None)] += 60
        Image.fromarray(image).save(file, quality=90)
    return tmp_path / "val"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each row was read from its file."""
    seen: Counter[int] = Counter()
    read = folders.StoredImages.read

    def counted(self: folders.StoredImages, index: int) -> Any:
        seen[index] += 1
        return read(self, index)

    monkeypatch.setattr(folders.StoredImages, "read", counted)
    return seen


def cells(pictures: Path, out: Path, **options: Any) -> tuple[dict[str, dict[str, Any]], list[str]]:
    notes: list[str] = []

    def watch(progress: Progress) -> None:
        if progress.note:
            notes.append(progress.note)

    own = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), resize=None, crop=64)
    evaluate(
        LoadedModel.of(Quadrants(), preprocessing=own, num_classes=4, name="quadrants"),
        f"folder:{pictures}?resize=72&crop=64",
        run=out,
        protocols=("clean", "corruption"),
        corruptions=("brightness", "contrast"),
        severities=(1, 4),
        storage="none",
        allow_chance=True,
        progress=watch,
        **options,
    )
    files = sorted((out / "cells").rglob("*.npz"))
    found = {}
    for file in files:
        with np.load(file) as stored:
            found["/".join(file.parts[-3:])] = {k: stored[k] for k in stored.files if k not in ("run", "digest")}
    return found, notes


def same(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[cell][name], other[cell][name]) for cell in one for name in one[cell]
    )


def test_each_image_is_decoded_once_and_nothing_changes(pictures: Path, tmp_path: Path, decoded: Counter[int]) -> None:
    kept, _ = cells(pictures, tmp_path / "kept", device="cpu")
    # the first row also shows whether the network is a function of one image, and the shape of the pixels
    assert [decoded[row] for row in range(1, 20)] == [1] * 19
    decoded.clear()
    again, _ = cells(pictures, tmp_path / "again", device="cpu", keep=False)
    assert [decoded[row] for row in range(1, 20)] == [5] * 19
    assert len(kept) == 5
    assert same(kept, again)


def test_processes_and_shares_keep_their_own(pictures: Path, tmp_path: Path) -> None:
    whole, _ = cells(pictures, tmp_path / "whole", device="cpu", keep=False)
    before = set(Path(tempfile.gettempdir()).glob("robustbench-lift-*"))
    workers, _ = cells(pictures, tmp_path / "workers", device="cpu", workers=2)
    assert same(whole, workers)
    for index in range(3):
        shares, _ = cells(pictures, tmp_path / "shares", device="cpu", shard=Share(index, 3))
    assert same(whole, shares)
    assert set(Path(tempfile.gettempdir()).glob("robustbench-lift-*")) <= before


def test_label_maps_are_decoded_once_with_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (tmp_path / "d" / part).mkdir(parents=True)
    for k in range(12):
        shape = (40 + 8 * (k % 3 == 0), 48)
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(tmp_path / f"d/images/{k:02d}.png")
        Image.fromarray(rng.integers(0, 3, shape, dtype=np.uint8)).save(tmp_path / f"d/labels/{k:02d}.png")
    seen: Counter[tuple[str, int]] = Counter()
    for name in ("read", "target"):
        one = getattr(labelmaps.StoredLabelMaps, name)

        def counted(self: Any, index: int, *rest: Any, _one: Any = one, _name: str = name) -> Any:
            seen[_name, index] += 1
            return _one(self, index, *rest)

        monkeypatch.setattr(labelmaps.StoredLabelMaps, name, counted)
    network = LoadedModel.of(nn.Conv2d(3, 3, 1), name="pixelwise", num_classes=3)
    found = []
    for keep in (True, False):
        seen.clear()
        evaluate(
            network,
            f"label-folder:{tmp_path / 'd'}?classes=3",
            run=tmp_path / str(keep),
            protocols=("clean", "corruption"),
            corruptions=("brightness", "contrast"),
            severities=(1, 4),
            keep=keep,
            device="cpu",
        )
        # every second image, and the first of all, are looked at before
        assert sum(seen.values()) == (12 + 6 + 1 if keep else 12 * 5 + 1) * 2
        root = tmp_path / str(keep) / "cells"
        found.append({str(file.relative_to(root)): np.load(file)["counts"] for file in sorted(root.rglob("*.npz"))})
    assert len(found[0]) == 5
    assert all(np.array_equal(found[0][cell], found[1][cell]) for cell in found[0])


def test_without_room_images_are_decoded_again_and_it_is_said(
    pictures: Path, tmp_path: Path, decoded: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil._ntuple_diskusage(10, 9, 1)  # type: ignore[attr-defined]
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda folder: full)
    _, notes = cells(pictures, tmp_path / "full", device="cpu")
    assert decoded[3] == 5
    assert any("decoded again for every cell" in note for note in notes)


def test_rows_are_kept_across_processes_and_damage_is_noticed() -> None:
    kept = KeptPixels.reserve(ROWS, ROOM)
    assert kept is not None
    rng = np.random.default_rng(1)
    pixels, labels = rng.integers(0, 256, SHAPE, dtype=np.uint8), rng.integers(0, 20, (2, 4, 16), dtype=np.uint8)
    other = pickle.loads(pickle.dumps(kept))
    assert kept.get(5) is None
    assert other.put(5, [pixels, labels])
    found = kept.get(5)
    assert found is not None
    assert len(found) == 2
    assert np.array_equal(found[0], pixels)
    assert np.array_equal(found[1], labels)
    assert kept.put(2, [pixels[:, :3]])
    assert [array.shape for array in kept.get(2) or []] == [(3, 3, 8)]
    assert kept.get(8) is None
    assert not kept.put(8, [pixels, pixels])
    head, place = kept._views(5)
    place[0] ^= 1
    assert other.get(5) is None, "half-written pixels are decoded again"
    place[0] ^= 1
    assert other.get(5) is not None
    head[2] += 1
    assert other.get(5) is None, "a shape that is not that of the pixels"
    kept.close()
    kept.close()
    assert torch.from_numpy(found[0]).sum() == int(pixels.sum())
