"""Pictures of a segmentation report: test images, their label maps, what each network makes of them, and its errors.

A run stores counts, not maps, so the networks are shown these few images again. That needs the data and the weights
where the runs found them; where they are gone the page says so instead.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from metrics import VOID
from robustbench_lift.data.base import ImageSet, LabelMaps, has_maps
from robustbench_lift.data.kinds import open_images
from robustbench_lift.errors import DataError, RobustbenchError
from robustbench_lift.report.pictures import LOSSLESS, data_uri
from robustbench_lift.report.schema import Document
from robustbench_lift.text import printable
from robustbench_lift.weights import LoadedModel, load_model

Pixels = npt.NDArray[np.uint8]
COUNT = 4
"""Images of a page."""
LARGEST = 256
"""Longer side of a picture on the page, in pixels."""
WRONG = (214, 40, 40)
"""Colour of pixels that got another class."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture with the words below it."""

    label: str
    uri: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class MapPictures:
    """What the page shows of a segmentation report."""

    rows: tuple[tuple[Picture, ...], ...] = ()
    """A row an image: the image, the truth, and prediction and errors of each network."""
    legend: tuple[Picture, ...] = ()
    """The colour of each class."""
    why_not: str = ""
    """Why there are no rows, in a sentence."""


def map_pictures(document: Document) -> MapPictures | None:
    """The pictures of a document; None where it is not about label maps."""
    models = [m for m in document.models if m.headline.get("miou") is not None and m.headline["miou"].value is not None]
    if not models:
        return None
    try:
        images = _images(document)
        networks = [(model.label, load_model(model.spec)) for model in models]
    except RobustbenchError as error:
        return MapPictures(why_not=f"No pictures: {error}")
    changed = [m.label for m, (_, net) in zip(models, networks, strict=True) if net.weights_sha256 != m.weights_sha256]
    if changed:
        return MapPictures(why_not=f"No pictures: the weights of {', '.join(changed)} are no longer those of the runs.")
    classes = len(images.class_names)
    rows = []
    for row in spread(images, COUNT):
        try:
            image = images.read(row)
            truth = np.asarray(images.target(row, image.shape[:2]))
        except RobustbenchError as error:
            return MapPictures(why_not=f"No pictures: {error}")
        pictures = [_picture(printable(images.ids[row]), image), _picture("truth", colours(truth, classes))]
        for label, network in networks:
            predicted = _at(answer(network, image), truth.shape).argmax(0).numpy()
            wrong, counted = (predicted != truth) & (truth != VOID), truth != VOID
            right = 1 - wrong.sum() / max(1, counted.sum())
            pictures.append(_picture(label, colours(predicted, classes)))
            pictures.append(
                _picture(f"{label}: errors", errors(_like(image, truth.shape), wrong), f"{right:.1%} right")
            )
        rows.append(tuple(pictures))
    swatches = (np.broadcast_to(colours(np.array([[k]]), classes), (12, 12, 3)) for k in range(classes))
    legend = tuple(
        Picture(printable(name), data_uri(np.ascontiguousarray(swatch)))
        for name, swatch in zip(images.class_names, swatches, strict=True)
    )
    return MapPictures(tuple(rows), legend)


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


def errors(image: Pixels, wrong: npt.NDArray[np.bool_]) -> Pixels:
    """An image [H, W, 3] in faint grey, wrong pixels [H, W] in red.

    >>> errors(np.zeros((1, 2, 3), np.uint8), np.array([[True, False]])).tolist()
    [[[214, 40, 40], [127, 127, 127]]]
    """
    grey = np.repeat(127 + image.mean(axis=2, keepdims=True) // 2, 3, axis=2)
    return np.where(wrong[..., None], np.array(WRONG), grey).astype(np.uint8)


def spread(images: ImageSet, count: int) -> list[int]:
    """Rows of so many images, evenly spread over the set."""
    return [int(row) for row in np.linspace(0, len(images.ids) - 1, count).round()]


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


def _images(document: Document) -> LabelMaps:
    """The test images: those that ship, or what the command of the runs named."""
    named = document.data.partition("-limit")[0]
    for model in document.models:
        words = shlex.split(model.provenance.get("command", ""))
        if "--data" in words[:-1]:
            named = words[words.index("--data") + 1].partition(",")[0]
    images = open_images(named)
    if not has_maps(images):
        raise DataError(f"{printable(named)} has no label maps.")
    return images


def _at(logits: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(logits.shape[1:]) == tuple(size):
        return logits
    return torch.nn.functional.interpolate(logits[None], tuple(size), mode="bilinear", align_corners=False)[0]


def _like(image: Pixels, size: Sequence[int]) -> Pixels:
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0])))


def _picture(label: str, image: Pixels, words: str = "") -> Picture:
    longer = max(image.shape[:2])
    if longer > LARGEST:
        size = tuple(max(1, round(side * LARGEST / longer)) for side in (image.shape[1], image.shape[0]))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST))
    return Picture(label, data_uri(image, lossless=longer <= LOSSLESS or words != "" or label == "truth"), words)
