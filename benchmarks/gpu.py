"""One page about a GPU: what each part of an evaluation and of a training does a second there, and which part bounds.

    PYTHONPATH=. python benchmarks/gpu.py                        # minutes on one GPU
    PYTHONPATH=. python benchmarks/gpu.py --device cpu --quick   # the same page in small, without a GPU

Needs torch, torchvision, numpy, scipy, Pillow and opencv. Nothing is installed or downloaded: networks are untrained,
images synthetic. Times are the least of the repetitions, after one that warms up.
"""

from __future__ import annotations

import argparse
import copy
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

# this folder, first on the path of a script, holds a corruptions.py that would hide the package
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from corruptions import BENCHMARK, EXTRA, PERTURBATIONS, corrupt, perturb  # noqa: E402
from robustbench_lift.device import autocast  # noqa: E402
from robustbench_lift.networks import build_model  # noqa: E402
from robustbench_lift.pooling import make_pooling  # noqa: E402


class Page:
    """The device, how large everything is, and how it is timed."""

    def __init__(self, device: str, quick: bool) -> None:
        self.device = torch.device(device)
        self.side, self.batch, self.repeats = (64, 4, 1) if quick else (224, 128, 5)
        self.arch = "resnet18" if quick else "resnet50"
        self.severities = (3,) if quick else (1, 3, 5)
        self.compile = not quick

    def seconds(self, call: Callable[[], object]) -> float:
        """The least time of a call; the device has finished when it ends."""
        times = []
        for _ in range(1 + self.repeats):
            start = time.perf_counter()
            call()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    def photographs(self) -> Tensor:
        """Smooth random images, uint8 [batch, 3, side, side], on the device."""
        coarse = torch.rand(self.batch, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        images = nn.functional.interpolate(coarse, self.side, mode="bicubic").clamp(0, 1) * 255
        return images.round().to(torch.uint8).to(self.device)

    def network(self, pooling: str) -> nn.Module:
        """An untrained network, channels-last: time does not depend on the weights."""
        return build_model(self.arch, pooling).to(self.device).to(memory_format=torch.channels_last)


def forward(page: Page, network: nn.Module, images: Tensor, precision: str) -> Callable[[], object]:
    """A forward pass of uint8 images, normalised on the device."""

    def run() -> object:
        with torch.no_grad(), autocast(page.device, precision):
            return network(images.to(memory_format=torch.channels_last).float().div(255))

    return run


def corruption_rates(page: Page, bare: float) -> float:
    """Images a second of every corruption, least of the severities; the mean rate of the benchmark's 15."""
    images, spent = page.photographs(), []
    for name in (*BENCHMARK, *EXTRA):
        slowest = max(page.seconds(lambda n=name, s=s: corrupt(images, n, s)) for s in page.severities)  # type: ignore[misc]
        spent += [slowest] if name in BENCHMARK else []
        rate = page.batch / slowest
        print(f"  {name:20}{rate:10.0f} images/s{rate / bare:8.2f} of the network's")
    return page.batch * len(spent) / sum(spent)


def sequence_rates(page: Page) -> float:
    """Frames a second of ImageNet-P's ten sequences, with decoding of their JPEG on one CPU thread beside; the mean."""
    images, spent, frames = page.photographs()[: max(1, page.batch // 8)], 0.0, 0
    for name in PERTURBATIONS:
        made: list[Tensor] = []
        taken = page.seconds(lambda n=name, m=made: m.append(perturb(images, n, table="nearest")))  # type: ignore[misc]
        count = made[0].shape[0] * made[0].shape[1]
        print(f"  {name:20}{count / taken:10.0f} frames/s")
        spent, frames = spent + taken, frames + count
    return frames / spent


def decoding_rate(page: Page) -> float:
    """JPEG images of ImageNet's usual size a second, decoded by one thread."""
    pixels = np.asarray(Image.fromarray(page.photographs()[0].permute(1, 2, 0).cpu().numpy()).resize((500, 375)))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return 1 / page.seconds(lambda: np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB")))


def layers(page: Page) -> None:
    """The lift layer beside max-pooling, eager and compiled, and the time that its bytes alone would take."""
    channels, side = (16, 16) if page.arch == "resnet18" else (256, 56)
    x = torch.randn(page.batch, channels, side, side, device=page.device).to(memory_format=torch.channels_last)
    copied = torch.empty_like(x)
    bound = 1.25 / 2 * page.seconds(lambda: copied.copy_(x))  # the map read, a quarter written; a copy does both whole
    built = {name: make_pooling(name, channels).to(page.device) for name in ("max", "lift")}
    if page.compile:
        built["lift, compiled"] = copy.deepcopy(built["lift"])
        built["lift, compiled"].compile(dynamic=False)
    print(f"  {'bytes moved':20}{1e3 * bound:10.3f} ms forward")
    for name, layer in built.items():
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()

        def alone(layer: nn.Module = layer) -> object:
            with torch.no_grad():
                return layer(x)

        both = page.seconds(lambda layer=layer, leaf=leaf: layer(leaf).sum().backward())  # type: ignore[misc]
        print(f"  {name:20}{1e3 * page.seconds(alone):10.3f} ms forward{1e3 * both:10.3f} ms with backward")


def training_step(page: Page, network: nn.Module, images: Tensor) -> Callable[[], object]:
    """Forward, loss, backward and step in bf16."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    labels = torch.arange(len(images), device=page.device)
    x = images.float().div(255).to(memory_format=torch.channels_last)

    def run() -> None:
        with autocast(page.device, "bf16"):
            loss = nn.functional.cross_entropy(network(x).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="everything in small: whether it runs, not how fast")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("this PyTorch sees no CUDA device; --device cpu --quick runs the page in small")
    torch.manual_seed(0)
    page = Page(options.device, options.quick)
    cuda = page.device.type == "cuda"
    name = torch.cuda.get_device_name(page.device) if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; torch {torch.__version__}; {page.arch}, {page.side} px, batch {page.batch}")
    images, plain, lift = page.photographs(), page.network("skip").eval(), page.network("lift").eval()

    print("network forward")
    rates: dict[str, float] = {}
    for precision in ("fp32", "bf16"):
        for label, network in (("skip", plain), ("lift", lift)):
            key = f"{label}, {precision}"
            rates[key] = page.batch / page.seconds(forward(page, network, images, precision))
            if page.compile:
                other = copy.deepcopy(network)
                other.compile(dynamic=False)
                rates[f"{key}, compiled"] = page.batch / page.seconds(forward(page, other, images, precision))
    for key, rate in rates.items():
        print(f"  {key:20}{rate:10.0f} images/s")
    bare = rates["skip, bf16"]

    print("corruptions, least of the severities")
    stages = {"corrupting": corruption_rates(page, bare)}
    print("ImageNet-P, generated")
    stages["perturbing"] = sequence_rates(page)
    stages["decoding, one CPU thread"] = decoding_rate(page)
    stages["the network, bf16"] = bare

    print("evaluation: corrupt and classify in turn, against the bare forward")
    both = page.seconds(lambda: forward(page, plain, corrupt(images, "fog", 3), "bf16")())
    print(f"  {'fog':20}{page.batch / both:10.0f} images/s{both * bare / page.batch:8.2f} of the bare time")
    print("lift layer")
    layers(page)
    print("training step, bf16")
    for label, network in (("skip", plain), ("lift", lift)):
        if cuda:
            torch.cuda.reset_peak_memory_stats(page.device)
        taken = page.seconds(training_step(page, network, images))
        memory = f"{torch.cuda.max_memory_allocated(page.device) / 2**30:8.2f} GiB peak" if cuda else ""
        print(f"  {label:20}{page.batch / taken:10.0f} images/s{memory}")
    print("which part bounds: images or frames a second")
    for stage, rate in sorted(stages.items(), key=lambda item: item[1]):
        print(f"  {stage:26}{rate:10.0f}")


if __name__ == "__main__":
    main()
