"""A recipe: how a network is trained, as plain frozen values that refuse what cannot be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from robustbench_lift.errors import UsageError
from robustbench_lift.training.schedule import SCHEDULES

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means of ImageNet's training images, the values of torchvision's models."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel deviations that go with them."""

AUGMENTATIONS = ("none", "crop-flip", "resized-crop-flip")
OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides what a training gives, besides network, data and seed.

    >>> from robustbench_lift.training.recipes import RECIPES
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
        wrong = [*_wrong_numbers(self), *_wrong_words(self), *_wrong_lists(self)]
        if wrong:
            raise UsageError(f"recipe {self.name}: " + "; ".join(wrong) + ".")

    def settings(self) -> dict[str, Any]:
        """All values as plain types, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            k: list(v) if isinstance(v, tuple) else dict(v) if isinstance(v, Mapping) else v for k, v in values.items()
        }


def _wrong_numbers(recipe: Recipe) -> Iterator[str]:
    for name in ("size", "epochs", "batch_size"):
        if getattr(recipe, name) < 1:
            yield f"{name} must be at least 1, not {getattr(recipe, name)}"
    for name in ("learning_rate", "gamma"):
        if not 0 < getattr(recipe, name) < math.inf:
            yield f"{name} must be above 0, not {getattr(recipe, name)}"
    for name in ("weight_decay", "padding", "cutmix", "clip_norm", "warmup_epochs", "task_weight"):
        if not 0 <= getattr(recipe, name) < math.inf:
            yield f"{name} must be 0 or more, not {getattr(recipe, name)}"
    for name in ("momentum", "label_smoothing", "ema_decay", "auxiliary_start", "one_cycle_rise"):
        if not 0 <= getattr(recipe, name) < 1:
            yield f"{name} must be in [0, 1), not {getattr(recipe, name)}"
    for name, weight in recipe.auxiliary.items():
        if not math.isfinite(weight):
            yield f"auxiliary.{name} must be a finite number, not {weight}"
    if recipe.nesterov and recipe.optimizer == "sgd" and recipe.momentum == 0:
        yield "nesterov needs a momentum above 0"
    if recipe.warmup_epochs > recipe.epochs:
        yield f"warmup_epochs {recipe.warmup_epochs} is longer than the {recipe.epochs} epochs"
    if recipe.resize is not None and recipe.resize < recipe.size:
        yield f"resize {recipe.resize} is smaller than the image size {recipe.size}"


def _wrong_words(recipe: Recipe) -> Iterator[str]:
    choices = {
        "schedule": SCHEDULES,
        "augmentation": AUGMENTATIONS,
        "optimizer": OPTIMIZERS,
        "keep": ("last", "best"),
        "data": ("photos", "arrays", "folders"),
    }
    for name, known in choices.items():
        if getattr(recipe, name) not in known:
            yield f"{name} must be one of {', '.join(known)}, not {getattr(recipe, name)!r}"


def _wrong_lists(recipe: Recipe) -> Iterator[str]:
    milestones = list(recipe.milestones)
    if milestones != sorted(set(milestones)) or any(not 0 < m < recipe.epochs for m in milestones):
        yield f"milestones must rise and lie inside the {recipe.epochs} epochs, not {milestones}"
    if len(recipe.mean) != 3 or len(recipe.std) != 3 or not min(recipe.std, default=0) > 0:
        yield f"mean and std need three values, std above 0, not {recipe.mean} and {recipe.std}"
    for name, most in (("crop_area", 1.0), ("crop_ratio", math.inf)):
        pair = getattr(recipe, name)
        if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most:
            limit = "above 0" if most == math.inf else f"above 0 and at most {most:g}"
            yield f"{name} needs two rising values {limit}, not {pair}"
    values, points = list(recipe.temperature), list(recipe.temperature_at)
    if len(points) != len(values) or points != sorted(points) or not all(v > 0 for v in values):
        yield f"temperature needs values above 0 and as many rising temperature_at, not {values} at {points}"
    elif not all(0 <= point <= 1 for point in points):
        yield f"temperature_at holds fractions of the training, 0 to 1, not {points}"
