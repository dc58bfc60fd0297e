"""Figure 3: the four sub-bands of a feature map."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.lifting import LIFT_STUDIES, lifted
from robustbench_lift.paper.panels import Panel, beside, sheet
from robustbench_lift.paper.results import Results
from robustbench_lift.pooling.lift import BANDS


def render(results: Results) -> Rendering:
    """A row a channel: the map, LL, LH, HL, HH."""
    one = lifted(results)
    x = one.maps.entering
    rows = [
        [
            Panel.of(f"channel {c}: {x.shape[2]} x {x.shape[3]}", x[0, c]),
            *(Panel.of(band, getattr(one.bands, band)[0, c]) for band in BANDS),
        ]
        for c in one.channels
    ]
    energy = {band: float(getattr(one.bands, band).double().square().sum()) for band in BANDS}
    whole = sum(energy.values())
    note = "Share of the energy over all channels: " + ", ".join(
        f"{band} {100 * value / whole:.1f} %" for band, value in energy.items()
    )
    names = "The first letter is the horizontal band, the second the vertical one."
    figure = sheet(beside(one.picture, rows), "Figure 3: sub-bands", one.words, f"{note}. {names}")
    return Rendering(figures={"figure-3": figure}, notes=(f"{note}.",))


register_item(
    Item(
        name="figure-3",
        title="Figure 3: sub-bands of LiftDownPool",
        shows="A feature map of a trained network and what its own LiftDownPool makes of it: the smooth band LL and "
        "the details LH, HL and HH.",
        words="a map is split into four sub-bands, LL and three of details. Its text names LH both ways; here the "
        "first letter is the horizontal band.",
        studies=LIFT_STUDIES,
        render=render,
        draws=True,
    )
)
