"""Recipes: how a network is trained, as plain frozen values with their sources.

    imagenet                ResNets on ImageNet, the pytorch/examples recipe with LiftPool's 100 epochs
    imagenet-mobilenetv2    MobileNetV2 on ImageNet, 150 epochs, cosine
    cifar100-vgg13          VGG13 on CIFAR-100, LiftPool's recipe
    cifar-resnet            ResNets on CIFAR, the recipe of He et al.
    imagenette              Imagenette (or any folders of photographs) at 224 pixels; ours
    imagenette-128, -64     the same at 128 and 64 pixels; ours
    photos                  the embedded photographs at 64 pixels; ours

Anything can be overridden (`override`, or `--set epochs=5`, or a TOML file); what was used is stored with the weights.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.training.schedule import SCHEDULES

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means of ImageNet's training images, the values of torchvision's models."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel deviations that go with them."""
CIFAR100_MEAN = (0.507, 0.487, 0.441)
"""Channel means of CIFAR-100's 60,000 images, measured, three digits."""
CIFAR100_STD = (0.267, 0.257, 0.276)
"""Channel deviations of CIFAR-100's 60,000 images, measured, three digits."""

AUGMENTATIONS = ("none", "crop-flip", "resized-crop-flip")
OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides what a training gives, besides network, data and seed.

    >>> RECIPES["cifar100-vgg13"].epochs, RECIPES["cifar100-vgg13"].milestones
    (160, (80, 120))
    """

    name: str
    """Short name; stored in the card of the weights."""
    source: str
    """Where the values come from."""
    data: str
    """Kind of training data that fits: `photos`, `arrays` (CIFAR-sized .npz) or `folders` (one folder a class)."""
    size: int
    """Side of the training and test images, pixels."""
    epochs: int
    """Passes over the training images."""
    batch_size: int
    """Images of one optimiser step, over all processes and accumulated parts together."""
    learning_rate: float
    """Largest learning rate, for `batch_size`."""
    weight_decay: float
    """L2 coefficient (SGD) or decoupled decay (AdamW)."""
    schedule: str
    """step, cosine, one-cycle or constant."""
    augmentation: str
    """none, crop-flip (reflect nothing, pad with zeros, crop, flip) or resized-crop-flip (RandomResizedCrop, flip)."""
    classes: int | None = None
    """Number of classes that the data must have; None takes any."""
    optimizer: str = "sgd"
    """sgd (with momentum) or adamw (betas 0.9, 0.999)."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = False
    """Nesterov's momentum."""
    decay_all: bool = True
    """Decay every parameter, as the reference recipes do; False spares vectors (biases, BatchNorm)."""
    milestones: tuple[int, ...] = ()
    """Epochs at which the step schedule multiplies the learning rate by `gamma`."""
    gamma: float = 0.1
    """Factor at each milestone."""
    warmup_epochs: float = 0.0
    """Epochs of linear warm-up (step, cosine, constant)."""
    one_cycle_rise: float = 0.3
    """Fraction of the steps in which the one-cycle schedule rises."""
    padding: int = 4
    """Zeros around an image before the random crop of crop-flip, pixels; ignored by `photos`."""
    crop_area: tuple[float, ...] = (0.08, 1.0)
    """Smallest and largest area of resized-crop-flip, fraction of the image (torchvision's default)."""
    crop_ratio: tuple[float, ...] = (0.75, 4 / 3)
    """Smallest and largest width over height of resized-crop-flip (torchvision's default)."""
    flip: bool = True
    """Mirror half of the images."""
    resize: int | None = None
    """Short side to which test images are resized before the central crop; None crops only."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Channel means subtracted, images in 0..1."""
    std: tuple[float, ...] = IMAGENET_STD
    """Channel deviations divided by."""
    label_smoothing: float = 0.0
    """Probability mass spread over all classes; 0 is off."""
    cutmix: float = 0.0
    """Parameter of CutMix's beta distribution (Yun et al., ICCV 2019); 0 is off."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0 does not clip."""
    ema_decay: float = 0.0
    """Decay a step of the averaged weights that are tested and stored; 0 is off."""
    auxiliary: Mapping[str, float] = field(default_factory=lambda: {"c_u": 0.01, "c_p": 0.1})
    """Weights of the poolings' own losses by name (LiftPool, section 3: lambda_u 0.01, lambda_p 0.1)."""
    auxiliary_start: float = 0.0
    """Fraction of the training before the poolings' own losses count (TIPS: 100 of 480 epochs)."""
    task_weight: float = 1.0
    """Weight of the classification loss while the poolings' own losses count (TIPS: 0.65)."""
    temperature: tuple[float, ...] = ()
    """Temperatures of poolings that have one (LPS: 1, 0.5, 0.05, 0.01), linear between; empty leaves their own."""
    temperature_at: tuple[float, ...] = ()
    """Fractions of the training at which these hold (LPS on ImageNet: 0, 62/90, 82/90, 1)."""
    drop_last: bool = True
    """Leave out the last batch of an epoch when it is smaller than the others; which images differs each epoch."""
    keep: str = "last"
    """Which weights the training hands over: `last`, or `best` on the test images (a choice made on test data)."""

    def __post_init__(self) -> None:
        whole = {"size": self.size, "epochs": self.epochs, "batch_size": self.batch_size}
        wrong = [f"{name} must be at least 1, not {value}" for name, value in whole.items() if value < 1]
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            wrong.append(f"learning_rate must be above 0, not {self.learning_rate}")
        for name in ("weight_decay", "padding", "cutmix", "clip_norm", "warmup_epochs"):
            if not getattr(self, name) >= 0:
                wrong.append(f"{name} must be 0 or more, not {getattr(self, name)}")
        for name in ("momentum", "label_smoothing", "ema_decay", "auxiliary_start", "one_cycle_rise"):
            if not 0 <= getattr(self, name) < 1:
                wrong.append(f"{name} must be in [0, 1), not {getattr(self, name)}")
        choices = {
            "schedule": SCHEDULES,
            "augmentation": AUGMENTATIONS,
            "optimizer": OPTIMIZERS,
            "keep": ("last", "best"),
            "data": ("photos", "arrays", "folders"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                wrong.append(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        if list(self.milestones) != sorted(set(self.milestones)) or any(
            not 0 < m < self.epochs for m in self.milestones
        ):
            wrong.append(f"milestones must rise and lie inside the {self.epochs} epochs, not {list(self.milestones)}")
        if self.warmup_epochs > self.epochs:
            wrong.append(f"warmup_epochs {self.warmup_epochs} is longer than the {self.epochs} epochs")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std, default=0) <= 0:
            wrong.append(f"mean and std need three values, std above 0, not {self.mean} and {self.std}")
        for name in ("crop_area", "crop_ratio"):
            pair = getattr(self, name)
            if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
                wrong.append(f"{name} needs two rising values above 0, not {pair}")
        points = list(self.temperature_at)
        if len(points) != len(self.temperature) or points != sorted(points) or min(self.temperature, default=1) <= 0:
            wrong.append(
                f"temperature needs values above 0 and as many rising temperature_at, not {list(self.temperature)} at "
                f"{points}"
            )
        if self.resize is not None and self.resize < self.size:
            wrong.append(f"resize {self.resize} is smaller than the image size {self.size}")
        if wrong:
            raise UsageError(f"recipe {self.name}: " + "; ".join(wrong) + ".")

    def settings(self) -> dict[str, Any]:
        """All values as plain types, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            k: list(v) if isinstance(v, tuple) else dict(v) if isinstance(v, Mapping) else v for k, v in values.items()
        }


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
    """The recipe with some values changed; `auxiliary.<name>` changes one weight.

    A new `epochs` alone stretches milestones and warm-up, so that the schedule keeps its shape.

    Raises:
        UsageError: an unknown setting, or a value of the wrong type.

    Example:
        >>> short = override(RECIPES["cifar100-vgg13"], {"epochs": 16, "auxiliary.c_u": 0.0})
        >>> short.milestones, short.auxiliary
        ((8, 12), {'c_u': 0.0, 'c_p': 0.1})
    """
    types = {f.name: str(f.type) for f in dataclasses.fields(Recipe)}
    values: dict[str, Any] = {}
    auxiliary = dict(recipe.auxiliary)
    for name, value in changes.items():
        if name.startswith("auxiliary."):
            auxiliary[name.removeprefix("auxiliary.")] = _typed(name, "float", value)
        elif name not in types:
            raise unknown("recipe setting", name, types)
        elif name == "auxiliary":
            if not isinstance(value, Mapping):
                raise UsageError(f"auxiliary must be a table of weights such as {{c_u = 0.01}}, not {value!r}.")
            auxiliary = {str(k): _typed(f"auxiliary.{k}", "float", v) for k, v in value.items()}
        else:
            values[name] = _typed(name, types[name], value)
    values["auxiliary"] = auxiliary
    if "epochs" in values and values["epochs"] >= 1:
        stretch = values["epochs"] / recipe.epochs
        stretched = sorted({round(m * stretch) for m in recipe.milestones})
        values.setdefault("milestones", tuple(m for m in stretched if 0 < m < values["epochs"]))
        values.setdefault("warmup_epochs", recipe.warmup_epochs * stretch)
    return dataclasses.replace(recipe, **values)


def parse_changes(texts: Iterable[str]) -> dict[str, Any]:
    """`name=value` texts as values, written as in TOML; a word that is no TOML value is a string.

    >>> parse_changes(["epochs=5", "milestones=[2, 4]", "schedule=cosine", "auxiliary.c_p=0"])
    {'epochs': 5, 'milestones': [2, 4], 'schedule': 'cosine', 'auxiliary.c_p': 0}
    """
    changes: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"{text!r} is not name=value; write for example --set epochs=5.")
        try:
            changes[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changes[name.strip()] = value.strip()
    return changes


def read_changes(path: Path) -> dict[str, Any]:
    """Overrides from a TOML file: recipe settings at the top level, `[auxiliary]` a table.

    Raises:
        UsageError: the file is not there or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"recipe file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe file {path} is not TOML: {error}. Write lines such as `epochs = 5`.") from None


def _typed(name: str, kind: str, value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in ("int", "int | None") and isinstance(value, int) and number:
        return value
    if kind == "int | None" and value in (None, "none"):
        return None
    if kind == "float" and number:
        return float(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "str" and isinstance(value, str):
        return value
    if kind.startswith("tuple") and isinstance(value, list | tuple):
        inner = "int" if "int" in kind else "float"
        return tuple(_typed(name, inner, item) for item in value)
    example = {"int": "5", "int | None": "256 (or none)", "float": "0.1", "bool": "true", "str": "cosine"}.get(
        kind, "[0.1, 0.2]"
    )
    raise UsageError(f"{name} must be of type {kind}, not {value!r}; write for example {name}={example}.")
