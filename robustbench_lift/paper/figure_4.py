"""Figure 4: shift consistency against accuracy."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.reports import report_figure, report_table
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.studies import imagenet, imagenette, photos

POOLINGS = ("skip", "max", "average", "blur", "lift")
SHOWN = ("clean", "shift")


def render(results: Results) -> Rendering:
    """A point a network, and the same numbers as a table."""
    return Rendering(tables=(report_table(results, "shift"),), figures={"figure-4": report_figure(results, "figure-4")})


register_item(
    Item(
        name="figure-4",
        title="Figure 4: shift consistency against accuracy (ResNet-18, ResNet-50)",
        shows="A point for each network: how often two windows of one image get the same answer, against top-1 "
        "accuracy. Zhang's protocol: two 224-pixel windows of a 256-pixel image, five draws. Small: ResNet-18 on "
        "Imagenette at 64 pixels. Embedded: the shipped ResNet-8s.",
        words="LiftDownPool adds more than 10 points of consistency on ResNet-18; on ResNet-50 max, skip and average "
        "differ little. Under Zhang's protocol a ResNet-18 with max-pooling has 85.1 % and the best of his blurred "
        "ones 88.3 %, so the paper's scale must be another one; do not compare.",
        studies={
            "paper": (
                imagenet("resnet18", POOLINGS, SHOWN, gmacs=1.83),
                imagenet("resnet50", POOLINGS, SHOWN, gmacs=3.9),
            ),
            "small": (imagenette("resnet18", POOLINGS, SHOWN, gmacs=0.15, measured=1.6),),
            "embedded": (photos(),),
        },
        render=render,
    )
)
