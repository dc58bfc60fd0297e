"""Figure 6: the sum of the sub-bands, band by band."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.lifting import LIFT_STUDIES, lifted
from robustbench_lift.paper.panels import Panel, beside, sheet
from robustbench_lift.paper.results import Results
from robustbench_lift.pooling import AveragePool, MaxPool


def render(results: Results) -> Rendering:
    """A row a channel: LL, LL + LH, + HL, + HH, beside max and average of the same map."""
    one = lifted(results)
    x, bands = one.maps.entering, one.bands
    y, average = MaxPool(x.shape[1])(x), AveragePool(x.shape[1])(x)
    rows = []
    for c in one.channels:
        ll, lh, hl, hh = (band[0, c] for band in bands[:4])
        rows.append(
            [
                Panel.of(f"channel {c}: {x.shape[2]} x {x.shape[3]}", x[0, c]),
                Panel.of("LL", ll),
                Panel.of("LL + LH", ll + lh),
                Panel.of("LL + LH + HL", ll + lh + hl),
                Panel.of("LL + LH + HL + HH", ll + lh + hl + hh),
                Panel.of("MaxPool", y[0, c]),
                Panel.of("AveragePool", average[0, c]),
            ]
        )
    total = sum(bands[:4])
    scale = float((total * average).sum() / average.square().sum())
    note = f"The sum is about {scale:.1f} times the mean of a window here."
    figure = sheet(beside(one.picture, rows), "Figure 6: the sum of the sub-bands", one.words, note)
    return Rendering(figures={"figure-6": figure}, notes=(note,))


register_item(
    Item(
        name="figure-6",
        title="Figure 6: LiftDownPool for classification, the sum of the sub-bands",
        shows="How the output of LiftDownPool for classification comes about: LL, then LH, HL and HH added to it, "
        "beside max and average of the same map.",
        words="for classification all sub-bands are summed, with almost no additional compute.",
        studies=LIFT_STUDIES,
        render=render,
        draws=True,
    )
)
