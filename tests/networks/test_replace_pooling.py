"""replace_pooling: what is replaced in models that others wrote, what is kept and why."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from robustbench_lift.errors import UsageError
from robustbench_lift.networks import replace_pooling
from robustbench_lift.pooling import PoolingError, PoolingLayer


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def names(model: nn.Module, report: object) -> set[str]:
    return {name for name, m in model.named_modules() if isinstance(m, PoolingLayer)}


@pytest.mark.parametrize(
    ("name", "replaced", "kept"),
    [("resnet18", 7, 1), ("mobilenet_v2", 4, 1), ("densenet121", 4, 1)],
)
def test_torchvision_models(name: str, replaced: int, kept: int) -> None:
    model = torchvision.models.get_model(name, weights=None)
    before = parameters(model)
    report = replace_pooling(model, "lift", input_size=64)
    assert (len(report.replaced), len(report.kept)) == (replaced, kept)
    assert "would pool the image" in report.kept[0].why
    assert parameters(model) == before + 12 * sum(entry.channels for entry in report.replaced)
    logits = model(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 1000)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", ["resnet50d", "efficientnet_b0"])
def test_timm_models(name: str) -> None:
    model = timm.create_model(name)
    report = replace_pooling(model, "blur", input_size=64)
    assert len(report.replaced) >= 4
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 1000)


def test_pools_of_a_vgg_become_the_zoos() -> None:
    with torch.device("meta"):
        model = torchvision.models.vgg13_bn(init_weights=False)
        report = replace_pooling(model, "lift")
    assert [entry.channels for entry in report.replaced] == [64, 128, 256, 512, 512]
    assert parameters(model) == 133_071_400
    assert all(p.device.type == "meta" for p in model.parameters())


class Net(nn.Module):
    """One strided convolution after a first one."""

    def __init__(self, conv: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = conv or nn.Conv2d(8, 12, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x))
        return out


def test_skip_after_is_the_strided_convolution_itself() -> None:
    # Subsampling after a convolution of stride 1 is the strided convolution: the identity pins alignment. Blur with
    # a filter of one tap is not on offer, so average is compared with its own definition.
    model = Net().double()
    x = torch.randn(2, 3, 9, 12, dtype=torch.float64)
    dense = F.conv2d(model.first(x), model.second.weight, model.second.bias, padding=1)  # type: ignore[arg-type]
    report = replace_pooling(model, "average", placement="after", input_size=16)
    torch.testing.assert_close(model(x), F.avg_pool2d(dense, 2, ceil_mode=True))
    assert str(report).endswith("second: Conv2d 3x3 stride 2 -> AveragePool after Conv2d 3x3, 12 x 16 x 16")


def test_before_pools_and_then_convolves_with_the_same_weights() -> None:
    model = Net().double()
    x = torch.randn(2, 3, 9, 12, dtype=torch.float64)
    pooled = F.avg_pool2d(model.first(x), 2, ceil_mode=True)
    expected = F.conv2d(pooled, model.second.weight, model.second.bias, padding=1)  # type: ignore[arg-type]
    replace_pooling(model, "average", input_size=16)
    torch.testing.assert_close(model(x), expected)


class Shared(nn.Module):
    """One pool for two maps, and a function call."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.last = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.pool(self.b(self.pool(self.a(x)))))
        return F.max_pool2d(x, 2).flatten(1)


def test_what_is_kept_is_named_with_its_reason() -> None:
    report = replace_pooling(Shared(), "lift", input_size=32)
    assert [entry.name for entry in report.replaced] == ["last"]
    assert {entry.name: entry.why for entry in report.kept} == {
        "pool": "one layer is used 2 times; give each map a layer of its own",
        "(function call)": "no layer stands for it; make it a module",
    }


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Net(nn.Conv2d(8, 8, 2, stride=2)), "not centred"),
        (Net(nn.Conv2d(8, 8, 4, stride=4)), "only stride 2"),
        (Net(nn.MaxPool2d(3, 2)), r"makes 15 x 15 pixels of 32 x 32, a pooling would make 16"),
        (Net(nn.Conv2d(8, 8, 3)), "no layer of stride 2"),
    ],
)
def test_models_without_a_safe_place_are_refused(model: nn.Module, words: str) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    shape = model(torch.zeros(1, 3, 32, 32)).shape
    with pytest.raises(UsageError, match=words):
        replace_pooling(model, "lift", input_size=32)
    assert before.keys() == model.state_dict().keys()
    assert model(torch.zeros(1, 3, 32, 32)).shape == shape


def test_antialiased_layers_are_left_alone() -> None:
    report = replace_pooling(timm.create_model("resnetblur18"), "lift", input_size=64)
    assert {entry.was for entry in report.kept} == {"BlurPool2d", "Conv2d 7x7 stride 2"}


class Watching(nn.Module):
    """A model that works with its own pool only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(self.pool, nn.MaxPool2d):
            raise RuntimeError("where is my pool?")
        out: Tensor = self.pool(self.conv(x))
        return out


def test_a_model_that_breaks_is_put_back() -> None:
    model = Watching()
    with pytest.raises(UsageError, match=r"left as it was: .*where is my pool"):
        replace_pooling(model, "lift", placement="after", input_size=32)
    assert isinstance(model.pool, nn.MaxPool2d)
    assert isinstance(model.conv, nn.Conv2d)
    assert model.conv.stride == (2, 2)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 8, 8)


def test_a_phase_is_not_chosen_for_branches_that_would_not_follow() -> None:
    with pytest.raises(UsageError, match="other branches would not follow"):
        replace_pooling(Net(), "aps", input_size=32)
    vgg = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2))
    assert len(replace_pooling(vgg, "aps", input_size=32).replaced) == 1


def test_training_mode_and_precision_are_kept() -> None:
    model = Net().to(torch.bfloat16).train()
    model.first.eval()
    replace_pooling(model, "lift", input_size=32)
    assert model.training
    assert not model.first.training
    assert all(p.dtype is torch.bfloat16 for p in model.parameters())


def test_mistakes() -> None:
    with pytest.raises(UsageError, match="unknown placement of replace_pooling 'zhang'"):
        replace_pooling(Net(), "lift", placement="zhang")
    with pytest.raises(UsageError, match="skip is what strided convolutions do"):
        replace_pooling(Net(), "skip")
    with pytest.raises(PoolingError, match="kernel"):
        replace_pooling(Net(), "lift", kernel=3)
    with pytest.raises(UsageError, match="does not take an image of 8 pixels, give input_size"):
        replace_pooling(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), "lift", input_size=8)
