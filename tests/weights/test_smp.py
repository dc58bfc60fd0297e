"""Networks of segmentation_models_pytorch: of the package where it is installed, and of a stand-in."""

from __future__ import annotations

import importlib
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustbench_lift.errors import CheckpointError, UsageError
from robustbench_lift.evaluation.engine import evaluate
from robustbench_lift.scores import score
from robustbench_lift.weights import load_model


class StandIn(nn.Module):
    """What a network of the package is to its user: strided features, and a refusal of sides that do not divide."""

    requires_divisible_input_shape = True

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.encoder.output_stride = 32  # type: ignore[assignment]
        self.segmentation_head = nn.Sequential(nn.Conv2d(8, classes, 3, padding=1), nn.Upsample(scale_factor=4))

    def forward(self, x: Tensor) -> Tensor:
        if any(side % 32 for side in x.shape[-2:]):
            raise RuntimeError(f"Wrong input shape {tuple(x.shape[-2:])}.")
        out: Tensor = self.segmentation_head(self.encoder(x))
        return out


def create_model(name: str, *, encoder_weights: None, classes: int, **options: object) -> nn.Module:
    assert encoder_weights is None, "nothing is fetched"
    if name != "fpn" or set(options) - {"encoder_name"}:
        raise KeyError(f"Wrong architecture type `{name}`.")
    return StandIn(classes)


@pytest.fixture(params=["stand-in", "package"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The package under its name."""
    if request.param == "stand-in":
        module = types.ModuleType("segmentation_models_pytorch")
        module.create_model = create_model  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    elif find_spec("segmentation_models_pytorch") is None:
        pytest.skip("segmentation_models_pytorch is not installed")
    return str(request.param)


def network(seed: int = 0) -> nn.Module:
    smp = importlib.import_module("segmentation_models_pytorch")

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built: nn.Module = smp.create_model("fpn", encoder_name="resnet18", encoder_weights=None, classes=6)
    return built.eval()


def test_weights_of_a_file_answer_every_pixel_of_images_of_any_size(library: str, tmp_path: Path) -> None:
    own = network()
    torch.save(own.state_dict(), tmp_path / "fpn.pt")
    model = load_model(f"smp:fpn?encoder_name=resnet18@{tmp_path / 'fpn.pt'}")
    assert (model.task, model.num_classes) == ("segmentation", 6)
    assert any("multiples of 32" in note for note in model.notes)
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(model.module(x), own(x), rtol=1e-4, atol=1e-4)
        padded = torch.zeros(2, 3, 96, 96)
        padded[..., :72, :80] = x[..., :1, :1]
        answer = model.module(padded[..., :72, :80])
        torch.testing.assert_close(answer, own(padded)[..., :72, :80], rtol=1e-4, atol=1e-4)


def test_a_run_over_label_maps(library: str, tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "fpn.pt")
    spec = f"smp:fpn?encoder_name=resnet18@{tmp_path / 'fpn.pt'}"
    run = evaluate(spec, "scenes", run=tmp_path / "r", protocols=("clean",), limit=2)
    assert 0 <= score(run, None)["miou"] < 0.5


def test_what_does_not_fit_is_one_message(library: str, tmp_path: Path) -> None:
    torch.save(nn.Conv2d(3, 6, 1).state_dict(), tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="does not fit smp's fpn"):
        load_model(f"smp:fpn?encoder_name=resnet18&num_classes=6@{tmp_path / 'other.pt'}")
    with pytest.raises(UsageError, match="names no weights"):
        load_model("smp:fpn?encoder_name=resnet18")
    with pytest.raises(UsageError, match="would be fetched"):
        load_model("smp:fpn?encoder_name=resnet18&encoder_weights=imagenet@random")
    with pytest.raises(UsageError, match="Wrong architecture type `nosuch`"):
        load_model("smp:nosuch@random")


def test_the_package_is_named_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(UsageError, match="segmentation-models-pytorch"):
        load_model("smp:fpn@random")
