"""The run folder: atomic, resumable, refused when mixed, loud when damaged."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robustbench_lift.errors import DataError, IncomparableError, IncompleteError, StorageError
from robustbench_lift.files import write_atomic
from robustbench_lift.runs import Cell, Manifest, Predictions, Run, signature_line
from robustbench_lift.shares import Share

FOG = Cell("corruption", "fog", 3)


def make_manifest(**changes: object) -> Manifest:
    base = Manifest(
        model={"spec": "x", "name": "x", "arch": "resnet8", "pooling": "lift", "weights_sha256": "ab" * 32},
        data={"name": "toy", "images": 4, "classes": 5},
        signature={"common": {"data": "toy@1234", "n": "4"}, "corruption": {"seed": "0"}},
        cells=("clean/clean/0", FOG.key),
        normaliser="alexnet",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def make_predictions(n: int = 4, frames: int = 1, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    return Predictions.sorted(
        [f"image/{i:03d}" for i in rng.permutation(n)],
        rng.integers(0, 3, n),
        np.stack([rng.permuted(np.arange(5)) for _ in range(n * frames)]).reshape(n, frames, 5),
        rng.random((n, frames)),
    )


def test_cell_round_trip(tmp_path: Path) -> None:
    run = Run.prepare(tmp_path / "run", make_manifest())
    stored = make_predictions(frames=3)
    run.write(FOG, stored)
    again = Run.open(tmp_path / "run").read(FOG)
    for field in ("ids", "labels", "top5", "confidence"):
        np.testing.assert_array_equal(getattr(again, field), getattr(stored, field))
    assert run.missing() == (Cell("clean", "clean", 0),)


def test_order_of_rows_does_not_matter() -> None:
    stored = make_predictions(8)
    order = np.random.default_rng(1).permutation(8)
    shuffled = Predictions.sorted(stored.ids[order], stored.labels[order], stored.top5[order], stored.confidence[order])
    np.testing.assert_array_equal(shuffled.top5, stored.top5)


def test_duplicate_ids_are_refused() -> None:
    with pytest.raises(DataError, match="unique"):
        Predictions.sorted(["a", "a"], np.zeros(2), np.zeros((2, 1, 5)), np.zeros((2, 1)))


def test_resuming_the_same_run_keeps_its_cells(tmp_path: Path) -> None:
    Run.prepare(tmp_path, make_manifest()).write(FOG, make_predictions())
    again = Run.prepare(tmp_path, make_manifest(provenance={"time": "later"}))
    assert again.has(FOG)


def test_another_protocol_is_added_to_a_run(tmp_path: Path) -> None:
    Run.prepare(tmp_path, make_manifest()).write(FOG, make_predictions())
    more = make_manifest(
        signature={"common": {"data": "toy@1234", "n": "4"}, "shift": {"mode": "crop"}}, cells=("shift/crop/0",)
    )
    merged = Run.prepare(tmp_path, more)
    assert [cell.key for cell in merged.expected] == ["clean/clean/0", FOG.key, "shift/crop/0"]
    assert merged.signature == "rbl1|data:toy@1234|n:4|corruption(seed:0)|shift(mode:crop)"


def test_some_protocols_of_a_run_may_be_asked_for_again(tmp_path: Path) -> None:
    def with_sets(*protocols: str) -> Manifest:
        sets = {name: {"images": 4, "fingerprint": "ab"} for name in protocols}
        fields = {name: {"seed": "0"} for name in protocols}
        return make_manifest(
            data={"name": "toy", "images": 4, "classes": 3, "sets": sets},
            signature={"common": {"data": "toy@1234"}, **fields},
            cells=tuple(f"{name}/x/0" for name in protocols),
        )

    Run.prepare(tmp_path, with_sets("clean", "shift"))
    merged = Run.prepare(tmp_path, with_sets("clean", "corruption"))
    assert set(merged.manifest.data["sets"]) == {"clean", "shift", "corruption"}
    assert Run.open(tmp_path).manifest == merged.manifest
    Run.prepare(tmp_path / "apart", with_sets("shift"))
    assert len(Run.prepare(tmp_path / "apart", with_sets("clean")).expected) == 2
    other = with_sets("clean")
    other.data["sets"]["clean"]["fingerprint"] = "cd"
    with pytest.raises(IncomparableError, match=r"data\.sets\.clean\.fingerprint: ab != cd"):
        Run.prepare(tmp_path, other)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": {"weights_sha256": "cd" * 32, "arch": "resnet8", "pooling": "lift"}}, "weights: abab"),
        ({"data": {"name": "toy", "images": 5, "classes": 5}}, "data.images: 4 != 5"),
        (
            {"signature": {"common": {"data": "toy@1234", "n": "4"}, "corruption": {"seed": "1"}}},
            "signature.corruption.seed: 0 != 1",
        ),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    Run.prepare(tmp_path, make_manifest())
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(IncomparableError, match=named):
        Run.prepare(tmp_path, make_manifest(**changes))
    assert (tmp_path / "run.json").read_bytes() == before


def test_cells_without_a_manifest_are_not_adopted(tmp_path: Path) -> None:
    run = Run.prepare(tmp_path, make_manifest())
    run.write(FOG, make_predictions())
    (tmp_path / "run.json").unlink()
    with pytest.raises(IncomparableError, match="nobody knows which model"):
        Run.prepare(tmp_path, make_manifest())
    assert run.has(FOG)
    assert not (tmp_path / "run.json").exists()


def test_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match=r"no run\.json"):
        Run.open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(IncompleteError, match=r"file is not a run"):
        Run.open(tmp_path / "file")
    (tmp_path / "run.json").mkdir()
    with pytest.raises(StorageError, match=r"run\.json cannot be read"):
        Run.open(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 1}'])
def test_a_damaged_manifest_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(DataError, match="damaged"):
        Run.open(tmp_path)


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    Run.prepare(tmp_path, make_manifest())
    raw = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**raw, "schema": 99}))
    with pytest.raises(DataError, match="layout 99"):
        Run.open(tmp_path)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_a_damaged_cell_is_named_and_nothing_else_lost(tmp_path: Path, damage: str) -> None:
    run = Run.prepare(tmp_path, make_manifest())
    run.write(FOG, make_predictions())
    run.write(Cell("clean", "clean", 0), make_predictions())
    file = run.file(FOG)
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[content.index(b"labels.npy") + 40] ^= 0xFF
    damaged = {"truncate": content[:-40], "flip": content, "empty": b"", "text": b"not a zip"}[damage]
    file.write_bytes(bytes(damaged))
    with pytest.raises(DataError, match=r"3\.npz is damaged.*Delete this one file") as told:
        run.read(FOG)
    assert "allow_pickle" not in str(told.value)
    assert run.read(Cell("clean", "clean", 0)).labels.shape == (4,)


def test_a_cell_of_other_images_is_refused(tmp_path: Path) -> None:
    run = Run.prepare(tmp_path, make_manifest())
    run.write(FOG, make_predictions(n=3))
    with pytest.raises(DataError, match="holds 3 images, the run has 4"):
        run.read(FOG)


def test_a_missing_cell_says_how_to_go_on(tmp_path: Path) -> None:
    run = Run.prepare(tmp_path, make_manifest())
    with pytest.raises(IncompleteError, match=r"2 of 2 cells .* goes on where it stopped"):
        run.read(FOG)


def test_shares_of_jobs_merge_to_the_single_process_cell(tmp_path: Path) -> None:
    whole = make_predictions(n=10)
    run = Run.prepare(tmp_path, make_manifest(data={"name": "toy", "images": 10, "classes": 5}))
    for index in (2, 0, 1):
        assert not run.has(FOG)
        rows = slice(index, None, 3)
        share = Predictions(whole.ids[rows], whole.labels[rows], whole.top5[rows], whole.confidence[rows])
        run.write(FOG, share, share=Share(index, 3))
        run.merge(FOG, 3)
    merged = run.read(FOG)
    np.testing.assert_array_equal(merged.top5, whole.top5)
    np.testing.assert_array_equal(merged.confidence, whole.confidence)
    assert [path.name for path in run.file(FOG).parent.iterdir()] == ["3.npz"]


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot write"):
        write_atomic(tmp_path / "file" / "cell.npz", b"x")
    write_atomic(tmp_path / "a" / "cell.npz", b"x" * 10)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["cell.npz"]


def test_what_is_there_already_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.toml"
    write_atomic(file, b"seed = 0")

    def refuse(*arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("robustbench_lift.files._write", refuse)
    write_atomic(file, b"seed = 0")
    with pytest.raises(StorageError, match="Read-only file system"):
        write_atomic(file, b"seed = 1")


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept.npz"
    kept.write_bytes(b"before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left on device.*what is already stored is kept"):
        write_atomic(kept, b"after")
    assert kept.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.npz"]


def test_the_signature_is_one_line() -> None:
    line = signature_line(make_manifest().signature)
    assert "\n" not in line
    assert line.startswith("rbl1|")
