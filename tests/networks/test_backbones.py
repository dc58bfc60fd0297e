"""Backbones: the totals of parameters and operations, the published networks, every pooling at every placement."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robustbench_lift.errors import UsageError
from robustbench_lift.networks import BACKBONES, build_model
from robustbench_lift.networks.folding import fold_batch_norms
from robustbench_lift.networks.placement import outside_pooling
from robustbench_lift.pooling import POOLINGS, MaxPool, PoolingError, collect_losses
from robustbench_lift.weights import load_model
from robustbench_lift.weights.fit import Renaming, fit

SMALL = ("resnet8", "resnet20", "vgg13-cifar", "alexnet-small")


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module, size: int) -> int:
    """Multiply-accumulate operations of one image, as torch counts them."""
    shadow = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(torch.empty(1, 3, size, size, device="meta"))
    return int(counter.get_total_flops()) // 2


def dialects(arch: str) -> list[Renaming]:
    apply = BACKBONES[arch].antialiased
    return [] if apply is None else [Renaming(dialect="antialiased-cnns", apply=apply)]


def meta(arch: str, pooling: str, placement: str | None = None) -> nn.Module:
    """A network without memory behind it."""
    with torch.device("meta"):
        return build_model(arch, pooling, placement=placement)


# 12 C parameters for every LiftDownPool of C channels, C^2 + 4.5 C for GFGP, 1.5 C^2 + 7.5 C for GaussPool, on top of
# torchvision's totals.
TOTALS = [
    ("resnet50", "skip", "stage", 25_557_032),
    ("resnet50", "lift", "stage", 25_579_304),
    ("resnet50", "lift", "stage-dense", 25_580_072),
    ("resnet50", "lift", "stage-blocks", 25_578_536),
    ("resnet50", "lift", "zhang", 25_590_056),
    ("resnet50", "lift", "zhang-dense", 25_590_824),
    ("resnet50", "lift", "timm", 25_568_552),
    ("resnet50", "lift", "kobayashi", 25_600_808),
    ("resnet50", "lift", "kobayashi-two", 25_601_576),
    ("resnet50", "lift", "kobayashi-blocks", 25_600_040),
    ("resnet50", "gfgp", "kobayashi", 31_082_568),
    ("resnet50", "gfgp", "kobayashi-two", 31_086_952),
    ("resnet50", "gfgp", "kobayashi-blocks", 31_078_184),
    ("resnet50", "gauss", "kobayashi", 33_848_072),
    ("resnet50", "gauss", "kobayashi-two", 33_854_696),
    ("resnet50", "gauss", "kobayashi-blocks", 33_841_448),
    ("resnet50", "blur", "zhang", 25_557_032),
    ("resnet18", "skip", "stage", 11_689_512),
    ("resnet18", "lift", "stage", 11_695_656),
    ("resnet18", "lift", "stage-dense", 11_696_424),
    ("resnet18", "lift", "zhang", 11_706_408),
    ("resnet18", "lift", "kobayashi-blocks", 11_700_264),
    ("resnet18", "lift", "kobayashi", 11_701_032),
    ("mobilenetv2", "skip", "stage", 3_504_872),
    ("mobilenetv2", "lift", "stage", 3_506_888),
    ("mobilenetv2", "lift", "zhang", 3_516_968),
    ("mobilenetv2", "lift", "zhang-dense", 3_517_352),
    ("vgg13", "max", "stage", 133_053_736),
    ("vgg13", "lift", "stage", 133_071_400),
    ("alexnet", "max", "stage", 61_100_840),
]


@pytest.mark.parametrize(("arch", "pooling", "placement", "total"), TOTALS)
def test_parameters_add_up_to_the_digit(arch: str, pooling: str, placement: str, total: int) -> None:
    assert parameters(meta(arch, pooling, placement)) == total


@pytest.mark.parametrize(
    ("arch", "pooling", "placement", "giga"),
    [
        ("resnet50", "skip", "stage", 4.09),
        ("resnet50", "lift", "stage", 3.88),
        ("resnet50", "lift", "stage-dense", 4.28),
        ("resnet50", "lift", "zhang", 5.17),
        ("resnet50", "lift", "zhang-dense", 5.56),
        ("resnet50", "lift", "kobayashi-blocks", 6.55),
        ("resnet50", "lift", "kobayashi", 6.95),
        ("resnet18", "skip", "stage", 1.81),
        ("resnet18", "lift", "stage", 1.83),
        ("resnet18", "lift", "zhang", 2.36),
        ("resnet18", "lift", "kobayashi", 3.84),
    ],
)
def test_operations_agree_with_the_table(arch: str, pooling: str, placement: str, giga: float) -> None:
    # the table counts LiftDownPool's gains as 1 x 1 convolutions, we count them as the products they are
    assert macs(meta(arch, pooling, placement), 224) / 1e9 == pytest.approx(giga, abs=0.02)


def test_operations_of_a_network_counted_by_hand() -> None:
    stem, first = 64 * 64 * 16 * 27, 2 * 32 * 32 * 16 * 16 * 9
    second = 16 * 16 * (16 * 32 * 9 + 32 * 32 * 9 + 16 * 32)
    third = 8 * 8 * (32 * 64 * 9 + 64 * 64 * 9 + 32 * 64)
    assert macs(build_model("resnet8", "average", num_classes=12), 64) == stem + first + second + third + 64 * 12


def test_the_small_networks_are_small() -> None:
    assert parameters(build_model("resnet8", "skip", num_classes=12)) == 78_172
    assert parameters(build_model("alexnet-small", "max", num_classes=12)) < 300_000
    assert macs(build_model("resnet8", "average"), 64) < 20e6
    assert macs(build_model("alexnet-small", "max"), 64) < 15e6


def randomise(model: nn.Module) -> nn.Module:
    """Running statistics that are not the identity, so that a swapped batch norm shows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.2, 1.0)
    return model.eval()


def same_logits(ours: nn.Module, theirs: nn.Module, size: int = 64) -> None:
    """Load their weights and compare answers, in double precision so that only the network can differ."""
    randomise(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        expected, found = theirs.double()(x), ours.eval().double()(x)
    assert float(expected.std()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("arch", "pooling", "theirs"),
    [
        ("resnet18", "skip", "resnet18"),
        ("resnet50", "skip", "resnet50"),
        ("mobilenetv2", "skip", "mobilenet_v2"),
    ],
)
def test_torchvision_weights_give_the_same_logits(arch: str, pooling: str, theirs: str) -> None:
    same_logits(build_model(arch, pooling), torchvision.models.get_model(theirs, weights=None))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "pooling", "theirs"),
    [
        ("resnet34", "skip", "resnet34"),
        ("resnet101", "skip", "resnet101"),
        ("vgg13", "max", "vgg13_bn"),
        ("alexnet", "max", "alexnet"),
    ],
)
def test_large_torchvision_weights_give_the_same_logits(arch: str, pooling: str, theirs: str) -> None:
    same_logits(build_model(arch, pooling), torchvision.models.get_model(theirs, weights=None), size=96)


def test_vgg_and_alexnet_have_torchvisions_keys_and_layers() -> None:
    with torch.device("meta"):
        pairs = [("vgg13", torchvision.models.vgg13_bn(init_weights=False)), ("alexnet", torchvision.models.alexnet())]
    for arch, theirs in pairs:
        ours = meta(arch, "max")
        assert {k: v.shape for k, v in ours.state_dict().items()} == {
            k: v.shape for k, v in theirs.state_dict().items()
        }
        x = torch.empty(1, 3, 224, 224, device="meta")
        shapes = [[tuple(y.shape) for y in every_map(net, x)] for net in (ours, theirs)]
        assert shapes[0] == shapes[1]


def every_map(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What each member of `features` answers."""
    maps = []
    for layer in model.get_submodule("features").children():
        x = layer(x)
        maps.append(x)
    return maps


@pytest.mark.parametrize(
    ("pooling", "options", "theirs"),
    [
        ("blur", {"filter": "tri-3"}, "resnetblur50"),
        pytest.param("average", {}, "resnetaa50", marks=pytest.mark.slow),
    ],
)
def test_timms_arrangement_gives_timms_logits(pooling: str, options: dict[str, object], theirs: str) -> None:
    same_logits(build_model("resnet50", pooling, placement="timm", options=options), timm.create_model(theirs))


class Blur(nn.Module):
    """BlurPool from its definition: reflect, convolve, subsample; the filter is a buffer named as in the wild."""

    def __init__(self, channels: int, taps: tuple[int, ...], stride: int = 2) -> None:
        super().__init__()
        row = torch.tensor(taps, dtype=torch.float32)
        self.filt: Tensor
        self.register_buffer("filt", (row[:, None] * row / row.sum() ** 2).expand(channels, 1, -1, -1).clone())

    def forward(self, x: Tensor) -> Tensor:
        size = self.filt.shape[-1]
        before, after = (size - 1) // 2, size // 2
        return F.conv2d(
            F.pad(x, (before, after, before, after), mode="reflect"), self.filt, stride=2, groups=x.shape[1]
        )


TAPS = {"rect-2": (1, 1), "tri-3": (1, 2, 1), "tri-4": (1, 3, 3, 1), "bin-5": (1, 4, 6, 4, 1)}


def antialiased_resnet(name: str, taps: tuple[int, ...]) -> nn.Module:
    """torchvision's ResNet rebuilt as Zhang's: blur after the strided convolution's ReLU and before the shortcut."""
    net = torchvision.models.get_model(name, weights=None)
    last = "conv3" if hasattr(net.layer1[0], "conv3") else "conv2"
    strided = "conv2" if last == "conv3" else "conv1"
    net.maxpool = nn.Sequential(nn.MaxPool2d(2, 1), Blur(64, taps))
    for layer in (net.layer2, net.layer3, net.layer4):
        block = layer[0]
        getattr(block, strided).stride = (1, 1)
        conv = getattr(block, last)
        setattr(block, last, nn.Sequential(Blur(conv.in_channels, taps), conv))
        conv, norm = block.downsample
        conv.stride = (1, 1)
        block.downsample = nn.Sequential(Blur(conv.in_channels, taps), conv, norm)
    return net


def antialiased_mobilenet(taps: tuple[int, ...]) -> nn.Module:
    net = torchvision.models.mobilenet_v2()
    for index in (2, 4, 7, 14):
        expand, depthwise, project, norm = net.features[index].conv
        depthwise[0].stride = (1, 1)
        net.features[index].conv = nn.Sequential(
            expand, depthwise, Blur(depthwise[0].out_channels, taps), project, norm
        )
    net.classifier = nn.Sequential(net.classifier[1])
    return net


def antialiased_vgg(taps: tuple[int, ...]) -> nn.Module:
    """The small-headed net's features with MaxPool at stride 1 and BlurPool behind it."""
    net = build_model("vgg13-cifar", "max", num_classes=5)
    layers: list[nn.Module] = []
    for layer in net.get_submodule("features").children():
        if isinstance(layer, MaxPool):
            layers += [nn.MaxPool2d(2, 1), Blur(layer.channels, taps)]
        else:
            layers.append(layer)
    net.features = nn.Sequential(*layers)
    return net


@pytest.mark.parametrize(("name", "filter"), [("resnet18", "rect-2"), ("resnet18", "tri-4"), ("resnet50", "bin-5")])
def test_antialiased_resnets_load_under_their_own_names(name: str, filter: str) -> None:
    theirs = antialiased_resnet(name, TAPS[filter])
    ours = build_model(name, "blur", placement="zhang", options={"filter": filter})
    check_dialect(ours, theirs, name, count=7)


def test_antialiased_mobilenet_loads_under_its_own_names() -> None:
    ours = build_model("mobilenetv2", "blur", placement="zhang", options={"filter": "tri-4"})
    check_dialect(ours, antialiased_mobilenet(TAPS["tri-4"]), "mobilenetv2", count=4)


def test_antialiased_vgg_loads_under_its_own_names() -> None:
    ours = build_model("vgg13-cifar", "blur", num_classes=5, options={"filter": "tri-3"})
    check_dialect(ours, antialiased_vgg(TAPS["tri-3"]), "vgg13", count=5)


def check_dialect(ours: nn.Module, theirs: nn.Module, arch: str, *, count: int) -> None:
    state = randomise(theirs).state_dict()
    assert sum(key.endswith(".filt") for key in state) == count
    notes = fit(ours, {f"module.{k}": v for k, v in state.items()}, source="zhang", renamings=dialects(arch))
    assert "antialiased-cnns names translated" in notes[0]
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected, found = theirs.double()(x), ours.eval().double()(x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("arch", SMALL)
def test_every_pooling_trains_at_every_placement(arch: str, pooling: str) -> None:
    entry = BACKBONES[arch]
    for placement in entry.placements:
        if placement == "timm" and POOLINGS[pooling].polyphase:
            with pytest.raises(UsageError, match="would not follow"):
                build_model(arch, pooling, placement=placement)
            continue
        model = build_model(arch, pooling, num_classes=3, placement=placement)
        logits = model(torch.randn(2, 3, entry.input_size, entry.input_size))
        assert logits.shape == (2, 3)
        loss = logits.square().sum() + sum(collect_losses(model).values())
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None for name, p in model.named_parameters()), placement


LARGE = ("resnet18", "mobilenetv2", "vgg13", "alexnet")


def fits(arch: str, pooling: str, placement: str) -> None:
    model = meta(arch, pooling, placement).eval()
    assert model(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("pooling", ["lift", "aps", "ada", "gauss", "blur"])
@pytest.mark.parametrize("arch", LARGE)
def test_poolings_fit_the_large_networks(arch: str, pooling: str) -> None:
    fits(arch, pooling, BACKBONES[arch].placements[0])


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("arch", [*LARGE, "resnet50"])
def test_every_pooling_fits_at_every_placement(arch: str, pooling: str) -> None:
    entry = POOLINGS[pooling]
    for placement in BACKBONES[arch].placements:
        if not (entry.polyphase and placement == "timm") and not (entry.needs_size and placement == "kobayashi"):
            fits(arch, pooling, placement)


def test_a_layer_tied_to_one_size_is_not_applied_twice() -> None:
    with pytest.raises(UsageError, match="cannot be applied twice"):
        meta("resnet18", "ada", "kobayashi")


def test_skip_is_the_published_network_at_every_placement() -> None:
    state = build_model("resnet20", "skip").state_dict()
    x = torch.randn(1, 3, 32, 32)
    answers = []
    for placement in BACKBONES["resnet20"].placements:
        model = build_model("resnet20", "skip", placement=placement).eval()
        model.load_state_dict(state)
        answers.append(model(x))
    assert all(torch.equal(answer, answers[0]) for answer in answers)


@pytest.mark.parametrize("network", ["resnet8/lift", "resnet50/skip", "vgg13-cifar/max", "segnet/max"])
def test_a_size_that_nothing_in_the_network_heeds_is_refused(network: str) -> None:
    arch, _, pooling = network.partition("/")
    with pytest.raises(
        UsageError, match=r"has no effect on .*option of the data: --data 'folder:DIR\?resize=256&crop=224'"
    ):
        build_model(arch, pooling, options={"input_size": 96}, num_classes=3)
    build_model(arch, pooling, options={"input_size": BACKBONES[arch].input_size}, num_classes=3)


def test_a_network_tied_to_a_size_is_shown_images_of_that_size() -> None:
    model = load_model("resnet8/ada?input_size=32&num_classes=3@random")
    assert model.preprocessing.crop == 32
    assert model.logits(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape == (1, 3)


def test_a_pooling_tied_to_a_size_gets_it_from_the_placement() -> None:
    model = build_model("resnet8", "ada", options={"input_size": 32}, num_classes=3)
    sizes = [m.size for m in model.modules() if type(m).__name__ == "AdaPool"]
    assert sizes == [(32, 32), (16, 16), (8, 8)]
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 3)
    with pytest.raises(PoolingError, match=r"64 x 64"):
        model(torch.randn(2, 3, 64, 64))


def test_a_layer_used_twice_reports_the_losses_of_both_times() -> None:
    model = build_model("resnet18", "lift", placement="kobayashi", num_classes=3, options={"constraint": "mse"})
    layer = model.get_submodule("maxpool.layer")
    x = torch.randn(1, 64, 16, 16)
    layer(x)
    once = layer.losses()["c_p"]
    layer(layer(x))
    second = layer.losses()["c_p"]
    stem = nn.Sequential(model.get_submodule("maxpool"))
    stem(x)
    torch.testing.assert_close(collect_losses(stem)["c_p"], once + second)


def roll(x: Tensor, rows: int, columns: int) -> Tensor:
    return x.roll((rows, columns), (2, 3))


@pytest.mark.parametrize("pooling", ["aps", "lps"])
@pytest.mark.parametrize(
    ("arch", "placement"),
    [("resnet8", "stage"), ("resnet8", "zhang"), ("resnet18", "stage-dense"), ("resnet18", "zhang-dense")],
)
def test_circular_shifts_do_not_change_logits(arch: str, placement: str, pooling: str) -> None:
    model = randomise(build_model(arch, pooling, placement=placement, num_classes=5)).double()
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        still = model(x)
        assert float(still.std(0).max()) > 1e-6
        for rows, columns in [(1, 0), (0, 1), (3, 5), (7, 2)]:
            torch.testing.assert_close(model(roll(x, rows, columns)), still, rtol=1e-9, atol=1e-12)
        # each image keeps its own phase: shifting one of the batch changes nothing for the others
        mixed = torch.cat([roll(x[:1], 1, 1), x[1:]])
        torch.testing.assert_close(model(mixed), still, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("pooling", "options"), [("max", {}), ("aps", {"conv_padding": "zeros"})])
def test_without_phase_or_circular_padding_shifts_do_change_logits(pooling: str, options: dict[str, object]) -> None:
    model = randomise(build_model("resnet8", pooling, num_classes=5, options=options)).double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        assert float((model(roll(x, 1, 0)) - model(x)).abs().max()) > 1e-5


@pytest.mark.parametrize("arch", ["resnet8", "vgg13-cifar", "mobilenetv2", "resnet18"])
@pytest.mark.parametrize("pooling", ["skip", "lift", "aps", "gauss"])
def test_folded_batch_norms_change_nothing(arch: str, pooling: str) -> None:
    model = randomise(build_model(arch, pooling, num_classes=5)).double()
    folded = fold_batch_norms(model)
    backbone = [m for m in outside_pooling(folded) if isinstance(m, nn.BatchNorm2d)]
    assert not backbone
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(folded(x), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
        torch.testing.assert_close(model(x), expected, rtol=0, atol=0)  # the original is not touched


def test_batch_norms_in_training_are_not_folded() -> None:
    model = build_model("resnet8", "max").train()
    assert any(isinstance(m, nn.BatchNorm2d) for m in fold_batch_norms(model).modules())


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "placement"), [("lift", "zhang"), ("aps", "zhang"), ("blur", "kobayashi")])
def test_networks_are_one_graph(pooling: str, placement: str) -> None:
    model = randomise(build_model("resnet8", pooling, placement=placement, num_classes=3))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), expected)
        exported = torch.export.export(model, (x,), strict=False)
        torch.testing.assert_close(exported.module()(x), expected)


def test_networks_can_be_copied_and_pickled_mid_training() -> None:
    model = build_model("resnet18", "lift", placement="kobayashi", num_classes=3, options={"constraint": "mse"})
    model(torch.randn(2, 3, 32, 32))
    twin = copy.deepcopy(model)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_mistakes_are_named() -> None:
    with pytest.raises(UsageError, match=r"unknown backbone 'resnet5'.*resnet50"):
        build_model("resnet5")
    with pytest.raises(UsageError, match=r"unknown placement of resnet50 'zang'.*'zhang'"):
        build_model("resnet50", "lift", placement="zang")
    with pytest.raises(UsageError, match=r"unknown pooling 'lifft'.*'lift'.*--plugin"):
        build_model("resnet8", "lifft")
    with pytest.raises(PoolingError, match="kernel_sise"):
        build_model("resnet8", "lift", options={"kernel_sise": 3})
    with pytest.raises(PoolingError, match="kernel_size"):
        build_model("resnet8", "skip", options={"kernel_size": 3})
    with pytest.raises(UsageError, match="num_classes"):
        build_model("resnet8", num_classes=0)
    with pytest.raises(UsageError, match="conv_padding 'wrap'"):
        build_model("resnet8", "aps", options={"conv_padding": "wrap"})
    with pytest.raises(UsageError, match="input_size instead"):
        build_model("resnet8", "ada", options={"size": 7})
