"""Batch norms folded into convolutions: where it is the same function, and nowhere else."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from robustbench_lift.networks import build_model
from robustbench_lift.networks.folding import fold_batch_norms, foldable
from robustbench_lift.weights import load_model


def randomise(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return model.eval().double()


def networks() -> dict[str, nn.Module]:
    return {
        "lift": build_model("resnet8", "lift", num_classes=5),
        "aps": build_model("resnet18", "aps", num_classes=5, placement="zhang"),
        "vgg": build_model("vgg13-cifar", "max", num_classes=5),
        "mobilenet": build_model("mobilenetv2", "blur", num_classes=5),
        "torchvision": torchvision.models.resnet18(num_classes=5),
        "timm": timm.create_model("test_resnet", num_classes=5),
    }


@pytest.mark.parametrize("name", networks())
def test_every_pair_is_folded_and_nothing_changes(name: str) -> None:
    net = randomise(networks()[name])
    folded = fold_batch_norms(net)
    norms = sum(type(m) is nn.BatchNorm2d for m in net.modules())
    assert len(foldable(net)) == norms - sum(type(m) is nn.BatchNorm2d for m in folded.modules())
    assert len(foldable(net)) == norms > 0
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = net(x)
        torch.testing.assert_close(folded(x), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


class Listened(nn.Module):
    """The convolution's answer is used beside its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        out: Tensor = self.norm(y) + y
        return out


class Shared(Listened):
    """One convolution before two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x)) + self.other(self.conv(x))
        return out


class Undecided(Listened):
    """Its forward pass looks at values."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x)) if x.sum() > 0 else x
        return out


@pytest.mark.parametrize("kind", [Listened, Shared, Undecided])
def test_what_is_not_one_function_stays(kind: type[nn.Module]) -> None:
    net = randomise(kind())
    assert foldable(net) == []
    x = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    assert torch.equal(fold_batch_norms(net)(x), net(x))


def test_hooks_keep_their_layers() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    net[0].register_forward_hook(lambda module, inputs, output: None)
    assert foldable(net) == []


def test_a_model_says_that_it_is_folded() -> None:
    model = load_model("photos/resnet-lift")
    folded = model.folded()
    assert any("batch norms folded" in note for note in folded.notes)
    assert folded.weights_sha256 == model.weights_sha256
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(folded.logits(images), model.logits(images), rtol=1e-4, atol=1e-4)
