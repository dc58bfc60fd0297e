"""Archives are read in place, the same bytes as tarfile gives, and hostile ones are refused by name."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robustbench_lift.data import tar
from robustbench_lift.data.kinds import open_images, open_tree
from robustbench_lift.data.store import FolderStore, TarStore
from robustbench_lift.data.tar import cache_file, open_index, scan
from robustbench_lift.errors import DataError

FILES = {
    "a/one.JPEG": b"1" * 700,
    "a/two.JPEG": b"",
    "b/" + "x" * 150 + "/three.JPEG": b"3" * 512,
    "b/" + "y" * 90 + "/" + "z" * 60 + ".JPEG": os.urandom(1025),
    "top.txt": b"hello",
}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_every_format_gives_the_same_files(tmp_path: Path, make: SimpleNamespace, form: int, prefix: str) -> None:
    files = FILES if form != tarfile.USTAR_FORMAT else {k: v for k, v in FILES.items() if len(k) < 100 or "/z" in k}
    store = TarStore(make.pack(tmp_path / "x.tar", files, form=form, prefix=prefix))
    assert store.index.names == tuple(sorted(files))
    blobs = store.blobs(list(files))
    assert [blobs.read(k) for k in range(len(blobs))] == list(files.values())


def test_a_folder_and_its_archive_list_alike(tmp_path: Path, make: SimpleNamespace) -> None:
    files = {**FILES, "a/._one.JPEG": b"x", ".DS_Store": b"x", "a-b/four.JPEG": b"4", "__MACOSX/a/one.JPEG": b"x"}
    packed = TarStore(make.pack(tmp_path / "x.tar", files))
    plain = FolderStore(make.write(tmp_path / "x", files))
    for path in ("", "a", "b", "nowhere"):
        assert packed.folders(path) == plain.folders(path)
        assert packed.files(path) == plain.files(path)
    assert plain.folders("") == ["a", "a-b", "b"]
    assert plain.files("a") == ["one.JPEG", "two.JPEG"]


def test_an_archive_of_archives_is_looked_into(tmp_path: Path, make: SimpleNamespace) -> None:
    inner = make.pack(tmp_path / "inner.tar", {"n01440764_1.JPEG": b"fish"}, prefix="").read_bytes()
    store = TarStore(make.pack(tmp_path / "train.tar", {"n01440764.tar": inner}, prefix=""))
    assert store.folders("") == ["n01440764"]
    assert store.blobs(["n01440764/n01440764_1.JPEG"]).read(0) == b"fish"


def test_the_index_is_made_once_and_again_when_the_archive_changes(
    tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make.pack(tmp_path / "x.tar", {"a/1": b"one"})
    calls = []
    monkeypatch.setattr(tar, "scan", lambda p: calls.append(p) or scan(p))
    assert open_index(path).names == open_index(path).names == ("a/1",)
    assert len(calls) == 1
    make.pack(path, {"a/1": b"one", "a/2": b"two"})
    assert open_index(path).names == ("a/1", "a/2")
    assert len(calls) == 2
    cache_file(path).write_bytes(b"damaged")
    assert open_index(path).names == ("a/1", "a/2")
    assert len(calls) == 3


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROBUSTBENCH_LIFT_CACHE", str(tmp_path / "file" / "below"))
    assert open_index(make.pack(tmp_path / "x.tar", {"a": b"1"})).names == ("a",)


def test_a_forged_index_cannot_point_outside_the_archive(tmp_path: Path, make: SimpleNamespace) -> None:
    path = make.pack(tmp_path / "x.tar", {"a": b"1"})
    index = open_index(path)
    index.offsets[0] = 10**12
    cache_file(path).write_bytes(tar._dump(index))
    assert open_index(path).offsets[0] < path.stat().st_size


def test_threads_and_pickled_copies_read_the_same(tmp_path: Path, make: SimpleNamespace) -> None:
    files = {f"a/{k:03d}": bytes([k]) * (k + 1) for k in range(100)}
    blobs = TarStore(make.pack(tmp_path / "x.tar", files)).blobs(list(files))
    copy = pickle.loads(pickle.dumps(blobs))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(blobs.read, range(100))) == list(map(copy.read, range(100))) == list(files.values())


def test_an_archive_that_changes_during_a_run_is_noticed(tmp_path: Path, make: SimpleNamespace) -> None:
    path = make.pack(tmp_path / "x.tar", {"a": b"1"})
    blobs = TarStore(path).blobs(["a"])
    make.pack(path, {"a": b"2", "b": b"3"})
    with pytest.raises(DataError, match="has changed"):
        blobs.read(0)


def member(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def hostile(path: Path, *members: tarfile.TarInfo) -> Path:
    with path.open("wb") as stream:
        for info in members:
            stream.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        stream.write(bytes(1024))
    return path


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (member("../../etc/passwd"), r"\.\./\.\./etc/passwd, a path that leads out"),
        (member("/etc/passwd"), "/etc/passwd, a path that leads out"),
        (member("a/../../b"), "a path that leads out"),
        (member("C:\\windows\\x"), "a path that leads out"),
        (member("link", tarfile.SYMTYPE, link="/etc/passwd"), "link, a symbolic link"),
        (member("hard", tarfile.LNKTYPE, link="x"), "hard, a hard link"),
        (member("dev/sda", tarfile.BLKTYPE), "dev/sda, a block device"),
        (member("tty", tarfile.CHRTYPE), "tty, a character device"),
        (member("pipe", tarfile.FIFOTYPE), "pipe, a named pipe"),
        (member("s", b"S"), "s, a sparse file"),
        (member("what", b"?"), "of the unknown kind"),
        (member("a\x1b[2Jb"), r"a\\x1b\[2Jb, a name with control characters"),
        (member("a\nb"), r"a\\nb, a name with control"),
    ],
)
def test_hostile_members_are_refused_by_name(tmp_path: Path, info: tarfile.TarInfo, words: str) -> None:
    path = hostile(tmp_path / "x.tar", member("good"), info)
    with pytest.raises(DataError, match=words):
        TarStore(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tar"]


def test_a_giant_extended_header_is_not_read(tmp_path: Path) -> None:
    path = hostile(tmp_path / "x.tar", member("h", b"x", size=2**33))
    with path.open("r+b") as stream:
        stream.truncate(2**33 + 4096)  # sparse on disk: the declared size is there
    with pytest.raises(DataError, match="extended header of 8,589,934,592 bytes"):
        TarStore(path)


def test_a_declared_size_beyond_the_file_is_named(tmp_path: Path) -> None:
    path = hostile(tmp_path / "x.tar", member("big.JPEG", size=10**9))
    with pytest.raises(DataError, match=r"cut short: big\.JPEG should have 1,000,000,000 bytes"):
        TarStore(path)


def test_an_archive_that_was_cut_between_two_files_is_named(tmp_path: Path) -> None:
    path = hostile(tmp_path / "x.tar", member("a.JPEG"), member("b.JPEG"))
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"b.JPEG")])
    with pytest.raises(
        DataError, match=r"cut short: it ends at byte \d+, without the empty blocks that end an archive"
    ):
        TarStore(path)
    path.write_bytes(content[: content.index(b"b.JPEG")] + bytes(512))  # one is enough for other readers too
    assert TarStore(path).files("") == ["a.JPEG"]


@pytest.mark.parametrize(
    "records",
    [b"5 a=b\n\n\n", b"999999 path=x\n", b"99999999999999999999 path=x\n", b"-1 a=b\n", b"0 a\n", b"x"],
)
def test_damaged_extended_headers_are_refused(tmp_path: Path, records: bytes) -> None:
    path = tmp_path / "x.tar"
    header = member("h", b"x", size=len(records)).tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(header + records.ljust(512, b"\0") + member("a").tobuf() + bytes(1024))
    with pytest.raises(DataError):
        TarStore(path)


def test_sparse_pax_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        info = member("a", size=3)
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "b"}
        archive.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(DataError, match="a sparse file"):
        TarStore(path)


def test_a_pax_path_cannot_climb_either(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        info = member("a")
        info.pax_headers = {"path": "../../x"}
        archive.addfile(info, io.BytesIO(b""))
    with pytest.raises(DataError, match="leads out"):
        TarStore(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1f\x8b" + bytes(600), "compressed.*gzip -d"),
        (b"PK\x03\x04" + bytes(600), "unzip"),
        (b"<html>" + b" " * 600, "not a tar file, or damaged"),
        (bytes(range(256)) * 4, "not a tar file"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DataError, match=words):
        TarStore(tmp_path / "x.tar")


def test_any_flipped_byte_is_an_error_or_changes_nothing(tmp_path: Path, make: SimpleNamespace) -> None:
    whole = make.pack(tmp_path / "x.tar", {"a/1": b"one", "a/2": b"two"}, form=tarfile.USTAR_FORMAT).read_bytes()[:2560]
    for position in range(0, 512, 3):
        damaged = bytearray(whole)
        damaged[position] ^= 0x5A
        (tmp_path / "y.tar").write_bytes(damaged)
        with pytest.raises(DataError):
            list(scan(tmp_path / "y.tar"))


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds a twice"):
        TarStore(hostile(tmp_path / "x.tar", member("a"), member("./a")))


def test_a_missing_path_names_its_neighbours(tmp_path: Path) -> None:
    from robustbench_lift.data.store import open_store

    (tmp_path / "imagenet-c").mkdir()
    with pytest.raises(DataError, match=r"does not exist.*there is imagenet-c"):
        open_store(tmp_path / "imagenetc")


def test_a_folder_in_an_archive_can_be_named(tmp_path: Path, make: SimpleNamespace) -> None:
    files = make.validation()
    root = make.write(tmp_path / "val", files)
    archive = make.pack(tmp_path / "all.tar", {f"d/val/{k}": v for k, v in files.items()} | {"d/readme.txt": b"x"})
    inside = open_images(f"imagenet:{archive}/d/val?classes=partial")
    outside = open_images(f"imagenet:{root}?classes=partial")
    assert inside.ids == outside.ids
    assert np.array_equal(inside.read(3), outside.read(3))
    assert f"{archive}:d/val/" in inside.blobs.name(0)
    with pytest.raises(DataError, match=rf"one folder below. Name it: {archive}/d/val"):
        open_images(f"imagenet:{archive}/d?classes=partial")
    with pytest.raises(DataError, match=r"all\.tar has no folder e; it holds d\."):
        open_images(f"imagenet:{archive}/e?classes=partial")
    tree = make.pack(tmp_path / "c.tar", {f"x/y/z/{k}": v for k, v in make.corrupted(("fog",), (1,)).items()})
    assert open_tree(f"imagenet-c:{tree}/x/y/z?classes=partial").images("fog", 1).ids == outside.ids
