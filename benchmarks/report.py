"""Time and memory of reports and comparisons at ImageNet scale: 4 models x 50,000 images x 76 cells.

python benchmarks/report.py
python benchmarks/report.py --models 2 --images 5000 --perturbations
python benchmarks/report.py --keep /tmp/synthetic

Writes synthetic runs (answers of imaginary models, drawn from fixed seeds) into a temporary folder, or into the one of
`--keep`, which is used again. Then each piece of work runs in a fresh process: the document of a report with intervals
and ties, the same with every table, figure and the page, and the comparison of two of the models. Prints seconds (from
after the imports; on a busy machine those of the CPU say more) and the largest resident size of the process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import metrics
from robustbench_lift.runs import Cell, Manifest, Predictions, Run

POOLINGS = ("skip", "max", "average", "blur", "lift", "lip")
CLASSES = 1000
CORRUPTION_CELLS = (
    Cell("clean", "clean", 0),
    *(Cell("corruption", name, severity) for name in metrics.CORRUPTIONS for severity in range(1, 6)),
)
PERTURBATION_CELLS = tuple(Cell("perturbation", name, 1) for name in metrics.PERTURBATIONS)
WORK = {
    "document": "the document, intervals and ties",
    "report": "the same, all tables, figures and the page",
    "compare": "the comparison of the first two models",
}


def answers(cell: Cell, ids: np.ndarray, *, quality: float, seed: int) -> Predictions:
    """What an imaginary model answers: right the more often the higher its quality and the lower the severity."""
    key = int(hashlib.sha256(cell.key.encode()).hexdigest()[:8], 16)
    shared, own = np.random.default_rng([key, 1]), np.random.default_rng([key, 2, seed])
    frames = 31 if cell.protocol == "perturbation" else 1
    labels = np.arange(len(ids)) % CLASSES
    hardness = shared.normal(size=(len(ids), 1)) + 0.3 * own.normal(size=(len(ids), frames))
    margin = quality - 0.35 * cell.severity - hardness
    rival = (labels + 1 + shared.integers(0, CLASSES - 1, len(ids))) % CLASSES
    first = np.where(margin > 0, labels[:, None], rival[:, None])
    top5 = (first[:, :, None] + np.arange(5) * 7) % CLASSES
    confidence = 1 / (1 + np.exp(-1.5 * np.abs(margin)))
    label = np.where(margin > 0, confidence, 0.2 * (1 - confidence))
    return Predictions.sorted(
        ids, labels, top5, confidence, label_probability=label, squared_probability=np.maximum(confidence, label) ** 2
    )


def write_runs(folder: Path, *, models: int, images: int, cells: tuple[Cell, ...]) -> list[Path]:
    """Runs of `models` imaginary models; cells that are there already are kept."""
    ids = np.array([f"n{k % CLASSES:08d}/ILSVRC2012_val_{k:08d}.JPEG" for k in range(images)])
    protocols = tuple(dict.fromkeys(cell.protocol for cell in cells))
    paths = []
    for k in range(models):
        name = f"resnet50-{POOLINGS[k % len(POOLINGS)]}-{k}"
        manifest = Manifest(
            model={
                "spec": f"resnet50/{POOLINGS[k % len(POOLINGS)]}@{k}.safetensors", "name": name, "arch": "resnet50",
                "pooling": POOLINGS[k % len(POOLINGS)], "parameters": 25_557_032, "num_classes": CLASSES,
                "weights_sha256": hashlib.sha256(name.encode()).hexdigest(),
            },
            data={
                "name": "imaginary", "images": images, "classes": CLASSES,
                "sets": {protocol: {"images": images, "fingerprint": "f" * 64} for protocol in protocols},
            },
            signature={
                "common": {"data": "imaginary@ffffffff", "n": str(images)}, **{one: {"seed": "0"} for one in protocols}
            },
            cells=tuple(cell.key for cell in cells),
            normaliser="alexnet",
        )  # fmt: skip
        run = Run.prepare(folder / name, manifest)
        for cell in run.missing():
            run.write(cell, answers(cell, ids, quality=1.2 + 0.05 * k, seed=k))
        paths.append(run.path)
    return paths


def work(kind: str, folder: str, replicates: int) -> None:
    """One piece of work in this process; prints its seconds and the peak of the resident size as JSON."""
    import resource

    from robustbench_lift.regression import compare
    from robustbench_lift.report import document, open_runs, render_all

    runs = open_runs([folder])
    start, before = time.perf_counter(), time.process_time()
    if kind == "compare":
        compare(runs[0], runs[1], replicates=replicates)
    else:
        made = document(runs, replicates=replicates)
        if kind == "report":
            with tempfile.TemporaryDirectory() as out:
                render_all(made, out)
    seconds, busy = time.perf_counter() - start, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if platform.system() == "Darwin" else 1024) / 1024
    print(json.dumps({"seconds": seconds, "busy": busy, "gigabytes": peak}))


def main() -> None:
    """Parse, write runs, time each piece in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--perturbations", action="store_true", help="ten cells of 31 frames an image as well")
    parser.add_argument("--keep", type=Path, help="folder of the runs, used again when it is there")
    parser.add_argument("--work", choices=WORK, action="append", help="one piece alone; repeat for several")
    parser.add_argument("--inside", nargs=2, metavar=("WORK", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        work(options.inside[0], options.inside[1], options.replicates)
        return
    cells = CORRUPTION_CELLS + (PERTURBATION_CELLS if options.perturbations else ())
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        start = time.perf_counter()
        write_runs(folder, models=options.models, images=options.images, cells=cells)
        print(f"{options.models} models x {options.images:,} images x {len(cells)} cells, ", end="")
        print(f"written in {time.perf_counter() - start:.0f} s; {os.cpu_count()} cores, {platform.machine()}")
        for kind in options.work or WORK:
            command = [sys.executable, __file__, "--replicates", str(options.replicates)]
            done = subprocess.run(
                [*command, "--inside", kind, str(folder)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(done.stderr)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{WORK[kind]:<46} {found['seconds']:7.1f} s, CPU {found['busy']:5.1f} s {found['gigabytes']:6.2f} GB"
            )


if __name__ == "__main__":
    main()
