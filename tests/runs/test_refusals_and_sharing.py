"""A cell that is another one, edited, damaged or of another run is refused by name; folders are shared safely."""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustbench_lift import files
from robustbench_lift.errors import DataError, RobustbenchError, StorageError
from robustbench_lift.files import write_atomic
from robustbench_lift.runs import Cell, Manifest, Predictions, Run
from robustbench_lift.runs import run as run_module
from robustbench_lift.shares import Share

ONE, TWO, FOG = (Cell("corruption", "snow", 1), Cell("corruption", "snow", 5), Cell("corruption", "fog", 1))
N, CLASSES = 6, 5


def manifest(**changes: Any) -> Manifest:
    base = Manifest(
        model={"spec": "x", "name": "x", "arch": "resnet8", "pooling": "lift", "weights_sha256": "ab" * 32},
        data={"name": "toy", "images": N, "classes": CLASSES},
        signature={"common": {"data": "toy@1234"}, "corruption": {"seed": "0"}},
        cells=(ONE.key, TWO.key, FOG.key),
    )
    return replace(base, **changes)


def predictions(seed: int = 0, **changes: Any) -> Predictions:
    rng = np.random.default_rng(seed)
    arrays = {
        "labels": rng.integers(0, CLASSES, N),
        "top5": np.stack([rng.permutation(CLASSES) for _ in range(N)])[:, None],
        "confidence": rng.random((N, 1)),
        "label_probability": rng.random((N, 1)),
        "squared_probability": rng.random((N, 1)),
    }
    return Predictions.from_rows([f"{i}" for i in range(N)], arrays | changes)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with three cells."""
    run = Run.prepare(tmp_path / "run", manifest())
    for seed, cell in enumerate((ONE, TWO, FOG)):
        run.write(cell, predictions(seed))
    return run


def members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(file: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    content = members(file)
    change(content)
    with zipfile.ZipFile(file, "w") as archive:
        for name, raw in content.items():
            archive.writestr(name, raw)


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_exchanged_cells_are_refused_by_name(run: Run) -> None:
    one, two = run.file(ONE).read_bytes(), run.file(TWO).read_bytes()
    run.file(ONE).write_bytes(two)
    run.file(TWO).write_bytes(one)
    for cell, found in ((ONE, TWO), (TWO, ONE)):
        with pytest.raises(DataError, match=f"holds the cell {found.key}, not {cell.key}"):
            run.read(cell)
    run.read(FOG)
    run.file(FOG).write_bytes(one)
    with pytest.raises(DataError, match=rf"fog/1\.npz holds the cell {ONE.key}"):
        run.read(FOG)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"name": "x", "arch": "resnet8", "pooling": "lift", "weights_sha256": "cd" * 32}},
        {"signature": {"common": {"data": "toy@1234"}, "corruption": {"seed": "1"}}},
        {"signature": {"common": {"data": "toy@5678"}, "corruption": {"seed": "0"}}},
        {
            "data": {
                "name": "toy",
                "images": N,
                "classes": CLASSES,
                "sets": {"corruption": {"images": N, "fingerprint": "a"}},
            }
        },
    ],
    ids=["weights", "protocol", "data", "images"],
)
def test_a_cell_of_another_run_is_refused(run: Run, tmp_path: Path, changes: dict[str, Any]) -> None:
    other = Run.prepare(tmp_path / "other", manifest(**changes))
    other.write(ONE, predictions())
    run.file(ONE).write_bytes(other.file(ONE).read_bytes())
    with pytest.raises(DataError, match="of another run"):
        run.read(ONE)


@pytest.mark.parametrize("name", ["ids", "labels", "top5", "confidence", "label_probability", "squared_probability"])
def test_every_edited_array_is_noticed(run: Run, name: str) -> None:
    def edit(content: dict[str, bytes]) -> None:
        array = np.load(io.BytesIO(content[f"{name}.npy"]))
        array = np.roll(array, 1, axis=0) if name != "ids" else np.char.add("1", array)
        content[f"{name}.npy"] = npy(array)

    rewrite(run.file(ONE), edit)
    with pytest.raises(DataError, match=r"snow/1\.npz was changed after it was written"):
        run.read(ONE)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("confidence", np.full((N, 1), np.nan), "confidence goes from nan"),
        ("confidence", np.full((N, 1), 5.0), r"confidence goes from 5\.0"),
        ("label_probability", np.full((N, 1), -0.5), "label_probability goes from -0.5"),
        ("top5", np.full((N, 1, 5), -7), "top5 goes from -7"),
        ("top5", np.full((N, 1, 5), 32000), "to 32000, expected -1 to 4"),
        ("labels", np.full(N, CLASSES), "labels goes from 5"),
    ],
)
def test_values_that_no_network_gives_are_refused(run: Run, name: str, value: Any, found: str) -> None:
    run.write(ONE, predictions(**{name: value}))
    with pytest.raises(DataError, match=found):
        run.read(ONE)


def test_a_cell_without_an_owner_is_refused_in_a_run_of_today_and_read_in_an_old_one(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    added = ("cell.json", "label_probability.npy", "squared_probability.npy")
    rewrite(run.file(ONE), lambda content: [content.pop(name) for name in added])
    with pytest.raises(DataError, match="does not say whose it is"):
        run.read(ONE)
    raw = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**raw, "schema": 1}))
    old = Run.open(run.path)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "earlier version" in caplog.text
    assert old.read(ONE).label_probability is None
    np.testing.assert_array_equal(old.read(ONE).top5, predictions().top5)
    assert old.signature == "rbl1|data:toy@1234|corruption(seed:0)"
    rewrite(old.file(ONE), lambda content: content.update({"confidence.npy": npy(np.full((N, 1), 2.0, np.float32))}))
    with pytest.raises(DataError, match="confidence"):
        old.read(ONE)
    assert Run.prepare(run.path, manifest()).manifest.schema == 1


def test_declared_sizes_are_bounded_before_memory_is_taken(run: Run) -> None:
    header = b"{'descr':'|u1','fortran_order':False,'shape':(1500000000,)}".ljust(117) + b"\n"
    huge = b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header

    def zeros(content: dict[str, bytes]) -> None:
        content["ids.npy"] = huge + bytes(30 << 20)

    content = members(run.file(ONE))
    zeros(content)
    with zipfile.ZipFile(run.file(ONE), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in content.items():
            archive.writestr(name, raw)
    assert run.file(ONE).stat().st_size < 1 << 20
    with pytest.raises(DataError, match=r"ids\.npy declares 31,4.* bytes, more than"):
        run.read(ONE)
    rewrite(run.file(TWO), lambda content: content.update({"top5.npy": npy(np.array([object()], dtype=object))}))
    with pytest.raises(DataError, match=r"damaged|changed"):
        run.read(TWO)


def test_no_flipped_byte_of_a_cell_is_a_traceback_or_another_content(run: Run) -> None:
    whole = run.file(ONE).read_bytes()
    expected = run.read(ONE).arrays()
    rng = np.random.default_rng(0)
    for place in rng.choice(len(whole), 300, replace=False):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        run.file(ONE).write_bytes(bytes(content))
        try:
            found = run.read(ONE).arrays()
        except DataError:
            continue
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cells", ["a/b"]),
        ("cells", [5]),
        ("cells", ["../../etc/1"]),
        ("cells", ["a/../1"]),
        ("model", {}),
        ("model", 5),
        ("model", {"name": ["x"]}),
        ("model", {"name": "x", "card": {"a": 1}}),
        ("data", 5),
        ("data", {"images": -1, "classes": 2}),
        ("data", {"images": True, "classes": 2}),
        ("data", {"images": 1e400, "classes": 2}),
        ("data", {"images": 4, "classes": 2, "sets": {"clean": 5}}),
        ("signature", 5),
        ("signature", {"common": {"n": 4}}),
        ("provenance", 5),
        ("normaliser", 5),
        ("schema", "1"),
        ("unheard", 1),
    ],
    ids=str,
)
def test_fields_of_run_json_are_typed(run: Run, field: str, value: Any) -> None:
    raw = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**raw, field: value}))
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        Run.open(run.path)


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"schema": ' + b"9" * 5000 + b"}", b"\xff\xfe", b'{"schema": NaN}', b"", b"null"],
    ids=["deep", "digits", "encoding", "nan", "empty", "null"],
)
def test_hostile_json_is_one_message(run: Run, content: bytes) -> None:
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        Run.open(run.path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_are_not_read(run: Run) -> None:
    (run.path / "run.json").unlink()
    os.mkfifo(run.path / "run.json")
    with pytest.raises(StorageError, match="ordinary file"):
        Run.open(run.path)
    (run.path / "run.json").unlink()
    (run.path / "run.json").symlink_to("/dev/zero")
    with pytest.raises(StorageError, match="ordinary file"):
        Run.open(run.path)
    run.file(ONE).unlink()
    os.mkfifo(run.file(ONE))
    with pytest.raises(RobustbenchError, match="ordinary file"):
        run.read(ONE)


def share(whole: Predictions, index: int, count: int) -> Predictions:
    arrays = whole.arrays()
    ids = arrays.pop("ids")
    return Predictions.from_rows(ids[index::count], {name: array[index::count] for name, array in arrays.items()})


def only(protocol: str) -> Manifest:
    return manifest(
        data={"name": "toy", "images": N, "classes": 5, "sets": {protocol: {"images": N, "fingerprint": "ab"}}},
        signature={"common": {"data": "toy@1234"}, protocol: {}},
        cells=(f"{protocol}/x/1",),
    )


def test_a_protocol_added_while_another_is_added_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading and writing run.json, another job adds its protocol."""
    Run.prepare(tmp_path, only("clean"))
    other = threading.Thread(target=Run.prepare, args=(tmp_path, only("shift")))
    write = run_module.write_atomic

    def late(path: Path, content: bytes) -> None:
        monkeypatch.setattr(run_module, "write_atomic", write)
        other.start()
        other.join(1)  # it waits for the lock, which is held here
        write(path, content)

    monkeypatch.setattr(run_module, "write_atomic", late)
    Run.prepare(tmp_path, only("corruption"))
    other.join(60)
    assert {cell.protocol for cell in Run.open(tmp_path).expected} == {"clean", "corruption", "shift"}
    assert set(Run.open(tmp_path).manifest.sets) == {"clean", "corruption", "shift"}


def test_two_last_jobs_may_merge_one_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, whole = Run.prepare(tmp_path, manifest()), predictions()
    for index in range(2):
        store.write(ONE, share(whole, index, 2), share=Share(index, 2))
    load = run_module.load

    def slow(*given: object) -> object:
        monkeypatch.setattr(run_module, "load", load)
        assert Run.open(tmp_path).merge(ONE, 2)  # the other job merges, and removes the shares
        return load(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "load", slow)
    assert store.merge(ONE, 2)
    assert store.merge(ONE, 2)
    np.testing.assert_array_equal(store.read(ONE).top5, whole.top5)


def test_jobs_that_end_one_after_another_do_not_ask_for_every_share_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """n jobs ask for about n log n shares in all; in the order of their numbers it was n^2 / 2, 20,100 here."""
    jobs, asked, exists = 200, [], Path.exists

    def counted(path: Path, **options: Any) -> bool:
        asked.append(path)
        return exists(path, **options)

    store = Run.prepare(tmp_path, manifest())
    store.file(ONE).parent.mkdir(parents=True)
    monkeypatch.setattr(Path, "exists", counted)
    for index in range(jobs - 1):
        store.share_file(ONE, Share(index, jobs)).touch()
        assert not store.merge(ONE, jobs)
    assert len(asked) < 8000  # 200 x 5.9 + 200, with room for chance


def test_shares_of_another_number_are_named_and_go_when_the_cell_is_complete(tmp_path: Path) -> None:
    store, whole = Run.prepare(tmp_path, manifest()), predictions()
    store.write(ONE, share(whole, 0, 3), share=Share(0, 3))
    write_atomic(store.file(ONE).with_name("1.part-0-of-4.npz"), b"of an earlier version")
    store.write(TWO, share(whole, 1, 2), share=Share(1, 2))
    assert [file.name for file in store.other_shares(2)] == ["1.part-0-of-4.npz", "1.share-1-of-3.npz"]
    assert not store.merge(ONE, 2)
    for index in range(2):
        store.write(ONE, share(whole, index, 2), share=Share(index, 2))
    assert store.merge(ONE, 2)
    assert sorted(file.name for file in store.file(ONE).parent.iterdir()) == ["1.npz", "5.share-2-of-2.npz"]
    store.write(TWO, whole)
    assert sorted(file.name for file in store.file(ONE).parent.iterdir()) == ["1.npz", "5.npz"]


def test_merged_bytes_are_the_single_process_bytes(tmp_path: Path) -> None:
    store, whole = Run.prepare(tmp_path, manifest()), predictions()
    store.write(FOG, whole)
    alone = store.file(FOG).read_bytes()
    store.file(FOG).unlink()
    for index in (2, 0, 1):
        store.write(FOG, share(whole, index, 3), share=Share(index, 3))
        store.merge(FOG, 3)
    assert store.file(FOG).read_bytes() == alone


def test_a_share_of_another_job_is_refused(tmp_path: Path) -> None:
    store, whole = Run.prepare(tmp_path, manifest()), predictions()
    for index in range(2):
        store.write(ONE, share(whole, 0, 2), share=Share(index, 2))
    file = store.share_file(ONE, Share(1, 2))
    file.write_bytes(store.share_file(ONE, Share(0, 2)).read_bytes())
    with pytest.raises(DataError, match=r"share-2-of-2.npz holds the share 1/2 of a cell, expected 2/2"):
        store.merge(ONE, 2)


def test_a_complete_run_in_a_folder_that_cannot_be_written_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run.prepare(tmp_path, manifest())

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing is to be written")

    monkeypatch.setattr(run_module, "write_atomic", refuse)
    monkeypatch.setattr(run_module, "folder_lock", refuse)
    assert Run.prepare(tmp_path, replace(manifest(), provenance={"time": "later"})).expected


def test_writers_with_one_process_id_never_disturb_each_other(tmp_path: Path) -> None:
    """As of two containers that share a folder."""
    errors: list[BaseException] = []

    def write(letter: bytes) -> None:
        try:
            for _ in range(60):
                write_atomic(tmp_path / "x.bin", letter * 200_000)
        except BaseException as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert errors == []
    assert len(set((tmp_path / "x.bin").read_bytes())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


def test_what_a_dead_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    dead, living = tmp_path / ".x.bin.12345.partial", tmp_path / ".x.bin.abc.partial"
    other = tmp_path / ".y.bin.12345.partial"
    for path in (dead, living, other):
        path.write_bytes(b"half")
    with living.open("r+b") as stream:
        assert files._lock(stream)
        write_atomic(tmp_path / "x.bin", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [living.name, other.name, "x.bin"]


def test_a_planted_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"kept")
    (tmp_path / "d").mkdir()
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "00")
    (tmp_path / "d" / ".x.bin.00.partial").symlink_to(victim)
    write_atomic(tmp_path / "d" / "x.bin", b"new")  # the leftover, which nobody holds, is removed as a link
    assert victim.read_bytes() == b"kept"
    assert (tmp_path / "d" / "x.bin").read_bytes() == b"new"
