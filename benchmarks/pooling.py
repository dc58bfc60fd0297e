"""Speed of the pooling layers, and of whole networks with them.

python benchmarks/pooling.py                                 # every layer at ResNet-50's shapes beside MaxPool
python benchmarks/pooling.py --poolings lift max --compiled  # LiftPool beside its plain transcription, compiled too
python benchmarks/pooling.py --networks                      # ResNet-50 with each pooling beside torchvision's

One round times every candidate once, in turn, so that all see the same machine; printed are the median of milliseconds
over rounds and the median of the ratios within rounds. Memory formats: nchw (contiguous) and nhwc (channels_last).
`bytes moved` is the time of copying as many bytes as any layer must read and write: a limit that
no layer can beat on this machine, however it computes.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustbench_lift.pooling import POOLINGS, make_pooling

SHAPES = ((64, 112), (256, 56), (512, 28), (1024, 14))
"""(channels, side) of the maps that ResNet-50 pools at 224 px."""
FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


class PlainOperator(nn.Module):
    """P or U as the paper draws them, of stock modules."""

    def __init__(self, channels: int, kernel_size: int = 5) -> None:
        super().__init__()
        self.taps = nn.Conv2d(
            channels, channels, (1, kernel_size), padding=(0, kernel_size // 2), groups=channels, bias=False
        )
        self.gain = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.gain(torch.relu(self.taps(x))))


class PlainLift(nn.Module):
    """LiftDownPool transcribed from the equations: slices, three 1-D transforms, the sum of the bands."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.predict, self.update = PlainOperator(channels), PlainOperator(channels)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        even, odd = x[..., 0::2], x[..., 1::2]
        detail = odd - self.predict(even)
        return even + self.update(detail), detail

    def forward(self, x: Tensor) -> Tensor:
        s, d = self.split(x)
        ll, lh = self.split(s.transpose(2, 3))
        hl, hh = self.split(d.transpose(2, 3))
        return (ll + lh + hl + hh).transpose(2, 3)


def median_times(
    candidates: dict[str, Callable[[], object]], *, baseline: str, rounds: int, device: str
) -> dict[str, tuple[float, float]]:
    """Each candidate's median milliseconds, and its median ratio to the baseline of the same round."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()  # compiles, and takes memory from the system
        run()
        _wait(device)
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            _wait(device)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {
        name: (statistics.median(own), statistics.median(a / b for a, b in zip(own, times[baseline], strict=True)))
        for name, own in times.items()
    }


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def bytes_moved(x: Tensor, *, backward: bool) -> Callable[[], object]:
    """A copy of as many bytes as a pooling by two must move.

    Forward the map is read and a quarter written; backward the map and the gradient of the result are read, and the
    gradient of the map is written. A copy of n values reads and writes them: half of the sum is copied.
    """
    values = x.numel() * (1.25 + (2.25 if backward else 0.0))
    source = torch.zeros(int(values / 2), dtype=x.dtype, device=x.device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def forward_only(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return layer(x)

    return run


def forward_backward(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    parameters = [x.requires_grad_(), *layer.parameters()]

    def run() -> object:
        y = layer(x)
        return torch.autograd.grad(y, parameters, torch.ones_like(y), allow_unused=True)

    return run


def compiled(module: nn.Module) -> nn.Module:
    other = copy.deepcopy(module)
    other.compile(dynamic=False)
    return other


def layers(arguments: argparse.Namespace) -> None:
    """Every layer at every shape and format, beside MaxPool; LiftPool beside its transcription too."""
    names = list(dict.fromkeys(["max", *arguments.poolings]))
    for channels, side in SHAPES:
        for label in arguments.formats:
            memory_format = FORMATS[label]
            shape = (arguments.batch, channels, side, side)
            x = torch.randn(shape, device=arguments.device).to(memory_format=memory_format)
            built: dict[str, nn.Module] = {}
            for name in names:
                options: dict[str, object] = {"size": side} if POOLINGS[name].needs_size else {}
                if name == "lift":
                    options["constraint"] = None  # the transcription has no auxiliary losses either
                built[name] = make_pooling(name, channels, **options)
                if name == "lift":
                    built["lift, plain"] = PlainLift(channels).to(memory_format=memory_format)
            for layer in built.values():
                layer.to(arguments.device)
            if arguments.compiled:
                built |= {f"{name}, compiled": compiled(layer) for name, layer in built.items()}
            columns = {}
            for title, timed in (("forward", forward_only), ("forward+backward", forward_backward)):
                runs = {name: timed(layer, x.clone(memory_format=memory_format)) for name, layer in built.items()}
                runs["bytes moved"] = bytes_moved(x, backward=timed is forward_backward)
                columns[title] = median_times(runs, baseline="max", rounds=arguments.rounds, device=arguments.device)
            torch._dynamo.reset()
            print(f"\n{arguments.batch} x {channels} x {side} x {side}, {label}")
            print(f"{'':22}{'forward':>10}{'/max':>8}{'fwd+bwd':>12}{'/max':>8}   ms, ratio")
            for name in (*built, "bytes moved"):
                (f, f_ratio), (b, b_ratio) = columns["forward"][name], columns["forward+backward"][name]
                print(f"{name:22}{f:10.2f}{f_ratio:8.2f}{b:12.2f}{b_ratio:8.2f}")
            for suffix in ("", ", compiled"):
                if "lift" + suffix in built:
                    gain = [
                        column["lift, plain" + suffix][1] / column["lift" + suffix][1] for column in columns.values()
                    ]
                    print(f"lift{suffix} over plain{suffix}: {gain[0]:.2f}x forward, {gain[1]:.2f}x forward+backward")


def networks(arguments: argparse.Namespace) -> None:
    """Whole networks at the placement `stage`, forward in eval mode, beside torchvision's."""
    import torchvision

    from robustbench_lift.networks import build_model

    for label in arguments.formats:
        memory_format = FORMATS[label]
        x = torch.randn(arguments.batch, 3, 224, 224, device=arguments.device).to(memory_format=memory_format)
        built: dict[str, nn.Module] = {"torchvision": getattr(torchvision.models, arguments.arch)()}
        for name in arguments.poolings:
            built[name] = build_model(arguments.arch, name)
        for model in built.values():
            model.eval().to(arguments.device).to(memory_format=memory_format)
        if arguments.compiled:
            built |= {f"{name}, compiled": compiled(model) for name, model in built.items()}
        runs = {name: forward_only(model, x) for name, model in built.items()}
        times = median_times(runs, baseline="torchvision", rounds=arguments.rounds, device=arguments.device)
        print(f"\n{arguments.arch}, batch {arguments.batch}, 224 px, {label}, forward: ms, ratio to torchvision")
        for name, (milliseconds, ratio) in times.items():
            print(f"{name:22}{milliseconds:10.1f}{ratio:8.2f}")
        torch._dynamo.reset()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", action="store_true", help="whole networks instead of layers")
    parser.add_argument("--poolings", nargs="+", default=list(POOLINGS), choices=list(POOLINGS), metavar="NAME")
    parser.add_argument("--arch", default="resnet50", help="network of --networks")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compiled", action="store_true", help="torch.compile beside eager")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    hardware = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{platform.machine()} CPU"
    print(f"{hardware}, {arguments.threads} threads, torch {torch.__version__}, {arguments.rounds} rounds")
    networks(arguments) if arguments.networks else layers(arguments)


if __name__ == "__main__":
    main()
