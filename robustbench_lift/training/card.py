"""What is handed over at the end: weights as .safetensors with a card that says how they came about."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_lift.models import ARCHITECTURES, save_checkpoint
from robustbench_lift.runs import write_atomic
from robustbench_lift.training import state

if TYPE_CHECKING:
    from robustbench_lift.training.trainer import Trainer


def card_of(trainer: Trainer, clean_error: float, epoch: int) -> dict[str, str]:
    """The card of the weights after an epoch; values are strings, as safetensors' header wants them."""
    from robustbench_lift import __version__

    network, recipe, source = trainer.network, trainer.recipe, trainer.source
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
        "seed": str(trainer.seed),
        "epochs": str(epoch),
        "clean_error": f"{clean_error:.6f}",
        "mean": json.dumps(list(recipe.mean)),
        "std": json.dumps(list(recipe.std)),
        "resize": "" if recipe.resize is None else str(recipe.resize),
        "crop": str(recipe.size),
        "interpolation": "bilinear",
        "antialias": "true",
        "precision": trainer.settings.precision,
        "made_by": f"robustbench-lift {__version__} train",
    }


def write_result(trainer: Trainer) -> dict[str, Any]:
    """Store the final weights and result.json."""
    folder, history = trainer.out, trainer.history
    chosen = min(history, key=lambda line: line["test_error"]) if trainer.recipe.keep == "best" else history[-1]
    final = folder / state.FINAL
    card = card_of(trainer, chosen["test_error"], chosen["epoch"])
    if trainer.recipe.keep == "best":
        shutil.copyfile(folder / state.BEST, final)
        sha256 = file_sha256(final)
    else:
        with trainer.tested_weights():
            sha256 = save_checkpoint(final, trainer.module, card)
    result = {
        "clean_error": chosen["test_error"],
        "best_error": min(line["test_error"] for line in history),
        "epochs": chosen["epoch"],
        "test_images": chosen["test_images"],
        "parameters": sum(p.numel() for p in trainer.module.parameters()),
        "seconds": trainer.position.seconds,
        "sha256": sha256,
        "identity": trainer.identity,
        "history": history,
    }
    write_atomic(folder / state.RESULT, (json.dumps(result, indent=1) + "\n").encode())
    return result


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    import hashlib

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
