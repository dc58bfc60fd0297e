"""Training speed: our loop against a bare forward-backward loop on tensors that lie ready.

python benchmarks/training.py                                   # resnet8 on the embedded photographs, every device
python benchmarks/training.py --recipe cifar-resnet --model resnet20/lift
python benchmarks/training.py --recipe imagenette-128 --model resnet18/max --workers 2

Both run the same network, optimiser, precision and batch; after each epoch of ours the bare loop takes as many steps,
so both see the same machine. The bare loop has no data, no augmentation, no counters, no checks. Class folders are also
read alone, which says how many images a second the workers could feed.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from robustbench_lift.data.folders import open_folder
from robustbench_lift.data.memory import MemoryImages, array_images
from robustbench_lift.data.photos import PhotoTest
from robustbench_lift.device import autocast
from robustbench_lift.pooling import collect_losses
from robustbench_lift.training import (
    ArraySource,
    ImageSource,
    Network,
    PhotoSource,
    Recipe,
    TrainingProgress,
    TrainingSettings,
    TrainingSource,
    override,
    recipe_named,
    train,
)
from robustbench_lift.training.objective import auxiliary_loss, make_optimizer


def make_data(
    recipe: Recipe, samples: int, workers: int, folder: Path
) -> tuple[TrainingSource, MemoryImages | PhotoTest]:
    """Data of the recipe's kind: photographs, noise in memory, or noise in JPEG files of 500 x 375 (or 224) pixels."""
    if recipe.data == "photos":
        return PhotoSource(recipe=recipe, crops=-(-samples // 15)), PhotoTest(1)
    generator = np.random.default_rng(0)
    classes = recipe.classes or 10
    names = [f"{k:03d}" for k in range(classes)]
    tests = array_images(
        generator.integers(0, 256, (classes, recipe.resize or recipe.size, recipe.resize or recipe.size, 3), np.uint8),
        np.arange(classes),
        class_names=names,
        name="noise",
    )
    if recipe.data == "arrays":
        images = generator.integers(0, 256, (samples, recipe.size, recipe.size, 3), np.uint8)
        return ArraySource(images, np.arange(samples) % classes, class_names=names, recipe=recipe), tests
    for number in range(samples):
        path = folder / names[number % classes] / f"{number:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (28, 28, 3), np.uint8))
        coarse.resize((500, 375) if recipe.size >= 224 else (224, 224), Image.Resampling.BICUBIC).save(path, quality=90)
    return ImageSource(open_folder(folder), recipe=recipe, workers=workers), tests


def reading_speed(source: ImageSource, batch_size: int) -> float:
    """Images a second that arrive, decoded and augmented, when nothing else runs; the second pass is timed."""
    batches = torch.split(torch.arange(len(source)), batch_size)
    for epoch in range(2):
        start = time.perf_counter()
        for _ in source.stream(batches, epoch, 0, torch.device("cpu")):
            pass
        seconds = time.perf_counter() - start
    return len(source) / seconds


class Bare:
    """Forward, loss, backward, step on one batch that is already normalised and on the device."""

    def __init__(
        self, network: Network, recipe: Recipe, classes: int, settings: TrainingSettings, device: torch.device
    ) -> None:
        self.recipe, self.settings, self.device = recipe, settings, device
        memory = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.module: nn.Module = network.build(classes, seed=0).to(device).to(memory_format=memory)
        self.optimizer = make_optimizer(self.module, recipe)
        self.forward: nn.Module = torch.compile(self.module) if settings.compile else self.module  # type: ignore[assignment]
        self.images = torch.randn(recipe.batch_size, 3, recipe.size, recipe.size, device=device).to(
            memory_format=memory
        )
        self.labels = torch.arange(recipe.batch_size, device=device) % classes

    def seconds(self, steps: int) -> tuple[float, float]:
        """Time of some steps, and processor time of the process, which other load on the machine disturbs less."""
        self._wait()
        start, used = time.perf_counter(), time.process_time()
        for _ in range(steps):
            with autocast(self.device, self.settings.precision):
                logits = self.forward(self.images)
            loss = functional.cross_entropy(logits.float(), self.labels)
            extra = auxiliary_loss(collect_losses(self.module), self.recipe)
            (loss + extra).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        self._wait()
        return time.perf_counter() - start, time.process_time() - used

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def compare(network: Network, recipe: Recipe, arguments: argparse.Namespace, device: torch.device) -> None:
    """Train for `rounds` epochs, the bare loop after each, and print both."""
    settings = TrainingSettings(
        device=str(device),
        precision=arguments.precision,
        channels_last=not arguments.contiguous,
        compile=arguments.compile,
        check_every=1 if device.type == "cpu" else 10,
    )
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(KeyboardInterrupt):
        folder = Path(name)
        (folder / "images").mkdir()
        samples = recipe.batch_size * (arguments.steps + 1)
        source, tests = make_data(recipe, samples, arguments.workers, folder / "images")
        bare = Bare(network, recipe, len(source.class_names), settings, device)
        bare.seconds(2)
        reading = reading_speed(source, recipe.batch_size) if isinstance(source, ImageSource) else None
        ours: list[float] = []
        floor: list[float] = []
        processor: list[float] = []
        first: tuple[int, float, float] | None = None

        def look(now: TrainingProgress) -> None:
            nonlocal first
            moment, used = time.perf_counter(), time.process_time()
            if now.finished:
                first = None
            elif first is None:
                first = now.step, moment, used
            elif now.step == now.steps:
                steps = now.step - first[0]
                if now.epoch:  # the first epoch warms up
                    ours.append((moment - first[1]) / steps)
                    wall, spent = bare.seconds(steps)
                    floor.append(wall / steps)
                    processor.append((used - first[2]) / spent)

        recipe = override(recipe, {"epochs": arguments.rounds + 1})
        train(network, recipe, source, tests, out=folder / "out", settings=settings, progress=look)
    for label, times in (("our loop", ours), ("bare loop", floor)):
        print(
            f"  {label:9}  step min {min(times) * 1e3:8.2f} ms, median {statistics.median(times) * 1e3:8.2f} ms, "
            f"{recipe.batch_size / statistics.median(times):9.0f} images/s"
        )
    if reading is not None:
        needed = recipe.batch_size / min(floor)
        print(
            f"  reading alone, {arguments.workers} worker(s): {reading:.0f} images/s, {reading / needed:.1f} times "
            "what the bare loop takes"
        )
    ratios = [a / b for a, b in zip(ours, floor, strict=True)]
    middle = statistics.median(ratios)
    print(f"  step time, ours / bare: median {middle:.3f}, min {min(ratios):.3f} ({len(ratios)} rounds)")
    print(f"  processor time, ours / bare: median {statistics.median(processor):.3f}, min {min(processor):.3f}")


def main() -> None:
    """Read the arguments and compare on each device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="photos")
    parser.add_argument("--model", default="resnet8/lift")
    parser.add_argument("--steps", type=int, default=20, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, help="instead of the recipe's")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--contiguous", action="store_true", help="NCHW instead of NHWC memory")
    parser.add_argument("--devices", default="cpu,cuda")
    arguments = parser.parse_args()
    recipe = override(recipe_named(arguments.recipe), {"warmup_epochs": 0.0, "milestones": [], "classes": None})
    if arguments.batch_size:
        recipe = override(recipe, {"batch_size": arguments.batch_size})
    network = Network.parse(arguments.model)
    for name in arguments.devices.split(","):
        if name == "cuda" and not torch.cuda.is_available():
            print("cuda: no device here")
            continue
        device = torch.device(name)
        machine = (
            torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else f"{platform.machine()}, {torch.get_num_threads()} threads"
        )
        print(
            f"{name} ({machine}), torch {torch.__version__}, {network.spec}, recipe {recipe.name}, batch "
            f"{recipe.batch_size}, {recipe.size} px, {arguments.precision}"
        )
        compare(network, recipe, arguments, device)


if __name__ == "__main__":
    main()
