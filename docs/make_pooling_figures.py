"""The pictures of docs/pooling.md.

python docs/make_pooling_figures.py            # writes docs/figures/pooling/*.png, about ten seconds

One photograph of scikit-image's wheel, one untrained but fixed filter, one feature map; every picture shows what a
pooling does to that map. LiftPool's P and U start from the CDF 5/3 wavelet (predict from the two even neighbours,
update by a quarter of the two details) and are fitted to the map for a second, as the losses c_u and c_p ask.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import torch
import torch.nn.functional as F
from torch import Tensor

mpl.use("Agg")
import matplotlib.pyplot as plt
from skimage import data

from robustbench_lift.pooling import (
    POOLINGS,
    LiftDownPool,
    LiftUpPool,
    MaxPool,
    MaxUpPool,
    MaxUpPoolBlur,
    collect_losses,
    make_pooling,
)

OUT = Path(__file__).parent / "figures" / "pooling"
SIDE = 128
INK = "#333333"


def feature_map() -> Tensor:
    """[1, 2, SIDE, SIDE]: brightness, and a rectified mixture of brightness and edges such as a first layer gives."""
    photo = torch.from_numpy(data.astronaut()[0:256, 96:352]).permute(2, 0, 1)[None].float() / 255
    grey = F.interpolate(photo.mean(1, keepdim=True), SIDE, mode="bilinear", antialias=True)
    edges = torch.tensor([[-1.0, -2, 0], [-2, 0, 2], [0, 2, 1]])[None, None]
    response = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="reflect"), edges)
    return torch.cat([grey, F.relu(0.8 * grey + 0.4 * response)], 1)


def fitted(x: Tensor) -> LiftDownPool:
    """LiftDownPool after a short descent on lambda_u c_u + lambda_p c_p alone."""
    torch.manual_seed(0)
    pool = LiftDownPool(x.shape[1])
    pool.predict.taps.data[:] = torch.tensor([0, 0, 0.5, 0.5, 0])
    pool.update.taps.data[:] = torch.tensor([0, 0.25, 0.25, 0, 0])
    pool.predict.gain.data.fill_(1)
    pool.update.gain.data.fill_(1)
    optimizer = torch.optim.Adam(pool.parameters(), lr=0.02)
    for _ in range(300):
        pool(x)
        losses = collect_losses(pool)
        optimizer.zero_grad()
        (0.01 * losses["c_u"] + 0.1 * losses["c_p"]).backward()
        optimizer.step()
    return pool.eval()


def panel(axes: plt.Axes, picture: Tensor, title: str, *, signed: bool = False) -> None:
    """One channel as grey; a signed band in blue and red around zero."""
    top = max(picture.abs().max().item(), 1e-6)
    bounds = {"cmap": "RdBu_r", "vmin": -top, "vmax": top} if signed else {"cmap": "gray"}
    axes.imshow(picture.detach().numpy(), interpolation="nearest", **bounds)
    axes.set_title(title, fontsize=8, color=INK)
    axes.axis("off")


def save(figure: plt.Figure, name: str) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / f"{name}.png", dpi=100, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)


def row(name: str, panels: list[tuple[Tensor, str, bool]]) -> None:
    figure, axes = plt.subplots(1, len(panels), figsize=(1.6 * len(panels), 1.9))
    for axis, (picture, title, signed) in zip(axes, panels, strict=True):
        panel(axis, picture, title, signed=signed)
    save(figure, name)


def pooled(name: str, x: Tensor) -> Tensor:
    """The map [1, 2, h, w] that pooling `name` makes of x."""
    torch.manual_seed(0)
    pool = (
        fitted(x) if name == "lift" else make_pooling(name, 2, **({"size": SIDE} if POOLINGS[name].needs_size else {}))
    )
    pool.train(name == "s3")  # its eval mode hides what it does
    with torch.no_grad():
        return pool(x)


def methods(x: Tensor) -> None:
    """For each pooling: the map, the pooled map, and its difference to the mean of the windows."""
    mean = F.avg_pool2d(x, 2)[0, 1]
    for name in POOLINGS:
        y = pooled(name, x)[0, 1]
        scale = (y * mean).sum() / mean.square().sum()  # lift and wavelet multiply by about 4 and 2
        row(
            f"method-{name}",
            [(x[0, 1], f"{SIDE} x {SIDE}", False), (y, name, False), (y - scale * mean, "minus the mean", True)],
        )


def shift(x: Tensor) -> None:
    """A map and the same map moved by one pixel: the difference of the pooled maps, best aligned."""
    names = ["max", "skip", "average", "blur", "lift", "flc", "aps"]
    figure, axes = plt.subplots(1, len(names), figsize=(1.6 * len(names), 1.9))
    for axis, name in zip(axes, names, strict=True):
        a, b = pooled(name, x)[0, 1], pooled(name, x.roll((1, 1), (2, 3)))[0, 1]
        differences = [b.roll((-i, -j), (0, 1)) - a for i in (0, 1) for j in (0, 1)]
        least = min(differences, key=lambda d: d.square().mean().item())
        share = (least.square().mean() / a.square().mean()).sqrt().item()
        panel(axis, least / a.abs().max(), f"{name}: {100 * share:.0f} %", signed=True)
    save(figure, "shift")


def main() -> None:
    x = feature_map()
    pool = fitted(x)
    bands = pool.analysis(x)
    with torch.no_grad():
        low, details = pool.record(x)
        restored = LiftUpPool.sharing(pool)(low, details)
        y, memory = MaxPool(2).record(x)
        unpooled, blurred = MaxUpPool(2)(y, memory), MaxUpPoolBlur(2, filter="tri-3")(y, memory)
        total = pool(x)
    edge = 1
    row(
        "lift-bands",
        [
            (x[0, edge], "feature map", False),
            (bands.LL[0, edge], "LL", False),
            (bands.LH[0, edge], "LH", True),
            (bands.HL[0, edge], "HL", True),
            (bands.HH[0, edge], "HH", True),
            (total[0, edge], "LL+LH+HL+HH", False),
        ],
    )
    row(
        "lift-against-max",
        [
            (x[0, edge], "feature map", False),
            (y[0, edge], "MaxPool", False),
            (F.avg_pool2d(x, 2)[0, edge], "AveragePool", False),
            (total[0, edge], "LiftDownPool", False),
        ],
    )
    row(
        "lift-up",
        [
            (x[0, edge], "feature map", False),
            (unpooled[0, edge], "MaxUpPool", False),
            (blurred[0, edge], "MaxUpPool, blurred", False),
            (restored[0, edge], "LiftUpPool", False),
            ((restored - x)[0, edge], f"error {(restored - x).abs().max():.0e}", True),
        ],
    )
    only_low = LiftUpPool.sharing(pool)(low, details._replace(LH=0 * low, HL=0 * low, HH=0 * low))
    row(
        "lift-up-details",
        [
            (x[0, edge], "feature map", False),
            (only_low[0, edge], "from LL alone", False),
            (restored[0, edge], "from all four bands", False),
        ],
    )
    methods(x)
    shift(x)


if __name__ == "__main__":
    main()
