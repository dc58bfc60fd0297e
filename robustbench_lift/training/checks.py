"""What is refused before a training begins: networks, recipes and data that do not go together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from robustbench_lift.data.base import ImageSet, has_maps
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.networks import BACKBONES
from robustbench_lift.pooling import POOLINGS
from robustbench_lift.text import listed
from robustbench_lift.training.network import Network
from robustbench_lift.training.objective import has_temperature
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.samples import TrainingSource


def check_fit(recipe: Recipe, source: TrainingSource) -> None:
    """Refuse data that the recipe was not made for.

    Raises:
        UsageError: another number of classes, another size, or fewer samples than one batch.
    """
    if recipe.classes is not None and len(source.class_names) != recipe.classes:
        raise UsageError(
            f"recipe {recipe.name} is for {recipe.classes} classes, {source.name} has {len(source.class_names)}. "
            f"Choose another recipe, or --set classes={len(source.class_names)} if that is meant."
        )
    if len(source.class_names) < 2:
        raise UsageError(
            f"{source.name} has one class ({listed(list(source.class_names))}), and a network learns to tell classes "
            "apart. Is it the folder above, or below, the one that was meant?"
        )
    if source.size != recipe.size:
        raise UsageError(f"recipe {recipe.name} trains at {recipe.size} pixels, {source.name} gives {source.size}.")
    if recipe.drop_last and len(source) < recipe.batch_size:
        raise UsageError(
            f"{source.name} has {len(source)} training images, fewer than one batch of {recipe.batch_size}. "
            f"Use a smaller one: --set batch_size={len(source)}."
        )


def check_classes(source: TrainingSource, images: ImageSet) -> None:
    """Refuse test images of other classes than the training's.

    Raises:
        UsageError: other names, another order, or another number.
    """
    a, b = tuple(source.class_names), tuple(images.class_names)
    if a != b:
        first, second = next(pair for pair in itertools.zip_longest(a, b, fillvalue="none") if pair[0] != pair[1])
        raise UsageError(
            f"training data {source.name} and test data {images.name} have different classes: {len(a)} and {len(b)}, "
            f"the first that differ are {first} and {second}."
        )


def check_task(network: Network, recipe: Recipe, images: ImageSet) -> None:
    """Refuse a classifier on label maps, a segmentation network on labels, and settings that are for labels alone.

    Raises:
        UsageError: network, recipe and data are not for one task.
    """
    task = BACKBONES[network.arch].task if network.arch in BACKBONES else "classification"
    wanted = "segmentation" if has_maps(images) else "classification"
    if task != wanted:
        raise UsageError(
            f"{network.spec} is a network for {task}, {images.name} needs {wanted}. Name such a network, for example "
            f"{'segnet/lift' if wanted == 'segmentation' else 'resnet8/lift'}, or other data."
        )
    if wanted == "segmentation" and recipe.cutmix:
        raise UsageError(f"recipe {recipe.name}: cutmix is for one label an image; set it to 0 for label maps.")


def check_last_batch(recipe: Recipe, source: TrainingSource, ranks: int) -> None:
    """Refuse batches of which some process would get fewer than the two images that BatchNorm needs.

    Args:
        recipe: its batch size, and whether a smaller last batch is left out.
        source: training samples.
        ranks: processes that share a batch.

    Raises:
        UsageError: a batch, or the last one of an epoch, that is too small.
    """
    rest = len(source) % recipe.batch_size
    if rest and not recipe.drop_last and rest < 2 * ranks:
        raise UsageError(
            f"the last batch of an epoch has {rest} of {recipe.batch_size} images for {ranks} "
            "process(es), and BatchNorm needs two in each. Leave it out: --set drop_last=true."
        )
    if recipe.batch_size < 2 * ranks:
        raise UsageError(f"a batch of {recipe.batch_size} is too small for {ranks} process(es).")


def known_losses() -> tuple[str, ...]:
    """Names of all auxiliary losses that the registered poolings have.

    >>> known_losses()
    ('c_p', 'c_u', 'undo_shift')
    """
    return tuple(sorted({name for pooling in POOLINGS.values() for name in pooling.loss_names}))


def check_use(recipe: Recipe, networks: Sequence[Network]) -> None:
    """Refuse settings of a recipe that have no effect on any of the networks, and options that would train nothing.

    Raises:
        UsageError: a temperature, and no pooling that has one; a weight of a loss that no pooling has; what the
            gradients of constraints train, and no constraint.

    >>> from robustbench_lift.training import RECIPES, Network, override
    >>> check_use(override(RECIPES["photos"], {"auxiliary.cu": 0.0}), [Network("resnet8", "lift")])
    Traceback (most recent call last):
    robustbench_lift.errors.UsageError: unknown auxiliary loss 'cu'. Did you mean 'c_u'? Known: c_p, c_u, undo_shift.
    """
    for network in networks:
        if network.options.get("gradient", "features") != "features" and network.options.get("constraint") is None:
            raise UsageError(
                f"{network.spec}: gradient says what the constraints train, and there is none. Add constraint=mse, "
                "which is the paper's loss, or leave gradient out."
            )
    losses = known_losses()
    for name in recipe.auxiliary:
        if name not in losses:
            raise unknown("auxiliary loss", name, losses)
    if recipe.temperature:
        with torch.device("meta"):
            layers = [layer for network in networks for layer in network.build(10, seed=0).modules()]
        if not any(map(has_temperature, layers)):
            raise UsageError(
                f"the recipe lowers a temperature, but {', '.join(network.spec for network in networks)} has no "
                "pooling with one. Use one that has (lps), or leave temperature and temperature_at out."
            )
