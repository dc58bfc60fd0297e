"""Arrays in memory: what fits together, which ids they have, and .npz files that declare more than they hold."""

from __future__ import annotations

import io
import re
import resource
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustbench_lift.data.kinds import open_images
from robustbench_lift.data.memory import array_images, check_labels, open_npz
from robustbench_lift.errors import DataError

X, Y = np.zeros((4, 32, 32, 3), np.uint8), np.array([0, 1, 2, 0])


def test_training_and_evaluation_name_the_images_of_a_file_alike(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    assert open_npz(tmp_path / "a.npz").ids == open_images(f"cifar10:{tmp_path}/a.npz").ids


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": X}, "holds images; expected the arrays x and y"),
        ({"x": X.astype(np.float32), "y": Y}, "expected images as uint8 [N, H, W, 3], found float32 [4, 32, 32, 3]"),
        ({"x": X[:0], "y": Y[:0]}, "found uint8 [0, 32, 32, 3]"),
        ({"x": X, "y": Y[:3]}, "expected one integer label an image, found int64 [3] for 4"),
        ({"x": X, "y": np.eye(4)[Y]}, "found float64 [4, 4] for 4"),
        ({"x": X, "y": Y, "class_names": np.array(["a", "b"])}, "labels go from 0 to 2, expected 0 to 1"),
        ({"x": X, "y": np.array([None] * 4)}, "plain arrays"),
    ],
)
def test_arrays_that_do_not_fit_together(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=re.escape(message)):
        open_npz(tmp_path / "a.npz")


def test_labels_as_a_column_and_one_hot() -> None:
    assert check_labels(Y[:, None], 4, 3, "y").tolist() == Y.tolist()
    with pytest.raises(DataError, match=r"one-hot: store labels\.argmax\(1\)"):
        check_labels(np.eye(3, dtype=np.int64)[Y], 4, 3, "y")
    with pytest.raises(DataError, match=r"found int64 \[\]"):
        check_labels(np.array(3), 4, 3, "y")


def test_class_names_come_from_the_file_or_are_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y, class_names=np.array(["a", "b", "c\x1b"]))
    assert open_npz(tmp_path / "a.npz").class_names == ("a", "b", "c\\x1b")
    assert array_images(X, Y, class_names=("0", "1", "2"), name="a").class_names == ("0", "1", "2")


def npz(path: Path, shape: str, blocks: int) -> Path:
    """An .npz whose x declares a shape and holds some megabytes of zeros."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    labels = io.BytesIO()
    np.save(labels, Y)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y.npy", labels.getvalue())
        with archive.open("x.npy", "w") as stream:  # in small pieces: the memory of this test is measured
            stream.write(b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header)
            for _ in range(blocks):
                stream.write(bytes(2**20))
    return path


def test_an_array_that_declares_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    short = npz(tmp_path / "a.npz", "(90000000, 32, 32, 3)", 1)
    bomb = npz(tmp_path / "b.npz", "(100000, 32, 32, 3)", 293)
    assert bomb.stat().st_size < 400_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="needs more than the"):
        open_npz(short)
    with pytest.raises(DataError, match="decompression bomb"):
        open_images(f"cifar10:{bomb}")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_damaged_files_are_one_message(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=X, y=Y)
    whole = (tmp_path / "a.npz").read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        (tmp_path / "b.npz").write_bytes(damaged)
        try:
            found = open_npz(tmp_path / "b.npz")
        except DataError:
            continue
        assert np.array_equal(found.images, X)
        assert np.array_equal(found.labels, Y)
    (tmp_path / "b.npz").write_text("<html>")
    with pytest.raises(DataError, match=r"is not an \.npz"):
        open_npz(tmp_path / "b.npz")
