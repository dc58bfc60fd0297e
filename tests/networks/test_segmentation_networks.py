"""Segmentation networks: their parameters, their sizes, and how their weights are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from robustbench_lift.errors import RobustbenchError, UsageError
from robustbench_lift.networks import BACKBONES, PAIRS, Pair, PoolPair, build_model, register_pair
from robustbench_lift.networks.segnet import SegNet
from robustbench_lift.pooling import AveragePool, MaxPool, MaxUpPool, PoolingError, collect_losses
from robustbench_lift.weights import ModelSpec, load_model, save_checkpoint

SMALL = {"width": 0.0625}
ARMS = ("max", "max-blur", "lift", "lift-no-details")


def parameters(name: str, pooling: str, classes: int, **options: object) -> int:
    with torch.device("meta"):
        model = build_model(name, pooling, num_classes=classes, options=options)
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("pooling", "classes", "options", "count"),
    [
        ("max", 21, {}, 29_455_125),
        ("max", 11, {}, 29_449_355),
        ("max", 12, {}, 29_449_932),
        ("max-blur", 21, {}, 29_455_125),
        ("lift", 21, {}, 29_472_789),
        ("lift-no-details", 21, {}, 29_472_789),
        ("max", 11, {"width": 0.5}, 7_370_315),
        ("max", 11, {"width": 0.25}, 1_846_571),
        ("max", 11, {"width": 0.125}, 463_643),
        ("lift", 11, {"width": 0.5}, 7_370_315 + 8_832),
        ("lift", 11, {"width": 0.25}, 1_846_571 + 4_416),
        ("lift", 11, {"width": 0.125}, 463_643 + 2_208),
    ],
)
def test_parameters_of_segnet(pooling: str, classes: int, options: Mapping[str, object], count: int) -> None:
    assert parameters("segnet", pooling, classes, **options) == count


def test_parameters_of_the_basic_form() -> None:
    assert parameters("segnet-basic", "max", 11) == 1_416_587
    assert parameters("segnet-basic", "lift", 11) == 1_416_587 + 3_072


def test_parameters_of_deeplab() -> None:
    assert parameters("deeplabv3plus-resnet50", "skip", 21) == 39_761_845
    assert parameters("deeplabv3plus-resnet50", "skip", 19) == 39_761_331
    assert parameters("deeplabv3plus-resnet50", "skip", 11) == 39_759_275
    assert parameters("deeplabv3plus-resnet50", "lift", 21) == 39_771_829
    with torch.device("meta"):
        zhang = build_model("deeplabv3plus-resnet50", "lift", num_classes=21, placement="zhang")
    assert sum(p.numel() for p in zhang.parameters()) == 39_761_845 + 33_024 - 18_432


def test_the_encoder_has_the_keys_of_torchvision() -> None:
    from torchvision.models import vgg16_bn

    with torch.device("meta"):
        theirs = {f"features.{k}": v.shape for k, v in vgg16_bn().features.state_dict().items()}
        ours = build_model("segnet", "max", num_classes=21).state_dict()
    assert {k: v.shape for k, v in ours.items() if k.startswith("features.")} == theirs


@pytest.mark.parametrize("pooling", ARMS)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (97, 131), (45, 60)])
def test_logits_have_the_size_of_the_image(pooling: str, size: tuple[int, int]) -> None:
    for name in ("segnet", "segnet-basic"):
        model = build_model(name, pooling, num_classes=5, options=SMALL).eval()
        with torch.no_grad():
            assert model(torch.rand(2, 3, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize("pooling", ["skip", "lift", "blur", "average"])
def test_deeplab_takes_odd_sizes(pooling: str) -> None:
    model = build_model("deeplabv3plus-resnet50", pooling, num_classes=3).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 33, 65)).shape == (1, 3, 33, 65)
        if pooling == "skip":
            maps = model.backbone.maps(torch.rand(1, 3, 128, 129))
            assert [tuple(m.shape[1:]) for m in maps] == [(256, 32, 33), (512, 16, 17), (1024, 8, 9), (2048, 8, 9)]


def test_the_dilated_stage_is_torchvisions() -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    theirs = resnet50(replace_stride_with_dilation=[False, False, True]).eval()
    model = build_model("deeplabv3plus-resnet50", "skip", num_classes=3).eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    model.backbone.load_state_dict(state, strict=True)
    x = torch.rand(1, 3, 65, 64)
    with torch.no_grad():
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        y = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(y))))
        assert torch.allclose(model.backbone.maps(x)[-1], y, atol=1e-5)


@pytest.mark.parametrize("pooling", ["aps", "lps", "tips"])
def test_poolings_that_choose_phases_are_refused(pooling: str) -> None:
    with pytest.raises(UsageError, match=pooling):
        build_model("deeplabv3plus-resnet50", pooling, num_classes=3)


@pytest.mark.parametrize("pooling", ARMS)
def test_a_whole_shift_by_all_strides_shifts_the_answer(pooling: str) -> None:
    """Away from the borders SegNet commutes with shifts by 32."""
    torch.manual_seed(1)
    model = build_model("segnet", pooling, num_classes=4, options=SMALL).eval().double()
    x = torch.rand(1, 3, 32, 1600, dtype=torch.float64)
    with torch.no_grad():
        first, second = model(x), model(torch.roll(x, 32, dims=3))
    middle = slice(816, 848)
    assert torch.allclose(second[..., middle], first[..., 784:816], atol=1e-9)


def test_shared_filters_are_stored_once(tmp_path: Path) -> None:
    model = build_model("segnet", "lift", num_classes=5, options=SMALL).eval()
    card = {"architecture": "segnet", "pooling": "lift", "options": json.dumps(SMALL), "num_classes": "5"}
    save_checkpoint(tmp_path / "net.safetensors", model, card)
    stored = load_file(tmp_path / "net.safetensors")
    assert sum(v.numel() for k, v in stored.items() if "predict" in k or "update" in k) == sum(
        12 * pair.lower.channels for pair in model.modules() if isinstance(pair, PoolPair)
    )
    loaded = load_model(f"@{tmp_path / 'net.safetensors'}")
    assert (loaded.task, loaded.arch, loaded.num_classes) == ("segmentation", "segnet", 5)
    for pair in loaded.module.modules():
        if isinstance(pair, PoolPair):
            assert pair.upper.predict is pair.lower.predict
    images = torch.randint(0, 256, (1, 3, 40, 52), dtype=torch.uint8)
    with torch.no_grad():
        expected = model(loaded.preprocessing.normalize(images))
    assert torch.allclose(loaded.logits(images), expected, atol=1e-4)


def test_encoder_and_decoder_share_nothing_else() -> None:
    model = build_model("segnet", "max", num_classes=5, options=SMALL)
    pointers = [p.data_ptr() for p in model.parameters()]
    assert len(pointers) == len(set(pointers))
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert len(names) == len(pointers)


def test_auxiliary_losses_of_the_way_down_are_found() -> None:
    model = build_model("segnet", "lift", num_classes=5, options={**SMALL, "constraint": "mse"}).train()
    model(torch.rand(2, 3, 64, 64)).mean().backward()
    assert sorted(collect_losses(model)) == ["c_p", "c_u"]
    assert all(p.grad is not None for p in model.parameters())


def test_details_are_what_sets_the_two_arms_apart() -> None:
    torch.manual_seed(2)
    first = build_model("segnet", "lift", num_classes=5, options=SMALL).eval()
    second = build_model("segnet", "lift-no-details", num_classes=5, options=SMALL).eval()
    second.load_state_dict(first.state_dict())
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(first(x), second(x))


def test_a_pair_of_ones_own() -> None:
    class AverageUp(PoolPair):
        def down(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Size]:
            return self.lower(x), x.shape[2:]

        def up(self, y: torch.Tensor, memory: torch.Size) -> torch.Tensor:
            return torch.nn.functional.interpolate(y, size=tuple(memory))

    register_pair(Pair(name="mean", idea="Average and repeat.", make=lambda c: AverageUp(AveragePool(c), MaxUpPool(c))))
    try:
        model = load_model("segnet/mean?num_classes=4&width=0.0625@random")
        assert model.logits(torch.zeros(1, 3, 33, 40, dtype=torch.uint8)).shape == (1, 4, 33, 40)
        with pytest.raises(UsageError, match="already registered"):
            register_pair(Pair(name="mean", idea="", make=lambda c: PoolPair(MaxPool(c), MaxUpPool(c))))
    finally:
        del PAIRS["mean"]


@pytest.mark.parametrize(
    "spec",
    [
        "segnet/lift?num_classes=11&width=0.125@random",
        "segnet/max?num_classes=21@random",
        "segnet/max-blur?filter=tri-3",
    ],
)
def test_specs_are_read_and_written(spec: str) -> None:
    assert str(ModelSpec.parse(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("segnet/blur@random", "max-blur"),
        ("segnet/lift?width=9@random", "width"),
        ("segnet/max?kernel=3@random", "kernel"),
        ("segnet/lift?bands=sum@random", "bands"),
        ("segnet/lift?kernel_size=4@random", "kernel_size"),
        ("deeplabv3plus-resnet50/max-blur@random", "max-blur"),
        ("resnet8/lift?width=2@random", "width"),
    ],
)
def test_what_does_not_fit_is_named(spec: str, named: str) -> None:
    with pytest.raises((RobustbenchError, PoolingError), match=named):
        load_model(spec)


def test_a_network_says_its_task() -> None:
    assert BACKBONES["segnet"].task == BACKBONES["deeplabv3plus-resnet50"].task == "segmentation"
    assert BACKBONES["resnet50"].task == "classification"
    assert load_model("resnet8/lift@random").task == "classification"
    model = load_model("segnet/max?width=0.0625@random")
    assert (model.task, model.num_classes, model.preprocessing.crop) == ("segmentation", 21, None)
    assert isinstance(model.module, SegNet)


def test_networks_of_torchvision_answer_maps(tmp_path: Path) -> None:
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    net = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=7)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    model = load_model(f"torchvision:lraspp_mobilenet_v3_large@{tmp_path / 'net.pth'}")
    assert (model.task, model.num_classes) == ("segmentation", 7)
    assert model.logits(torch.zeros(1, 3, 65, 48, dtype=torch.uint8)).shape == (1, 7, 65, 48)
