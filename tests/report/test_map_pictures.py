"""Pictures of a segmentation report: what is shown is what the networks answer, and what is gone is said."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_lift.data.scenes import Scenes
from robustbench_lift.evaluation.engine import evaluate
from robustbench_lift.report import document
from robustbench_lift.report.map_pictures import COUNT, WRONG, map_pictures
from robustbench_lift.report.page import page
from robustbench_lift.report.schema import Document
from robustbench_lift.weights import load_model

MODELS = ["scenes/segnet-lift", "scenes/segnet-max"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Document:
    folder = tmp_path_factory.mktemp("scenes")
    runs = evaluate(MODELS, "scenes", run=[folder / "lift", folder / "max"], protocols=("clean",), limit=6)
    return document(runs, replicates=20)


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_a_row_an_image_with_truth_predictions_and_errors(made: Document) -> None:
    shown = map_pictures(made)
    assert shown is not None
    assert not shown.why_not
    assert len(shown.rows) == COUNT
    assert [entry.label for entry in shown.legend] == list(Scenes().class_names)
    scenes = Scenes()
    image, _, *rest = shown.rows[0]
    assert np.array_equal(decoded(image.uri), scenes.read(0))
    assert len(rest) == 2 * len(MODELS)
    target = scenes.target(0, (72, 72))
    for spec, label in zip(MODELS, ("lift", "max"), strict=True):
        (errors,) = (picture for picture in rest if picture.label == f"{label}: errors")
        pixels = np.ascontiguousarray(scenes.read(0).transpose(2, 0, 1))[None]
        predicted = load_model(spec).logits(torch.from_numpy(pixels))[0].argmax(0).numpy()
        red = (decoded(errors.uri) == WRONG).all(axis=2)
        assert np.array_equal(red, predicted != target)
        assert errors.words == f"{(predicted == target).mean():.1%} right"
    assert "Predictions</h2>" in page(made)


def test_what_is_gone_is_said_in_a_sentence(made: Document) -> None:
    other = dataclasses.replace(made.models[0], weights_sha256="0" * 64)
    shown = map_pictures(dataclasses.replace(made, models=(other, *made.models[1:])))
    assert shown is not None
    assert "no longer those of the runs" in shown.why_not
    gone = dataclasses.replace(other, provenance={"command": "robustbench-lift run --data camvid:/nowhere"})
    shown = map_pictures(dataclasses.replace(made, models=(gone, *made.models[1:])))
    assert shown is not None
    assert shown.why_not.startswith("No pictures: ")
    assert not shown.rows
    assert "No pictures" in page(dataclasses.replace(made, models=(gone, *made.models[1:])))


def test_classifiers_have_no_such_pictures(made: Document) -> None:
    assert map_pictures(dataclasses.replace(made, models=())) is None
