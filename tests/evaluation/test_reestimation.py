"""Batch norms estimated anew on clean images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from robustbench_lift import Settings, evaluate, load_model
from robustbench_lift.data.kinds import open_images
from robustbench_lift.data.photos import PhotoTest
from robustbench_lift.errors import UsageError
from robustbench_lift.evaluation.reestimation import reestimated
from robustbench_lift.weights import LoadedModel, ModelSpec, convert_weights

SPEC = "photos/resnet-max?bn=reestimate&images=photos"
CPU = torch.device("cpu")


def test_statistics_are_the_means_of_those_of_batches() -> None:
    norm = nn.BatchNorm2d(3)
    network = nn.Sequential(norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 15))
    model = LoadedModel.of(network, name="tiny", num_classes=15)
    changed, mark = reestimated(LoadedModel(**{**vars(model), "reestimated_on": "photos"}), CPU)
    images = open_images("photos")
    pixels = np.stack([PhotoTest().read(row)[4:68, 4:68] for row in range(448)]).transpose(0, 3, 1, 2)
    x = model.preprocessing.normalize(torch.from_numpy(pixels.copy()))
    batches = x.split(64)
    layer = next(iter(changed.module.children()))
    assert isinstance(layer, nn.BatchNorm2d)
    near = {"rtol": 1e-3, "atol": 1e-3}  # float32 sums over a quarter of a million values
    assert layer.running_mean is not None
    assert layer.running_var is not None
    torch.testing.assert_close(layer.running_mean, torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0), **near)
    torch.testing.assert_close(layer.running_var, torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0), **near)
    assert not layer.training
    assert mark["bn"].startswith("reestimated-photos@")
    assert mark["bn"].endswith("-n448")
    assert len(images.ids) == 480
    assert norm.running_mean is not None
    assert bool((norm.running_mean == 0).all()), "the model that was given is left as it is"


def test_it_is_named_in_the_signature_and_does_not_depend_on_batches(tmp_path: Path) -> None:
    options = {"protocols": ("clean",), "limit": 30}
    runs = [
        evaluate(SPEC, "photos", run=tmp_path / str(size), settings=Settings(device="cpu", batch_size=size), **options)
        for size in (8, 32)
    ]
    plain = evaluate("photos/resnet-max", "photos", run=tmp_path / "plain", device="cpu", **options)
    cell = runs[0].expected[0]
    assert np.array_equal(runs[0].read(cell).top5, runs[1].read(cell).top5)
    assert runs[0].signature == runs[1].signature
    assert "bn:reestimated-photos@" in runs[0].signature
    assert "bn:" not in plain.signature
    assert not np.array_equal(runs[0].read(cell).confidence, plain.read(cell).confidence)


def test_the_spec_says_both_or_none(tmp_path: Path) -> None:
    spec = ModelSpec.parse(SPEC)
    assert ModelSpec.parse(str(spec)) == spec
    assert (spec.bn, spec.images) == ("reestimate", "photos")
    assert load_model(SPEC).name == "photos/resnet-max bn=reestimate"
    for text in ("photos/resnet-max?bn=reestimate", "photos/resnet-max?images=photos", "photos/resnet-max?bn=tent"):
        with pytest.raises(UsageError, match="bn"):
            ModelSpec.parse(text)
    with pytest.raises(UsageError, match="not stored"):
        convert_weights(SPEC, tmp_path / "x.safetensors")
    flat = LoadedModel.of(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 15)), num_classes=15)
    with pytest.raises(UsageError, match="no batch norms"):
        reestimated(LoadedModel(**{**vars(flat), "reestimated_on": "photos"}), CPU)
