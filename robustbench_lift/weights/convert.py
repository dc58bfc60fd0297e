"""Weights of any form into one of our files."""

from __future__ import annotations

import json
from pathlib import Path

from robustbench_lift.weights.load import load_model
from robustbench_lift.weights.loaded import LoadedModel
from robustbench_lift.weights.preprocessing import to_card
from robustbench_lift.weights.save import save_checkpoint
from robustbench_lift.weights.spec import ModelSpec


def convert_weights(
    spec: str | ModelSpec, out: Path | str, *, num_classes: int | None = None, data: str = "", recipe: str = ""
) -> tuple[LoadedModel, str]:
    """Load a model and store its weights with a card; returns the model and the sha256 of the new file.

    Args:
        spec: any model spec.
        out: a name that ends in .safetensors; the folder is made when it is missing.
        num_classes: K, where neither spec nor weights say it.
        data: what the weights were trained on, for the card; "" keeps what the old card says.
        recipe: how, likewise.

    Raises:
        CheckpointError, UsageError, StorageError: as `load_model` and `save_checkpoint`.
    """
    asked = ModelSpec.parse(spec) if isinstance(spec, str) else spec
    model = load_model(asked, num_classes=num_classes)
    card = {key: value for key, value in model.card.items() if key != "format"}
    card |= {"num_classes": str(model.num_classes), **to_card(model.preprocessing)}
    card |= {"converted_from": model.spec, "source_sha256": model.weights_sha256}
    if model.pooling is not None:
        options = json.loads(card.get("options") or "{}") | {
            key: list(value) if isinstance(value, tuple) else value for key, value in asked.options.items()
        }
        card |= {
            "architecture": model.arch,
            "pooling": model.pooling,
            "placement": model.placement or "",
            "options": json.dumps(options),
        }
    else:
        card["network"] = str(ModelSpec(source=asked.source, name=asked.name))
    if model.class_names is not None:
        card["class_names"] = json.dumps(list(model.class_names))
    if data:
        card["data"] = data
    if recipe:
        card["recipe"] = recipe
    return model, save_checkpoint(out, model.module, card)
