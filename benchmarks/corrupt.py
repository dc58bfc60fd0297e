"""Writing an ImageNet-C tree against encoding its JPEGs alone.

OMP_NUM_THREADS=1 python benchmarks/corrupt.py             # the 15 corruptions at 5 severities, 224 px, one process
OMP_NUM_THREADS=1 python benchmarks/corrupt.py --images 8 --conditions fog,contrast

`robustbench-lift corrupt` writes the tree in a process of its own; then every image of it is encoded again, from pixels
in memory, as the tree stores it, and written. Prints processor time of both, a row a corruption, and the ratios. The
last row is one command for all, which decodes and resizes a source image once, not once a corruption.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

# this folder, first on the path of a script, holds a corruptions.py that would hide the package
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from corruptions import BENCHMARK  # noqa: E402
from corruptions.storage import encode_jpeg  # noqa: E402
from robustbench_lift.data.photos import PHOTOGRAPHS, pixels  # noqa: E402

PROGRAM = Path(__file__).resolve().parent.parent / "run_benchmark.py"


def write_source(folder: Path, count: int) -> None:
    """Photographs with a short side of 300 pixels, in three classes."""
    for k in range(count):
        target = folder / f"n{k % 3:08d}" / f"{k:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(PHOTOGRAPHS[k % len(PHOTOGRAPHS)])).resize((400, 300)).save(target)


def children() -> float:
    """Processor seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def corrupt(source: Path, out: Path, conditions: str) -> float:
    """Processor seconds of the command in one process."""
    before = children()
    command = [sys.executable, str(PROGRAM), "corrupt", str(source), str(out), "--conditions", conditions]
    subprocess.run([*command, "--workers", "1"], check=True, capture_output=True)
    return children() - before


def encode(tree: Path, out: Path) -> tuple[float, int]:
    """Processor seconds of encoding and writing the images of a tree, and their number."""
    arrays = []
    for file in sorted(tree.rglob("*.JPEG")):
        with Image.open(file) as image:
            arrays.append(np.asarray(image.convert("RGB")))
    out.mkdir(parents=True)
    start = time.process_time()
    for k, array in enumerate(arrays):
        (out / f"{k}.JPEG").write_bytes(encode_jpeg(array))
    return time.process_time() - start, len(arrays)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--conditions", default=",".join(BENCHMARK))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_source(folder / "few", 3)
        write_source(folder / "many", options.images)
        print(f"{options.images} images, 5 severities, milliseconds of processor time an image that is written")
        print(f"{'corruption':20s} {'corrupt':>9s} {'encode':>9s} {'ratio':>6s}")
        names = options.conditions.split(",")
        for number, condition in enumerate([*names, options.conditions] if len(names) > 1 else names):
            start = corrupt(folder / "few", folder / f"few-{number}", condition)  # mostly what a start costs
            whole = corrupt(folder / "many", folder / f"many-{number}", condition)
            alone, count = encode(folder / f"many-{number}", folder / f"encoded-{number}")
            added = count * (options.images - 3) / options.images
            each = 1e3 * (whole - start) / added, 1e3 * alone / count
            label = "all in one" if number == len(names) else condition
            print(f"{label:20s} {each[0]:9.2f} {each[1]:9.2f} {each[0] / each[1]:6.2f}", flush=True)


if __name__ == "__main__":
    main()
