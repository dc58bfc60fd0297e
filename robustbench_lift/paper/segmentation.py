"""What the items of segmentation share: SegNets with pairs of poolings, and predictions in colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.kinds import open_images
from robustbench_lift.paper.item import Scale, Study
from robustbench_lift.paper.maps import Pixels, photograph
from robustbench_lift.paper.places import evaluation_spec
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.studies import CONSTRAINED
from robustbench_lift.weights import LoadedModel

VOID = 255
"""Label of a pixel that does not count."""
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


def colours(labels: npt.NDArray[np.integer], classes: int) -> Pixels:
    """A label map [H, W] in the colours of PASCAL VOC, uint8 [H, W, 3]; void is white.

    >>> colours(np.array([[0, 1, 255]]), 2).tolist()
    [[[0, 0, 0], [128, 0, 0], [255, 255, 255]]]
    """
    table = np.full((256, 3), 255, dtype=np.uint8)
    for label in range(classes):
        rest, colour = label, [0, 0, 0]
        for bit in range(7, -1, -1):  # the lowest three bits of the label are the highest of red, green and blue
            colour = [value | (rest >> channel & 1) << bit for channel, value in enumerate(colour)]
            rest >>= 3
        table[label] = colour
    found: Pixels = table[labels]
    return found


def images_of(results: Results) -> ImageSet:
    """The test images of the item's data."""
    study = results.item.at(results.scale)[0]
    return open_images(evaluation_spec(study.data, results.places).partition("?")[0])


def spread(images: ImageSet, count: int) -> list[int]:
    """Rows of so many images, evenly spread over the set."""
    return [int(row) for row in np.linspace(0, len(images.ids) - 1, count).round()]


def picture_of(results: Results) -> tuple[Pixels, str]:
    """The picture of a drawing and its name: the one that was asked for, or an image from the middle of the data."""
    if results.drawing.image is not None:
        return photograph(results.drawing.image), results.drawing.image
    images = images_of(results)
    row = len(images.ids) // 2
    return images.read(row), images.ids[row]


def answer(model: LoadedModel, image: Pixels) -> Tensor:
    """Logits [K, h, w] of an image at the size that the network was made for, its short side resized."""
    size = model.preprocessing.resize or model.preprocessing.crop
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    if size is not None and min(image.shape[:2]) != size:
        factor = size / min(image.shape[:2])
        height, width = (max(1, round(side * factor)) for side in image.shape[:2])
        tensor = torch.nn.functional.interpolate(
            tensor.float(), (height, width), mode="bilinear", antialias=True, align_corners=False
        )
        tensor = tensor.round().clamp(0, 255).to(torch.uint8)
    with torch.no_grad():
        return model.logits(tensor.contiguous())[0]


def frequent(classes: Sequence[Tensor], count: int) -> list[int]:
    """The classes that label most pixels of some predictions, in falling order."""
    pixels = torch.bincount(torch.cat([one.flatten() for one in classes]))
    order = pixels.sort(descending=True, stable=True).indices
    return [int(k) for k in order[:count] if pixels[k] > 0]
