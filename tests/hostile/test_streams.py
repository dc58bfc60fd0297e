"""Where output goes and options come from may be no file: a full disk, a closed stream, a device, a pipe."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from robustbench_lift.commands.console import SafeConsole
from robustbench_lift.errors import StorageError
from robustbench_lift.files import write_atomic

from .conftest import Refused

ROOT = Path(__file__).resolve().parents[2]
FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="streams of POSIX")


def call(arguments: str, redirected: str) -> subprocess.CompletedProcess[str]:
    """A command in a shell whose streams are redirected."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -m robustbench_lift {arguments} {redirected}', sys.executable],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not FULL.is_char_device(), reason="no /dev/full here")
@pytest.mark.parametrize(
    "command", ["list", "--version", "gate --help", "compare {0} {0} --format json", "gate {0} {0}"]
)
def test_a_full_disk_behind_standard_output_is_one_message(finished: Path, command: str) -> None:
    ended = call(command.format(f"'{finished}'"), f"> {FULL}")
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("error: standard output cannot be written: No space left on device.")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(("closed", "told"), [(">&-", True), (">&- 2>&-", False)])
def test_a_closed_standard_output_is_nobody_who_listens(
    finished: Path, tmp_path: Path, closed: str, told: bool
) -> None:
    file = tmp_path / "said.json"
    ended = call(f"gate '{finished}' '{finished}' --json '{file}'", closed)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == (f"wrote {file}\n" if told else "")
    assert '"verdict": "pass"' in file.read_text()


def test_a_device_is_written_into_and_stays_one(tmp_path: Path) -> None:
    main, other = os.openpty()
    try:
        device = Path(os.ttyname(other))
        write_atomic(device, b"content")
        assert os.read(main, 100) == b"content"
        assert device.is_char_device()
    finally:
        os.close(main)
        os.close(other)


def test_a_pipe_is_written_into_and_one_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StorageError, match=r"cannot write .*pipe"):
        write_atomic(pipe, b"content")
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomic(pipe, b"content")
        assert os.read(reading, 100) == b"content"
    finally:
        os.close(reading)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert [file.name for file in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no /dev/fd here")
def test_an_open_stream_by_its_number_is_written_into() -> None:
    """As a shell gives it: `--json >(command)`, `--json /dev/stdout`."""
    reading, writing = os.pipe()
    try:
        write_atomic(Path(f"/dev/fd/{writing}"), b"content")
        assert os.read(reading, 100) == b"content"
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_options_are_read_from_ordinary_files(refused: Refused, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "c.toml"
    {"device": lambda: place.symlink_to("/dev/zero"), "pipe": lambda: os.mkfifo(place), "folder": place.mkdir}[kind]()
    assert "c.toml cannot be read" in refused("run", "--config", "c.toml")
    assert "c.toml cannot be read" in refused("gate", "a.json", "b", "--policy", "c.toml")
    assert "c.toml cannot be read" in refused("train", "photos", "--model", "resnet8/max", "--recipe-file", "c.toml")


def test_colons_in_names_are_no_emoji() -> None:
    shown = io.StringIO()
    console = SafeConsole(file=shown, width=100)
    table = Table()
    table.add_column("own:x:")
    table.add_row("folder:cat:")
    for text in ("note on own:ok: five", table):
        console.print(text, markup=False)
    for name in ("own:ok:", "own:x:", "folder:cat:"):
        assert name in shown.getvalue()
