"""SIGKILL at random moments: what is there afterwards is whole, and the same command ends with the same bytes.

`make test-slow` kills 50 evaluations, 30 trainings, 20 renderings of a tree, 10 reports and 10 `gate --accept`; the
default tests a few of each. A server that has everything imported forks a process a command, so that a kill costs a
moment; it kills the whole group of the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks for processes in /proc")

SERVER = """
import json, os, signal, sys, threading, time
import torch
torch.set_num_threads(1)
from robustbench_lift import cli
from robustbench_lift.evaluation import engine
from robustbench_lift.report import document, render_all
from robustbench_lift.regression import baseline, verdict
from robustbench_lift.training import loop
from corruptions import tree

for line in sys.stdin:
    asked = json.loads(line)
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        out = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        sys.stdin = open(os.devnull)
        sys.argv = ["robustbench-lift", *asked["arguments"]]
        try:
            cli.main()
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code or 0)
        os._exit(0)
    try:
        os.setpgid(pid, pid)  # here too: the group must be there before the first kill, whoever runs first
    except OSError:
        pass  # the child has ended
    timer = None
    if asked["after"] is not None:
        timer = threading.Timer(asked["after"], os.killpg, (pid, signal.SIGKILL))
        timer.start()
    status = os.waitpid(pid, 0)[1]
    if timer:
        timer.cancel()
        timer.join()  # a kill that comes late must not meet the next command
    print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - start, pid]), flush=True)
"""


def members(group: int) -> Iterator[int]:
    """Processes of a group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while it was looked at
            state, _, its, *_ = stat.read_text().rpartition(")")[2].split()
            if its == str(group) and state != "Z":
                yield int(stat.parent.name)


class Server:
    """Starts commands, and kills them after a while."""

    def __init__(self, folder: Path) -> None:
        root = Path(__file__).resolve().parents[2]
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, command: str, after: float | None = None) -> tuple[int, float]:
        """Exit code (-9 when it was killed) and seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = {"arguments": command.split(), "after": after, "log": str(self.folder / "log")}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        code, seconds, pid = json.loads(self.process.stdout.readline())
        deadline = time.monotonic() + 30
        while list(members(pid)):  # the last of a killed group ends a moment after its leader
            assert time.monotonic() < deadline, "a process outlives the command"
            time.sleep(0.01)
        return code, seconds

    def finish(self, command: str) -> float:
        """Run a command to its end; its seconds."""
        code, seconds = self.start(command)
        assert code == 0, (self.folder / "log").read_text()[-2000:]
        return seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a run to report on, and images to corrupt."""
    folder = tmp_path_factory.mktemp("kills")
    found = Server(folder)
    options = "--limit 15 --normaliser none --protocols clean,corruption --corruptions fog --severities 1,5 --no-report"
    for model in ("max", "skip"):
        found.finish(f"run photos/resnet-{model} {options} --device cpu --out {model}")
    for k in range(6):
        (folder / "source" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(k).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "source" / "ab"[k % 2] / f"{k}.png")
    yield found
    assert found.process.stdin is not None
    assert found.process.stdout is not None
    found.process.stdin.close()
    found.process.wait(60)
    found.process.stdout.close()


TIMES = re.compile(r'"(time|seconds|created|generated|elapsed|command|git|accepted)":\s*("[^"]*"|[\d.eE+-]+|null)')


def contents(place: Path) -> dict[str, bytes]:
    """All files but pictures of curves, locks and states; without what says when."""
    found = {}
    for file in sorted(place.rglob("*")) if place.is_dir() else sorted(place.parent.glob(f"{place.stem}*")):
        if file.is_file() and not file.name.startswith(".") and file.name not in ("curves.png", "state.pt"):
            content = file.read_bytes()
            if file.suffix in (".json", ".jsonl"):
                content = TIMES.sub('"\\\\1"', content.decode()).encode()
            found[str(file.relative_to(place.parent))] = content
    return found


def remove(place: Path) -> None:
    for file in (place,) if place.is_dir() else tuple(place.parent.glob(f"{place.stem}*")):
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)


def kill(server: Server, command: str, out: str, kills: int, between: Callable[[], None] = lambda: None) -> int:
    """Kill a command so many times; each time it comes to its end, its output is compared and it begins anew."""
    place = server.folder / out
    server.finish(command)
    remove(place)
    between()
    seconds = server.finish(command)
    expected = contents(place)
    assert expected
    moments = random.Random(0)
    remove(place)
    between()
    done = 0
    while done < kills:
        code, took = server.start(command, moments.uniform(0.0, 0.9 * seconds))
        assert code in (-9, 0), (server.folder / "log").read_text()[-2000:]
        done += code == -9
        if code == 0:
            seconds = took  # on a machine whose load changes, the kills must still come before the end
            assert contents(place) == expected
            remove(place)
            between()
    server.finish(command)
    found = contents(place)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    left = [file.name for file in (place if place.is_dir() else place.parent).rglob("*.partial") if file.is_file()]
    assert left == []
    return done


def counts(quick: int, full: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "kills", [quick, pytest.param(full, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
    )


def test_a_kill_at_once_kills(server: Server) -> None:
    codes = {server.start("list pairs", 0.0)[0] for _ in range(10)}
    assert codes == {-9}
    assert server.start("list pairs")[0] == 0


@counts(3, 50)
def test_run(server: Server, kills: int) -> None:
    options = "--limit 30 --normaliser none --protocols clean,corruption,perturbation --corruptions fog,contrast"
    more = "--severities 1,5 --perturbations brightness --no-report --device cpu --out killed-run"
    assert kill(server, f"run photos/resnet-max {options} {more}", "killed-run", kills) == kills


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [30])
def test_train(server: Server, kills: int) -> None:
    settings = "--set epochs=2 --device cpu --out killed-training"
    command = f"train photos --model resnet8/max {settings}"
    assert kill(server, command, "killed-training", kills) == kills


@counts(2, 20)
def test_corrupt(server: Server, kills: int) -> None:
    command = "corrupt source killed-tree --size 64 --conditions fog,contrast,brightness --levels 1,3,5 --workers 1"
    assert kill(server, command, "killed-tree", kills) == kills


@counts(2, 10)
def test_report(server: Server, kills: int) -> None:
    command = "report max/resnet-max skip/resnet-skip --figure none --replicates 20 --out killed-report"
    assert kill(server, command, "killed-report", kills) == kills


@counts(2, 10)
def test_accept(server: Server, kills: int) -> None:
    """Over a baseline that is there: it is the old one or the new one at any time."""

    def old() -> None:
        server.finish("gate accepted.json max/resnet-max --accept --force")

    old()
    assert kill(server, "gate accepted.json skip/resnet-skip --accept --force", "accepted.json", kills, old) == kills
    server.finish("gate accepted.json skip/resnet-skip --replicates 100")
