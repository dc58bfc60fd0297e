"""Speed of paired statistics at ImageNet scale: 50,000 images, 75 corruption cells, two models, 2,000 replicates.

python benchmarks/regression.py
python benchmarks/regression.py --images 5000 --replicates 1000 --rounds 5

In one process, taking turns: all numbers of two models resampled together as the gate does; `scipy.stats.bootstrap` of
one number (mCE) from the same vector; and the plain way, which gathers all 75 cells of both models for each replicate
(few replicates are timed and scaled). Prints minimum, median and ratio to the first, and the time of a whole `compare`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

import metrics
from robustbench_lift.regression import compare
from robustbench_lift.regression.paired import compared_numbers
from robustbench_lift.runs import Cell, Manifest, Predictions, Run
from robustbench_lift.scores import evidence_of, replicated

CELLS = (
    Cell("clean", "clean", 0),
    *(Cell("corruption", name, severity) for name in metrics.CORRUPTIONS for severity in range(1, 6)),
)
CLASSES = 1000


class MemoryRun(Run):
    """A run whose cells are arrays, so that no disk is timed."""

    def __init__(self, name: str, cells: dict[Cell, Predictions]) -> None:
        images = len(next(iter(cells.values())).ids)
        manifest = Manifest(
            model={"name": name, "weights_sha256": hashlib.sha256(name.encode()).hexdigest()},
            data={"name": "imaginary", "images": images},
            signature={"common": {}, "clean": {}, "corruption": {}},
            cells=tuple(cell.key for cell in cells),
            normaliser="alexnet",
        )
        super().__init__(Path(name), manifest)
        self._cells = cells

    def has(self, cell: Cell) -> bool:
        """Whether the cell is there."""
        return cell in self._cells

    def read(self, cell: Cell) -> Predictions:
        """The cell."""
        return self._cells[cell]


def imaginary(name: str, images: int, seed: int) -> MemoryRun:
    """Answers that err as often as AlexNet does."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"{i:06d}" for i in range(images)])
    labels = np.arange(images) % CLASSES
    cells = {}
    for cell in CELLS:
        error = (
            0.4 if cell.protocol == "clean" else metrics.ALEXNET.corruption_errors[cell.condition][cell.severity - 1]
        )
        wrong = rng.random(images) < error
        top5 = ((labels + wrong)[:, None, None] + np.arange(5)) % CLASSES
        cells[cell] = Predictions(ids, labels, top5.astype(np.int16), np.full((images, 1), 0.5, dtype=np.float32))
    return MemoryRun(name, cells)


def plain(errors: npt.NDArray[np.uint8], weights: npt.NDArray[np.float64], replicates: int) -> None:
    """Gather all cells [75, n] of both models by the drawn images, replicate by replicate."""
    rng = np.random.default_rng(0)
    images = errors.shape[2]
    for _ in range(replicates):
        drawn = rng.integers(0, images, images)
        means = errors[:, :, drawn].mean(axis=2)
        (means[1] - means[0]) @ weights


def timed(work: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Time, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--replicates", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    images, replicates = options.images, options.replicates
    runs = [imaginary(name, images, seed) for seed, name in enumerate("ab")]
    sides = [evidence_of(run, numbers=compared_numbers()) for run in runs]
    a, b = (side.vectors(metrics.ALEXNET)["mce"] for side in sides)
    errors = np.array([[~run.read(cell).correct[:, 0] for cell in CELLS[1:]] for run in runs], dtype=np.uint8)
    weights = np.array([1 / 15 / sum(metrics.ALEXNET.corruption_errors[cell.condition]) for cell in CELLS[1:]])
    few = max(2, replicates // 400)

    def ours() -> None:
        replicated(sides, metrics.ALEXNET, replicates=replicates, seed=0)

    def scipys() -> None:
        stats.bootstrap((b - a,), np.mean, n_resamples=replicates, batch=50, method="percentile", vectorized=True)

    ways: dict[str, tuple[Callable[[], object], float]] = {
        "paired bootstrap, 2 models, all numbers": (ours, 1.0),
        "scipy.stats.bootstrap, mCE alone": (scipys, 1.0),
        f"gather 2 x 75 cells a replicate ({few} timed, scaled)": (
            lambda: plain(errors, weights, few),
            replicates / few,
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    whole = []
    for _ in range(options.rounds):
        for name, (work, scale) in ways.items():
            seconds[name].append(timed(work) * scale)
        whole.append(timed(lambda: compare(*runs, replicates=replicates)))
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, OMP_NUM_THREADS={threads}, numpy {np.__version__}")
    print(f"{images} images x 75 cells x 2 models, {replicates} replicates, {options.rounds} rounds")
    reference = statistics.median(next(iter(seconds.values())))
    for name, found in seconds.items():
        middle = statistics.median(found)
        print(f"{name:<52} min {min(found):8.2f} s  median {middle:8.2f} s  {middle / reference:7.1f} x")
    label = "compare(): cells, tests, bootstrap, verdicts"
    print(f"{label:<52} min {min(whole):8.2f} s  median {statistics.median(whole):8.2f} s")


if __name__ == "__main__":
    main()
