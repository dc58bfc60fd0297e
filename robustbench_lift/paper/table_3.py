"""Table 3: LiftDownPool against skip, max and average on CIFAR-100."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.studies import CONSTRAINED, cifar_vgg
from robustbench_lift.paper.summary import differences_table, means_table

TITLE = "LiftDownPool and the usual poolings (VGG13, CIFAR-100)"
NETWORKS = ("skip", "max", "average", "lift", CONSTRAINED)


def render(results: Results) -> Rendering:
    """Means over seeds, and lift with and without its constraints against the others."""
    labels = list(results.by_network())
    pairs = [(a, b) for a in labels if "/lift" in a for b in labels if a != b and not (a > b and "/lift" in b)]
    means = means_table(results, "table-3", f"Table 3: {TITLE}")
    differences = differences_table(results, "table-3-differences", "Lift against the others", pairs)
    return Rendering(tables=(means, differences) if differences.rows else (means,))


register_item(
    Item(
        name="table-3",
        title=f"Table 3: {TITLE}",
        shows="Test error of VGG13 on CIFAR-100 with strided convolutions (skip), max, average and LiftDownPool; lift "
        "with the losses c_u and c_p as the paper trains it, and without.",
        words="every single band of Table 1 has a lower error than skip, max and average, and the sum of the bands "
        "the lowest.",
        studies={"paper": (cifar_vgg(NETWORKS, small=False),), "small": (cifar_vgg(NETWORKS, small=True),)},
        render=render,
    )
)
