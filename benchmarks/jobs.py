"""Many jobs on one folder: what they ask of the file system, and whether they make what one process makes.

    python benchmarks/jobs.py                      # 1,000 jobs, 4 cells, one image a job and cell; two minutes
    python benchmarks/jobs.py --jobs 200 --order reverse

Every job is a whole evaluation of its share, as `run --shard i/n` is, one after the other in this process: a tiny
network on images of noise, clean and three corruptions. Counted are opens, listings, renames, removals and questions
(stat) below the folder of the run; a network disk answers some thousand of them a second. `plan --jobs` has the
arithmetic.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

# this folder, first on the path of a script, holds a corruptions.py that would hide the package
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from robustbench_lift.data.geometry import CenterCrop  # noqa: E402
from robustbench_lift.evaluation.engine import evaluate  # noqa: E402
from robustbench_lift.evaluation.settings import Settings  # noqa: E402
from robustbench_lift.protocols import EvaluationProtocol  # noqa: E402
from robustbench_lift.protocols.clean import Clean  # noqa: E402
from robustbench_lift.protocols.corruption import Corruption, GeneratedCorruptions  # noqa: E402
from robustbench_lift.runs import Run  # noqa: E402
from robustbench_lift.shares import Share  # noqa: E402
from robustbench_lift.weights import LoadedModel  # noqa: E402

SIDE, CLASSES = 32, 10
KINDS = {
    "open": "opens",
    "os.scandir": "listings",
    "os.listdir": "listings",
    "os.rename": "renames",
    "os.remove": "removals",
    "os.mkdir": "folders",
}
"""Events of Python's audit hook, as they are printed."""


class Noise:
    """Images of noise, by index."""

    name = "noise"

    def __init__(self, count: int) -> None:
        self.ids = tuple(f"image/{i:06d}" for i in range(count))
        self.labels: npt.NDArray[np.int64] = np.arange(count, dtype=np.int64) % CLASSES
        self.class_names = tuple("abcdefghij")

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One image [32, 32, 3]."""
        return np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


class Counter:
    """Counts what is asked of the file system below a folder."""

    def __init__(self) -> None:
        self.below: str | None = None
        self.counts: collections.Counter[str] = collections.Counter()
        sys.addaudithook(self._heard)
        self._stat = os.stat
        os.stat = self._asked  # no audit event

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in KINDS and self.below is not None and str(arguments[0]).startswith(self.below):
            self.counts[KINDS[event]] += 1

    def _asked(self, path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if self.below is not None and str(path).startswith(self.below):
            self.counts["questions"] += 1
        return self._stat(path, *arguments, **options)


def network() -> LoadedModel:
    """A network that takes no time."""
    module = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(3 * 4**2, CLASSES)).eval()
    with torch.no_grad():
        for values in module.parameters():
            values.copy_(torch.linspace(-1, 1, values.numel()).sin().view_as(values))
    return LoadedModel.of(module, name="tiny")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--images", type=int, help="one a job by default")
    parser.add_argument("--order", choices=("rising", "reverse", "random"), default="rising")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = Noise(options.images or options.jobs)
    source = GeneratedCorruptions(clean=images, geometry=CenterCrop(SIDE), storage="none")
    protocols: list[EvaluationProtocol] = [
        Clean(source=images, geometry=CenterCrop(SIDE)),
        Corruption(source=source, conditions=("brightness", "contrast", "gaussian_noise"), severities=(3,)),
    ]
    shares = [Share(k, options.jobs) for k in range(options.jobs)]
    if options.order == "reverse":
        shares.reverse()
    elif options.order == "random":
        random.Random(0).shuffle(shares)
    counter, net = Counter(), network()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        counter.below = str(folder / "many")
        seconds, asked = [], []
        for share in shares:
            before, start = counter.counts.total(), time.perf_counter()
            settings = Settings(device="cpu", shard=share, allow_chance=True, keep=False)
            evaluate(net, protocols, run=folder / "many", settings=settings)
            seconds.append(time.perf_counter() - start)
            asked.append(counter.counts.total() - before)
        counts = dict(counter.counts)
        counter.below = None
        evaluate(net, protocols, run=folder / "one", settings=Settings(device="cpu", allow_chance=True, keep=False))
        one, many = Run.open(folder / "one"), Run.open(folder / "many")
        same = all(
            np.array_equal(a, b)
            for cell in one.expected
            for a, b in zip(one.read(cell).arrays().values(), many.read(cell).arrays().values(), strict=True)
        )
        left = sum(1 for _ in (folder / "many").rglob("*-of-*"))
    print(f"{options.jobs} jobs, {len(one.expected)} cells, {len(images.ids)} images, order {options.order}")
    print(f"a job: {1000 * statistics.median(seconds):.0f} ms; the last, which merges: {1000 * seconds[-1]:.0f} ms")
    print(f"asked of the file system: {', '.join(f'{counts[kind]:,} {kind}' for kind in sorted(counts))}")
    print(f"a job: {statistics.median(asked):.0f} in the median, {max(asked[:-1]):,} at most, the last {asked[-1]:,}")
    print(f"{'equal to one process' if same else 'THEY DIFFER'}; {left} files of shares are left")


if __name__ == "__main__":
    main()
