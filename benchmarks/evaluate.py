"""Evaluation against the bare forward pass: what reading and corrupting cost when they overlap with the network.

python benchmarks/evaluate.py                     # ResNet-50, 224 px, CPU or CUDA
python benchmarks/evaluate.py --arch resnet18 --images 64 --conditions fog,contrast

In one process, taking turns: the loop that a user would write over preloaded tensors (the network as it is built,
NCHW), the same passes as evaluation makes them (channels last), a corruption cell generated on the fly, a cell read
from JPEG files, and one with batch norms folded. Prints medians, ratios to the user's loop and to evaluation's own
passes, and the peak memory for one and for four times as many images.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

# this folder, first on the path of a script, holds a corruptions.py that would hide the package
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from robustbench_lift.data.geometry import CenterCrop  # noqa: E402
from robustbench_lift.data.photos import PHOTOGRAPHS, pixels  # noqa: E402
from robustbench_lift.evaluation.engine import Engine, evaluate  # noqa: E402
from robustbench_lift.evaluation.settings import Settings  # noqa: E402
from robustbench_lift.networks import build_model  # noqa: E402
from robustbench_lift.protocols.clean import Clean  # noqa: E402
from robustbench_lift.protocols.corruption import Corruption, GeneratedCorruptions  # noqa: E402
from robustbench_lift.weights import LoadedModel, Preprocessing  # noqa: E402

SIZE = 224
BATCH = 16
"""Images a pass of the user's loop."""
LOOP, PASSES = "a user's loop, NCHW", "evaluation's own forward passes"


class Photographs:
    """Photographs resized to 256 and cut to 224, in memory or as JPEG files."""

    def __init__(self, count: int, folder: Path | None = None) -> None:
        self.name = "benchmark"
        self.ids = tuple(f"image/{i:05d}" for i in range(count))
        self.labels: npt.NDArray[np.int64] = np.arange(count, dtype=np.int64) % 1000
        self.class_names = tuple(str(i) for i in range(1000))
        self._folder = folder
        self._arrays = []
        for photograph in PHOTOGRAPHS:
            image = Image.fromarray(pixels(photograph)).resize((256, 256), Image.Resampling.BILINEAR)
            self._arrays.append(np.asarray(image)[16:240, 16:240].copy())
        if folder is not None:
            for i, array in enumerate(self._arrays):
                Image.fromarray(array).save(folder / f"{i}.jpg", quality=85, optimize=True)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One image [224, 224, 3]."""
        which = index % len(self._arrays)
        if self._folder is None:
            return self._arrays[which]
        with Image.open(self._folder / f"{which}.jpg") as image:
            return np.asarray(image.convert("RGB"))


def model(arch: str, device: str) -> LoadedModel:
    """An untrained network: time does not depend on the weights."""
    module = build_model(arch, "max" if arch.startswith("vgg") else "skip").eval()
    module = module.to(device).to(memory_format=torch.channels_last)
    return LoadedModel(
        spec=arch,
        name=arch,
        arch=arch,
        pooling="skip",
        placement=None,
        module=module,
        preprocessing=Preprocessing(),
        weights_sha256="0" * 64,
        parameters=0,
        num_classes=1000,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--conditions", default="gaussian_noise,defocus_blur,fog,brightness,elastic_transform")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = model(options.arch, device)
    settings = Settings(device=device, precision=options.precision, workers=options.workers, allow_chance=True)
    threads = torch.get_num_threads()
    print(f"{options.arch}, {SIZE} px, {options.images} images, {device}, {threads} threads, {options.precision}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        memory, files = Photographs(options.images), Photographs(options.images, folder)
        conditions = tuple(options.conditions.split(","))
        plain = build_model(options.arch, "max" if options.arch.startswith("vgg") else "skip").eval().to(device)
        cases: dict[str, Callable[[Path], None]] = {
            LOOP: lambda out: loop(plain, net.preprocessing, memory, device),
            PASSES: lambda out: bare(net, memory, settings),
        }
        for condition in conditions:
            source = GeneratedCorruptions(clean=memory, geometry=CenterCrop(SIZE), storage="none")
            protocol = Corruption(source=source, conditions=(condition,), severities=(3,))
            cases[f"on the fly: {condition}"] = lambda out, p=protocol: run(net, p, out, settings)  # type: ignore[misc]
        cases["from JPEG files"] = lambda out: run(net, Clean(source=files, geometry=CenterCrop(SIZE)), out, settings)
        folded = replace(settings, fold=True)
        cases["from JPEG files, folded"] = lambda out: run(
            net, Clean(source=files, geometry=CenterCrop(SIZE)), out, folded
        )
        seconds: dict[str, list[float]] = {name: [] for name in cases}
        for repeat in range(options.repeats + 1):
            for name, case in cases.items():
                out = folder / f"{repeat}-{name.replace(' ', '-')}"
                start = time.perf_counter()
                case(out)
                if repeat:
                    seconds[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        print(f"{'':36s}  seconds   of the loop   of the passes")
        for name, value in medians.items():
            print(f"{name:36s} {value:8.2f} {value / medians[LOOP]:13.2f} {value / medians[PASSES]:15.2f}")
        before = peak()
        run(net, Clean(source=Photographs(4 * options.images), geometry=CenterCrop(SIZE)), folder / "more", settings)
        print(f"peak memory {before:.0f} MB with {options.images} images, {peak():.0f} MB with {4 * options.images}")


def loop(module: torch.nn.Module, preprocessing: Preprocessing, images: Photographs, device: str) -> None:
    """What a user would write: normalised batches, one after the other, in fp32."""
    with torch.inference_mode():
        for start in range(0, len(images.ids), BATCH):
            rows = range(start, min(start + BATCH, len(images.ids)))
            batch = torch.stack([torch.from_numpy(images.read(i).transpose(2, 0, 1).copy()) for i in rows])
            module(preprocessing.normalize(batch.to(device))).argmax(1).cpu()


def bare(net: LoadedModel, images: Photographs, settings: Settings) -> None:
    """The forward passes alone, on preloaded tensors, in the batches that evaluation would use."""
    engine = Engine(settings)
    whole = torch.stack([torch.from_numpy(images.read(i).transpose(2, 0, 1).copy()) for i in range(len(images.ids))])
    labels = torch.from_numpy(images.labels).to(engine.device)
    engine.passes.predict([net], whole.to(engine.device).unsqueeze(1), labels)


def run(net: LoadedModel, protocol: Clean, out: Path, settings: Settings) -> None:
    """An evaluation from the beginning."""
    evaluate(net, protocol, run=out, settings=settings)


def peak() -> float:
    """Peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
