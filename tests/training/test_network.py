"""A network to train is a model spec without weights; its checkpoint says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from robustbench_lift.errors import UsageError
from robustbench_lift.pooling import LiftDownPool
from robustbench_lift.training.network import Network
from robustbench_lift.weights import load_model, save_checkpoint
from robustbench_lift.weights.card import network_entries


@pytest.mark.parametrize(
    "text",
    [
        "resnet8/lift",
        "resnet50/lift?placement=zhang&kernel_size=7",
        "resnet8/ada?size=4x4",
        "torchvision:resnet18?pooling=lift&placement=after&kernel_size=3",
        "timm:test_resnet?pooling=blur",
        "torchvision:resnet18",
    ],
)
def test_a_spec_comes_back(text: str) -> None:
    network = Network.parse(text)
    assert network.spec == text
    assert Network.parse(network.spec) == network
    assert not set(network.slug) & set("/?&:")


@pytest.mark.parametrize(
    "text", ["resnet8/lift@w.pt", "resnet8/lift?num_classes=3", "a.b:net", "hf:a/b", "@x.pt", "resnet8/lift/max"]
)
def test_what_is_no_network_to_train(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a network to train|expected ARCH/POOLING"):
        Network.parse(text)


def test_an_unknown_backbone_is_named() -> None:
    with pytest.raises(UsageError, match="unknown backbone 'resnet9'"):
        Network.parse("resnet9/lift").check()


def test_a_librarys_network_is_trained_with_another_pooling(tmp_path: Path) -> None:
    network = Network.parse("torchvision:resnet18?pooling=lift&kernel_size=3")
    network.check()
    net = network.build(5, seed=1)
    assert sum(isinstance(layer, LiftDownPool) and layer.kernel_size == 3 for layer in net.modules()) == 7
    twin = network.build(5, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))
    card = {**network_entries(network.model), "num_classes": "5", "mean": "[0.5, 0.5, 0.5]"}
    path = tmp_path / "final.safetensors"
    save_checkpoint(path, net, card)
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    answers = [load_model(f"{spec}@{path}") for spec in ("", network.spec)]
    assert all((m.num_classes, m.pooling, m.placement) == (5, "lift", "before") for m in answers)
    assert torch.equal(answers[0].logits(image), answers[1].logits(image))
    with pytest.raises(UsageError, match="trained with the network's own pooling"):
        load_model("torchvision:resnet18?pooling=lift@IMAGENET1K_V1")


def test_a_card_makes_nothing_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "evil.safetensors"
    for network in ("os:system?command=true", "timm:test_resnet?pooling=lift&checkpoint_path=x.pt"):
        save_checkpoint(path, nn.Linear(1, 1), {"network": network})
        with pytest.raises(UsageError, match="write that before the @"):
            load_model(f"@{path}")
