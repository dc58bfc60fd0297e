"""Evaluation where every pixel has a class: against the bare forward pass, what a cell stores, memory, counting.

python benchmarks/segmentation.py                          # SegNet of a quarter of the width, 480 x 320, CPU or CUDA
python benchmarks/segmentation.py --width 1 --size 1024x512 --images 8
python benchmarks/segmentation.py --large 2048x1024        # the images that memory is measured with

In one process, taking turns: the same number of forward passes on preloaded tensors, a clean cell from PNG files, and
three cells of a corruption, which show the same images. What a run begins with, such as asking whether the network is a
function of one image, is left out by taking the difference of two numbers of images. Prints the median time of a cell,
by the clock and of all processors together, and the medians of its ratios to the bare forward passes of the same turn;
the bytes that a cell stores an image; how many pixels a second are counted; and the peak memory of a run of few large
images and of four times as many.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

# this folder, first on the path of a script, holds a corruptions.py that would hide the package
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from robustbench_lift.data.kinds import open_images  # noqa: E402
from robustbench_lift.data.photos import PHOTOGRAPHS, pixels  # noqa: E402
from robustbench_lift.evaluation.engine import Engine, evaluate  # noqa: E402
from robustbench_lift.evaluation.settings import Settings  # noqa: E402
from robustbench_lift.runs.segmentation import TRIMAP_WIDTHS, PixelCounts  # noqa: E402
from robustbench_lift.weights import LoadedModel, load_model  # noqa: E402

CLASSES = 19
"""Cityscapes'."""


def write(folder: Path, count: int, size: tuple[int, int]) -> str:
    """Photographs with the levels of their red channel as label maps: a data spec."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for k in range(count):
        image = Image.fromarray(pixels(PHOTOGRAPHS[k % len(PHOTOGRAPHS)])).resize(size, Image.Resampling.BILINEAR)
        small = image.resize((size[0] // 8, size[1] // 8)).resize(size, Image.Resampling.NEAREST)
        target = (np.asarray(small)[..., 0] // 14).astype(np.uint8)
        target[target >= CLASSES] = 255
        image.save(folder / f"images/{k:04d}.png", compress_level=1)
        Image.fromarray(target).save(folder / f"labels/{k:04d}.png", compress_level=1)
    return f"label-folder:{folder}?classes={CLASSES}"


def network(width: float, device: str) -> LoadedModel:
    """An untrained SegNet: time does not depend on the weights."""
    model = load_model(f"segnet/lift?num_classes={CLASSES}&width={width}@random")
    model.module.to(device).to(memory_format=torch.channels_last)
    return model


def bare(net: LoadedModel, spec: str, settings: Settings) -> Callable[[], None]:
    """The forward passes alone, on preloaded tensors, in the batches that an evaluation would use."""
    images, engine = open_images(spec), Engine(settings)
    arrays = [images.read(k).transpose(2, 0, 1) for k in range(len(images.ids))]
    whole = torch.from_numpy(np.stack(arrays)).to(engine.device)
    step = settings.batch_size or len(whole)

    def go() -> None:
        with torch.inference_mode():
            for start in range(0, len(whole), step):
                net.logits(whole[start : start + step])
        if engine.device.type == "cuda":
            torch.cuda.synchronize()

    return go


def counted(size: tuple[int, int]) -> float:
    """Millions of pixels a second whose classes are chosen and counted, bands included, by one core or the device."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, CLASSES, size[1], size[0], generator=generator).to(memory_format=torch.channels_last)
    target = torch.randint(0, CLASSES, (size[1], size[0]), generator=generator, dtype=torch.uint8)
    targets = torch.stack([target, target % (len(TRIMAP_WIDTHS) + 1)])[None]
    seconds = []
    for _ in range(4):
        start = time.process_time()
        PixelCounts.measure(logits, targets)
        seconds.append(time.process_time() - start)
    return target.numel() / statistics.median(seconds[1:]) / 1e6


def peak_of(count: int, size: tuple[int, int], width: float) -> None:
    """Print the peak memory of a process that evaluates so many large images."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        spec = write(Path(folder) / "d", count, size)
        settings = Settings(device="cpu", batch_size=1, allow_chance=True)
        evaluate(network(width, "cpu"), spec, run=Path(folder) / "r", settings=settings, protocols=("clean",))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB with {count} images of {size[0]} x {size[1]}", flush=True)


Times = np.ndarray[tuple[int], np.dtype[np.float64]]
"""Seconds by the clock, and of all processors together, which other load on the machine changes little."""


def now() -> Times:
    """The two clocks."""
    return np.array([time.perf_counter(), time.process_time()])


def sides(text: str) -> tuple[int, int]:
    """Width and height of `480x320`."""
    width, _, height = text.partition("x")
    return int(width), int(height)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=sides, default=(480, 320))
    parser.add_argument("--large", type=sides, default=(2048, 1024))
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = Settings(device=device, batch_size=options.batch_size, allow_chance=True)
    net = network(options.width, device)
    width, height = options.size
    print(f"segnet/lift?width={options.width:g}, {options.images} images of {width} x {height}, {device}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        spec = write(folder / "data", options.images, options.size)
        fog: dict[str, Any] = {"protocols": ("corruption",), "corruptions": ("fog",), "severities": (1, 3, 5)}
        forward = bare(net, spec, settings)

        def run(name: str, asked: dict[str, Any], cells: int) -> Times:
            """Of a cell, without what a run begins with: those of all images less those of an eighth."""
            took = []
            for limit in (options.images // 8, options.images):
                start = now()
                evaluate(net, spec, run=folder / f"{name}-{limit}", settings=settings, limit=limit, **asked)
                took.append(now() - start)
            return (took[1] - took[0]) * 8 / 7 / cells

        turns: list[dict[str, Times]] = []
        for turn in range(options.repeats + 1):
            start = now()
            forward()
            between = now() - start
            found = {
                "clean, from PNG files": run(f"{turn}-clean", {"protocols": ("clean",)}, 1),
                "fog, on the fly": run(f"{turn}-fog", fog, 3),
            }
            start = now()
            forward()  # before and after, since machines grow warm
            turns.append({"bare forward": (between + now() - start) / 2, **found})
        for name in turns[0]:
            seconds = np.median([turn[name] for turn in turns[1:]], axis=0)
            ratios = np.median([turn[name] / turn["bare forward"] for turn in turns[1:]], axis=0)
            wall, processor = (f"{s:8.2f} s, ratio {r:4.2f}" for s, r in zip(seconds, ratios, strict=True))
            print(f"{name:24s} {wall}; of processors {processor}")
        stored = sum(file.stat().st_size for file in (folder / f"0-clean-{options.images}").rglob("*.npz"))
        print(f"a cell stores {stored / options.images:.0f} bytes an image ({CLASSES} classes)")
    print(f"choosing and counting: {counted(options.large):.0f} million pixels a second of processor time")
    sys.stdout.flush()
    spawned = multiprocessing.get_context("spawn")
    for count in (3, 12):
        process = spawned.Process(target=peak_of, args=(count, options.large, options.width / 4))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
