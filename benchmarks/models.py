"""What each architecture costs at each placement, as the table of docs/models.md.

python benchmarks/models.py
python benchmarks/models.py --arch resnet50
python benchmarks/models.py --speed --arch resnet8      images a second on this machine, poolings side by side,
                                                        as they are and with batch norms folded
"""

from __future__ import annotations

import argparse
import copy
import platform
import time
from collections.abc import Iterator
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robustbench_lift.networks import BACKBONES, build_model
from robustbench_lift.networks.folding import fold_batch_norms

HEAD = (
    "| architecture | input | placement | published | GMACs | lift | GMACs | blur GMACs | gauss |\n"
    "|---|---:|---|---:|---:|---:|---:|---:|---:|"
)


def rows(arch: str) -> Iterator[str]:
    """The table's rows of one architecture; nothing is computed, the networks are on the meta device.

    Of pairs of poolings, `max-blur` stands for blur, and none for gauss.
    """
    entry = BACKBONES[arch]
    published = on_meta(arch, entry.published_pooling, entry.placements[0])
    for placement in entry.placements:
        lift = on_meta(arch, "lift", placement)
        blur = on_meta(arch, "max-blur" if entry.pairs else "blur", placement)
        gauss = None if entry.pairs else on_meta(arch, "gauss", placement)
        cells = [
            arch,
            str(entry.input_size),
            f"`{placement}`",
            f"{parameters(published):,}",
            giga(published, entry.input_size),
            f"{parameters(lift):,}",
            giga(lift, entry.input_size),
            giga(blur, entry.input_size),
            "-" if gauss is None else f"{parameters(gauss):,}",
        ]
        yield f"| {' | '.join(cells)} |"


def on_meta(arch: str, pooling: str, placement: str) -> nn.Module:
    """A network without memory behind it."""
    with torch.device("meta"):
        return build_model(arch, pooling, placement=placement)


def parameters(model: nn.Module) -> int:
    """How many learned values a network has.

    >>> parameters(nn.Linear(3, 4))
    16
    """
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module, input_size: int) -> int:
    """Multiply-accumulate operations of convolutions and matrix products for one image [1, 3, input_size, input_size].

    Sums, maxima, normalisation and activations are not counted, as is usual. Nothing is computed: the network is
    copied to the meta device.

    >>> macs(nn.Conv2d(3, 8, 3, padding=1), 32)
    221184
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(torch.empty(1, 3, input_size, input_size, device="meta"))
    return int(counter.get_total_flops()) // 2


def giga(model: nn.Module, size: int) -> str:
    """Multiply-accumulate operations of one image in 10^9, three significant digits."""
    return f"{macs(model, size) / 1e9:#.3g}"


def speed(arch: str, poolings: list[str], *, batch: int, repeats: int) -> None:
    """Forward passes of a batch, the poolings taking turns, against the published network."""
    entry = BACKBONES[arch]
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    models: dict[str, nn.Module] = {}
    for name in dict.fromkeys([entry.published_pooling, *poolings]):
        models[name] = build_model(arch, name).eval().to(memory_format=torch.channels_last)
        models[f"{name} folded"] = fold_batch_norms(models[name])
    images = torch.randn(batch, 3, entry.input_size, entry.input_size).contiguous(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for _ in range(repeats + 1):
            for name, model in models.items():
                start = time.perf_counter()
                model(images)
                seconds[name].append(time.perf_counter() - start)
    base = median(seconds[entry.published_pooling][1:])
    for name, times in seconds.items():
        took = times[1:]  # the first round warms up
        print(
            f"{arch}/{name}: {batch / min(took):,.0f} images/s at best, {batch / median(took):,.0f} in the median, "
            f"{median(took) / base:.2f}x the time of {entry.published_pooling}"
        )


def main() -> None:
    """Print the table, or speeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=list(BACKBONES), help="one architecture instead of all")
    parser.add_argument("--speed", action="store_true", help="measure forward passes on the CPU")
    parser.add_argument("--poolings", default="skip,max,average,blur,lift")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    chosen = [options.arch] if options.arch else list(BACKBONES)
    if options.speed:
        for arch in chosen:
            speed(arch, options.poolings.split(","), batch=options.batch, repeats=options.repeats)
        return
    print(HEAD)
    for arch in chosen:
        print("\n".join(rows(arch)))


if __name__ == "__main__":
    main()
