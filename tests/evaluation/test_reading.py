"""One pool reads all cells: same images as without one, errors in words, nothing left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from robustbench_lift.data.geometry import CenterCrop
from robustbench_lift.errors import DataError, StorageError
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.runs import Cell
from robustbench_lift.workers import Work, read_batches


class Marked:
    """Images that show who read them: the process in the first pixel, the index in the second."""

    name = "marked"
    class_names = ("a",)

    def __init__(self, n: int = 5, fault: str = "") -> None:
        self.ids = tuple(f"{i:03d}" for i in range(n))
        self.labels: npt.NDArray[np.int64] = np.zeros(n, dtype=np.int64)
        self.fault = fault

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        if self.fault == "broken" and index == 3:
            raise DataError("photo-3.jpg is truncated. Replace it.")
        if self.fault == "killed" and index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        image = np.zeros((9 if self.fault == "sizes" and index == 3 else 8, 8, 3), np.uint8)
        image[0, 0] = [int(byte) for byte in os.getpid().to_bytes(3, "big")]
        image[0, 1] = index
        return image


class Whole:
    """A geometry that leaves images as they are."""

    text = "none"

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return image


def cells(images: Sequence[Marked], geometry: CenterCrop | Whole | None = None) -> list[Work]:
    return [
        Work(
            protocol=Clean(source=one, geometry=geometry or CenterCrop(8)),
            cell=Cell("clean", "clean", number),
            images=one,
            rows=list(range(len(one.ids))),
        )
        for number, one in enumerate(images)
    ]


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("robustbench-lift-*")]


def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_and_never_hold_two_cells(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = temporary(tmp_path, monkeypatch)
    work = cells([Marked(5), Marked(3), Marked(4)])
    seen, readers = [], set()
    for one, rows, batch in read_batches(work, size=lambda one: 2, workers=workers):
        seen.append((one.cell.severity, rows))
        assert batch[:, :, 0, 1].tolist() == [[row] * 3 for row in rows]
        readers |= {bytes(image.tolist()) for image in batch[:, :, 0, 0]}
    assert seen == [(0, [0, 1]), (0, [2, 3]), (0, [4]), (1, [0, 1]), (1, [2]), (2, [0, 1]), (2, [2, 3])]
    own = os.getpid().to_bytes(3, "big")
    assert (readers == {own}) if workers == 0 else (own not in readers and len(readers) <= 2)
    assert left(folder) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_told_as_if_there_were_no_processes(workers: int) -> None:
    batches = read_batches(cells([Marked(fault="broken")]), size=lambda one: 2, workers=workers)
    with pytest.raises(DataError) as told:
        list(batches)
    assert str(told.value) == "photo-3.jpg is truncated. Replace it."


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_several_sizes_are_told(workers: int) -> None:
    with pytest.raises(DataError, match="different sizes after preparation"):
        list(read_batches(cells([Marked(fault="sizes")], Whole()), size=lambda one: 5, workers=workers))


def test_a_process_that_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = temporary(tmp_path, monkeypatch)
    with pytest.raises(DataError, match=r"a process that reads images has ended .*Use fewer --workers"):
        list(read_batches(cells([Marked(fault="killed")]), size=lambda one: 2, workers=2))
    assert left(folder) == []


def test_a_caller_that_leaves_early_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = temporary(tmp_path, monkeypatch)
    batches = read_batches(cells([Marked(), Marked()]), size=lambda one: 1, workers=2)
    next(batches)
    assert len(list(folder.rglob("*.pickle"))) == 1
    batches.close()
    assert left(folder) == []


def test_cells_of_the_same_images_share_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = temporary(tmp_path, monkeypatch)
    (one,) = cells([Marked(2)])
    work = [one, Work(protocol=one.protocol, cell=Cell("clean", "clean", 1), images=one.images, rows=[1])]
    counts = []
    for _ in read_batches(work, size=lambda one: 1, workers=1):
        counts.append(len(list(folder.rglob("*.pickle"))))
    assert counts == [1, 1, 1]


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match=r"No space left on device\. Make room"):
        list(read_batches(cells([Marked()]), size=lambda one: 1, workers=1))


def test_nothing_to_read_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustbench_lift.workers.DataLoader", None)
    assert list(read_batches([], size=lambda one: 1, workers=2)) == []
