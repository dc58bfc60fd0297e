"""A plug-in of one file adds a protocol, a suite and a kind of data; evaluation, check and training take them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from robustbench_lift import LoadedModel, Request, Settings, evaluate
from robustbench_lift.cli import app
from robustbench_lift.data.kinds import KINDS, Kind, register_kind
from robustbench_lift.errors import UsageError
from robustbench_lift.protocols import PROTOCOLS, SUITES, protocol
from robustbench_lift.runs import Cell

PLUGIN = '''
"""Mirror consistency: does the answer stay when the image is mirrored? And the images to ask it of."""

import numpy as np
import torch

from robustbench_lift.data.geometry import AsStored
from robustbench_lift.data.kinds import Kind, Views, register_kind
from robustbench_lift.data.memory import MemoryImages, position_ids
from robustbench_lift.protocols import Clean, Suite, protocol, register_suite


@protocol("mirror")
class Mirror(Clean):
    """The image and its mirror image, one cell of two frames."""

    def frames(self, cell):
        return 2

    def render(self, cell, batch, ids):
        return torch.stack([batch, batch.flip(-1)], dim=1)


def open_squares(spec):
    images = np.load(spec.path)
    names = tuple("abcdefghijklmno")
    labels = np.arange(len(images)) % len(names)
    return MemoryImages(
        name="squares", ids=position_ids(len(images)), labels=labels, class_names=names, images=images
    )


register_kind(
    Kind(
        name="squares",
        title="Squares of 64 pixels in one .npy.",
        images=open_squares,
        views=lambda spec: Views(geometry=AsStored(64), shift=None, window=64),
        storage=False,
        suites={"corruption": "two", "perturbation": "imagenet-p"},
    )
)
register_suite(
    Suite(
        name="two",
        title="Two of them",
        protocol="corruption",
        conditions=("fog", "contrast"),
        severities=(1, 2, 3, 4, 5),
        source="this file",
    )
)
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The plug-in, imported; what it registered goes when the test ends."""
    before = [(registry, set(registry)) for registry in (KINDS, PROTOCOLS, SUITES)]
    file = tmp_path / "mirror_plugin.py"
    file.write_text(PLUGIN)
    spec = importlib.util.spec_from_file_location("mirror_plugin", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mirror_plugin", module)
    spec.loader.exec_module(module)
    yield module
    for registry, names in before:
        for name in set(registry) - names:
            del registry[name]


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    np.save(tmp_path / "s.npy", np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8))
    return tmp_path / "s.npy"


class LeftOrRight(nn.Module):
    """Says which half is brighter: never the same of an image and of its mirror image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        halves = torch.stack([x[..., :32].mean((1, 2, 3)), x[..., 32:].mean((1, 2, 3))], dim=1)
        return nn.functional.pad(halves, (0, 13), value=-100.0)


def test_a_protocol_and_data_of_ones_own(plugin: ModuleType, squares: Path, tmp_path: Path) -> None:
    request = Request(data=f"squares:{squares}", protocols=("mirror", "clean", "corruption"), severities=(3,))
    model = LoadedModel.of(LeftOrRight(), name="halves", num_classes=15)
    settings = Settings(device="cpu", allow_chance=True)
    run = evaluate(model, request.build(), run=tmp_path / "run", settings=settings)
    assert not run.missing()
    found = run.read(Cell("mirror", "mirror", 0))
    assert found.top5.shape[:2] == (30, 2)
    assert (found.top1[:, 0] != found.top1[:, 1]).all()
    assert run.manifest.signature["mirror"] == {"geometry": "as-stored64"}
    assert run.manifest.signature["corruption"]["set"] == "contrast+fog"
    assert [cell.condition for cell in run.expected if cell.protocol == "corruption"] == ["fog", "contrast"]
    assert request.normaliser(None) is None


def test_the_commands_know_it(plugin: ModuleType, squares: Path, tmp_path: Path) -> None:
    for kind, name in (("data", "squares"), ("protocols", "mirror"), ("suites", "two")):
        assert name in CliRunner().invoke(app, ["list", kind]).output
    checked = CliRunner().invoke(app, ["check", f"squares:{squares}"])
    assert checked.exit_code == 0
    assert "30 images in 15 classes" in checked.output
    asked = ["photos/resnet-lift", "--data", f"squares:{squares}", "--protocols", "mirror"]
    planned = CliRunner().invoke(app, ["plan", *asked])
    assert planned.exit_code == 0, planned.output
    assert "mirror" in planned.output
    asked += ["--out", str(tmp_path / "runs"), "--no-report", "--allow-chance"]
    done = CliRunner().invoke(app, ["run", *asked])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "runs" / "resnet-lift" / "cells" / "mirror" / "mirror" / "0.npz").is_file()


def test_a_training_reads_it(plugin: ModuleType, squares: Path) -> None:
    from robustbench_lift.training import RECIPES
    from robustbench_lift.training.data import open_data

    recipe = replace(next(recipe for recipe in RECIPES.values() if recipe.data == "arrays"), size=64)
    opened = open_data(recipe, data=f"squares:{squares}", hold_out=0.5)
    assert opened.source.class_names == tuple("abcdefghijklmno")
    assert len(opened.images.ids) == 15


def test_a_taken_name_is_refused_with_both_modules(plugin: ModuleType) -> None:
    with pytest.raises(UsageError, match=r"'mirror' of .*test_outside is already registered by mirror_plugin"):
        protocol("mirror")(type("Mirror", (), {"__module__": __name__}))
    with pytest.raises(UsageError, match=r"'squares' of .*test_outside.* mirror_plugin"):
        register_kind(Kind(name="squares", title="others", images=plugin.open_squares))
    with pytest.raises(UsageError, match=r"'clean' .*robustbench_lift\.protocols\.clean"):
        protocol("clean")(type("Clean", (), {}))


def test_a_kind_says_how_it_opens() -> None:
    with pytest.raises(ValueError, match="images="):
        Kind(name="nothing", title="nothing")
