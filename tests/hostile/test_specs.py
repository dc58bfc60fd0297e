"""Model specs, data specs and options that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Refused

LONG = "x" * 5000
DIGITS = "9" * 5000
MODELS = [
    "", " ", "@", "?", "@@", "/", ":", "::", "resnet8", "resnet8/", "/lift", "resnet8//lift@random",
    "resnet8/lift?@random",
    "resnet8/lift?size@random", "resnet8/lift?=@random", "resnet8/lift?a&b@random", "resnet8/lift?a=b=c@random",
    "resnet8/lift?size=\u00b2x\u00b3@random", "resnet8/lift?num_classes=\u0661\u0662@random",
    "resnet8/lift?num_classes=0@random",
    "resnet8/lift?num_classes=-1@random", "resnet8/lift?num_classes=1.5@random", "resnet8/lift?num_classes=nan@random",
    "resnet8/lift?num_classes=2000000000@random", f"resnet8/lift?num_classes={DIGITS}@random",
    "resnet8/lift?num_classes=true@random", "resnet8/lift?num_classes=[1]@random",
    "resnet8/lift?kernel_size=1000001@random",
    f"resnet8/lift?kernel_size={DIGITS}@random", "resnet8/lift?kernel_size=-3@random",
    "resnet8/lift?kernel_size=1e999@random",
    "resnet8/lift?kernel_size=nan@random", "resnet8/lift?kernel_size=0@random", "resnet8/blur?filter=../../x@random",
    "resnet8/blur?filter=rect-99999999@random", f"resnet8/lift@{LONG}", f"resnet8/{LONG}@random", f"{LONG}@random",
    f"@{LONG}",
    "resnet8/lift@/dev/zero", "resnet8/lift@/dev/null", "resnet8/lift@/proc/self/mem", "resnet8/lift@.",
    "resnet8/lift@/",
    "resnet8/lift@nowhere.pt", "resnet8/lift@\x00", "resnet8/lift@a\x1b[31mred", "a\n::error title=x::evil",
    "a\u202eb/lift@random",
    "resnet8/lift?\x1b[2J=1@random", "resnet8/lift?normalize=\x1b[2J@random", "resnet8/\udcff@random",
    "resnet8/lift@\udcff",
    "sys:exit@random", "os:system@random", "os:system?command=true@random", "json:loads?s=x@random",
    "json:nothing@random",
    "no.such.module:net@random", "builtins:print@random", "math:pi@random", "torchvision:",
    "torchvision:nothing@random",
    "torchvision:resnet18@NOTHING", "torchvision:resnet18?pooling=nothing@random",
    "torchvision:resnet18?width=x@random",
    "timm:", "timm:nothing@random", "timm:../x@random", "hf:", "hf:../../etc", "hf:no/such/repository",
    "http://example.org/x.pt",
    "photos/nothing", "photos/../resnet-max", "resnet8/lift?ema=maybe@random",
    "resnet8/lift?placement=everywhere@random",
    "resnet50/lift?download=7@random",
]  # fmt: skip


@pytest.mark.parametrize("spec", MODELS, ids=range(len(MODELS)))
def test_model_specs(refused: Refused, spec: str) -> None:
    refused("check", "--", spec)


DATA = [
    "folder:", "folder:?", "folder:nowhere", f"folder:{LONG}", "folder:/dev/zero", "folder:/dev/null", "folder:\x00",
    "folder:a\x1b[2J",
    "folder:x\n::error title=a::b", "folder:\u202e", "folder:\udcff", "folder:.?resize=0", "folder:.?resize=-1",
    "folder:.?crop=none",
    f"folder:.?crop={DIGITS}", "folder:.?crop=\u00b2", "folder:.?crop=1e9", "folder:.?crop=1000000000",
    "folder:.?resize=1000000000",
    "folder:.?interpolation=\x1b[1m", "folder:.?table=7", "folder:.?classes=other", "folder:.?\x1b=1",
    "folder:.?name=", "folder:.?empty=1",
    "folder:.?part=test", "folder:.?hold_out=0.5", "folder:.?part=test&hold_out=nan", "folder:.?part=test&hold_out=2",
    "imagenet:", "imagenet:nowhere", "imagenet:.", "imagenet-c:.", "imagenet-p:.", "imagenet-c:.?size=1",
    "tiny-imagenet:.", "cifar10:.",
    "cifar10:.?rows=5", "cifar10:.?rows=9-1", "cifar10:.?rows=\u00b2-\u00b3", f"cifar10:.?rows=0-{DIGITS}",
    "cifar10-c:.", "cifar10-p:.",
    "cifar100:nowhere", "photos:x", "unknown-kind:.", "imagenet-c:.,imagenet-c:.", "folder:.,folder:.", ",",
    "folder:a,,folder:b",
]  # fmt: skip


@pytest.mark.parametrize("spec", DATA, ids=range(len(DATA)))
def test_data_specs(refused: Refused, spec: str) -> None:
    refused("run", "resnet8/max?num_classes=2@random", "--data", spec, "--protocols", "clean", "--out", "out")


RUN = [
    "--limit 0", "--limit -5", "--limit x", f"--limit {DIGITS}", "--seed x", "--batch-size 0", "--batch-size -1",
    "--workers -1",
    "--precision fp7", "--device nothing", "--device cpu:99", "--device meta", "--device mps", "--device \x1b[2J",
    "--severities 0",
    "--severities 6", "--severities 1,1", "--severities x", "--severities \u00b2", "--corruptions fgo",
    "--corruptions fog,fog",
    "--corruptions \x1b[2J", "--perturbations nothing", "--difficulty 9", "--variant x", "--storage x",
    "--shift-mode x", "--draws 0",
    "--draws -1", "--protocols nothing", "--protocols \u202e", "--shard 0/2", "--shard 3/2", "--shard x", "--shard 1/0",
    f"--shard 1/{DIGITS}", "--shard \u00b2/\u00b3", "--normaliser nothing", "--normaliser alexnet", "--nothing",
    "--no\x1bthing",
    "--out /dev/null/x", "--out /proc/x",
]  # fmt: skip


@pytest.mark.parametrize("options", RUN, ids=range(len(RUN)))
def test_options_of_run(refused: Refused, options: str) -> None:
    small = ["--protocols", "corruption,perturbation,shift", "--limit", "15", "--no-report", "--out", "out"]
    refused("run", "photos/resnet-max", *small, *options.split(" "))


TRAIN = [
    "epochs=x", "epochs=0", "epochs=-1", "epochs=1.5", f"epochs={DIGITS}", "epochs=nan", "epochs=[1]",
    "epochs=\u00b2", "epochs=1\nseed=2",
    "epochs", "=1", "", "nothing=1", "\x1b[2J=1", "learning_rate=nan", "learning_rate=inf", "learning_rate=-1",
    "learning_rate=x",
    "learning_rate=1e999", "batch_size=0", "batch_size=x", f"batch_size={'[' * 3000}", "seed=-1", "seed=x",
    "name=../../evil",
    "name=\x1b[2J", "momentum=2", "weight_decay=nan", "model=nothing", "model=resnet8/nothing", "source=x",
]  # fmt: skip


@pytest.mark.parametrize("setting", TRAIN, ids=range(len(TRAIN)))
def test_settings_of_train(refused: Refused, setting: str) -> None:
    refused("train", "photos", "--set", setting, "--device", "cpu", "--out", "out")


RECIPES = [
    b"", b"\xff\xfe", b"[" * 100_000, b"x = " + b"[" * 100_000, b"epochs = 'x'", b"epochs = " + b"9" * 5000,
    b"a.b.c = 1",
    b"epochs = nan", b"name = '../x'", b"\x00", b"name = \"\\u001b[2J\"", b"[recipe]\n", b"epochs = 1979-05-27",
    b"x" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("content", RECIPES, ids=range(len(RECIPES)))
def test_recipe_files(refused: Refused, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recipe.toml").write_bytes(content)
    refused("train", "recipe.toml", "--device", "cpu", "--out", "out")


@pytest.mark.parametrize(
    "recipe", ["nothing", "", "/dev/zero", "/dev/null", ".", "a\x1b[2J.toml", f"{LONG}.toml", "\udcff.toml"]
)
def test_recipes_that_are_none(refused: Refused, recipe: str) -> None:
    refused("train", recipe, "--device", "cpu", "--out", "out")


PLUGINS = [
    b"raise RuntimeError('broken')", b"import nothing_like_this", b"x = (", b"\xff\xfe\x00",
    b"import sys; sys.exit(0)", b"1/0",
    b"raise RuntimeError('\\x1b[2J')",
    b"raise ImportError('\\n::error title=a::b')",
]  # fmt: skip


@pytest.mark.parametrize("content", PLUGINS, ids=range(len(PLUGINS)))
def test_plug_ins_that_fail(refused: Refused, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.py").write_bytes(content)
    refused("--plugin", "mine.py", "list", "models")


@pytest.mark.parametrize(
    "name", ["nowhere.py", "no.such.module", "", ".", "a\x1b[2J", "/dev/null", f"{LONG}.py", "..", "\udcff"]
)
def test_plug_ins_that_are_none(refused: Refused, name: str) -> None:
    refused("--plugin", name, "list", "models")


CORRUPT = [
    "src out --conditions nothing", "src out --levels 0", "src out --levels 9", "src out --levels x",
    "src out --layout x",
    "src out --size 0", "src out --size 100000000", "src out --workers 0", "src out --workers -1", "src out --seed x",
    "src src",
    "src src/a", "nowhere out", "src/a/1.png out", "src /dev/null/x", "src out --shard 5/2", "/dev/zero out",
    "src \x1b[2J --levels 7",
    "empty out", "src out --conditions \u202e",
]  # fmt: skip


@pytest.mark.parametrize("arguments", CORRUPT, ids=range(len(CORRUPT)))
def test_arguments_of_corrupt(refused: Refused, tmp_path: Path, arguments: str) -> None:
    from PIL import Image

    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (260, 260)).save(tmp_path / "src" / "a" / "1.png")
    refused("corrupt", *arguments.split(" "))
