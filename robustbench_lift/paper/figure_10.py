"""Figure 10: the last maps of SegNet, one a class."""

from __future__ import annotations

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.maps import chosen_channels
from robustbench_lift.paper.panels import Panel, beside, sheet
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.segmentation import SEGNETS, frequent, picture_of
from robustbench_lift.report.map_pictures import answer, colours

COUNT = 4


def render(results: Results) -> Rendering:
    """A row a network: its prediction, and the logits of the classes that it and the others predict most."""
    picture, name = picture_of(results)
    models = results.models()
    logits = [answer(model, picture) for model in models]
    common = frequent([one.argmax(0) for one in logits], COUNT)
    channels = chosen_channels(logits[0][None], results.drawing.channels, COUNT) if results.drawing.channels else common
    rows = []
    for model, one in zip(models, logits, strict=True):
        names = model.class_names or tuple(str(k) for k in range(model.num_classes))
        predicted = colours(one.argmax(0).numpy(), model.num_classes)
        maps = [Panel.of(f"{names[k]}", one[k]) for k in channels]
        rows.append([Panel(model.pooling or model.name, predicted), *maps])
    note = f"Logits of the last layer, before the largest is taken; {name}."
    figure = sheet(beside(picture, rows), "Figure 10: a map for each class", note)
    return Rendering(figures={"figure-10": figure}, notes=(note,))


register_item(
    Item(
        name="figure-10",
        title="Figure 10: the last feature maps of SegNet, one a predicted class",
        shows="The logits of the classes that are predicted most in one picture, for each network of Table 6; one "
        "scale for all.",
        words="no sentence about these maps is known here.",
        studies=SEGNETS,
        render=render,
        draws=True,
    )
)
