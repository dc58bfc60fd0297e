"""Figure 7: what the first pooling of each network lets through."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.maps import chosen_channels, maps_of, photograph, picture_for
from robustbench_lift.paper.panels import Panel, beside, sheet
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.studies import drawn_embedded, imagenet, imagenette
from robustbench_lift.pooling.lift import LiftDownPool

POOLINGS = ("max", "average", "blur", "lift")
COUNT = 5


def render(results: Results) -> Rendering:
    """A row a network: channels that leave its first pooling, of lift LL alone, each divided by its own deviation."""
    rows, words, pictures = [], [], []
    for model in results.models():
        picture = picture_for(model, photograph(results.drawing.image))
        maps = maps_of(model, picture, results.drawing.layer)
        lift = isinstance(maps.module, LiftDownPool)
        y = maps.module.cpu().analysis(maps.entering).LL if isinstance(maps.module, LiftDownPool) else maps.leaving
        channels = chosen_channels(y, results.drawing.channels, COUNT)
        name = model.pooling or model.name
        panels = [
            Panel.of(f"{name}{' LL' if lift else ''}, channel {c}", y[0, c] / max(float(y[0, c].std()), 1e-12))
            for c in channels
        ]
        rows.append(panels)
        pictures.append(picture)
        words.append(f"{model.name}: {maps.layer}, {y.shape[2]} x {y.shape[3]}")
    note = (
        "Every channel is divided by its standard deviation, since networks differ in scale. The networks were trained "
        "apart: channels of one number are not the same feature; those that vary most are shown."
    )
    figure = sheet(beside(pictures[0], rows), "Figure 7: maps behind the first pooling", f"{'; '.join(words)}.", note)
    return Rendering(figures={"figure-7": figure}, notes=(note,))


register_item(
    Item(
        name="figure-7",
        title="Figure 7: feature maps behind the first pooling (ResNet-50)",
        shows="The maps that leave the first pooling of networks trained with max, average, blur and lift (LL alone), "
        "for one picture.",
        words="high-resolution feature maps, in its words; no more of its text about them is known here.",
        studies={
            "paper": (imagenet("resnet50", POOLINGS, (), gmacs=3.9),),
            "small": (imagenette("resnet18", POOLINGS, (), gmacs=0.15, measured=1.2),),
            "embedded": (drawn_embedded(*(f"imagenette64/resnet8-{pooling}" for pooling in POOLINGS)),),
        },
        render=render,
        draws=True,
    )
)
