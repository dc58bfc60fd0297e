"""What is handed over at the end: weights as .safetensors with a card that says how they came about."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from robustbench_lift.errors import StorageError
from robustbench_lift.runs import write_atomic
from robustbench_lift.training import state

if TYPE_CHECKING:
    from robustbench_lift.training.trainer import Trainer


def card_of(trainer: Trainer, clean_error: float, epoch: int) -> dict[str, str]:
    """The card of the weights after an epoch; values are strings, as safetensors' header wants them."""
    from robustbench_lift import __version__

    network, recipe, source = trainer.network, trainer.recipe, trainer.source
    return {
        "architecture": network.arch,
        "pooling": network.pooling,
        "placement": network.placement or "",
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


def store_weights(path: Path, module: nn.Module, card: dict[str, str]) -> str:
    """Write weights whole or not at all; the sha256 of the file.

    Raises:
        StorageError: a full or read-only disk; what was there is kept.
    """
    from robustbench_lift.models import save_checkpoint

    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sha256: str = save_checkpoint(temporary, module, card)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}. Make room or choose another --out; the last state is "
            "kept, and the same command goes on from there."
        ) from None
    return sha256


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
            sha256 = store_weights(final, trainer.module, card)
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
