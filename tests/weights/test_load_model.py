"""load_model: each source, offline; what travels with a model; what a user is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from robustbench_lift.errors import CheckpointError, RobustbenchError, UsageError
from robustbench_lift.networks import build_model
from robustbench_lift.weights import LoadedModel, Preprocessing, convert_weights, load_model, ours, save_checkpoint


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Empty caches, and no way out."""
    import socket

    import huggingface_hub.constants as hub

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "torch")
    yield tmp_path
    torch.hub.set_dir(before)


def images(count: int = 2, size: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)


def answers(model: LoadedModel, theirs: nn.Module, mean: Any, std: Any, size: int = 64) -> None:
    """The model normalises and answers as the network does after torchvision's ToTensor and Normalize."""
    x = images(size=size)
    normalised = torchvision.transforms.functional.normalize(x / 255, mean, std)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(x), theirs.eval()(normalised), rtol=1e-4, atol=1e-5)


def test_untrained_weights_only_when_asked() -> None:
    with pytest.raises(UsageError, match=r"names no weights: write resnet8/lift@FILE, or resnet8/lift@random"):
        load_model("resnet8/lift")
    model = load_model("resnet8/lift?num_classes=12@random")
    assert model.notes == ("the weights are untrained (@random).",)
    assert (model.arch, model.pooling, model.placement, model.num_classes) == ("resnet8", "lift", "stage", 12)
    assert model.name == "resnet8/lift"
    assert model.parameters == 78_940
    assert not any(p.requires_grad for p in model.module.parameters())
    state = torch.get_rng_state()
    assert load_model("resnet8/lift?num_classes=12@random").weights_sha256 == model.weights_sha256
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("spec", ["resnet8/lift?num_classes=3", "torchvision:resnet18?", "timm:resnet18?"])
@pytest.mark.parametrize("flag", ["true", "false"])
def test_a_choice_between_weights_needs_a_file(spec: str, flag: str) -> None:
    with pytest.raises(UsageError, match=r"ema chooses between two sets of weights in a file, and no file is read"):
        load_model(f"{spec}&ema={flag}@random".replace("?&", "?"))


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_the_size_for_which_poolings_are_replaced_is_shown_or_told(library: str) -> None:
    def loaded(options: str) -> LoadedModel:
        return load_model(f"{library}:resnet18?{options}@random")

    tied = loaded("pooling=ada&input_size=64&num_classes=3").preprocessing
    assert (tied.resize, tied.crop) == (None, 64)
    plain, told = loaded("pooling=lift"), loaded("pooling=lift&input_size=64")
    assert told.preprocessing == plain.preprocessing
    assert not any("input_size" in note for note in plain.notes)
    words = f"input_size=64 chose the layers to replace; images are shown at {plain.preprocessing.crop} pixels"
    assert any(note.startswith(words) for note in told.notes)


@pytest.mark.parametrize("side", ["big", "0", "true", "1.5", "64x64", "100000"])
@pytest.mark.parametrize("spec", ["resnet8/ada", "torchvision:resnet18?pooling=lift", "timm:resnet18?pooling=lift"])
def test_a_side_that_is_none_is_refused_before_memory_is_taken(spec: str, side: str) -> None:
    joint = "&" if "?" in spec else "?"
    with pytest.raises(UsageError, match="input_size must be the side of the images in pixels"):
        load_model(f"{spec}{joint}input_size={side}@random")


def test_logits_are_float32_of_uint8(tmp_path: Path) -> None:
    net = build_model("resnet8", "max", num_classes=5)
    path = tmp_path / "net.pt"
    torch.save(net.state_dict(), path)
    model = load_model(f"resnet8/max?num_classes=5&normalize=half@{path}")
    answers(model, net, (0.5,) * 3, (0.5,) * 3)
    assert model.logits(images()).dtype is torch.float32
    assert model.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with torch.inference_mode():
        first = model.logits(images())
    assert first.shape == model.logits(images()).shape  # constants made in inference mode serve outside too


def test_keys_that_fit_several_networks_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pt"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    for spec in ("resnet18/skip", "torchvision:resnet18"):
        notes = " ".join(load_model(f"{spec}@{path}").notes)
        assert "timm:resnetblur18" in notes
        assert "torchvision:resnet18" in notes
        assert f"loaded as {spec} because the spec says so" in notes
    notes = " ".join(load_model(f"timm:resnetblur18@{path}").notes)
    assert "torchvision:resnet18" in notes


@pytest.mark.usefixtures("offline")
def test_nothing_is_fetched_unless_asked() -> None:
    for spec, words in [
        ("torchvision:resnet18@IMAGENET1K_V1", r"not in the cache .*download=true@IMAGENET1K_V1.*resnet18-f37072fd"),
        ("torchvision:resnet18@DEFAULT", "not in the cache"),
        ("timm:resnetblur50.bt_in1k", r"timm/resnetblur50.bt_in1k is not in the cache.*download=true"),
        ("hf:timm/resnetblur50.bt_in1k", "is not in the cache and the network is used only when asked"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            load_model(spec)


def test_torchvisions_cache_is_read_and_verified(offline: Path) -> None:
    folder = offline / "torch" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), folder / "resnet18-f37072fd.pth")
    with pytest.raises(CheckpointError, match="says f37072fd in its name"):
        load_model("torchvision:resnet18@IMAGENET1K_V1")


def test_downloads_are_verified_before_they_are_kept(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustbench_lift.weights import sources

    source = offline / "server" / "resnet18-f37072fd.pth"
    source.parent.mkdir()
    source.write_bytes(b"not what the name promises")
    spec = sources.ModelSpec.parse("torchvision:resnet18?download=true@IMAGENET1K_V1")
    with pytest.raises(CheckpointError, match="could not be fetched: invalid hash value"):
        sources.cached_download(source.as_uri(), spec, "resnet18")
    assert not list((offline / "torch" / "checkpoints").iterdir())
    right = source.rename(source.with_name(f"resnet18-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.pth"))
    path = sources.cached_download(right.as_uri(), spec, "resnet18")
    assert path.read_bytes() == right.read_bytes()
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *args, **kwargs: pytest.fail("it is in the cache"))
    assert sources.cached_download(right.as_uri(), spec, "resnet18") == path


def test_torchvisions_settings_travel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    net = torchvision.models.resnet18()
    path = tmp_path / "w.pth"
    torch.save(net.state_dict(), path)
    from robustbench_lift.weights import sources

    monkeypatch.setattr(sources, "cached_download", lambda url, spec, what: path)
    model = load_model("torchvision:resnet18@IMAGENET1K_V1")
    expected = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    assert model.class_names == tuple(expected.meta["categories"])
    given = expected.transforms()
    found = model.preprocessing
    assert (found.mean, found.std) == (tuple(given.mean), tuple(given.std))
    assert (found.resize, found.crop, found.interpolation) == (given.resize_size[0], given.crop_size[0], "bilinear")
    assert not model.notes
    answers(model, net, given.mean, given.std)


def test_torchvision_mistakes(tmp_path: Path) -> None:
    for spec, words in [
        ("torchvision:resnet5@DEFAULT", "unknown torchvision model 'resnet5'.*resnet50"),
        ("torchvision:resnet18", "IMAGENET1K_V1"),
        ("torchvision:resnet18@IMAGENET1K_V7", "Did you mean IMAGENET1K_V1"),
        ("torchvision:resnet18?colour=3@random", "cannot be built with these options"),
    ]:
        with pytest.raises(UsageError, match=words):
            load_model(spec)
    assert load_model("torchvision:squeezenet1_1?num_classes=3@random").num_classes == 3


def test_timm_from_a_file_with_its_settings(tmp_path: Path) -> None:
    net = timm.create_model("test_resnet", num_classes=6)
    path = tmp_path / "last.pth.tar"
    torch.save({"state_dict": net.state_dict(), "arch": "test_resnet", "epoch": 3}, path)
    model = load_model(f"timm:test_resnet?num_classes=6@{path}")
    settings = net.pretrained_cfg
    assert (model.arch, model.num_classes, model.name) == ("test_resnet", 6, "test_resnet?num_classes=6"[:11])
    assert model.preprocessing.mean == tuple(settings["mean"])
    assert model.preprocessing.crop == settings.get("test_input_size", settings["input_size"])[1]
    answers(model, net, settings["mean"], settings["std"], size=160)
    inferred = load_model(f"timm:test_resnet@{path}")
    assert (inferred.num_classes, inferred.weights_sha256) == (6, model.weights_sha256)
    with pytest.raises(UsageError, match=r"unknown timm model 'resnetblr50'\. Did you mean resnetblur50") as caught:
        load_model("timm:resnetblr50@random")
    assert len(str(caught.value)) < 300
    with pytest.raises(UsageError, match="unknown timm weights"):
        load_model("timm:resnet50.no_such_tag")


def cached(hub: Path, repository: str, files: dict[str, bytes]) -> None:
    """A repository as the hub's client leaves it in its cache."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    for name, content in files.items():
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).symlink_to(blob)


def weights(net: nn.Module, path: Path, card: dict[str, str] | None = None) -> bytes:
    save_checkpoint(path, net, card or {})
    return path.read_bytes()


def test_repositories_in_the_hubs_cache(offline: Path) -> None:
    import safetensors.torch

    net = timm.create_model("test_resnet", num_classes=6)
    config = {"architecture": "test_resnet", "num_classes": 6, "pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}
    content = safetensors.torch.save(net.state_dict())
    cached(
        offline / "hub",
        "someone/tiny",
        {"model.safetensors": content, "config.json": json.dumps(config).encode()},
    )
    model = load_model("hf:someone/tiny")
    assert model.preprocessing.mean == (0.1, 0.2, 0.3)
    assert model.weights_sha256 == hashlib.sha256(content).hexdigest()
    answers(model, net, (0.1, 0.2, 0.3), net.pretrained_cfg["std"], size=160)


def test_our_files_in_the_hubs_cache(offline: Path) -> None:
    net = build_model("resnet8", "lift", num_classes=3)
    card = {"architecture": "resnet8", "pooling": "lift", "placement": "", "options": "{}", "num_classes": "3"}
    cached(offline / "hub", "someone/lift", {"model.safetensors": weights(net, offline / "m.safetensors", card)})
    model = load_model("hf:someone/lift")
    assert (model.arch, model.pooling, model.name) == ("resnet8", "lift", "someone/lift")
    cached(
        offline / "hub",
        "someone/else",
        {
            "model.safetensors": weights(net, offline / "n.safetensors")[:-1] + b"\0",
            "config.json": b'{"model_type": "vit"}',
        },
    )
    with pytest.raises(RobustbenchError, match=r"config\.json names no `architecture`"):
        load_model("hf:someone/else")
    with pytest.raises(UsageError, match="a repository is OWNER/NAME"):
        load_model("hf:tiny")


FACTORY = """
import torch
from robustbench_lift.weights import Preprocessing

def plain(width=4, num_classes=10):
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                               torch.nn.Linear(width, num_classes))

def own():
    net = plain()
    net.preprocessing = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), resize=None, crop=32)
    return net

def fixed():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4))

def no_module():
    return 3
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"factories_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_function_of_the_users(factories: str, tmp_path: Path) -> None:
    first = load_model(f"{factories}:plain?width=8&num_classes=6")
    assert (first.num_classes, first.arch, first.pooling) == (6, "plain", None)
    path = tmp_path / "w.pt"
    torch.save({"net": {f"module.{k}": v for k, v in first.module.state_dict().items()}}, path)
    model = load_model(f"{factories}:plain?width=8&num_classes=6@{path}")
    answers(model, first.module, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert any("ImageNet's defaults, assumed" in note for note in model.notes)
    assert load_model(f"{factories}:own").preprocessing == Preprocessing(
        mean=(0, 0, 0), std=(1, 1, 1), resize=None, crop=32
    )
    assert load_model(f"{factories}:fixed?input_size=32").num_classes == 4


def test_functions_that_are_none(factories: str) -> None:
    for spec, words in [
        (f"{factories}:fixed", r"failed on images of 224 x 224 pixels: RuntimeError: .*input_size=64"),
        (f"{factories}:no_module", "returned a int"),
        (f"{factories}:absent", "Name a function that makes the network"),
        ("no_such_package.module:net", "cannot be imported"),
    ]:
        with pytest.raises(UsageError, match=words):
            load_model(spec)


def test_names_that_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = build_model("resnet8", "lift", num_classes=3)
    card = {"architecture": "resnet8", "pooling": "lift", "placement": "", "options": "{}", "num_classes": "3"}
    (tmp_path / "photos").mkdir()
    sha256 = save_checkpoint(tmp_path / "photos" / "a.safetensors", net, card)
    entry = f'file = "photos/a.safetensors"\nsha256 = "{sha256}"\narchitecture = "resnet8"\npooling = "lift"\n'
    (tmp_path / "index.toml").write_text(f'["photos/resnet-lift"]\n{entry}')
    monkeypatch.setattr(ours, "files", lambda package: tmp_path)
    model = load_model("photos/resnet-lift")
    assert (model.name, model.spec, model.weights_sha256) == ("photos/resnet-lift", "photos/resnet-lift", sha256)
    with pytest.raises(UsageError, match=r"unknown model 'photos/resnet-lfit'\. Did you mean 'photos/resnet-lift'"):
        load_model("photos/resnet-lfit")
    with pytest.raises(UsageError, match="ship with it"):
        load_model("photos/resnet-lift@other.pt")
    with pytest.raises(CheckpointError, match="distinguish 3 classes"):
        load_model("photos/resnet-lift?num_classes=4")
    with pytest.raises(CheckpointError, match="no moving average"):
        load_model("photos/resnet-lift?ema=true")
    save_checkpoint(tmp_path / "photos" / "a.safetensors", build_model("resnet8", "lift", num_classes=3), card)
    with pytest.raises(CheckpointError, match=f"expected {sha256}"):
        load_model("photos/resnet-lift")


def test_names_are_checked_before_files() -> None:
    with pytest.raises(UsageError, match="unknown pooling 'lifft'"):
        load_model("resnet8/lifft@missing.safetensors")
    with pytest.raises(UsageError, match="unknown placement"):
        load_model("resnet8/lift?placement=zang@missing.safetensors")
    with pytest.raises(RobustbenchError, match="unknown model 'resnet9'"):
        load_model("resnet9")


def test_a_bare_file_asks_for_its_network(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({}, path)
    with pytest.raises(UsageError, match=rf"{path} is a file; say which network .*resnet50/lift@{path}"):
        load_model(str(path))


def test_conversion_keeps_logits_and_says_where_from(tmp_path: Path) -> None:
    net = build_model("resnet8", "lift", num_classes=5, options={"kernel_size": 3})
    source = tmp_path / "epoch90.pth.tar"
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}, "epoch": 90}, source)
    spec = f"resnet8/lift?kernel_size=3&num_classes=5&normalize=half@{source}"
    model, sha256 = convert_weights(spec, tmp_path / "out.safetensors", data="photos", recipe="mine")
    back = load_model(f"@{tmp_path / 'out.safetensors'}")
    x = images()
    assert torch.equal(back.logits(x), model.logits(x))
    assert back.weights_sha256 == sha256
    assert back.preprocessing.mean == (0.5, 0.5, 0.5)
    assert back.card["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (back.card["data"], back.card["recipe"], back.card["options"]) == ("photos", "mine", '{"kernel_size": 3}')
    with pytest.raises(CheckpointError, match="kernel_size=3"):
        load_model(f"resnet8/lift?kernel_size=5@{tmp_path / 'out.safetensors'}")


def test_converted_weights_of_others_keep_their_settings(tmp_path: Path) -> None:
    net = timm.create_model("test_resnet", num_classes=6)
    source, out = tmp_path / "w.pt", tmp_path / "out.safetensors"
    torch.save(net.state_dict(), source)
    model, _ = convert_weights(f"timm:test_resnet?num_classes=6&normalize=half@{source}", out)
    back = load_model(f"timm:test_resnet@{out}")
    assert (back.num_classes, back.preprocessing, back.notes) == (6, model.preprocessing, ())
    x = images(size=160)
    assert torch.equal(back.logits(x), model.logits(x))
    with pytest.raises(CheckpointError, match=r"belongs to timm:test_resnet .*not to timm:test_vit"):
        load_model(f"timm:test_vit@{out}")
    with pytest.raises(CheckpointError, match=r"belongs to timm:test_resnet .*write timm:test_resnet@"):
        load_model(f"resnet18/skip@{out}")
    save_checkpoint(out, net, {"architecture": "resnet8", "pooling": "lift"})
    with pytest.raises(CheckpointError, match="belongs to resnet8/lift"):
        load_model(f"timm:test_resnet@{out}")


def test_convert_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from robustbench_lift.commands.convert import convert

    out = tmp_path / "out.safetensors"
    convert("resnet8/lift?num_classes=12@random", out)
    shown = capsys.readouterr().out.replace("\n", "")
    assert "78,940 parameters" in shown
    assert "note: the weights are untrained" in shown
    with pytest.raises(RobustbenchError, match="--overwrite"):
        convert("resnet8/lift?num_classes=12@random", out)
    convert("resnet8/lift?num_classes=12@random", out, overwrite=True)
