"""Figure 9: CE by corruption and FR by perturbation."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.reports import report_figure
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.studies import ROBUSTNESS


def render(results: Results) -> Rendering:
    """Bars with intervals."""
    return Rendering(figures={"figure-9": report_figure(results, "figure-9")})


register_item(
    Item(
        name="figure-9",
        title="Figure 9: error by corruption and flip rate by perturbation (ResNet-50)",
        shows="A bar for each pooling and corruption (CE) and for each pooling and perturbation (FR), with confidence "
        "intervals; the runs are those of Table 5.",
        words="LiftDownPool has a lower flip rate on most perturbations.",
        studies=ROBUSTNESS,
        render=render,
    )
)
