"""CIFAR from pickles that nobody executes, from .npz, and the mapped -C and -P arrays."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import Tensor
from torch.nn.functional import pad

import corruptions
from robustbench_lift import evaluate
from robustbench_lift.data.base import UNLABELLED
from robustbench_lift.data.check import check_data
from robustbench_lift.data.kinds import open_images, open_tree
from robustbench_lift.data.pickles import read_batch
from robustbench_lift.data.suites import SUITES
from robustbench_lift.errors import DataError, IncompleteError, UsageError
from robustbench_lift.report import document
from robustbench_lift.scores import ScoredRun


def pixels(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def batch(images: np.ndarray, labels: list[int], key: str = "labels") -> dict[Any, Any]:
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return {b"data": np.ascontiguousarray(rows), key.encode(): labels, b"batch_label": b"testing batch 1 of 1"}


def python2(images: np.ndarray, labels: list[int]) -> bytes:
    """The same batch as Python 2 pickled it in 2009: byte strings, protocol 2, numpy's constructors by name."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR("
    dtype += number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + text(b"b") + b"tR("
    array += number(1) + b"(" + number(rows.shape[0]) + number(rows.shape[1]) + b"t" + dtype + b"\x89"
    array += text(rows.tobytes()) + b"tb"
    listed = b"](" + b"".join(number(label) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
def test_pickles_of_every_protocol_give_the_images(tmp_path: Path, protocol: int) -> None:
    images, labels = pixels(20), [k % 10 for k in range(20)]
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").write_bytes(pickle.dumps(batch(images, labels), protocol=protocol))
    for place in (tmp_path, folder):
        found = open_images(f"cifar10:{place}")
        assert found.ids == tuple(f"{k:05d}" for k in range(20))
        assert found.labels.tolist() == labels
        assert found.class_names[3] == "cat"
        assert all(np.array_equal(found.read(k), images[k]) for k in range(20))


def test_the_published_form_is_read(tmp_path: Path) -> None:
    images, labels = pixels(3), [7, 0, 9]
    (tmp_path / "test_batch").write_bytes(python2(images, labels))
    found = open_images(f"cifar10:{tmp_path}")
    assert found.labels.tolist() == labels
    assert all(np.array_equal(found.read(k), images[k]) for k in range(3))
    theirs = pickle.loads((tmp_path / "test_batch").read_bytes(), encoding="bytes")
    assert np.array_equal(read_batch(tmp_path / "test_batch")["data"], theirs[b"data"])


def test_cifar100_has_its_names(tmp_path: Path) -> None:
    names = [f"thing {k}" for k in range(100)]
    (tmp_path / "test").write_bytes(pickle.dumps(batch(pixels(2), [99, 4], "fine_labels")))
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}))
    found = open_images(f"cifar100:{tmp_path}")
    assert found.class_names == tuple(names)
    with pytest.raises(DataError, match="has no file 'test_batch'"):
        open_images(f"cifar10:{tmp_path}")


class Payload:
    """Runs code when a careless reader unpickles it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def test_code_in_a_pickle_never_runs(tmp_path: Path) -> None:
    import os
    import subprocess

    marker = tmp_path / "ran"
    attacks = [
        Payload(os.system, f"touch {marker}"),
        Payload(eval, f"open({str(marker)!r}, 'w')"),
        Payload(subprocess.Popen, ["touch", str(marker)]),
        Payload(getattr, "x", "join"),
        {b"data": Payload(os.mkdir, str(marker)), b"labels": [1]},
    ]
    for number, attack in enumerate(attacks):
        for protocol in (0, 2, 4):
            (tmp_path / "test_batch").write_bytes(pickle.dumps(attack, protocol=protocol))
            with pytest.raises(DataError, match=r"it holds the name .*Nothing of it was executed"):
                open_images(f"cifar10:{tmp_path}")
            assert not marker.exists(), number


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04.",
        b"\x80\x02}.",
        b"<html>",
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x02cnumpy\ndtype\n(U\x01OK\x00K\x01tR.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(NtR(K\x01(J\xff\xff\xff\x7ftNNU\x01xtb.",
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x80\x02P1\n.",
        b"\x80\x02\x82\x01.",
        b"(" * 100_000,
    ],
)
def test_damaged_and_hostile_pickles_are_one_message(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match="test_batch"):
        open_images(f"cifar10:{tmp_path}")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02Nr" + struct.pack("<I", 2**27) + b".",
        b"Np134217728\n.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**30) + b".",
    ],
)
def test_a_few_bytes_do_not_take_gigabytes(tmp_path: Path, content: bytes) -> None:
    import resource

    (tmp_path / "test_batch").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="test_batch"):
        open_images(f"cifar10:{tmp_path}")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_shape_that_its_bytes_do_not_fill_is_refused(tmp_path: Path) -> None:
    whole = python2(pixels(2), [1, 2])
    wrong = whole.replace(b"J" + struct.pack("<i", 3072), b"J" + struct.pack("<i", 2**31 - 1))
    (tmp_path / "test_batch").write_bytes(wrong)
    with pytest.raises(DataError, match="array of shape"):
        open_images(f"cifar10:{tmp_path}")


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    whole = python2(pixels(1), [3])
    for length in range(0, len(whole), 131):
        (tmp_path / "test_batch").write_bytes(whole[:length])
        with pytest.raises(DataError):
            open_images(f"cifar10:{tmp_path}")


def test_npz_files_and_which_rows(tmp_path: Path) -> None:
    images, labels = pixels(30), np.arange(30) % 10
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    np.savez(tmp_path / "b.npz", x_test=images[:5], y_test=labels[:5, None], x_train=images, y_train=labels)
    assert open_images(f"cifar10:{tmp_path / 'a.npz'}?rows=10-20").labels.tolist() == list(range(10))
    assert np.array_equal(open_images(f"cifar10:{tmp_path / 'b.npz'}").read(4), images[4])
    with pytest.raises(UsageError, match="within 0-30"):
        open_images(f"cifar10:{tmp_path / 'a.npz'}?rows=20-40")
    np.savez(tmp_path / "c.npz", x=np.zeros((10_001, 32, 32, 3), np.uint8), y=np.zeros(10_001, np.int64))
    with pytest.raises(DataError, match=r"training images are among them.*\?rows="):
        open_images(f"cifar10:{tmp_path / 'c.npz'}")
    aside = open_images(f"cifar10:{tmp_path / 'c.npz'}?part=test&hold_out=0.25")  # chosen among all of them
    assert 2_000 < len(aside.ids) < 3_000


def test_wrong_npz_files(tmp_path: Path) -> None:
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "labels": ({"x": pixels(2), "y": np.array([0, 10])}, "labels go from 0 to 10"),
        "type": ({"x": pixels(2).astype(np.float32), "y": np.array([0, 1])}, "found float32"),
        "shape": ({"x": pixels(2)[:, :16], "y": np.array([0, 1])}, r"\[2, 16, 32, 3\]"),
        "count": ({"x": pixels(2), "y": np.array([0, 1, 2])}, r"\[3\] for 2"),
        "names": ({"images": pixels(2)}, "holds images; expected"),
        "objects": ({"x": np.array([None, 1]), "y": np.array([0, 1])}, "plain arrays"),
    }
    for name, (arrays, words) in cases.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(DataError, match=words):
            open_images(f"cifar10:{tmp_path / name}.npz")
    (tmp_path / "page.npz").write_text("<html>")
    with pytest.raises(DataError, match="plain arrays"):
        open_images(f"cifar10:{tmp_path / 'page.npz'}")


@pytest.fixture
def corrupted(tmp_path: Path) -> Path:
    """CIFAR-10-C with 4 images instead of 10,000."""
    labels = np.array([3, 1, 4, 1], np.uint8)
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    for k, name in enumerate(("fog", "snow")):
        np.save(tmp_path / f"{name}.npy", pixels(20, seed=k))
    return tmp_path


def test_severities_are_blocks_of_rows(corrupted: Path) -> None:
    tree = open_tree(f"cifar10-c:{corrupted}")
    array = np.load(corrupted / "snow.npy")
    for severity in (1, 2, 3, 4, 5):
        cell = tree.images("snow", severity)
        assert cell.labels.tolist() == [3, 1, 4, 1]
        assert cell.ids == ("00000", "00001", "00002", "00003")
        for k in range(4):
            assert np.array_equal(cell.read(k), array[(severity - 1) * 4 + k])
    copy = pickle.loads(pickle.dumps(cell))
    assert np.array_equal(copy.read(2), cell.read(2))
    assert len(pickle.dumps(cell)) < 5000, "workers map the file themselves"


def test_missing_and_wrong_arrays_are_named(corrupted: Path) -> None:
    tree = open_tree(f"cifar10-c:{corrupted}")
    with pytest.raises(IncompleteError, match=r"lacks frost\.npy, contrast\.npy"):
        tree.require(("fog", "frost", "contrast"), (1, 2))
    np.save(corrupted / "labels.npy", np.arange(20, dtype=np.uint8) % 9)
    with pytest.raises(DataError, match="does not repeat the same labels"):
        tree.images("fog", 1)
    np.save(corrupted / "labels.npy", np.array([3, 1, 4, 10], np.uint8))
    with pytest.raises(DataError, match=r"labels\.npy.*expected 0 to 9"):
        tree.images("fog", 1)
    np.save(corrupted / "fog.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"fog\.npy is not an \.npy file of plain numbers"):
        tree.images("fog", 1)
    whole = (corrupted / "snow.npy").read_bytes()
    (corrupted / "snow.npy").write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"snow\.npy.*cut short"):
        tree.images("snow", 1)
    (corrupted / "snow.npy").write_bytes(whole.replace(b"(20, 32", b"(10**9, 32"))
    with pytest.raises(DataError, match=r"snow\.npy"):
        tree.images("snow", 1)


def test_arrays_of_other_images_than_the_clean_ones_are_refused(corrupted: Path, tmp_path: Path) -> None:
    def clean(labels: list[int]) -> Any:
        np.savez(tmp_path / "clean.npz", x=pixels(len(labels)), y=np.array(labels))
        return open_images(f"cifar10:{tmp_path / 'clean.npz'}")

    same = open_tree(f"cifar10-c:{corrupted}", clean=clean([3, 1, 4, 1]))
    assert same.images("fog", 2).labels.tolist() == [3, 1, 4, 1]
    with pytest.raises(DataError, match=r"labels\.npy: 2 of 4 labels are not those of the clean images .*row 1"):
        open_tree(f"cifar10-c:{corrupted}", clean=clean([3, 4, 1, 1])).images("fog", 1)
    with pytest.raises(DataError, match="of 4 images, and the clean images of this run are 3"):
        open_tree(f"cifar10-c:{corrupted}", clean=clean([3, 1, 4])).images("fog", 1)


def test_what_is_no_file_is_not_waited_for(corrupted: Path) -> None:
    (corrupted / "fog.npy").unlink()
    os.mkfifo(corrupted / "fog.npy")
    with pytest.raises(DataError, match=r"fog\.npy cannot be read: it is no file"):
        open_tree(f"cifar10-c:{corrupted}").images("fog", 1)


def test_arrays_and_options_that_are_given_twice(tmp_path: Path) -> None:
    np.savez(tmp_path / "once.npz", x=pixels(2), y=np.array([0, 1]))
    with zipfile.ZipFile(tmp_path / "once.npz") as once, zipfile.ZipFile(tmp_path / "twice.npz", "w") as twice:
        for name in ("x.npy", "y.npy"):
            twice.writestr(name, once.read(name))
        with pytest.warns(UserWarning, match="Duplicate name"):
            twice.writestr("y.npy", once.read("y.npy"))
    with pytest.raises(DataError, match=r"twice\.npz holds y twice"):
        open_images(f"cifar10:{tmp_path / 'twice.npz'}")
    with pytest.raises(UsageError, match="option 'rows' is given twice"):
        open_images(f"cifar10:{tmp_path / 'once.npz'}?rows=0-2&rows=1-2")


def test_labels_as_a_column_are_taken_and_one_hot_ones_explained(corrupted: Path) -> None:
    labels = np.tile(np.array([3, 1, 4, 1], np.uint8), 5)
    np.save(corrupted / "labels.npy", labels[:, None])
    assert open_tree(f"cifar10-c:{corrupted}").images("fog", 2).labels.tolist() == [3, 1, 4, 1]
    for wrong in (np.eye(10, dtype=np.int64)[labels], labels.astype(float), np.array(3), labels[:7]):
        np.save(corrupted / "labels.npy", wrong)
        with pytest.raises(DataError, match=r"labels\.npy: expected one integer label an image"):
            open_tree(f"cifar10-c:{corrupted}").images("fog", 2)


def test_the_folder_above_is_told(corrupted: Path, tmp_path: Path) -> None:
    above = tmp_path.parent / f"{tmp_path.name}-above"
    (above / "CIFAR-10-C").mkdir(parents=True)
    (above / "CIFAR-10-C" / "labels.npy").write_bytes((corrupted / "labels.npy").read_bytes())
    with pytest.raises(IncompleteError, match=r"has no labels\.npy\. Name .*CIFAR-10-C"):
        open_tree(f"cifar10-c:{above}")


def test_sequences_have_their_frames_and_noise_its_files(tmp_path: Path) -> None:
    clips = np.random.default_rng(0).integers(0, 256, (3, 31, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "labels.npy", np.array([0, 5, 9]))
    for name in ("brightness", "gaussian_noise", "gaussian_noise_2", "translate"):
        np.save(tmp_path / f"{name}.npy", clips if name != "gaussian_noise_2" else 255 - clips)
    tree = open_tree(f"cifar10-p:{tmp_path}", limit=2)
    assert tree.images("brightness", 3).name == "cifar10-limit2"
    whole = open_tree(f"cifar10-p:{tmp_path}")
    assert np.array_equal(whole.images("brightness", 2).read(1), clips[1])
    assert np.array_equal(whole.images("gaussian_noise", 2).read(1), 255 - clips[1])
    with pytest.raises(IncompleteError, match=r"lacks gaussian_noise_3\.npy"):
        whole.require(("gaussian_noise", "brightness"), (3,))
    with pytest.raises(DataError, match=r"expected uint8 \[N, 16, 32, 32, 3\]"):
        whole.images("translate", 1)


def test_sequences_need_no_labels(make: SimpleNamespace, tmp_path: Path) -> None:
    clips = np.random.default_rng(0).integers(0, 256, (3, 31, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "p").mkdir()
    np.save(tmp_path / "p" / "brightness.npy", clips)
    np.savez(tmp_path / "clean.npz", x=pixels(3), y=np.array([7, 0, 9]))
    files = {"CIFAR-10-P/brightness.npy": (tmp_path / "p/brightness.npy").read_bytes(), "__MACOSX/p/._a.npy": b""}
    packed = make.pack(tmp_path / "p.tar", files)
    for place in (tmp_path / "p", packed):
        images = open_tree(f"cifar10-p:{place}").images("brightness", 1)
        assert images.labels.tolist() == [UNLABELLED] * 3
        assert np.array_equal(images.read(2), clips[2])
        known = open_tree(f"cifar10-p:{place}", clean=open_images(f"cifar10:{tmp_path}/clean.npz"))
        assert known.images("brightness", 1).labels.tolist() == [7, 0, 9]
    with pytest.raises(IncompleteError, match=r"no labels\.npy\. Name .*/p\."):
        open_tree(f"cifar10-p:{tmp_path}")
    np.save(tmp_path / "p" / "fog.npy", clips[:, 0])
    with pytest.raises(IncompleteError, match=r"no labels\.npy"):
        open_tree(f"cifar10-c:{tmp_path / 'p'}")


def test_flips_of_sequences_without_labels_are_scored(tmp_path: Path) -> None:
    clips = np.random.default_rng(1).integers(0, 256, (6, 31, 32, 32, 3), dtype=np.uint8)
    for name in SUITES["cifar-p"].conditions:
        frames = corruptions.frame_count(name, 32)
        np.save(tmp_path / f"{name}.npy", np.concatenate([clips, clips], axis=1)[:, :frames])

    def corner(x: Tensor) -> Tensor:
        return pad(x[:, :, 5, 5], (0, 7))

    run = evaluate(corner, f"cifar10-p:{tmp_path}", run=tmp_path / "run", protocols=("perturbation",))
    assert "set:cifar-p10" in run.signature
    stored = run.read(run.expected[0])
    assert stored.labels.tolist() == [UNLABELLED] * 6
    assert (stored.label_probability == 0).all()
    flips = [np.mean(run.read(cell).top1[:, 1:] != run.read(cell).top1[:, :-1]) for cell in run.expected[2:]]
    assert 0 < flips[0] <= 1
    scores = ScoredRun.open(tmp_path / "run").scores()
    assert scores["fp/motion_blur"] == pytest.approx(flips[0])
    assert scores["mean_flip_probability"] == pytest.approx(
        np.mean([scores[f"fp/{name}"] for name in SUITES["cifar-p"].conditions])
    )
    document([run], command="report")


def test_an_archive_of_arrays_is_mapped_where_it_lies(corrupted: Path, make: SimpleNamespace, tmp_path: Path) -> None:
    files = {f"CIFAR-10-C/{file.name}": file.read_bytes() for file in corrupted.glob("*.npy")}
    archive = make.pack(tmp_path / "packed.tar", files, prefix="")
    inside, outside = (open_tree(f"cifar10-c:{place}") for place in (archive, corrupted))
    inside.require(("fog", "snow"), (1, 5))
    with pytest.raises(IncompleteError, match=r"packed\.tar lacks frost\.npy"):
        inside.require(("fog", "frost"), (1,))
    for severity in (1, 5):
        packed, plain = inside.images("snow", severity), outside.images("snow", severity)
        assert packed.ids == plain.ids
        assert packed.labels.tolist() == plain.labels.tolist()
        assert all(np.array_equal(packed.read(k), plain.read(k)) for k in range(4))
        assert np.array_equal(pickle.loads(pickle.dumps(packed)).read(3), plain.read(3))
    broken = make.pack(tmp_path / "broken.tar", files | {"CIFAR-10-C/fog.npy": files["CIFAR-10-C/fog.npy"][:-5]})
    with pytest.raises(DataError, match=r"broken\.tar:CIFAR-10-C/fog\.npy is not .* or cut short .*need more bytes"):
        open_tree(f"cifar10-c:{broken}").images("fog", 1)
    without = make.pack(tmp_path / "without.tar", {"fog.npy": b""})
    with pytest.raises(IncompleteError, match=r"has no labels\.npy"):
        open_tree(f"cifar10-c:{without}")
    with pytest.raises(DataError, match="does not exist"):
        open_tree(f"cifar10-c:{tmp_path / 'absent.tar'}")


def test_arrays_of_the_other_kind_say_so(corrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="single images: say cifar10-c: instead of cifar10-p:"):
        open_tree(f"cifar10-p:{corrupted}").images("snow", 1)
    np.save(corrupted / "fog.npy", np.zeros((5, 31, 32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="sequences: say cifar10-p: instead of cifar10-c:"):
        open_tree(f"cifar10-c:{corrupted}").images("fog", 1)


def test_rows_of_a_file_that_is_sorted_by_class_are_noticed(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((40, 32, 32, 3), np.uint8), y=np.arange(40) // 4)
    problems = [
        report.problems for row in ("0-40", "32-40") for report in check_data(f"cifar10:{tmp_path}/x.npz?rows={row}")
    ]
    assert problems[0] == ()
    assert "10 classes were expected, 2 have images" in problems[1][0]
