"""The `corrupt` command: what it prints, its exit codes, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import typer
from PIL import Image
from typer.testing import CliRunner

from corruptions import CorruptionError
from corruptions.tree import verify_tree
from robustbench_lift.commands import corrupt
from robustbench_lift.errors import IncompleteError, UsageError


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    corrupt.register(app)
    app.callback()(lambda: None)  # with a callback, typer keeps the command's name
    return app


@pytest.fixture
def source(tmp_path: Path) -> Path:
    photo = skimage.data.coffee()
    for number in range(6):
        path = tmp_path / "val" / f"n0{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(photo[30 * number : 30 * number + 64, :64])).save(path)
    return tmp_path / "val"


def run(app: typer.Typer, *arguments: object):
    return CliRunner().invoke(app, ["corrupt", *map(str, arguments)], terminal_width=200)


OPTIONS = ("--conditions", "fog,contrast", "--levels", "1,5", "--size", "64", "--workers", "1")


def test_it_writes_verifies_and_says_so_in_plain_lines(app, source, tmp_path, capsys):
    result = run(app, source, tmp_path / "c", *OPTIONS, "--verify")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "c").glob("*/*/*/*.JPEG"))) == 24
    assert "24 files written, 0 were there, from 6 images" in capsys.readouterr().out + result.output
    assert verify_tree(tmp_path / "c", workers=1).problems == ()


def test_a_broken_image_ends_in_exit_code_3_after_everything_else(app, source, tmp_path, capfd):
    (source / "n01/broken.JPEG").write_bytes(b"no")
    result = run(app, source, tmp_path / "c", *OPTIONS)
    assert isinstance(result.exception, IncompleteError)
    assert result.exception.exit_code == 3
    assert "1 of 7 images cannot be used" in str(result.exception)
    assert "n01/broken.JPEG (not an image in a format that is known)" in capfd.readouterr().err + result.stderr
    assert len(list((tmp_path / "c").glob("*/*/*/*.JPEG"))) == 24


def test_problems_that_verification_finds_end_in_exit_code_3(app, source, tmp_path):
    run(app, source, tmp_path / "c", *OPTIONS)
    changed = tmp_path / "c/fog/1/n00/0.JPEG"
    content = bytearray(changed.read_bytes())
    content[-10] ^= 1
    changed.write_bytes(bytes(content))
    result = run(app, source, tmp_path / "c", *OPTIONS, "--verify")
    assert isinstance(result.exception, IncompleteError)
    assert "1 problems" in str(result.exception)


def test_shares_and_the_words_of_run_are_taken(app, source, tmp_path):
    options = ("--corruptions", "fog", "--severities", "2", "--size", "64", "--workers", "1")
    assert run(app, source, tmp_path / "whole", *options).exit_code == 0
    for shard in ("2/2", "1/2"):
        result = run(app, source, tmp_path / "c", *options, "--shard", shard)
        assert result.exit_code == 0, result.output
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*/*/*/*.JPEG")}
    assert len(whole) == 6
    assert {path.name: path.read_bytes() for path in (tmp_path / "c").glob("*/*/*/*.JPEG")} == whole
    assert verify_tree(tmp_path / "c", workers=1).problems == ()
    assert isinstance(run(app, source, tmp_path / "c", *options, "--shard", "0/2").exception, UsageError)


def test_names_are_printed_safely(app, source, tmp_path, capfd):
    (source / "n01" / os.fsdecode(b"b\xff\x1b[31m.png")).write_bytes(b"no")
    result = run(app, source, tmp_path / "c", *OPTIONS)
    assert isinstance(result.exception, IncompleteError)
    printed = capfd.readouterr().err + result.stderr
    assert "cannot be used" in printed
    assert "\x1b[31m.png" not in printed


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_a_killed_parent(source, tmp_path, number):
    mark = str(tmp_path / "c")
    command = [sys.executable, "-m", "robustbench_lift", "corrupt", str(source), mark, "--size", "64"]
    environment = os.environ | {"CORRUPT_TEST_MARK": mark}

    def alive() -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"CORRUPT_TEST_MARK={mark}".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    with subprocess.Popen(
        [*command, "--workers", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "c").glob("*/*/*/*.JPEG")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert process.poll() is None
        assert len(alive()) >= 3
        process.send_signal(number)
        process.wait(timeout=60)
    while alive():
        assert time.monotonic() < deadline, alive()
        time.sleep(0.05)


def test_mistakes_are_usage_errors(app, source, tmp_path):
    for options, kind in (
        (("--levels", "one"), UsageError),
        (("--conditions", "fogg"), CorruptionError),
        (("--layout", "imagenet"), CorruptionError),
        (("--size", "65"), CorruptionError),
    ):
        result = run(app, source, tmp_path / "c", *options)
        assert isinstance(result.exception, kind), result.output
        assert result.exception.exit_code == 2
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("layout", "side"), [("cifar-c", 32), ("imagenet-c", 224)])
def test_a_layout_brings_its_size(app, tmp_path, layout, side):
    path = tmp_path / "clean" / "cat" / "0.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.ascontiguousarray(skimage.data.coffee()[:32, :32])).save(path)
    options = ("--layout", layout, "--conditions", "contrast", "--levels", "1,2,3,4,5", "--workers", "1")
    assert run(app, tmp_path / "clean", tmp_path / "out", *options).exit_code == 0
    if layout == "cifar-c":
        assert np.load(tmp_path / "out" / "contrast.npy").shape == (5, side, side, 3)
    else:
        with Image.open(tmp_path / "out" / "contrast" / "3" / "cat" / "0.JPEG") as image:
            assert image.size == (side, side)


def test_all_means_every_condition_of_the_layout():
    assert len(corrupt._conditions("all", "imagenet-c")) == 19
    assert len(corrupt._conditions("all", "cifar-p")) == 14
    assert corrupt._conditions(None, "cifar-p") == ()


@pytest.mark.slow
def test_ctrl_c_leaves_a_tree_that_goes_on(source, tmp_path):
    """A real interrupt of a real process with real workers."""
    photo = skimage.data.coffee()
    for number in range(300):
        Image.fromarray(np.ascontiguousarray(photo[number : number + 64, 64:128])).save(source / f"n00/x{number}.png")
    out = tmp_path / "c"
    command = [sys.executable, "-m", "robustbench_lift", "corrupt", str(source), str(out), "--size", "64"]
    with subprocess.Popen(
        [*command, "--workers", "2"], start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while len(list(out.glob("*/*/*/*.JPEG"))) < 200 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130, complaint
    assert "the same command goes on from there" in complaint
    assert "Traceback" not in complaint
    done = len(list(out.glob("*/*/*/*.JPEG")))
    assert 200 <= done < 306 * 75
    rest = subprocess.run([*command, "--workers", "2", "--verify"], capture_output=True, text=True, timeout=200)
    assert rest.returncode == 0, rest.stderr
    assert len(list(out.glob("*/*/*/*.JPEG"))) == 306 * 75
