"""Training from the outside: one call that trains, or goes on with what its folder holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustbench_lift.data.base import ImageSet, fingerprint
from robustbench_lift.device import pick_device
from robustbench_lift.errors import UsageError
from robustbench_lift.training import distributed, faults, state
from robustbench_lift.training.data import TrainingSource, check_fit
from robustbench_lift.training.faults import DivergedError
from robustbench_lift.training.network import Builder, Network
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.reports import Outcome, TrainingProgress
from robustbench_lift.training.settings import Settings, isolated
from robustbench_lift.training.trainer import Trainer

__all__ = ["DivergedError", "Outcome", "TrainingProgress", "identity_of", "train"]


def train(
    network: Network,
    recipe: Recipe,
    source: TrainingSource,
    images: ImageSet,
    *,
    out: Path,
    seed: int = 0,
    settings: Settings | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
    builder: Builder | None = None,
) -> Outcome:
    """Train a network, or go on with the training that `out` holds.

    Args:
        network: architecture and pooling.
        recipe: how to train.
        source: training samples.
        images: test images; every one counts once in the error of each epoch.
        out: folder of this one training (`state` lists its files).
        seed: first weights, order, augmentation, dropout.
        settings: device, precision, memory, time limit.
        stop: asked now and then; when it answers True the state is stored and the call returns.
        progress: called at the same moments and after each epoch.
        builder: makes the network; `models.build_model` unless told.

    Returns:
        What was reached; `finished` is False when time or `stop` ended it.

    Raises:
        UsageError: recipe, data and settings do not fit together.
        IncomparableError: `out` holds a training of something else.
        DivergedError: the loss is no longer finite; the last good state is kept.
        StorageError: `out` cannot be written; the last state is kept.
        OtherProcessError: another process of the training stopped; that one tells why.
    """
    settings = settings or Settings()
    check_fit(recipe, source)
    if tuple(images.class_names) != tuple(source.class_names):
        raise UsageError(
            f"training data {source.name} and test data {images.name} have different classes: "
            f"{len(source.class_names)} and {len(images.class_names)}, the first that differ are "
            f"{_first_difference(source.class_names, images.class_names)}."
        )
    device = pick_device(settings.device)
    distributed.join(device)
    with isolated(settings, device):
        identity = identity_of(network, recipe, source, images, seed=seed, precision=settings.precision)
        done = distributed.from_first(lambda: state.read_result(out, identity=identity))
        if done is not None:
            return Outcome(out, True, recipe.epochs, done, done["history"])
        trainer = Trainer(
            network,
            recipe,
            source,
            images,
            identity=identity,
            out=out,
            seed=seed,
            settings=settings,
            device=device,
            builder=builder,
        )
        try:
            return trainer.run(stop or (lambda: False), progress or (lambda _: None))
        except RuntimeError as error:
            pass_images = settings.micro_batch or recipe.batch_size
            better = faults.told(error, device=device, images=pass_images, size=recipe.size, out=out)
            if better is None:
                raise
            raise better from None


def identity_of(
    network: Network, recipe: Recipe, source: TrainingSource, images: ImageSet, *, seed: int, precision: str
) -> dict[str, Any]:
    """What two sessions must share to be one training."""
    return {
        "network": network.record(),
        "recipe": recipe.settings(),
        "data": {
            "train": source.name,
            "train_images": len(source),
            "train_fingerprint": source.fingerprint,
            "test": images.name,
            "test_images": len(images.ids),
            "test_fingerprint": fingerprint(images.ids, images.labels),
        },
        "seed": seed,
        "precision": precision,
    }


def _first_difference(a: tuple[str, ...], b: tuple[str, ...]) -> str:
    pairs = [(x, y) for x, y in zip(a, b, strict=False) if x != y] or [(str(len(a)), str(len(b)))]
    return f"{pairs[0][0]} and {pairs[0][1]}"
