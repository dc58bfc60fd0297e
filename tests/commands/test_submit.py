"""`submit`: shares as a job array through submitit, on this machine and on a Slurm that two scripts stand in for."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from robustbench_lift.commands.submit import ShareJob
from robustbench_lift.runs import Run

submitit = pytest.importorskip("submitit")
RUN = ("run", "photos/resnet-lift", "--protocols", "clean,shift", "--limit", "15", "--no-report")
SBATCH = """\
    #!{python}
    # Starts every task of an array, with the variables that Slurm gives a batch script.
    import os, re, subprocess, sys
    text = open(sys.argv[1]).read()
    open("sbatch.txt", "w").write(text)
    first, last = map(int, re.search(r"--array=(\\d+)-(\\d+)", text).groups())
    for task in range(first, last + 1):
        given = dict(SLURM_JOB_ID=str(900 + task), SLURM_ARRAY_JOB_ID="77", SLURM_ARRAY_TASK_ID=str(task),
                     SLURM_NTASKS="1", SLURM_JOB_NUM_NODES="1", SLURM_NODEID="0", SLURM_PROCID="0", SLURM_LOCALID="0",
                     SLURM_JOB_NODELIST="here")
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.Popen(["bash", sys.argv[1]], env=os.environ | given, start_new_session=True, **quiet)
    print("Submitted batch job 77")
"""
SRUN = """\
    #!{python}
    import os, sys
    command, output = sys.argv[1:], {{}}
    while command[0].startswith("--"):
        option = command.pop(0)
        if option in ("--output", "--error"):
            output[option] = command.pop(0).replace("%A", "77").replace("%a", os.environ["SLURM_ARRAY_TASK_ID"])
    for option, number in (("--output", 1), ("--error", 2)):
        os.dup2(os.open(output[option].replace("%t", "0"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.execvp(command[0], command)
"""


def _submit(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "200"}
    if path is not None:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-m", "robustbench_lift", "submit", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def _fake_slurm(folder: Path) -> Path:
    for name, text in (("sbatch", SBATCH), ("srun", SRUN)):
        file = folder / name
        file.write_text(textwrap.dedent(text).format(python=sys.executable))
        file.chmod(0o755)
    return folder


def _logs(folder: Path) -> str:
    return "".join(file.read_text() for file in sorted((folder / "jobs").glob("*_log.*")))


def test_an_array_on_slurm_makes_the_run_of_one_process(tmp_path: Path) -> None:
    (bin_ := tmp_path / "bin").mkdir()
    arguments = ("--shares", "2", "--gpus", "1", "--hours", "0.5", "--set", "slurm_partition=vision")
    done = _submit(tmp_path, *arguments, *RUN, "--out", "runs", path=_fake_slurm(bin_))
    assert done.returncode == 0, done.stderr
    assert "submitted 2 shares of `run`: 77_0 to 77_1; logs in jobs" in done.stdout
    asked = (tmp_path / "sbatch.txt").read_text()
    for line in ("--array=0-1%2", "--gpus-per-node=1", "--time=30", "--partition=vision", "--cpus-per-task=8"):
        assert f"#SBATCH {line}" in asked
    results = [tmp_path / "jobs" / f"77_{task}_0_result.pkl" for task in range(2)]
    end = time.monotonic() + 150
    while not all(file.exists() for file in results) and time.monotonic() < end:
        time.sleep(0.5)
    assert all(file.exists() for file in results), _logs(tmp_path)
    assert [pickle.loads(file.read_bytes())[0] for file in results] == ["success", "success"], _logs(tmp_path)
    assert not Run.open(tmp_path / "runs" / "resnet-lift").missing()


def test_what_slurm_refuses_is_told(tmp_path: Path) -> None:
    (bin_ := tmp_path / "bin").mkdir()
    (_fake_slurm(bin_) / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition: moon' >&2\nexit 1\n")
    done = _submit(tmp_path, "--shares", "2", "--set", "slurm_partition=moon", *RUN, path=bin_)
    assert done.returncode == 2
    assert "invalid partition: moon" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_share_that_fails_says_why(tmp_path: Path) -> None:
    done = _submit(tmp_path, "--shares", "2", "--cluster", "local", "run", "photos/resnet-lift", "--limit", "7")
    assert done.returncode == 2
    assert "2 of 2 shares failed" in done.stderr
    assert "--limit 7" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shares", "2", "report", "runs"), "takes no shares; run, corrupt, sweep, paper do"),
        (("--shares", "2", "run", "--shard", "1/2"), "leave it out"),
        (("--shares", "2", "run", "--limit", "many"), "--limit"),
        (("--shares", "2", "--cluster", "local", "--set", "partition", "run"), "NAME=VALUE"),
        (("--shares", "2", "--cluster", "local", "--set", "nothing=1", "run"), "--set: submitit says"),
        (("--shares", "2", "run"), "no Slurm here"),
        (("--shares", "2", "--hours", "inf", "run"), "--hours"),
        (("run",), "--shares"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_queued(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    done = _submit(tmp_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_job_whose_time_ends_is_queued_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    job = ShareJob(("run", "photos/resnet-lift"), "1/2")
    job._process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    begun = time.monotonic()
    again = job.checkpoint()
    assert time.monotonic() - begun < 50
    assert job._process.poll() is not None
    assert pickle.loads(pickle.dumps(again.function)) == ShareJob(("run", "photos/resnet-lift"), "1/2")
