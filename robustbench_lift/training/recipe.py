"""A recipe: how a network is trained, as plain frozen values that refuse what cannot be, and its learning rate.

The learning rate is a function of the step: nothing to store, nothing that can drift after a resume.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from typing_extensions import Doc

from robustbench_lift.data.geometry import MAX_SIDE
from robustbench_lift.errors import UsageError
from robustbench_lift.text import printable

Schedule = Literal["step", "cosine", "one-cycle", "poly", "constant"]
Augmentation = Literal["none", "crop-flip", "resized-crop-flip", "scale-crop-flip"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means of ImageNet's training images, the values of torchvision's models."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel deviations that go with them."""
ONE_CYCLE_START = 1 / 25
"""Initial over largest learning rate (Smith and Topin, arXiv 1708.07120; the default of torch's OneCycleLR)."""
ONE_CYCLE_END = 1e-4 / 25
"""Final over largest learning rate (the same default)."""
MOST_EPOCHS = 1_000_000
"""Most epochs that a recipe may have."""
MOST_IMAGES = 1_000_000
"""Most images of one optimiser step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides what a training gives, besides network, data and seed.

    >>> from robustbench_lift.training.recipes import RECIPES
    >>> RECIPES["cifar100-vgg13"].epochs, RECIPES["cifar100-vgg13"].milestones
    (160, (80, 120))
    """

    name: Annotated[str, Doc("Short name; stored in the card of the weights.")]
    source: Annotated[str, Doc("Where the values come from.")]
    data: Annotated[
        Literal["photos", "arrays", "folders", "scenes", "maps"],
        Doc(
            "Kind of training data that fits: `photos`, `arrays` (CIFAR-sized .npz) or `folders` (one folder a class); "
            "with a class for every pixel `scenes` or `maps` (voc, cityscapes, camvid, ...)."
        ),
    ]
    size: Annotated[int, Doc("Side of the training and test images, pixels.")]
    epochs: Annotated[int, Doc("Passes over the training images.")]
    batch_size: Annotated[int, Doc("Images of one optimiser step, over all processes and accumulated parts together.")]
    learning_rate: Annotated[float, Doc("Largest learning rate, for `batch_size`.")]
    weight_decay: Annotated[float, Doc("L2 coefficient (SGD) or decoupled decay (AdamW).")]
    schedule: Annotated[Schedule, Doc("How the learning rate goes on (`learning_rate` has the formulas).")]
    augmentation: Annotated[
        Augmentation,
        Doc(
            "crop-flip pads with zeros, crops and mirrors; resized-crop-flip is RandomResizedCrop and mirrors; "
            "scale-crop-flip scales image and label map, crops and mirrors both."
        ),
    ]
    classes: Annotated[int | None, Doc("Number of classes that the data must have; None takes any.")] = None
    optimizer: Annotated[Literal["sgd", "adamw"], Doc("sgd (with momentum) or adamw (betas 0.9, 0.999).")] = "sgd"
    momentum: Annotated[float, Doc("Momentum of SGD.")] = 0.9
    nesterov: Annotated[bool, Doc("Nesterov's momentum.")] = False
    decay_all: Annotated[
        bool, Doc("Decay every parameter, as the reference recipes do; False spares vectors (biases, BatchNorm).")
    ] = True
    milestones: Annotated[
        tuple[int, ...], Doc("Epochs at which the step schedule multiplies the learning rate by `gamma`.")
    ] = ()
    gamma: Annotated[float, Doc("Factor at each milestone.")] = 0.1
    warmup_epochs: Annotated[float, Doc("Epochs of linear warm-up (step, cosine, constant).")] = 0.0
    one_cycle_rise: Annotated[float, Doc("Fraction of the steps in which the one-cycle schedule rises.")] = 0.3
    padding: Annotated[
        int, Doc("Zeros around an image before the random crop of crop-flip, pixels; ignored by `photos`.")
    ] = 4
    crop_area: Annotated[
        tuple[float, ...],
        Doc("Smallest and largest area of resized-crop-flip, fraction of the image (torchvision's default)."),
    ] = (0.08, 1.0)
    crop_ratio: Annotated[
        tuple[float, ...], Doc("Smallest and largest width over height of resized-crop-flip (torchvision's default).")
    ] = (0.75, 4 / 3)
    scale: Annotated[
        tuple[float, ...], Doc("Smallest and largest factor of scale-crop-flip (0.5 to 2 in DeepLab's recipe).")
    ] = (0.5, 2.0)
    flip: Annotated[bool, Doc("Mirror half of the images.")] = True
    resize: Annotated[
        int | None, Doc("Short side to which test images are resized before the central crop; None crops only.")
    ] = None
    mean: Annotated[tuple[float, ...], Doc("Channel means subtracted, images in 0..1.")] = IMAGENET_MEAN
    std: Annotated[tuple[float, ...], Doc("Channel deviations divided by.")] = IMAGENET_STD
    class_weights: Annotated[
        Literal["none", "median-frequency"],
        Doc("Weights of the classes of a pixel in the loss; median-frequency is SegNet's balancing."),
    ] = "none"
    encoder_rate: Annotated[
        float, Doc("Factor of the learning rate of the encoder of a segmentation network (0.1 from trained weights).")
    ] = 1.0
    power: Annotated[float, Doc("Exponent of the poly schedule.")] = 0.9
    label_smoothing: Annotated[float, Doc("Probability mass spread over all classes; 0 is off.")] = 0.0
    cutmix: Annotated[float, Doc("Parameter of CutMix's beta distribution (Yun et al., ICCV 2019); 0 is off.")] = 0.0
    clip_norm: Annotated[float, Doc("Largest gradient norm; 0 does not clip.")] = 0.0
    ema_decay: Annotated[float, Doc("Decay a step of the averaged weights that are tested and stored; 0 is off.")] = 0.0
    auxiliary: Annotated[
        Mapping[str, float],
        Doc("Weights of the poolings' own losses by name (LiftPool, section 3: lambda_u 0.01, lambda_p 0.1)."),
    ] = field(default_factory=lambda: {"c_u": 0.01, "c_p": 0.1})
    auxiliary_start: Annotated[
        float, Doc("Fraction of the training before the poolings' own losses count (TIPS: 100 of 480 epochs).")
    ] = 0.0
    task_weight: Annotated[
        float, Doc("Weight of the classification loss while the poolings' own losses count (TIPS: 0.65).")
    ] = 1.0
    temperature: Annotated[
        tuple[float, ...],
        Doc(
            "Temperatures of poolings that have one (LPS: 1, 0.5, 0.05, 0.01), linear between; empty leaves their own."
        ),
    ] = ()
    temperature_at: Annotated[
        tuple[float, ...], Doc("Fractions of the training at which these hold (LPS on ImageNet: 0, 62/90, 82/90, 1).")
    ] = ()
    drop_last: Annotated[
        bool,
        Doc(
            "Leave out the last batch of an epoch when it is smaller than the others; which images differs each epoch."
        ),
    ] = True
    keep: Annotated[
        Literal["last", "best"],
        Doc(
            "Which weights the training hands over: `last`, or `best` on the test images (a choice made on test data)."
        ),
    ] = "last"

    @property
    def error_names(self) -> tuple[str, str]:
        """What the errors of a training are called: that of its own batches, and that of the test images.

        >>> from robustbench_lift.training.recipes import RECIPES
        >>> RECIPES["photos"].error_names, RECIPES["camvid-small"].error_names
        (('error', 'error'), ('pixel error', '1 - mIoU'))
        """
        return ("pixel error", "1 - mIoU") if self.data in ("scenes", "maps") else ("error", "error")

    def __post_init__(self) -> None:
        wrong = [*_wrong_words(self), *_wrong_numbers(self), *_wrong_lists(self)]
        if wrong:
            raise UsageError(f"recipe {printable(self.name)}: " + "; ".join(wrong) + ".")

    def settings(self) -> dict[str, Any]:
        """All values as plain types, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            k: list(v) if isinstance(v, tuple) else dict(v) if isinstance(v, Mapping) else v for k, v in values.items()
        }


def learning_rate(recipe: Recipe, *, step: int, steps_per_epoch: int) -> float:
    """Learning rate of one optimiser step.

    With t the step, n the steps of the training, E the steps of an epoch, r the recipe's learning rate:

        step       r * gamma ** (number of milestones m with m * E <= t)
        cosine     r / 2 * (1 + cos(pi * t / n))
        one-cycle  cosine from r / 25 up to r during the first `one_cycle_rise` of the steps, cosine down to r / 250000
        poly       r * (1 - t / n) ** power
        constant   r

    For step and cosine a warm-up of w epochs multiplies by (t + 1) / (w * E) while t < w * E; cosine then runs over
    the remaining steps.

    Args:
        recipe: epochs, schedule and its settings.
        step: 0-based step of the whole training.
        steps_per_epoch: optimiser steps of an epoch.

    Example:
        >>> from robustbench_lift.training.recipes import RECIPES
        >>> [round(learning_rate(RECIPES["imagenet"], step=e * 5, steps_per_epoch=5), 6) for e in (0, 29, 30, 90)]
        [0.1, 0.1, 0.01, 0.0001]
    """
    peak, total = recipe.learning_rate, recipe.epochs * steps_per_epoch
    if recipe.schedule == "one-cycle":
        rise = max(1, round(recipe.one_cycle_rise * total)) - 1
        if step <= rise:
            return _cosine(peak * ONE_CYCLE_START, peak, step / max(rise, 1))
        return _cosine(peak, peak * ONE_CYCLE_END, (step - rise) / max(total - 1 - rise, 1))
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return peak * (step + 1) / warmup
    if recipe.schedule == "cosine":
        return _cosine(peak, 0.0, (step - warmup) / max(total - warmup, 1))
    if recipe.schedule == "poly":
        return float(peak * (1 - step / total) ** recipe.power) if step < total else 0.0
    if recipe.schedule == "step":
        return float(peak * recipe.gamma ** sum(m * steps_per_epoch <= step for m in recipe.milestones))
    return peak


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def _wrong_numbers(recipe: Recipe) -> Iterator[str]:
    for name, most in (("size", MAX_SIDE), ("epochs", MOST_EPOCHS), ("batch_size", MOST_IMAGES)):
        if getattr(recipe, name) < 1:
            yield f"{name} must be at least 1, not {getattr(recipe, name)}"
        elif getattr(recipe, name) > most:
            yield f"{name} must be at most {most}, not {getattr(recipe, name)}"
    for name in ("learning_rate", "gamma", "encoder_rate", "power"):
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
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", recipe.name):  # it names folders
        yield "name must be letters, digits, `-`, `_` and `.`, 64 at most, and begin with a letter or a digit"
    for name, hint in get_type_hints(Recipe).items():
        if get_origin(hint) is Literal and getattr(recipe, name) not in get_args(hint):
            yield f"{name} must be one of {', '.join(get_args(hint))}, not {getattr(recipe, name)!r}"


def _wrong_lists(recipe: Recipe) -> Iterator[str]:
    milestones = list(recipe.milestones)
    if milestones != sorted(set(milestones)) or any(not 0 < m < recipe.epochs for m in milestones):
        yield f"milestones must rise and lie inside the {recipe.epochs} epochs, not {milestones}"
    if len(recipe.mean) != 3 or len(recipe.std) != 3 or not min(recipe.std, default=0) > 0:
        yield f"mean and std need three values, std above 0, not {recipe.mean} and {recipe.std}"
    for name, most in (("crop_area", 1.0), ("crop_ratio", math.inf), ("scale", 16.0)):
        pair = getattr(recipe, name)
        if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most:
            limit = "above 0" if most == math.inf else f"above 0 and at most {most:g}"
            yield f"{name} needs two rising values {limit}, not {pair}"
    values, points = list(recipe.temperature), list(recipe.temperature_at)
    if len(points) != len(values) or points != sorted(points) or not all(v > 0 for v in values):
        yield f"temperature needs values above 0 and as many rising temperature_at, not {values} at {points}"
    elif not all(0 <= point <= 1 for point in points):
        yield f"temperature_at holds fractions of the training, 0 to 1, not {points}"
