"""Figure 1: a map pooled and restored: what max forgets and lift gives back."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.lifting import LIFT_STUDIES, lifted
from robustbench_lift.paper.panels import Panel, beside, sheet
from robustbench_lift.paper.results import Results
from robustbench_lift.pooling import AveragePool, LiftUpPool, MaxPool, MaxUpPool


def render(results: Results) -> Rendering:
    """A row a channel: the map, pooled by max, average and lift, restored from max and from lift, and lift's error."""
    one = lifted(results)
    x = one.maps.entering
    y, memory = MaxPool(x.shape[1]).record(x)
    unpooled = MaxUpPool(x.shape[1])(y, memory)
    average = AveragePool(x.shape[1])(x)
    low, details = one.pool.record(x)
    restored = LiftUpPool.sharing(one.pool)(low, details)
    error = float((restored - x).abs().max())
    rows = [
        [
            Panel.of(f"channel {c}: {x.shape[2]} x {x.shape[3]}", x[0, c]),
            Panel.of("MaxPool", y[0, c]),
            Panel.of("AveragePool", average[0, c]),
            Panel.of("LiftDownPool: LL", low[0, c]),
            Panel.of("MaxUpPool", unpooled[0, c]),
            Panel.of("LiftUpPool", restored[0, c]),
        ]
        for c in one.channels
    ]
    notes = f"LiftUpPool gives the map back with a largest error of {error:.1e}; MaxUpPool places the maxima."
    figure = sheet(beside(one.picture, rows), "Figure 1: pooled, and restored", one.words, notes)
    return Rendering(figures={"figure-1": figure}, notes=(notes,))


register_item(
    Item(
        name="figure-1",
        title="Figure 1: bidirectional pooling of a feature map",
        shows="A feature map of a trained network, pooled by max, average and LiftDownPool (LL), and brought back to "
        "its size by MaxUpPool and by LiftUpPool from all four bands.",
        words="LiftUpPool is LiftDownPool performed backwards; max-pooling is not invertible.",
        studies=LIFT_STUDIES,
        render=render,
        draws=True,
    )
)
