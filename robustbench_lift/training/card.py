"""The card in the header of the weights: what they are, how they came about, how to use them."""

from __future__ import annotations

import json

from robustbench_lift.networks import ARCHITECTURES
from robustbench_lift.training.data import TrainingSource
from robustbench_lift.training.network import Network
from robustbench_lift.training.recipe import Recipe


def card_of(
    network: Network,
    recipe: Recipe,
    source: TrainingSource,
    *,
    seed: int,
    precision: str,
    clean_error: float,
    epoch: int,
) -> dict[str, str]:
    """The card of the weights after an epoch; values are strings, as safetensors' header wants them.

    >>> from robustbench_lift.training import RECIPES, PhotoSource
    >>> photos = RECIPES["photos"]
    >>> card = card_of(Network("resnet8", "lift"), photos, PhotoSource(recipe=photos), seed=0, precision="fp32",
    ...                clean_error=0.25, epoch=30)
    >>> card["pooling"], card["recipe"], card["clean_error"]
    ('lift', 'photos', '0.250000')
    """
    from robustbench_lift import __version__

    known = ARCHITECTURES.get(network.arch)
    placement = network.placement or (known.placements[0] if known else "")
    return {
        "architecture": network.arch,
        "pooling": network.pooling,
        "placement": placement,
        "options": json.dumps(dict(network.options)),
        "num_classes": str(len(source.class_names)),
        "class_names": json.dumps(list(source.class_names)),
        "recipe": recipe.name,
        "recipe_settings": json.dumps(recipe.settings()),
        "data": source.name,
        "data_fingerprint": source.fingerprint,
        "seed": str(seed),
        "epochs": str(epoch),
        "clean_error": f"{clean_error:.6f}",
        "mean": json.dumps(list(recipe.mean)),
        "std": json.dumps(list(recipe.std)),
        "resize": "" if recipe.resize is None else str(recipe.resize),
        "crop": str(recipe.size),
        "interpolation": "bilinear",
        "antialias": "true",
        "precision": precision,
        "made_by": f"robustbench-lift {__version__} train",
    }
