"""The pool of reading processes: the same samples as without one, errors in words, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustbench_lift.errors import DataError, StorageError, UsageError
from robustbench_lift.workers import ReadingPool


class Marked:
    """Samples that show who read them: (process, key)."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def __getitem__(self, key: int) -> Tensor:
        if self.fault == "broken" and key in (1, 3):
            raise DataError(f"photo-{key}.jpg is truncated. Replace it.")
        if self.fault == "full" and key == 3:
            raise StorageError("no room")
        if self.fault == "killed" and key == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tensor([os.getpid(), key])


def collate_strictly(samples: list[Tensor]) -> Tensor:
    if len(samples) == 2 and int(samples[1][1]) == 3:
        raise DataError("different sizes")
    return torch.stack(samples)


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("robustbench-lift-*")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_and_streams_share_the_processes(workers: int, folder: Path) -> None:
    one, two = Marked(), Marked()
    batches: list[tuple[Marked, Sequence[int]]] = [(one, [0, 1]), (one, [2]), (two, [5, 3]), (two, [4])]
    readers = set()
    with ReadingPool(workers) as pool:
        for _ in range(2):
            read = list(pool.read(batches))
            assert [(batch.samples, batch.keys) for batch in read] == batches
            assert [batch.data[:, 1].tolist() for batch in read] == [list(keys) for _, keys in batches]
            assert not any(batch.failed for batch in read)
            readers |= {pid for batch in read for pid in batch.data[:, 0].tolist()}
    assert readers == {os.getpid()} if workers == 0 else len(readers) <= 2 and os.getpid() not in readers
    assert left(folder) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_sample_is_one_error_or_left_out_by_name(workers: int) -> None:
    with ReadingPool(workers) as pool:
        with pytest.raises(DataError) as caught:
            list(pool.read([(Marked("broken"), [0, 1, 2])]))
        assert str(caught.value) == "photo-1.jpg is truncated. Replace it."
        batches: list[tuple[Marked, list[int]]] = [(Marked("broken"), [0, 1, 2, 3]), (Marked("broken"), [1, 3])]
        some, none = pool.read(batches, skip_errors=True)
        assert some.keys == some.data[:, 1].tolist() == [0, 2]
        assert [(key, str(error)[:7]) for key, error in some.failed] == [(1, "photo-1"), (3, "photo-3")]
        assert (none.keys, none.data, len(none.failed)) == ([], None, 2)
        with pytest.raises(StorageError, match="no room"):  # not what is wrong with one image
            list(pool.read([(Marked("full"), [3])], skip_errors=True))
    with ReadingPool(workers, collate=collate_strictly) as pool, pytest.raises(DataError, match="different sizes"):
        list(pool.read([(Marked(), [1, 3])], skip_errors=True))


def test_a_process_that_is_killed_is_one_error(folder: Path) -> None:
    with (
        ReadingPool(2) as pool,
        pytest.raises(DataError, match=r"a process that reads images has ended .*use fewer --workers.*__main__"),
    ):
        list(pool.read([(Marked("killed"), [2, 3])]))
    assert left(folder) == []


def test_files_go_when_no_batch_needs_them_and_when_the_reading_ends_early(folder: Path) -> None:
    one, two = Marked(), Marked()
    counts = []
    with ReadingPool(1) as pool:
        for _ in pool.read([(one, [0]), (one, [1]), (two, [0])]):
            counts.append(len(list(folder.rglob("*.pickle"))))
        assert counts[-1] == 1
        batches = pool.read([(Marked(), [0]), (Marked(), [1])])
        next(batches)
        batches.close()
    assert left(folder) == []


def test_a_full_disk_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with ReadingPool(1) as pool, pytest.raises(StorageError, match=r"No space left on device\. Make room"):
        list(pool.read([(Marked(), [0])]))


def test_nothing_to_read_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustbench_lift.workers.DataLoader", None)
    with ReadingPool(2) as pool:
        assert list(pool.read([])) == []


PROGRAM = """
import multiprocessing, pathlib, sys
from robustbench_lift.workers import ReadingPool
sys.path.insert(0, str(pathlib.Path(sys.argv[2])))
from test_workers import Marked
if __name__ == "__main__":
    samples = Marked()
    with ReadingPool(2) as pool:
        for _ in pool.read((samples, [0]) for _ in range(10**9)):
            own = {child.pid for child in multiprocessing.active_children()}
            if len(own) == 2:  # the second reader may come late
                pathlib.Path(sys.argv[1]).write_text(" ".join(map(str, own)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGTERM, signal.SIGHUP))]
)
def test_nothing_outlives_a_killed_reader(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    short = tempfile.mkdtemp()  # a socket's path must be short, and pytest's folders are long
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": short, "OMP_NUM_THREADS": "1"}
    mark = tmp_path / "workers"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # pipes would be kept open by what lives on
    call = [sys.executable, str(tmp_path / "program.py"), str(mark), str(root / "tests")]
    with subprocess.Popen(call, env=environment, start_new_session=True, **quiet) as process:  # type: ignore[call-overload]
        assert wait(lambda: mark.exists() and len(mark.read_text().split()) == 2)
        assert left(Path(short))
        started = set(descendants(process.pid)) | {int(pid) for pid in mark.read_text().split()}
        assert len(started) >= 3  # the readers and the server that started them
        process.send_signal(number)
        process.wait(timeout=60)
    try:
        assert wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))
        assert wait(lambda: left(Path(short)) == [])
    finally:
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(short)


def test_a_temporary_folder_with_too_long_a_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/" + "x" * 90)
    ReadingPool(0)
    with pytest.raises(UsageError, match="TMPDIR"):
        ReadingPool(1)


def wait(condition: object, seconds: float = 120) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def descendants(pid: int) -> Iterator[int]:
    """Processes below a process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                child = int(stat.parent.name)
                yield child
                yield from descendants(child)
