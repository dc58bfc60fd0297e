"""Two processes against one, and what `plan` foretold.

python benchmarks/ranks.py                         # four shipped networks, embedded data, one thread a process
python benchmarks/ranks.py --ranks 4 --models photos/resnet-lift photos/resnet-max --protocols corruption

Runs `plan`, then `run` in one process and under torchrun in several, taking turns. A process has one thread for its
networks and one that prepares frames ahead; one process is kept on one core and several on as many, where the system
can (else the one process borrows a second core for its frames). Prints the times by the clock, start and all, their
ratio, whether every stored array is the same, and the time that was foretold beside the time between the first batch
and the last.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

# this folder, first on the path of a script, holds a corruptions.py that would hide the package
ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import torch  # noqa: E402

from robustbench_lift.evaluation.engine import Engine, evaluate  # noqa: E402
from robustbench_lift.evaluation.estimate import estimates  # noqa: E402
from robustbench_lift.evaluation.settings import Settings  # noqa: E402
from robustbench_lift.protocols.request import Request  # noqa: E402
from robustbench_lift.weights import load_model  # noqa: E402

MODELS = ("photos/resnet-lift", "photos/resnet-max", "photos/resnet-average", "photos/resnet-skip")


def arrays(run: Path) -> dict[str, dict[str, bytes]]:
    """What the cells of a run hold, without what names the run."""
    found = {}
    for file in sorted((run / "cells").rglob("*.npz")):
        with zipfile.ZipFile(file) as stored:
            names = [name for name in stored.namelist() if Path(name).stem not in ("run", "digest")]
            found[str(file.relative_to(run))] = {name: stored.read(name) for name in names}
    return found


def timed(launcher: list[str], cores: int, options: argparse.Namespace, out: Path) -> float:
    """Seconds of one command on so many cores, from its start to its end."""
    command = [*launcher, "-m", "robustbench_lift", "run", *options.models, "--data", options.data]
    command += ["--protocols", options.protocols, "--normaliser", "none", "--no-report", "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if before is not None:
        os.sched_setaffinity(0, sorted(before)[:cores])  # what is started has it too
    try:
        start = time.perf_counter()
        subprocess.run(command, check=True, env=environment, capture_output=True)
        return time.perf_counter() - start
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)


def foretold(options: argparse.Namespace, out: Path) -> tuple[float, float]:
    """Seconds that `plan` foretells for one process of one thread, and that its frames take."""
    torch.set_num_threads(1)
    settings = Settings(device="cpu", allow_chance=True)
    protocols = Request(data=options.data, protocols=tuple(options.protocols.split(","))).build()
    models = [load_model(name) for name in options.models]
    said = sum(one.seconds(0) for one in estimates(Engine(settings), protocols, models))
    seen: list[float] = []
    runs = [out / str(number) for number in range(len(models))]
    evaluate(models, protocols, run=runs, settings=settings, progress=lambda _: seen.append(time.perf_counter()))
    return said, seen[-1] - seen[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--data", default="photos")
    parser.add_argument("--protocols", default="clean,corruption,perturbation,shift")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(options.ranks), "--no-python", sys.executable]
    launchers = {1: [sys.executable], options.ranks: [sys.executable, *torchrun]}
    seconds: dict[int, list[float]] = {ranks: [] for ranks in launchers}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for repeat in range(options.repeats):
            for ranks, launcher in launchers.items():
                seconds[ranks].append(timed(launcher, ranks, options, folder / f"{repeat}-{ranks}"))
        one, several = (statistics.median(values) for values in seconds.values())
        print(f"1 process {one:.1f} s, {options.ranks} processes {several:.1f} s, ratio {one / several:.2f}")
        names = [path.name for path in sorted((folder / "0-1").iterdir()) if (path / "cells").is_dir()]
        same = all(arrays(folder / "0-1" / n) == arrays(folder / f"0-{options.ranks}" / n) for n in names)
        cells = sum(len(arrays(folder / "0-1" / name)) for name in names)
        print(f"{cells} cells of {len(names)} networks: {'every array is the same' if same else 'THEY DIFFER'}")
        said, took = foretold(options, folder / "foretold")
        print(f"foretold {said:.1f} s, the frames took {took:.1f} s, ratio {said / took:.2f}")


if __name__ == "__main__":
    main()
