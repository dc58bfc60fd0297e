"""Table 2: kernel sizes of P and U."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.studies import CONSTRAINED, cifar_vgg
from robustbench_lift.paper.summary import against, differences_table, means_table

TITLE = "kernel size of P and U (VGG13, CIFAR-100)"
NETWORKS = (f"{CONSTRAINED}&kernel_size=3", CONSTRAINED, f"{CONSTRAINED}&kernel_size=7")


def render(results: Results) -> Rendering:
    """Means over seeds, and 5 taps against 3 and 7."""
    means = means_table(results, "table-2", f"Table 2: {TITLE}")
    default = next((label for label in results.by_network() if label.endswith(f"/{CONSTRAINED}")), None)
    if default is None:
        return Rendering(tables=(means,))
    pairs = against(results, default)
    differences = differences_table(results, "table-2-differences", "Five taps against three and seven", pairs)
    return Rendering(tables=(means, differences))


register_item(
    Item(
        name="table-2",
        title=f"Table 2: {TITLE}",
        shows="Test error of VGG13 on CIFAR-100 with LiftDownPool (sum of the bands, with c_u and c_p) whose P and U "
        "have 3, 5 and 7 taps.",
        words="a larger kernel is slightly better; 7 gains nothing over 5.",
        studies={
            "paper": (cifar_vgg(NETWORKS, small=False),),
            "small": (cifar_vgg(NETWORKS, small=True, measured=1.7),),
        },
        render=render,
    )
)
