"""Weight files: every form in the wild is read, every hostile or damaged one is refused in words."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from robustbench_lift.errors import CheckpointError, StorageError
from robustbench_lift.networks import build_model
from robustbench_lift.weights import LoadedModel, load_model, save_checkpoint
from robustbench_lift.weights.read import read_raw

SPEC = "resnet8/lift?num_classes=5"
RAN = "ran-by-a-pickle"


@pytest.fixture
def net() -> nn.Module:
    """A small network with running statistics of its own."""
    model = build_model("resnet8", "lift", num_classes=5)
    for name, buffer in model.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.uniform_(0.5, 1.0)
    return model.eval()


def state(model: nn.Module, prefix: str = "") -> OrderedDict[str, Tensor]:
    return OrderedDict((prefix + key, value.clone()) for key, value in model.state_dict().items())


def shifted(model: nn.Module) -> OrderedDict[str, Tensor]:
    """Other weights of the same network, as a moving average has."""
    return OrderedDict((k, v * 1.5 if v.is_floating_point() else v) for k, v in state(model).items())


def same(loaded: LoadedModel, expected: dict[str, Tensor]) -> bool:
    found = loaded.module.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in found)


FORMS: dict[str, Callable[[nn.Module], Any]] = {
    "bare": state,
    "pytorch examples": lambda m: {
        "epoch": 90,
        "arch": "resnet8",
        "state_dict": state(m, "module."),
        "best_acc1": torch.tensor(71.2),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
    },
    "model": lambda m: {"model": state(m), "optimizer": {}, "epoch": 3},
    "model_state": lambda m: {"cur_itrs": 3, "model_state": state(m)},
    "net": lambda m: {"net": state(m, "module."), "acc": 93.1, "epoch": 199},
    "timm": lambda m: {"state_dict": state(m), "args": argparse.Namespace(lr=0.1, model="resnet8"), "version": 2},
    "lightning": lambda m: {
        "state_dict": state(m, "model."),
        "hyper_parameters": {"lr": 0.1},
        "pytorch-lightning_version": "2.1.0",
        "global_step": 100,
    },
    "compiled": lambda m: state(m, "_orig_mod."),
    "compiled in parallel": lambda m: {"state_dict": state(m, "module._orig_mod.")},
    "backbone": lambda m: state(m, "backbone."),
    "encoder": lambda m: state(m, "net.encoder."),
    "averaged model": lambda m: OrderedDict([("n_averaged", torch.tensor(7)), *state(m, "module.").items()]),
    "robustness library": lambda m: {
        "model": OrderedDict(
            [
                *state(m, "module.model.").items(),
                *state(m, "module.attacker.model.").items(),
                ("module.normalizer.new_mean", torch.zeros(3, 1, 1)),
                ("module.attacker.normalize.new_std", torch.ones(3, 1, 1)),
            ]
        )
    },
    "without counters": lambda m: OrderedDict((k, v) for k, v in state(m).items() if "num_batches" not in k),
    "inner module": lambda m: OrderedDict((k.replace("layer1.", "layer1.module."), v) for k, v in state(m).items()),
    "parameters": lambda m: OrderedDict((k, nn.Parameter(v) if "weight" in k else v) for k, v in state(m).items()),
    "with a step": lambda m: {**state(m), "step": 12},
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_checkpoints(form: str, legacy: bool, net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth.tar"
    torch.save(FORMS[form](net), path, _use_new_zipfile_serialization=not legacy)
    assert same(load_model(f"{SPEC}@{path}"), net.state_dict())


@pytest.mark.parametrize(
    ("plain", "averaged"),
    [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("model", "ema"), ("params", "params_ema")],
)
def test_moving_averages_are_chosen_and_named(plain: str, averaged: str, net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "both.pt"
    torch.save({plain: state(net), averaged: shifted(net)}, path)
    default, left = load_model(f"{SPEC}@{path}"), load_model(f"{SPEC}&ema=false@{path}")
    assert same(default, shifted(net))
    assert same(load_model(f"{SPEC}@{path}", ema=True), shifted(net))
    assert same(left, net.state_dict())
    assert any(f"moving average ({averaged}), not {plain}" in note and "ema=false" in note for note in default.notes)
    assert any(f"plain weights ({plain})" in note for note in left.notes)


def test_a_nested_moving_average(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "nested.pt"
    torch.save({"model": state(net), "ema": {"decay": 0.999, "state_dict": shifted(net)}}, path)
    assert same(load_model(f"{SPEC}@{path}"), shifted(net))


def test_a_moving_average_that_is_not_there(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "plain.pt"
    torch.save({"model": state(net)}, path)
    with pytest.raises(CheckpointError, match="holds no moving average"):
        load_model(f"{SPEC}&ema=true@{path}")
    torch.save({"model_ema": state(net)}, path)
    with pytest.raises(CheckpointError, match=r"moving average alone; .*ema=true"):
        load_model(f"{SPEC}&ema=false@{path}")


def test_safetensors_of_others(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(dict(state(net)), path, metadata={"format": "pt"})
    loaded = load_model(f"{SPEC}@{path}")
    assert same(loaded, net.state_dict())
    assert any("ImageNet's mean and std, assumed" in note for note in loaded.notes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype, net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "half.pt"
    torch.save({k: v.to(dtype) if v.is_floating_point() else v for k, v in state(net).items()}, path)
    loaded = load_model(f"{SPEC}@{path}")
    assert all(p.dtype is torch.float32 for p in loaded.module.parameters())
    expected = {k: v.to(dtype).float() if v.is_floating_point() else v for k, v in state(net).items()}
    assert same(loaded, expected)
    assert any(str(dtype).removeprefix("torch.") in note for note in loaded.notes)


# ---------------------------------------------------------------- what does not fit


def test_missing_and_unexpected_keys_are_listed_and_capped(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(OrderedDict((k.replace("layer3", "stage3"), v) for k, v in state(net).items()), path)
    with pytest.raises(CheckpointError) as caught:
        load_model(f"{SPEC}@{path}")
    needed = [key for key in net.state_dict() if not key.endswith("num_batches_tracked")]  # torch can do without
    missing = sum(key.startswith("layer3.") for key in needed)
    unexpected = sum(key.startswith("layer3.") for key in net.state_dict())
    message = str(caught.value)
    assert f"Missing {missing} of {len(needed)} keys" in message
    assert f"Unexpected {unexpected} keys" in message
    assert f"and {missing - 8} more" in message
    assert message.count("layer3.") == message.count("stage3.") == 8
    assert "resnet8/lift" in message
    assert message.endswith("Name the network that these weights were trained as.")


def test_weights_of_another_pooling(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(build_model("resnet8", "max", num_classes=5).state_dict(), path)
    with pytest.raises(CheckpointError, match="trained with another pooling"):
        load_model(f"{SPEC}@{path}")
    torch.save(build_model("resnet8", "lift", num_classes=5).state_dict(), path)
    with pytest.raises(CheckpointError, match="Unexpected"):
        load_model(f"resnet8/max?num_classes=5@{path}")


def test_another_number_of_classes(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(state(net), path)
    inferred = load_model(f"resnet8/lift@{path}")
    assert inferred.num_classes == 5
    assert any("num_classes=5, as fc.weight has it" in note for note in inferred.notes)
    with pytest.raises(CheckpointError, match=r"distinguish 5 classes, the model was built for 7.*num_classes=5"):
        load_model(f"resnet8/lift@{path}", num_classes=7)


def test_another_architecture(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(nn.Linear(3, 4).state_dict(), path)
    with pytest.raises(CheckpointError, match="another architecture"):
        load_model(f"{SPEC}@{path}")
    torch.save({"weights": 3}, path)
    with pytest.raises(CheckpointError, match=r"holds no state dict .* Store the network's own"):
        load_model(f"{SPEC}@{path}")
    torch.save([torch.ones(3)], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        load_model(f"{SPEC}@{path}")


def blurred(**changes: Tensor) -> dict[str, Tensor]:
    """A ResNet-18 with bin-5 filters under antialiased-cnns' names."""
    ours = build_model("resnet18", "blur", placement="zhang", num_classes=5).state_dict()
    renamed = {}
    for key, value in ours.items():
        if key.startswith(("layer2.0.conv2.", "layer3.0.conv2.", "layer4.0.conv2.")):
            key = key.replace("conv2.", "conv2.1.")
        if ".downsample." in key:
            index = int(key.split(".")[3])
            key = key.replace(f"downsample.{index}", f"downsample.{index + 1}")
        renamed[key] = value
    taps = torch.tensor([1.0, 4, 6, 4, 1])
    kernel = taps[:, None] * taps / 256
    for name, channels in [("maxpool.1", 64)] + [
        (f"layer{i}.0.{part}", width)
        for i, sizes in {2: (64, 128), 3: (128, 256), 4: (256, 512)}.items()
        for part, width in (("downsample.0", sizes[0]), ("conv2.0", sizes[1]))
    ]:
        renamed[f"{name}.filt"] = kernel.expand(channels, 1, 5, 5).clone()
    return renamed | changes


def test_fixed_filters_are_verified_and_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "zhang.pth"
    spec = "resnet18/blur?placement=zhang&num_classes=5"
    torch.save({"state_dict": blurred()}, path)
    loaded = load_model(f"{spec}@{path}")
    assert any("antialiased-cnns" in note for note in loaded.notes)
    with pytest.raises(CheckpointError, match=r"\(64, 1, 5, 5\).*filter=bin-5"):
        load_model(f"{spec}&filter=tri-3@{path}")
    torch.save({"state_dict": blurred(**{"maxpool.1.filt": torch.full((64, 1, 5, 5), 0.04)})}, path)
    with pytest.raises(CheckpointError, match="not the bin-5 filter"):
        load_model(f"{spec}@{path}")
    torch.save({"state_dict": blurred()}, path)
    with pytest.raises(CheckpointError, match="BlurPools: name the pooling"):
        load_model(f"resnet18/skip?num_classes=5@{path}")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_numbers(value: float, net: nn.Module, tmp_path: Path) -> None:
    weights = state(net)
    weights["layer2.0.bn1.running_var"][3] = value
    path = tmp_path / "diverged.pt"
    torch.save(weights, path)
    with pytest.raises(CheckpointError, match=r"1 of the \d+ values of layer2\.0\.bn1\.running_var are NaN"):
        load_model(f"{SPEC}@{path}")
    net.load_state_dict(weights)
    with pytest.raises(CheckpointError, match="NaN"):
        save_checkpoint(tmp_path / "out.safetensors", net, {})
    assert not (tmp_path / "out.safetensors").exists()


def test_weights_without_values_are_refused(net: nn.Module, tmp_path: Path) -> None:
    """As a process stores them that never had them: a rank of a sharded training, `with torch.device("meta")`."""
    weights = state(net)
    for key in ("fc.weight", "fc.bias"):
        weights[key] = torch.empty_like(weights[key], device="meta")
    torch.save(weights, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"w\.pt: fc\.(weight|bias) has a shape and no values \(a meta tensor\)"):
        load_model(f"{SPEC}@{tmp_path / 'w.pt'}")


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("kind", ["integer", "sparse", "quantised"])
def test_values_of_another_kind(kind: str, net: nn.Module, tmp_path: Path) -> None:
    weights = state(net)
    value = weights["fc.weight"]
    weights["fc.weight"] = {"integer": value.to(torch.int8), "sparse": value.to_sparse()}.get(kind, value)
    if kind == "quantised":
        weights["fc.weight"] = torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)
    path = tmp_path / "odd.pt"
    torch.save(weights, path)
    with pytest.raises(CheckpointError, match=r"fc\.weight|truncated or damaged|more than tensors"):
        load_model(f"{SPEC}@{path}")


# ---------------------------------------------------------------- what is something else


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>", "HTML page"),
        (b"<html>404</html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (gzip.compress(b"weights", mtime=0), "gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
        (b"\x93NUMPY" + bytes(64), "NumPy array"),
        (b"GGUF" + bytes(64), "GGUF"),
        (b'{"error": "not found"}', "neither .safetensors nor"),
        (b"once upon a time there were no weights", "neither .safetensors nor"),
        (bytes(512), "neither .safetensors nor"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)}-bytes",
)
def test_first_bytes_tell_what_a_file_is(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        load_model(f"{SPEC}@{path}")


def test_archives_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "weights.py")
    with pytest.raises(CheckpointError, match="tar archive"):
        read_raw(path)
    np.savez(tmp_path / "weights.npz", a=np.ones(3))
    with pytest.raises(CheckpointError, match="NumPy archive"):
        read_raw(tmp_path / "weights.npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")
    with pytest.raises(CheckpointError, match=r"did not write \(readme\.txt"):
        read_raw(path)


def test_places_that_are_no_files(tmp_path: Path, net: nn.Module) -> None:
    save_checkpoint(tmp_path / "final.safetensors", net, {})
    with pytest.raises(CheckpointError, match=r"no weights at .*Beside it there is final\.safetensors"):
        read_raw(tmp_path / "finall.safetensors")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_raw(tmp_path)
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_raw(tmp_path / "pipe.pt")
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    with pytest.raises(CheckpointError, match="no weights at"):
        read_raw(tmp_path / "loop.pt")


def test_a_hash_in_the_name_is_verified(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(state(net), path)
    digest = read_raw(path).sha256
    right = tmp_path / f"resnet8-{digest[:8]}.pth"
    right.write_bytes(path.read_bytes())
    assert same(load_model(f"{SPEC}@{right}"), net.state_dict())
    wrong = path.rename(tmp_path / "resnet8-0badc0de.pth")
    with pytest.raises(CheckpointError, match=rf"says 0badc0de in its name .* begins with {digest[:8]}"):
        load_model(f"{SPEC}@{wrong}")
    dated = wrong.rename(tmp_path / "resnet8-20261123.pth")
    assert any("taken for a date" in note for note in load_model(f"{SPEC}@{dated}").notes)


# ---------------------------------------------------------------- what is hostile


class Runs:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.place / RAN),)


@pytest.mark.parametrize("where", ["beside", "instead", "inside"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_code_in_a_pickle_never_runs(where: str, legacy: bool, net: nn.Module, tmp_path: Path) -> None:
    code = Runs(tmp_path)
    content = {
        "beside": {"state_dict": state(net), "x": code},
        "instead": code,
        "inside": {**state(net), "fc.bias": code},
    }
    path = tmp_path / "hostile.pt"
    torch.save(content[where], path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"refers to posix\.mkdir.*nothing was executed"):
        load_model(f"{SPEC}@{path}")
    assert not (tmp_path / RAN).exists()


def test_a_plain_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(pickle.dumps(Runs(tmp_path)))
    with pytest.raises(CheckpointError, match=r"pickle that torch\.save did not write"):
        load_model(f"{SPEC}@{path}")
    assert not (tmp_path / RAN).exists()


def test_whole_modules_and_numpy_values_are_named(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    torch.save(net, path)
    with pytest.raises(CheckpointError, match=r"robustbench_lift\.networks\.resnet.*store the weights alone"):
        load_model(f"{SPEC}@{path}")
    torch.save({"state_dict": state(net), "acc": np.float64(0.5)}, path)
    with pytest.raises(CheckpointError, match=r"refers to .*numpy"):
        load_model(f"{SPEC}@{path}")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("net/data.pkl", "net/constants.pkl", "net/code/__torch__.py"):
            archive.writestr(name, b"")
    with pytest.raises(CheckpointError, match="TorchScript program"):
        read_raw(path)


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes], *, deflate: bool = False) -> Path:
    """The same torch archive with members changed."""
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


@pytest.fixture
def saved(net: nn.Module, tmp_path: Path) -> Path:
    """An honest file of torch.save."""
    path = tmp_path / "honest.pt"
    torch.save(state(net), path)
    return path


def test_decompression_bombs_are_not_unpacked(saved: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pt"
    rewritten(saved, bomb, lambda name, data: bytes(50_000_000) if name.endswith("data/0") else data, deflate=True)
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(CheckpointError, match="compressed members"):
        read_raw(bomb)


def test_members_that_claim_more_than_the_file_has(saved: Path, tmp_path: Path) -> None:
    data = bytearray(saved.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 4_000_000_000)
    liar = tmp_path / "liar.pt"
    liar.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"declares 4,0[\d,]+ bytes of content"):
        read_raw(liar)


@pytest.mark.parametrize("name", ["../outside/data.pkl", "/absolute/data.pkl"])
def test_members_that_point_outside(name: str, saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "tricky.pt"
    path.write_bytes(saved.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(CheckpointError, match="outside the archive"):
        read_raw(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["honest.pt", "tricky.pt"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr(archive.namelist()[0], b"other")
    with pytest.raises(CheckpointError, match="two members of one name"):
        read_raw(saved)


class Large:
    """Pickles as a call of bytearray, which weights-only unpicklers allow, with an enormous length."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return bytearray, (10**13,)


def test_allocations_by_pickle_are_not_made(tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    torch.save({"weights": Large()}, path)
    with pytest.raises(CheckpointError, match="bytearrays of any size"):
        read_raw(path)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_tensors_larger_than_their_file(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"fc.weight": torch.ones(70_000)}, path, _use_new_zipfile_serialization=not legacy)
    honest, claim = struct.pack("<I", 70_000), struct.pack("<I", 2_000_000_000)
    huge = tmp_path / "huge.pt"
    if legacy:
        huge.write_bytes(path.read_bytes().replace(b"J" + honest, b"J" + claim, 1))
    else:
        rewritten(path, huge, lambda name, data: data.replace(b"J" + honest, b"J" + claim, 1))
    with pytest.raises(CheckpointError, match=r"declares a tensor of 2,000,000,000 elements"):
        read_raw(huge)


def test_tensors_that_expand_are_refused_by_shape(net: nn.Module, tmp_path: Path) -> None:
    weights = state(net)
    weights["fc.bias"] = torch.zeros(1).expand(10**12)  # 4 bytes on disk, 4 TB once copied
    path = tmp_path / "expand.pt"
    torch.save(weights, path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(CheckpointError, match=r"fc\.bias \(1000000000000,\)"):
        load_model(f"{SPEC}@{path}")


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_truncated_files(form: str, keep: float, net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    if form == "safetensors":
        path.write_bytes(safetensors.torch.save(dict(state(net))))
    else:
        torch.save(state(net), path, _use_new_zipfile_serialization=form == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CheckpointError, match=r"truncated|damaged|does not fit"):
        load_model(f"{SPEC}@{path}")


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_flipped_bits_load_fully_or_are_refused(form: str, net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    if form == "safetensors":
        path.write_bytes(safetensors.torch.save(dict(state(net))))
    else:
        torch.save(state(net), path, _use_new_zipfile_serialization=form == "zip")
    honest = path.read_bytes()
    generator = np.random.default_rng(0)
    # the head of every format is structure; the tail of a zip archive is its directory
    places = [int(p) for p in generator.integers(0, 3000, 40)] + [
        len(honest) - 1 - int(p) for p in generator.integers(0, 600, 20)
    ]
    refused = 0
    for place in places:
        data = bytearray(honest)
        data[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(data)
        try:
            loaded = load_model(f"{SPEC}@{path}")
        except CheckpointError:
            refused += 1
        else:
            assert loaded.module.state_dict().keys() == net.state_dict().keys()
    assert refused > 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_mutilated_files_raise_nothing_else(form: str, tmp_path: Path) -> None:
    weights = {"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(4).half(), "n": torch.tensor(3)}
    path = tmp_path / "weights.bin"
    if form == "safetensors":
        path.write_bytes(safetensors.torch.save(weights, {"x": "y"}))
    else:
        content = {"state_dict": weights, "epoch": 3, "args": argparse.Namespace(a=1), "opt": {"p": [1, {"q": 2.0}]}}
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    honest = path.read_bytes()
    generator = np.random.default_rng(1)
    refused = 0
    for _ in range(3000):
        data = bytearray(honest)
        for _ in range(int(generator.integers(1, 8))):
            place, length = int(generator.integers(len(data))), int(generator.integers(1, 20))
            noise = generator.integers(0, 256, length, dtype=np.uint8).tobytes()
            data[place : place + length] = (b"", noise, noise + bytes(data[place : place + length]))[
                generator.integers(3)
            ]
        path.write_bytes(data)
        try:
            read_raw(path)
        except CheckpointError:
            refused += 1
    assert refused > 1000


def header_file(path: Path, header: bytes, body: bytes = b"", length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + body)
    return path


@pytest.mark.parametrize(
    ("header", "body", "length", "words"),
    [
        (b'{"a":1}', b"", 2**62, "declares a header of"),
        (b'{"a":1}', b"", 26_000_000, "more than the 25,000,000"),
        (b'{"a":1}', b"", 900, "it is truncated"),
        (b"{" * 100_000, b"", None, "damaged header"),
        (b'{"a":' + b"[" * 200_000, b"", None, "damaged header"),
        (b'{"a": \xff\xfe}', b"", None, "damaged header"),
        (b'{"__metadata__": {"format": 3}}', b"", None, "damaged header"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":1}', bytes(8), None, "twice"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(4), None, "truncated or damaged"),
        (b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}', bytes(8), None, "truncated or damaged"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}', bytes(8), None, "truncated or damaged"),
        (b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}', bytes(8), None, "damaged"),
        (b'{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}', bytes(8), None, "truncated or damaged"),
    ],
    ids=range(13),
)
def test_damaged_safetensors(header: bytes, body: bytes, length: int | None, words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_raw(header_file(tmp_path / "a.safetensors", header, body, length))


# ---------------------------------------------------------------- what we write

CARD = {
    "architecture": "resnet8",
    "pooling": "lift",
    "placement": "",
    "options": json.dumps({"kernel_size": 5}),
    "num_classes": "5",
    "class_names": json.dumps(["a", "b", "c", "d", "e"]),
    "mean": "[0.4, 0.5, 0.6]",
    "std": "[0.2, 0.2, 0.3]",
    "resize": "",
    "crop": "64",
    "data": "photos",
}


def test_a_checkpoint_of_ours_comes_back_with_its_card(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "final.safetensors"
    sha256 = save_checkpoint(path, net, CARD)
    for spec in (f"resnet8/lift@{path}", f"resnet8@{path}", f"@{path}", f"resnet8/lift?placement=stage@{path}"):
        loaded = load_model(spec)
        assert same(loaded, net.state_dict())
        assert (loaded.weights_sha256, loaded.num_classes, loaded.placement) == (sha256, 5, "stage")
        assert loaded.class_names == ("a", "b", "c", "d", "e")
        assert (loaded.preprocessing.mean, loaded.preprocessing.crop) == ((0.4, 0.5, 0.6), 64)
        assert loaded.card["data"] == "photos"
        assert not loaded.notes
        assert not loaded.module.training
    theirs = safetensors.torch.load_file(path)
    assert all(torch.equal(theirs[key], value) for key, value in net.state_dict().items())


def test_the_same_weights_give_the_same_bytes(net: nn.Module, tmp_path: Path) -> None:
    first = save_checkpoint(tmp_path / "a.safetensors", net, CARD)
    assert save_checkpoint(tmp_path / "b.safetensors", net, dict(reversed(CARD.items()))) == first


def test_all_types_survive_the_library(tmp_path: Path) -> None:
    module = nn.Module()
    for index, dtype in enumerate(
        (
            torch.float64,
            torch.float32,
            torch.float16,
            torch.bfloat16,
            torch.int64,
            torch.int32,
            torch.int16,
            torch.int8,
            torch.uint8,
            torch.bool,
        )
    ):
        module.register_buffer(f"b{index}", torch.tensor([[0, 1, 1]]).to(dtype))
    module.register_buffer("scalar", torch.tensor(3))
    module.register_buffer("empty", torch.zeros(0, 4))
    save_checkpoint(tmp_path / "all.safetensors", module, {})
    found = safetensors.torch.load_file(tmp_path / "all.safetensors")
    assert found.keys() == module.state_dict().keys()
    assert all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in module.state_dict().items())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("resnet8/max@{}", r"trained as resnet8/lift.*not with pooling 'max'.*not a fair model"),
        ("resnet20/lift@{}", r"not with architecture 'resnet20'"),
        ("resnet8/lift?placement=zhang@{}", r"placement 'stage'.*not 'zhang'"),
        ("resnet8/lift?kernel_size=7@{}", r"kernel_size=5 .*not 7"),
        ("resnet8/lift?bands=LL@{}", r"bands=sum .*not LL"),
        ("resnet8/lift?num_classes=7@{}", r"distinguish 5 classes, the model was built for 7"),
    ],
)
def test_the_card_is_checked_against_the_spec(spec: str, words: str, net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "final.safetensors"
    save_checkpoint(path, net, CARD)
    with pytest.raises(CheckpointError, match=words):
        load_model(spec.format(path))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("mean", "[1, 2]", "preprocessing that cannot be read"),
        ("mean", "[NaN, 0, 0]", "three finite numbers"),
        ("std", "[0, 1, 1]", "std must be positive"),
        ("crop", "a lot", "preprocessing that cannot be read"),
        ("options", "[", "options that cannot be read"),
        ("options", "[1]", "options that are no table"),
        ("class_names", '["a"]', "no list of 5 class names"),
        ("architecture", "resnet9000", "unknown backbone 'resnet9000'"),
        ("pooling", "liftt", "unknown pooling 'liftt'"),
    ],
)
def test_damaged_cards(key: str, value: str, words: str, net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "final.safetensors"
    save_checkpoint(path, net, {**CARD, key: value})
    with pytest.raises(Exception, match=words) as caught:
        load_model(f"@{path}")
    assert getattr(caught.value, "exit_code", None) == 2


def test_writing_is_whole_or_not_at_all(net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "final.safetensors"
    path.write_bytes(b"what was there")

    def fails(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(StorageError, match="No space left"):
        save_checkpoint(path, net, CARD)
    assert path.read_bytes() == b"what was there"
    assert [entry.name for entry in tmp_path.iterdir()] == ["final.safetensors"]


def test_links_are_replaced_and_not_followed(net: nn.Module, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path = tmp_path / "out" / "final.safetensors"
    path.parent.mkdir()
    path.symlink_to(victim)
    (path.parent / f".{path.name}.{os.getpid()}.partial").symlink_to(victim)
    save_checkpoint(path, net, CARD)
    assert victim.read_bytes() == b"precious"
    assert not path.is_symlink()
    assert same(load_model(f"@{path}"), net.state_dict())


def test_cards_hold_strings(net: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="must be strings"):
        save_checkpoint(tmp_path / "a.safetensors", net, {"num_classes": 5})  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match=r"does not end in \.safetensors"):
        save_checkpoint(tmp_path / "a.pt", net, {})


def test_the_hash_is_that_of_the_bytes_that_were_read(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    sha256 = save_checkpoint(path, net, CARD)
    assert read_raw(path, sha256=sha256).sha256 == sha256
    with pytest.raises(CheckpointError, match="expected 000"):
        read_raw(path, sha256="0" * 64)
