"""What every pooling does to one and the same map: pictures for the page about poolings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.lifting import LIFT_STUDIES, lifted
from robustbench_lift.paper.panels import Panel, sheet
from robustbench_lift.paper.results import Results
from robustbench_lift.pooling import POOLINGS, make_pooling
from robustbench_lift.pooling.base import PoolingLayer
from robustbench_lift.pooling.lift import LiftDownPool

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHIFTED = ("max", "skip", "average", "blur", "lift", "flc", "aps")
"""Poolings whose answer to a shift by one pixel is shown."""


def pooled(name: str, x: Tensor, lift: LiftDownPool) -> Tensor:
    """The map [1, C, h, w] that a pooling makes of x: the network's own lift, others as they begin."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        size = {"size": x.shape[2]} if POOLINGS[name].needs_size else {}
        layer: PoolingLayer = lift if name == "lift" else make_pooling(name, x.shape[1], **size)
        layer.train(name == "s3")  # its eval mode hides what it does
        return layer(x)  # type: ignore[no-any-return]


def render(results: Results) -> Rendering:
    """For each pooling the map, the pooled map, its difference from the mean; and shifts by a pixel."""
    one = lifted(results)
    x, channel = one.maps.entering, one.channels[0]
    mean = F.avg_pool2d(x, 2)[0, channel]
    figures: dict[str, Figure] = {}
    for name in POOLINGS:
        y = pooled(name, x, one.pool)[0, channel]
        scale = float((y * mean).sum() / mean.square().sum())  # lift and wavelet multiply by about 4 and 2
        fitted = y / scale if scale else y
        panels = [
            Panel.of(f"{x.shape[2]} x {x.shape[3]}", x[0, channel]),
            Panel.of(f"{name}, / {scale:.2f}", fitted),
            Panel.of("minus the mean", fitted - mean),
        ]
        figures[f"method-{name}"] = sheet([panels], name, one.words)
    figures["shift"] = _shift(x, channel, one.pool, one.words)
    return Rendering(figures=figures)


def _shift(x: Tensor, channel: int, lift: LiftDownPool, words: str) -> Figure:
    """The difference of the pooled map when the map moves by one pixel, best aligned."""
    panels = []
    for name in SHIFTED:
        a, b = (pooled(name, part, lift)[0, channel] for part in (x, x.roll((1, 1), (2, 3))))
        differences = [b.roll((-i, -j), (0, 1)) - a for i in (0, 1) for j in (0, 1)]
        least = min(differences, key=lambda d: float(d.square().mean()))
        share = float((least.square().mean() / a.square().mean()).sqrt())
        panels.append(Panel.of(f"{name}: {100 * share:.0f} %", least / a.abs().max()))
    return sheet([panels], "Difference after a shift by one pixel, over the largest value of the map", words)


register_item(
    Item(
        name="poolings",
        title="Every pooling on one feature map",
        shows="For each pooling of the package: a feature map of a trained network, the pooled map divided by the "
        "factor that fits it to the mean of the windows, and the difference from that mean. Poolings that learn are "
        "as they begin, lift as it was trained.",
        words="Pictures of the page about poolings.",
        studies={"embedded": LIFT_STUDIES["embedded"]},
        render=render,
        draws=True,
        in_paper=False,
    )
)
