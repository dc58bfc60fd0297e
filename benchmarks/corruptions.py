"""Speed and memory of the 19 corruptions beside the published package, one core each, same photographs, interleaved.

    OMP_NUM_THREADS=1 python benchmarks/corruptions.py                 # everything; half a minute
    OMP_NUM_THREADS=1 python benchmarks/corruptions.py --names glass_blur,fog --repeats 5
    python benchmarks/corruptions.py --cuda-only                       # images a second on a GPU

The reference is imagecorruptions 1.1.2, repaired by `benchmarks/reference_imagecorruptions.py` so that it runs today.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from reference_imagecorruptions import reference_corrupt  # noqa: E402

from corruptions import BENCHMARK, EXTRA, corrupt  # noqa: E402
from robustbench_lift.commands.memory import keep_freed_memory  # noqa: E402

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "cat", "hubble_deep_field", "retina", "immunohistochemistry")
SIDE = 224


def photographs(count: int) -> np.ndarray:
    """Photographs of scikit-image at 224 x 224 and, beyond their number, mirrored: uint8 [count, 224, 224, 3]."""
    import cv2
    from skimage import data

    pictures = []
    for index in range(count):
        picture = getattr(data, PHOTOGRAPHS[index % len(PHOTOGRAPHS)])()[..., :3]
        side = min(picture.shape[:2])
        square = picture[(picture.shape[0] - side) // 2 :, (picture.shape[1] - side) // 2 :][:side, :side]
        square = square[:, ::-1] if (index // len(PHOTOGRAPHS)) % 2 else square
        pictures.append(cv2.resize(np.ascontiguousarray(square), (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return np.stack(pictures)


def seconds(call: Callable[[], object]) -> float:
    """Processor time, which other programs on the machine do not blur; wall time where a GPU works."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    call()
    return clock() - start


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    return (
        f"{model}, {torch.get_num_threads()} torch thread(s), {gpu}; Python {platform.python_version()}, "
        f"torch {torch.__version__}, numpy {np.__version__}"
    )


def peak_bytes(call: Callable[[], object]) -> int | None:
    """Largest growth of this process's resident memory during a call; None where Linux's counters are missing."""
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not (clear.exists() and status.exists()):
        return None
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # memory that is free but still resident would hide what the call needs

    def field(name: str) -> int:
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith(name))

    clear.write_text("5")  # resets the high-water mark
    before = field("VmRSS")
    call()
    return field("VmHWM") - before


def compare(names: list[str], images: int, repeats: int) -> None:
    """One row a corruption: milliseconds an image and severity, ratio (of minima), peak memory."""
    pictures = photographs(images)
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    values = batch.numel()
    print(f"{images} photographs of {SIDE} x {SIDE}; milliseconds an image, mean of 5 severities, min (median) of runs")
    print(f"{'corruption':18} {'reference':>17} {'ours':>17} {'ratio':>7} {'worst':>7} {'bytes/value':>11}")
    totals = [0.0, 0.0]
    gains: list[float] = []
    worst: dict[str, float] = {}
    for name in names:
        best, middle, ratios, peak = [0.0, 0.0], [0.0, 0.0], [], 0
        for severity in range(1, 6):
            ours = partial(corrupt, batch, name, severity)
            ours()  # tables and compiled kernels
            times: list[list[float]] = [[], []]
            for turn in range(repeats):
                picture = pictures[turn % images]
                times[0].append(seconds(partial(reference_corrupt, picture, name, severity, 0)))
                times[1].append(seconds(ours) / images)
            for side in (0, 1):
                best[side] += min(times[side]) * 200
                middle[side] += statistics.median(times[side]) * 200
            ratios.append(min(times[0]) / min(times[1]))
            peak = max(peak, peak_bytes(ours) or 0)
        gains.append(best[0] / best[1])
        worst[f"{name} {1 + ratios.index(min(ratios))}"] = min(ratios)
        totals = [totals[0] + 5 * best[0], totals[1] + 5 * best[1]]
        print(
            f"{name:18} {best[0]:8.2f} ({middle[0]:6.1f}) {best[1]:8.3f} ({middle[1]:6.2f}) {best[0] / best[1]:6.1f}x "
            f"{min(ratios):6.1f}x {peak / values:11.1f}",
            flush=True,
        )
    count = 5 * len(names)
    print(
        f"total of {count} versions: {totals[0]:.0f} ms and {totals[1]:.1f} ms an image: {totals[0] / totals[1]:.1f}x"
    )
    slowest = min(worst, key=worst.__getitem__)
    print(
        f"geometric mean of {len(gains)} ratios: {statistics.geometric_mean(gains):.1f}x; least: {min(gains):.1f}x; "
        f"worst severity: {slowest}, {worst[slowest]:.1f}x"
    )


def cuda(names: list[str], size: int, repeats: int) -> None:
    """Images a second of a batch through every corruption on the GPU, worst of five severities."""
    if not torch.cuda.is_available():
        print("no CUDA device here: the section on GPU throughput is left out")
        return
    batch = torch.from_numpy(photographs(16)).permute(0, 3, 1, 2).repeat(size // 16, 1, 1, 1).contiguous().cuda()
    print(f"batch of {len(batch)} on {torch.cuda.get_device_name()}: images a second, worst of 5 severities")

    def run(name: str, severity: int) -> None:
        corrupt(batch, name, severity)
        torch.cuda.synchronize()

    for name in names:
        rates = []
        for severity in range(1, 6):
            run(name, severity)
            rates.append(len(batch) / min(seconds(partial(run, name, severity)) for _ in range(repeats)))
        print(f"{name:18} {min(rates):10.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", default=",".join((*BENCHMARK, *EXTRA)))
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cuda-only", action="store_true")
    parser.add_argument("--cuda-batch", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as every run does; it serves both sides
    names = options.names.split(",")
    print(machine())
    if not options.cuda_only:
        import cv2

        cv2.setNumThreads(options.threads)
        compare(names, options.images, options.repeats)
    cuda(names, options.cuda_batch, options.repeats)


if __name__ == "__main__":
    main()
