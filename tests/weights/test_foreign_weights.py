"""Weights as other projects leave them: names of older versions, several networks in one file, parts, other formats."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer

from robustbench_lift.errors import CheckpointError, RobustbenchError, UsageError
from robustbench_lift.networks import build_model
from robustbench_lift.weights import LoadedModel, load_model
from robustbench_lift.weights.fit import fit
from robustbench_lift.weights.read import read_raw

SPEC = "resnet8/skip?num_classes=3"


def state(prefix: str = "", factor: float = 1.0) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build_model("resnet8", "skip", num_classes=3)
    return {prefix + k: v * factor if v.is_floating_point() else v for k, v in net.state_dict().items()}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def said(model: LoadedModel) -> str:
    return " ".join(model.notes)


# ---------------------------------------------------------------- names of older versions


def test_torchvisions_first_densenets_load(tmp_path: Path) -> None:
    net = torchvision.models.densenet121(num_classes=4)
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", k): v for k, v in net.state_dict().items()}
    assert old.keys() != net.state_dict().keys()
    model = load_model(f"torchvision:densenet121@{saved(tmp_path / 'd.pth', old)}")
    assert model.num_classes == 4
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in model.module.state_dict().items())
    assert "DenseNet names translated" in said(model)


def test_versions_reach_the_modules_that_ask_for_them(tmp_path: Path) -> None:
    net = torchvision.models.mnasnet0_5()
    for path in (saved(tmp_path / "m.pth", net.state_dict()), tmp_path / "m.safetensors"):
        if path.suffix == ".safetensors":
            save_file(dict(net.state_dict()), path)
        model = load_model(f"torchvision:mnasnet0_5@{path}")
        assert all(torch.equal(v, net.state_dict()[k]) for k, v in model.module.state_dict().items())


def test_modules_that_know_their_old_names_see_them() -> None:
    def vit() -> nn.Module:
        return VisionTransformer(
            image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3
        )

    old = {
        "module." + k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v
        for k, v in vit().state_dict().items()
    }
    net = vit()
    fit(net, old, source="old.pth")
    assert torch.equal(net.state_dict()["heads.head.weight"], old["module.heads.head.weight"])
    with pytest.raises(CheckpointError, match="Missing"):
        fit(vit(), {k: v for k, v in old.items() if "linear_2" not in k}, source="old.pth")


def test_timms_own_translations_are_used(tmp_path: Path) -> None:
    net = timm.create_model("vit_tiny_patch16_224", img_size=96, num_classes=3)
    path = saved(tmp_path / "v.pth", net.state_dict())
    model = load_model(f"timm:vit_tiny_patch16_224?img_size=64@{path}")
    assert model.module.get_parameter("pos_embed").shape[1] == 17
    assert "checkpoint_filter_fn" in said(model)
    with pytest.raises(UsageError, match="let timm read weights by itself"):
        load_model("timm:test_resnet?checkpoint_path=x.pt@random")


def test_the_size_of_a_vits_images_is_in_its_weights(tmp_path: Path) -> None:
    net = torchvision.models.vit_b_32(image_size=64, num_classes=3)
    model = load_model(f"torchvision:vit_b_32@{saved(tmp_path / 'v.pth', net.state_dict())}")
    assert (model.preprocessing.crop, model.num_classes) == (64, 3)
    assert "image_size=64" in said(model)
    assert model.logits(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape == (1, 3)


# ---------------------------------------------------------------- several networks in one file


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"criterion.weight": torch.ones(3)}, "criterion.weight"),
        ({"train_acc.tp": torch.zeros(3), "val_acc.tp": torch.zeros(3)}, "train_acc.tp, val_acc.tp"),
    ],
)
def test_what_lies_beside_the_network_is_left_out_and_named(
    more: dict[str, Tensor], named: str, tmp_path: Path
) -> None:
    path = saved(tmp_path / "l.ckpt", {"state_dict": state("model.") | more, "pytorch-lightning_version": "2.4.0"})
    model = load_model(f"{SPEC}@{path}")
    assert all(torch.equal(v, state()[k]) for k, v in model.module.state_dict().items())
    assert named in said(model)


@pytest.mark.parametrize("prefix", ["_forward_module.model.", "student.backbone.", "x.y.z."])
def test_any_prefix_will_do(prefix: str, tmp_path: Path) -> None:
    load_model(f"{SPEC}@{saved(tmp_path / 'f.ckpt', state(prefix))}")


def test_compiled_parts_load(tmp_path: Path) -> None:
    inner = {k.replace("layer1.", "layer1._orig_mod."): v for k, v in state().items()}
    load_model(f"{SPEC}@{saved(tmp_path / 'c.pt', inner)}")


@pytest.mark.parametrize(("plain", "ema"), [("model.", "ema_model."), ("", "ema."), ("model.", "ema_model.module.")])
def test_two_sets_are_a_choice(plain: str, ema: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "e.ckpt", {"state_dict": state(plain) | state(ema, 2.0)})
    default, other = load_model(f"{SPEC}@{path}"), load_model(f"{SPEC}&ema=false@{path}")
    assert torch.equal(default.module.state_dict()["conv1.weight"], state("", 2.0)["conv1.weight"])
    assert torch.equal(other.module.state_dict()["conv1.weight"], state()["conv1.weight"])
    assert "ema=false takes the other" in said(default)
    assert "ema=true takes the other" in said(other)


def test_two_networks_of_one_kind_are_not_guessed(tmp_path: Path) -> None:
    path = saved(tmp_path / "two.pt", state("student.") | state("teacher.", 2.0))
    with pytest.raises(CheckpointError, match=r"holds 2 networks that fit, under student\., teacher\."):
        load_model(f"{SPEC}@{path}")


@pytest.mark.parametrize("names", [("model", "net"), ("state_dict", "model"), ("model_ema", "ema")])
def test_two_state_dicts_of_one_network_are_not_guessed(names: tuple[str, str], tmp_path: Path) -> None:
    one, other = names
    path = saved(tmp_path / "two.pt", {one: state(), other: state("", 2.0)})
    with pytest.raises(CheckpointError, match=r"two sets of weights of one network, under \w+ and \w+, .*content\['"):
        load_model(f"{SPEC}@{path}")
    load_model(f"{SPEC}@{saved(tmp_path / 'same.pt', {one: state(), other: state()})}")
    load_model(f"{SPEC}@{saved(tmp_path / 'part.pt', {one: state(), other: {'head.weight': torch.ones(3)}})}")


def test_an_average_beside_the_weights_inside_of_a_wrapper_is_a_choice_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "e.pt", {"model": {"state_dict": state(), "ema": state("", 2.0)}})
    default, other = load_model(f"{SPEC}@{path}"), load_model(f"{SPEC}&ema=false@{path}")
    assert torch.equal(default.module.state_dict()["conv1.weight"], state("", 2.0)["conv1.weight"])
    assert torch.equal(other.module.state_dict()["conv1.weight"], state()["conv1.weight"])
    assert "ema=false takes the other" in said(default)


def test_parts_of_the_network_that_are_unknown_stay_errors(tmp_path: Path) -> None:
    path = saved(tmp_path / "n.pt", state("model.") | {"model.extra.weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"Unexpected 1 keys: extra\.weight"):
        load_model(f"{SPEC}@{path}")


# ---------------------------------------------------------------- parts and folders


def sharded(folder: Path) -> Path:
    tensors, name = state(), "model-0000{}-of-00002.safetensors"
    keys = list(tensors)
    place = {key: name.format(1 + (i >= len(keys) // 2)) for i, key in enumerate(keys)}
    for file in set(place.values()):
        save_file({k: tensors[k].contiguous() for k in keys if place[k] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": place}, indent=2))
    return index


def test_sharded_weights_are_read_through_their_index(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    model = load_model(f"{SPEC}@{index}")
    assert all(torch.equal(v, state()[k]) for k, v in model.module.state_dict().items())
    assert "2 parts" in said(model)
    before = model.weights_sha256
    with pytest.raises(CheckpointError, match=r"one part of a sharded checkpoint: name its index"):
        load_model(f"{SPEC}@{tmp_path / 'model-00002-of-00002.safetensors'}")
    with pytest.raises(CheckpointError, match=r"a folder; name the file in it: model\.safetensors\.index\.json"):
        load_model(f"{SPEC}@{tmp_path}")
    save_file({"other": torch.ones(2)}, tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="does not hold what"):
        load_model(f"{SPEC}@{index}")
    assert len(before) == 64


@pytest.mark.parametrize("file", ["../secret.pt", "/etc/passwd", "model.safetensors.index.json", 3, None])
def test_an_index_names_files_beside_it(file: object, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": file}}))
    with pytest.raises(CheckpointError, match="no index of a sharded checkpoint"):
        read_raw(index)


def test_a_copy_of_a_repository(tmp_path: Path) -> None:
    net = timm.create_model("test_resnet", num_classes=6)
    save_file(dict(net.state_dict()), tmp_path / "model.safetensors")
    settings = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 0.95}
    config = {"architecture": "test_resnet", "num_classes": 6, "pretrained_cfg": settings}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for spec in (f"hf:{tmp_path}", f"timm:test_resnet@{tmp_path}", f"timm:test_resnet@{tmp_path}/model.safetensors"):
        model = load_model(spec)
        assert (model.num_classes, model.preprocessing.mean) == (6, (0.5, 0.5, 0.5))
        assert model.preprocessing.resize == int(160 / 0.95)
    with pytest.raises(RobustbenchError, match=r"no weights at|has none of"):
        load_model("hf:./no-such-folder")


# ---------------------------------------------------------------- other formats


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_programs_are_named_with_the_way_out(tmp_path: Path) -> None:
    net, image = nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)
    torch.jit.save(torch.jit.trace(net, image), str(tmp_path / "s.pt"))
    torch.export.save(torch.export.export(net, (image,)), tmp_path / "e.pt2")
    (tmp_path / "m.bin").write_bytes(b"\x08\x07\x12\x07pytorch" + bytes(64))
    (tmp_path / "__0_0.distcp").write_bytes(b"PK\x03\x04" + bytes(64))
    (tmp_path / "t.parquet").write_bytes(b"PAR1" + bytes(64))
    for name, words in [
        ("s.pt", r"TorchScript program.*state_dict\(\)"),
        ("e.pt2", r"torch\.export.*state_dict"),
        ("m.bin", "ONNX.*factory"),
        ("__0_0.distcp", "dcp_to_torch"),
        ("t.parquet", "parquet.*folder:"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            load_model(f"{SPEC}@{tmp_path / name}")
    with pytest.raises(CheckpointError, match=r"a folder, part of a torch\.distributed\.checkpoint"):
        load_model(f"{SPEC}@{tmp_path}")


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "/proc/self/mem", "~nobody-of-this-name/x.pt"])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_model(f"{SPEC}@{path}")
    assert len(str(caught.value)) < 500


def test_names_in_files_are_printed_safely(tmp_path: Path) -> None:
    evil = OrderedDict({"fc.weight": torch.ones(2), "\x1b[31m\n::error::x": torch.ones(2)})
    with pytest.raises(CheckpointError) as caught:
        load_model(f"{SPEC}@{saved(tmp_path / 'e.pt', evil)}")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- the user's own code


FACTORIES = """
import sys
import torch
from torch import nn

def needs(width): return nn.Linear(width, 3)
def leaves(): sys.exit(0)
def counted(num_classes=10): return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))

class Tent(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
    def forward(self, x):
        y = self.fc(x.mean((2, 3)))
        y.sum().backward()
        return y
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_networks.py").write_text(FACTORIES)
    (tmp_path / "own_broken.py").write_text("import torch\nnothing.here\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_networks"


def test_errors_of_the_users_code_are_the_users(own: str) -> None:
    for spec, words in [
        (f"{own}:needs", "own_networks:needs raised TypeError: .*width.*called with no arguments"),
        (f"{own}:leaves", "raised SystemExit"),
        (f"{own}:Tent", "own_networks:Tent failed on images of 224 x 224 pixels: RuntimeError"),
        ("own_broken:net", "own_broken raised NameError"),
        ("os:sep@random", "os:sep is a str"),
        ("json:loads?s=x@random", "json:loads raised JSONDecodeError"),
    ]:
        with pytest.raises(UsageError, match=words) as caught:
            load_model(spec)
        assert caught.value.exit_code == 2


def test_a_factorys_classes_are_those_of_the_file(own: str, tmp_path: Path) -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 7))
    assert load_model(f"{own}:counted@{saved(tmp_path / 'w.pt', net.state_dict())}").num_classes == 7


def test_a_size_that_is_given_is_the_size_that_is_shown(own: str) -> None:
    assert load_model(f"{own}:counted?input_size=96").preprocessing.crop == 96


def test_a_normalisation_that_is_given_is_not_assumed(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", torchvision.models.squeezenet1_1(num_classes=3).state_dict())
    assert "preprocessing: ImageNet's defaults, assumed" in said(load_model(f"torchvision:squeezenet1_1@{path}"))
    notes = said(load_model(f"torchvision:squeezenet1_1?normalize=imagenet@{path}"))
    assert "preprocessing: ImageNet's defaults, assumed" not in notes
    assert "resizing and cropping" in notes
    path = saved(tmp_path / "r.pt", state())
    assert "assumed" not in said(load_model(f"{SPEC}&normalize=imagenet@{path}"))
