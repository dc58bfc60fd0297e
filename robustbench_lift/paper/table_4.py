"""Table 4: thirteen poolings in three backbones, top-1 error."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.reports import report_table
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.studies import EMBEDDED_POOLINGS, TABLE_4_POOLINGS, imagenet, imagenette, photos

TITLE = "pooling methods in three backbones (ImageNet)"


def render(results: Results) -> Rendering:
    """Clean error, pooling by backbone."""
    return Rendering(tables=(report_table(results, "table-4"),))


register_item(
    Item(
        name="table-4",
        title=f"Table 4: {TITLE}",
        shows="Top-1 error on clean images of each pooling method in ResNet-18, ResNet-50 and MobileNetV2, every "
        "network trained alike. Small: Imagenette at 64 pixels, ResNet-18 and MobileNetV2. Embedded: the shipped "
        f"ResNet-8s, {len(EMBEDDED_POOLINGS)} poolings.",
        words="LiftDownPool has 2 % lower error than MaxPool and AveragePool; Gated and Mixed stay 1 % behind it; GFGP "
        "and GaussPool are comparable on ResNet-50 and not on the lighter networks; S3Pool is poor.",
        studies={
            "paper": (
                imagenet("resnet18", TABLE_4_POOLINGS, ("clean",), gmacs=1.83),
                imagenet("resnet50", TABLE_4_POOLINGS, ("clean",), gmacs=3.9),
                imagenet("mobilenetv2", TABLE_4_POOLINGS, ("clean",), recipe="imagenet-mobilenetv2", gmacs=0.32),
            ),
            "small": (
                imagenette("resnet18", TABLE_4_POOLINGS, ("clean",), gmacs=0.15),
                imagenette("mobilenetv2", TABLE_4_POOLINGS, ("clean",), gmacs=0.026),
            ),
            "embedded": (photos(),),
        },
        render=render,
    )
)
