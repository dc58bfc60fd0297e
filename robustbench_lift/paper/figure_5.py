"""Figure 5: predictions of SegNet beside the truth."""

from __future__ import annotations

import numpy as np

from robustbench_lift.data.base import has_maps
from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.panels import Panel, sheet
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.segmentation import SEGNETS, images_of
from robustbench_lift.report.map_pictures import answer, colours, spread

COUNT = 4


def render(results: Results) -> Rendering:
    """A row an image: the image, its label map, and what each network makes of it."""
    images, models = images_of(results), results.models()
    assert has_maps(images)
    classes, rows = len(images.class_names), []
    for row in spread(images, COUNT):
        image = images.read(row)
        truth = images.target(row, image.shape[:2])
        shown = [Panel(images.ids[row], image), Panel("truth", colours(truth, classes))]
        for model in models:
            predicted = answer(model, image).argmax(0).numpy().astype(np.int64)
            shown.append(Panel(model.pooling or model.name, colours(predicted, classes)))
        rows.append(shown)
    note = f"{COUNT} test images, evenly spread over the set and not chosen; VOC's colours, void is white."
    figure = sheet(rows, "Figure 5: predictions", f"{', '.join(model.name for model in models)}.", note)
    return Rendering(figures={"figure-5": figure}, notes=(note,))


register_item(
    Item(
        name="figure-5",
        title="Figure 5: predictions of SegNet with each up-pooling",
        shows="Test images, their label maps, and the predictions of the networks of Table 6.",
        words="no sentence about these pictures is known here; of Table 6 it says that LiftUpPool is better by a "
        "considerable margin.",
        studies=SEGNETS,
        render=render,
    )
)
