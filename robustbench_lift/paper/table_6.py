"""Table 6: SegNet with LiftUpPool against MaxUpPool."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.segmentation import SEGNETS
from robustbench_lift.paper.summary import differences_table, means_table

NUMBERS = ("miou", "class_accuracy", "pixel_accuracy", "trimap_miou/2", "mean_miou", "retention")
"""Trimap mIoU within 2 pixels of a boundary."""


def render(results: Results) -> Rendering:
    """mIoU and accuracies, and lift against the others."""
    labels = list(results.by_network())
    lift = [label for label in labels if "/lift" in label and "no-details" not in label]
    pairs = [(one, other) for one in lift for other in labels if other != one]
    data = results.studies[0].data
    means = means_table(results, "table-6", f"Table 6: up-pooling in SegNet ({data})", NUMBERS)
    differences = differences_table(results, "table-6-differences", "LiftUpPool against the others", pairs, NUMBERS)
    note = (
        "LiftUpPool takes three bands of each level from the encoder, a skip connection of three quarters of its "
        "samples; MaxUpPool takes positions. lift-no-details has zeros in their place. Where images are frames of "
        "sequences, intervals draw blocks of ten neighbours."
    )
    return Rendering(tables=(means, differences) if differences.rows else (means,), notes=(note,))


register_item(
    Item(
        name="table-6",
        title="Table 6: up-pooling in SegNet (PASCAL VOC 2012)",
        shows="Mean intersection over union of SegNet with MaxPool and MaxUpPool, the same with a blur after each "
        "up-pooling, and LiftDownPool (LL goes on) with LiftUpPool (the details come from the encoder), trained alike. "
        "The paper states no recipe. Small: CamVid with a short side of 90 pixels, an eighth of the width. "
        "Embedded: the shipped networks on scenes.",
        words="LiftUpPool is better than MaxUpPool with BlurPool, which is better than MaxUpPool, by a considerable "
        "margin.",
        studies=SEGNETS,
        render=render,
    )
)
