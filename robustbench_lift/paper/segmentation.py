"""What the items of segmentation share: SegNets with pairs of poolings, and predictions in colours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.kinds import open_images
from robustbench_lift.paper.maps import Pixels, photograph
from robustbench_lift.paper.places import evaluation_spec
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.studies import CONSTRAINED
from robustbench_lift.paper.study import Scale, Study

PAIRS = ("max", "max-blur", "lift", "lift-no-details")
"""The arms of Table 6, and lift without the encoder's details, which are a skip connection that max has not."""
SHOWN = ("clean", "corruption")

SEGNETS: dict[Scale, tuple[Study, ...]] = {
    "paper": (
        Study(
            name="voc-segnet",
            networks=(*(f"segnet/{pair}" for pair in PAIRS), f"segnet/{CONSTRAINED}"),
            data="voc",
            recipe="voc-segnet",
            training_options="split=trainaug",
            protocols=("clean",),
            gmacs=62.0,
            images=(10_582, 1_449),
        ),
    ),
    "small": (
        Study(
            name="camvid-segnet",
            networks=tuple(f"segnet/{pair}?width=0.125" for pair in PAIRS),
            data="camvid",
            recipe="camvid-small",
            geometry="resize=90",
            protocols=SHOWN,
            seeds=(0, 1, 2),
            gmacs=0.11,
            images=(367, 233),
            measured=1.3,  # eight of the twelve networks: 0.7 in training, 0.2 in evaluation
        ),
    ),
    "embedded": (
        Study(
            name="scenes",
            networks=tuple(f"scenes/segnet-{pair}" for pair in PAIRS),
            data="scenes",
            protocols=SHOWN,
            gmacs=0.02,
            images=(0, 60),
        ),
    ),
}
"""SegNet with each pair of poolings, by scale."""


def images_of(results: Results) -> ImageSet:
    """The test images of the item's data."""
    return open_images(evaluation_spec(results.studies[0].data, results.places).partition("?")[0])


def picture_of(results: Results) -> tuple[Pixels, str]:
    """The picture of a drawing and its name: the one that was asked for, or an image from the middle of the data."""
    if results.drawing.image is not None:
        return photograph(results.drawing.image), results.drawing.image
    images = images_of(results)
    row = len(images.ids) // 2
    return images.read(row), images.ids[row]


def frequent(classes: Sequence[Tensor], count: int) -> list[int]:
    """The classes that label most pixels of some predictions, in falling order."""
    pixels = torch.bincount(torch.cat([one.flatten() for one in classes]))
    order = pixels.sort(descending=True, stable=True).indices
    return [int(k) for k in order[:count] if pixels[k] > 0]
