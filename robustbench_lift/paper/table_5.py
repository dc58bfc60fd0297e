"""Table 5: robustness to corruptions and perturbations by pooling."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.reports import document_of
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.studies import ROBUSTNESS

TITLE = "robustness to corruptions and perturbations by pooling (ResNet-50)"


def render(results: Results) -> Rendering:
    """mCE and mFR, normalised and not, consistency, clean error; and CE by corruption."""
    from robustbench_lift.report.registry import make_table

    made = document_of(results)
    return Rendering(tables=tuple(make_table(made, name) for name in ("table-5", "per-corruption", "per-perturbation")))


register_item(
    Item(
        name="table-5",
        title=f"Table 5: {TITLE}",
        shows="mCE on ImageNet-C and mFR on ImageNet-P, normalised by AlexNet and not, beside shift consistency and "
        "clean error; the official files where they are named (imagenet-c, imagenet-p), else generated from the clean "
        "images under another signature. Small: ResNet-18 on Imagenette at 64 pixels, normalised by a small AlexNet. "
        "Embedded: the shipped ResNet-8s on the photographs.",
        words="LiftDownPool lowers the unnormalised mCE, and the flip rate of most perturbations.",
        studies=ROBUSTNESS,
        render=render,
    )
)
