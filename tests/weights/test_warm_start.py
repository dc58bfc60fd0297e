"""Beginning from other weights: what is taken, what is left out by name, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from robustbench_lift.errors import CheckpointError
from robustbench_lift.networks import build_model
from robustbench_lift.weights.warm import warm_start


def stored(module: torch.nn.Module, path: Path) -> Path:
    torch.save(module.state_dict(), path)
    return path


def test_a_classifier_fills_the_encoder_of_deeplab_and_its_idle_pooling_is_named(tmp_path: Path) -> None:
    classifier = build_model("resnet50", "lift", num_classes=7)
    network = build_model("deeplabv3plus-resnet50", "lift", num_classes=3)
    done = warm_start(network, stored(classifier, tmp_path / "resnet.pt"), segmentation=True)
    theirs = classifier.state_dict()
    for key, value in network.state_dict().items():
        if key.startswith("backbone."):
            assert torch.equal(value, theirs[key.removeprefix("backbone.")]), key
    left = [key for key in done.dropped if key.startswith("layer4.0.entry.")]
    # layer4 is dilated and keeps its size: its pooling, 12 numbers for each of 1,024 channels, goes
    assert sum(theirs[key].numel() for key in left) == 12_288
    assert set(done.dropped) - set(left) == {"fc.weight", "fc.bias"}
    assert set(done.new) == {"aspp", "low_level", "classifier"}
    assert all(name in str(done) for name in ("layer4.0.entry.predict.taps", "fc.weight", "aspp", "resnet.pt"))


def test_torchvisions_vgg_fills_the_encoder_of_segnet_at_its_own_names(tmp_path: Path) -> None:
    vgg = torchvision.models.vgg16_bn(weights=None)
    file = stored(vgg, tmp_path / "vgg.pt")
    for pair, poolings in (("max", 0), ("lift", 20)):
        network = build_model("segnet", pair, num_classes=3)
        done = warm_start(network, file, segmentation=True)
        own, theirs = network.state_dict(), vgg.state_dict()
        assert all(torch.equal(own[key], theirs[key]) for key in theirs if key.startswith("features."))
        assert {name.split(".")[0] for name in done.dropped} == {"classifier"}
        assert ("its poolings (20 tensors)" in done.new) == bool(poolings)


def test_a_classifier_of_other_classes_begins_with_a_new_last_layer(tmp_path: Path) -> None:
    one, other = (build_model("resnet8", "lift", num_classes=k) for k in (5, 3))
    before = other.state_dict()["fc.weight"].clone()
    done = warm_start(other, stored(one, tmp_path / "five.pt"), segmentation=False)
    assert done.new == ("fc",)
    assert torch.equal(other.state_dict()["fc.weight"], before)
    assert torch.equal(other.state_dict()["conv1.weight"], one.state_dict()["conv1.weight"])


@pytest.mark.parametrize(
    ("file", "network", "segmentation", "message"),
    [
        (("resnet50", "lift"), ("resnet50", "max"), False, r"4 tensors that the network has no place for: maxpool"),
        (("resnet8", "blur"), ("resnet20", "blur"), False, r"missing: layer1\.1"),
        (("resnet50", "skip"), ("deeplabv3plus-resnet50", "lift"), True, ""),
        (("resnet18", "skip"), ("deeplabv3plus-resnet50", "skip"), True, r"of another shape: backbone\.layer1"),
        (("segnet", "max"), ("deeplabv3plus-resnet50", "skip"), True, r"missing: backbone\.conv1"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    file: tuple[str, str], network: tuple[str, str], segmentation: bool, message: str, tmp_path: Path
) -> None:
    path = stored(build_model(*file, num_classes=3), tmp_path / "weights.pt")
    module = build_model(*network, num_classes=3)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    if not message:  # strided convolutions have the same weights as those behind poolings that begin untrained
        assert any("its poolings" in name for name in warm_start(module, path, segmentation=segmentation).new)
        return
    with pytest.raises(CheckpointError, match=message):
        warm_start(module, path, segmentation=segmentation)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
