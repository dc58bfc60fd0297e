"""Table 1: one sub-band alone, their sum, and the sum trained with the constraints."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.studies import CONSTRAINED, cifar_vgg
from robustbench_lift.paper.study import Study
from robustbench_lift.paper.summary import differences_table, means_table
from robustbench_lift.pooling.lift import BANDS

TITLE = "sub-bands and constraints (VGG13, CIFAR-100)"


def _studies(*, small: bool) -> tuple[Study, ...]:
    alone = tuple(f"lift?bands={band}" for band in BANDS)
    both = cifar_vgg((*alone, "lift", CONSTRAINED), small=small, measured=2.7)
    single = (
        cifar_vgg(
            (CONSTRAINED,),
            small=small,
            name=f"cifar100-vgg13-{kept}",
            label=f"{kept} alone",
            changes={lost: 0.0},
            measured=0.5,
        )
        for kept, lost in (("c_u", "auxiliary.c_p"), ("c_p", "auxiliary.c_u"))
    )
    return (both, *single)


def render(results: Results) -> Rendering:
    """Means over seeds, and the sum against every other row."""
    labels = list(results.by_network())
    whole = [label for label in labels if label.endswith("/lift")]
    pairs = [(whole[0], label) for label in labels if whole and label != whole[0]]
    means = means_table(results, "table-1", f"Table 1: {TITLE}")
    differences = differences_table(results, "table-1-differences", "The plain sum against each row", pairs)
    return Rendering(tables=(means, differences) if differences.rows else (means,))


register_item(
    Item(
        name="table-1",
        title=f"Table 1: {TITLE}",
        shows="Test error of VGG13 on CIFAR-100 whose five max-pools are LiftDownPools of which one sub-band goes on "
        "(LL, LH, HL or HH, first letter horizontal), or the sum of all four; the sum also with the losses c_u and "
        "c_p, alone and together.",
        words="the sum is clearly better than any single band; vertical details are better than LL and horizontal "
        "details, which are alike; c_u and c_p lower the error further; every single band is better than the skip, "
        "max and average of Table 3.",
        studies={"paper": _studies(small=False), "small": _studies(small=True)},
        render=render,
    )
)
