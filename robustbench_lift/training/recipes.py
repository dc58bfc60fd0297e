"""Recipes: how a network is trained, as plain frozen values with their sources.

    imagenet                ResNets on ImageNet, the pytorch/examples recipe with LiftPool's 100 epochs
    imagenet-mobilenetv2    MobileNetV2 on ImageNet, 150 epochs, cosine
    cifar100-vgg13          VGG13 on CIFAR-100, LiftPool's recipe
    cifar-resnet            ResNets on CIFAR, the recipe of He et al.
    imagenette              Imagenette (or any folders of photographs) at 224 pixels; ours
    imagenette-128, -64     the same at 128 and 64 pixels; ours
    photos                  the embedded photographs at 64 pixels; ours
    voc-segnet              SegNet on PASCAL VOC 2012, crops of 320
    voc-deeplabv3plus       DeepLabV3+ on PASCAL VOC 2012, crops of 512
    camvid-small            SegNet on CamVid, short side 90; ours
    scenes                  the embedded scenes at 72 pixels; ours

Anything can be changed (`override`): from code, from `name=value` texts, from a TOML file; what was used is stored with
the weights.
"""

from __future__ import annotations

import dataclasses
import reprlib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.text import printable
from robustbench_lift.training.recipe import Recipe

CIFAR100_MEAN = (0.507, 0.487, 0.441)
"""Channel means of CIFAR-100's 60,000 images, measured, three digits."""
CIFAR100_STD = (0.267, 0.257, 0.276)
"""Channel deviations of CIFAR-100's 60,000 images, measured, three digits."""

_STEP_IMAGENET = "pytorch/examples (SGD 0.9, batch 256, 0.1 divided by 10 every 30 epochs, 1e-4)"

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="imagenet",
            source=f"{_STEP_IMAGENET}; 100 epochs as in LiftPool, section 4.2",
            data="folders",
            classes=1000,
            size=224,
            resize=256,
            epochs=100,
            batch_size=256,
            learning_rate=0.1,
            weight_decay=1e-4,
            schedule="step",
            milestones=(30, 60, 90),
            augmentation="resized-crop-flip",
            drop_last=False,
        ),
        Recipe(
            name="imagenet-mobilenetv2",
            source="150 epochs as in LiftPool, section 4.2; lr 0.05, cosine, 4e-5, batch 256: the public recipe of 150 "
            "epochs (tonylins/pytorch-mobilenet-v2, README of adobe/antialiased-cnns)",
            data="folders",
            classes=1000,
            size=224,
            resize=256,
            epochs=150,
            batch_size=256,
            learning_rate=0.05,
            weight_decay=4e-5,
            schedule="cosine",
            augmentation="resized-crop-flip",
            drop_last=False,
        ),
        Recipe(
            name="cifar100-vgg13",
            source="LiftPool, section 4.1: 160 epochs, batch 100, 0.1 divided by 10 at 80 and 120, 5e-4; its "
            "augmentation is not stated: zero padding 4, crop, flip",
            data="arrays",
            classes=100,
            size=32,
            epochs=160,
            batch_size=100,
            learning_rate=0.1,
            weight_decay=5e-4,
            schedule="step",
            milestones=(80, 120),
            augmentation="crop-flip",
            mean=CIFAR100_MEAN,
            std=CIFAR100_STD,
        ),
        Recipe(
            name="cifar-resnet",
            source="He et al., CVPR 2016, section 4.2: batch 128, 0.1 divided by 10 at 32k and 48k of 64k steps "
            "(epochs 82 and 123 of 164), 1e-4, zero padding 4, crop, flip",
            data="arrays",
            size=32,
            epochs=164,
            batch_size=128,
            learning_rate=0.1,
            weight_decay=1e-4,
            schedule="step",
            milestones=(82, 123),
            augmentation="crop-flip",
            mean=CIFAR100_MEAN,
            std=CIFAR100_STD,
        ),
        Recipe(
            name="imagenette",
            source="ours: about 7,000 images need more epochs than ImageNet; one cycle",
            data="folders",
            size=224,
            epochs=60,
            batch_size=64,
            learning_rate=0.1,
            weight_decay=5e-4,
            schedule="one-cycle",
            augmentation="resized-crop-flip",
            crop_area=(0.35, 1.0),
        ),
        Recipe(
            name="imagenette-128",
            source="ours: imagenette at 128 pixels",
            data="folders",
            size=128,
            resize=146,
            epochs=60,
            batch_size=64,
            learning_rate=0.1,
            weight_decay=5e-4,
            schedule="one-cycle",
            augmentation="resized-crop-flip",
            crop_area=(0.35, 1.0),
        ),
        Recipe(
            name="imagenette-64",
            source="ours: imagenette at 64 pixels",
            data="folders",
            size=64,
            resize=73,
            epochs=60,
            batch_size=64,
            learning_rate=0.1,
            weight_decay=5e-4,
            schedule="one-cycle",
            augmentation="resized-crop-flip",
            crop_area=(0.35, 1.0),
        ),
        Recipe(
            name="photos",
            source="ours: the embedded photographs, made to end in minutes on two cores",
            data="photos",
            classes=15,
            size=64,
            epochs=30,
            batch_size=64,
            learning_rate=0.05,
            weight_decay=5e-4,
            schedule="one-cycle",
            augmentation="crop-flip",
            padding=0,
        ),
        Recipe(
            name="voc-segnet",
            source="ours after AntonioConsiglio/SemSeg (crop 320, scale 0.5 to 2, SGD 0.9, encoder at a tenth, 5e-4) "
            "and DeepLab's poly 0.9; LiftPool states no recipe for Table 6",
            data="maps",
            size=320,
            epochs=60,
            batch_size=16,
            learning_rate=0.01,
            weight_decay=5e-4,
            schedule="poly",
            augmentation="scale-crop-flip",
            encoder_rate=0.1,
        ),
        Recipe(
            name="voc-deeplabv3plus",
            source="VainF/DeepLabV3Plus-Pytorch: 30,000 steps of 16 (45 epochs of trainaug), SGD 0.9, lr 0.01 and "
            "0.001 for the backbone, 1e-4, poly 0.9, scale 0.5 to 2; crops of 512 as in LiftPool, section 4.4",
            data="maps",
            size=512,
            epochs=45,
            batch_size=16,
            learning_rate=0.01,
            weight_decay=1e-4,
            schedule="poly",
            augmentation="scale-crop-flip",
            encoder_rate=0.1,
        ),
        Recipe(
            name="camvid-small",
            source="ours: CamVid with a short side of 90 pixels, made for two cores",
            data="maps",
            size=90,
            resize=90,
            epochs=40,
            batch_size=8,
            learning_rate=0.1,
            weight_decay=5e-4,
            schedule="one-cycle",
            augmentation="crop-flip",
        ),
        Recipe(
            name="scenes",
            source="ours: the embedded scenes, made to end in minutes on two cores",
            data="scenes",
            classes=6,
            size=72,
            epochs=60,
            batch_size=16,
            learning_rate=0.1,
            weight_decay=5e-4,
            schedule="one-cycle",
            augmentation="crop-flip",
        ),
    )
}


def recipe_named(name: str) -> Recipe:
    """A recipe by name.

    >>> recipe_named("photo")
    Traceback (most recent call last):
    robustbench_lift.errors.UsageError: unknown recipe 'photo'. Did you mean 'photos'? Known: imagenet, ...
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with some values changed; `auxiliary.<name>`, or a table `auxiliary`, changes the weights it names.

    A new `epochs` alone stretches milestones and warm-up, so that the schedule keeps its shape.

    Raises:
        UsageError: an unknown setting, or a value of the wrong type.

    Example:
        >>> short = override(RECIPES["cifar100-vgg13"], {"epochs": 16, "auxiliary.c_u": 0.0})
        >>> short.milestones, short.auxiliary
        ((8, 12), {'c_u': 0.0, 'c_p': 0.1})
    """
    hints = get_type_hints(Recipe)
    values: dict[str, Any] = {}
    auxiliary = dict(recipe.auxiliary)
    for name, value in changes.items():
        if name.startswith("auxiliary."):
            auxiliary[name.removeprefix("auxiliary.")] = _typed(name, float, value)
        elif name not in hints:
            raise unknown("recipe setting", printable(name), hints)
        elif name == "auxiliary":
            if not isinstance(value, Mapping):
                raise UsageError(f"auxiliary must be a table of weights such as {{c_u = 0.01}}, not {value!r}.")
            # as dotted names do: `auxiliary.c_u = 0` means the same in a file and on the command line
            auxiliary |= {str(k): _typed(f"auxiliary.{k}", float, v) for k, v in value.items()}
        else:
            values[name] = _typed(name, hints[name], value)
    values["auxiliary"] = auxiliary
    if "epochs" in values and values["epochs"] >= 1:
        stretch = values["epochs"] / recipe.epochs
        stretched = sorted({round(m * stretch) for m in recipe.milestones})
        values.setdefault("milestones", tuple(m for m in stretched if 0 < m < values["epochs"]))
        values.setdefault("warmup_epochs", recipe.warmup_epochs * stretch)
    return dataclasses.replace(recipe, **values)


def parse_changes(texts: Iterable[str]) -> dict[str, Any]:
    """`name=value` texts as values, written as in TOML; a word that is no TOML value is a string.

    Raises:
        UsageError: not name=value, or more than one value.

    >>> parse_changes(["epochs=5", "milestones=[2, 4]", "schedule=cosine", "auxiliary.c_p=0"])
    {'epochs': 5, 'milestones': [2, 4], 'schedule': 'cosine', 'auxiliary.c_p': 0}
    """
    changes: dict[str, Any] = {}
    for text in texts:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not sign or not name:
            raise UsageError(f"{printable(text)!r} is not name=value; write for example --set epochs=5.")
        try:
            found = tomllib.loads(f"value = {value}")
        except (ValueError, RecursionError):  # no TOML, a number of thousands of digits, thousands of brackets
            found = {"value": value}
        if set(found) != {"value"} or (isinstance(found["value"], str) and not found["value"].isprintable()):
            raise UsageError(f"--set {printable(text)!r} holds more than one value; give each a --set of its own.")
        changes[name] = found["value"]
    return changes


def read_changes(path: Path) -> dict[str, Any]:
    """Overrides from a TOML file: recipe settings at the top level, `[auxiliary]` a table.

    Raises:
        UsageError: the file is not there or is not TOML.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise UsageError(f"recipe file {path} cannot be read: it is no file.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"recipe file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe file {path} is not TOML: {error}. Write lines such as `epochs = 5`.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"recipe file {path} cannot be read: {error}.") from None


def _typed(name: str, hint: Any, value: Any) -> Any:
    """The value as the type of a setting, or an error that says what to write."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not -(2**63) <= value < 2**63 and not isinstance(value, float):
        raise UsageError(f"{printable(name)} is a number beyond 64 bits.")
    if get_origin(hint) is Literal:
        hint = str
    if hint in (int, int | None) and isinstance(value, int) and number:
        return value
    if hint == int | None and value in (None, "none"):
        return None
    if hint is float and number:
        return float(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_typed(name, get_args(hint)[0], item) for item in value)
    kind = hint.__name__ if isinstance(hint, type) else str(hint)
    example = {"int": "5", "int | None": "256 (or none)", "float": "0.1", "bool": "true", "str": "cosine"}.get(
        kind, "[0.1, 0.2]"
    )
    raise UsageError(
        f"{printable(name)} must be of type {kind}, not {printable(reprlib.repr(value))}; write for example "
        f"{printable(name)}={example}."
    )
