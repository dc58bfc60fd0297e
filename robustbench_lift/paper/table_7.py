"""Table 7: DeepLabV3+ with each pooling."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.study import Study
from robustbench_lift.paper.summary import differences_table, means_table

TITLE = "down-pooling in DeepLabV3+ with ResNet-50 (PASCAL VOC 2012)"
POOLINGS = ("skip", "max", "average", "blur", "lift")
NUMBERS = ("miou", "pixel_accuracy")


def render(results: Results) -> Rendering:
    """mIoU, and lift against the others."""
    labels = list(results.by_network())
    lift = [label for label in labels if label.endswith("/lift")]
    pairs = [(one, other) for one in lift for other in labels if other != one]
    means = means_table(results, "table-7", f"Table 7: {TITLE}", NUMBERS)
    differences = differences_table(results, "table-7-differences", "LiftDownPool against the others", pairs, NUMBERS)
    note = (
        "Backbones start from their first weights here; the paper starts each from its own classifier on ImageNet "
        "(Table 4)."
    )
    return Rendering(tables=(means, differences) if differences.rows else (means,), notes=(note,))


register_item(
    Item(
        name="table-7",
        title=f"Table 7: {TITLE}",
        shows="Mean intersection over union of DeepLabV3+ with ResNet-50, output stride 16, whose local poolings are "
        "each method's; crops of 512 pixels.",
        words="LiftDownPool is the best of the poolings.",
        studies={
            "paper": (
                Study(
                    name="voc-deeplabv3plus",
                    networks=tuple(f"deeplabv3plus-resnet50/{pooling}" for pooling in POOLINGS),
                    data="voc",
                    recipe="voc-deeplabv3plus",
                    training_options="split=trainaug",
                    protocols=("clean",),
                    gmacs=62.0,
                    images=(10_582, 1_449),
                ),
            )
        },
        render=render,
    )
)
