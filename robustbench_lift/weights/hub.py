"""Models of timm and of the Hugging Face hub: by name, from a file, or from a local copy of a repository."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from robustbench_lift.errors import CheckpointError, DataError, UsageError
from robustbench_lift.files import read_json
from robustbench_lift.text import printable
from robustbench_lift.weights.card import card_of, check_network, class_names_of, number_of_classes
from robustbench_lift.weights.fit import Renaming, built
from robustbench_lift.weights.model import Found
from robustbench_lift.weights.ours import from_zoo
from robustbench_lift.weights.preprocessing import from_card, from_timm
from robustbench_lift.weights.read import RawWeights, read_raw
from robustbench_lift.weights.sources import (
    as_pooled,
    assumed,
    cached_download,
    constructed,
    library,
    placed,
    pooled,
    same_keys,
    split_options,
    unknown_of_many,
)
from robustbench_lift.weights.spec import RANDOM, ModelSpec


def from_timm_hub(spec: ModelSpec) -> Found:
    """`timm:NAME` (its pretrained weights, from the cache), `timm:NAME@FILE` or `timm:NAME@FOLDER` of the hub."""
    timm = library("timm", "timm")
    check_timm(timm, spec)
    if spec.weights == RANDOM:
        return _timm_model(timm, spec, spec.name, None, {})
    if spec.weights is None:
        if spec.pooling:
            raise UsageError(f"{spec}: timm's weights were trained with the network's own pooling; write {spec}@FILE.")
        return _timm_model(timm, spec, spec.name, read_raw(_timm_weights(timm, spec)), {})
    path = Path(spec.weights)
    if path.is_dir() and (path / "config.json").is_file():
        path = _in_folder(path)
    raw = read_raw(path)
    beside = raw.path.with_name("config.json")
    config = _config(beside) if beside.is_file() and not card_of(raw) else {}
    base = spec.name.partition(".")[0]
    return _timm_model(timm, spec, spec.name, raw, _settings(config) if config.get("architecture") == base else {})


def check_timm(timm: Any, spec: ModelSpec) -> None:
    """Refuse a network or weights that timm does not have, before a file is read."""
    base = spec.name.partition(".")[0]
    if not timm.is_model(base):
        raise unknown_of_many("timm model", base, timm.list_models())
    if "." in spec.name and spec.name not in timm.list_models(f"{base}.*", pretrained=True):
        raise unknown_of_many("timm weights", spec.name, timm.list_models(f"{base}.*", pretrained=True))


def _timm_model(timm: Any, spec: ModelSpec, name: str, raw: RawWeights | None, config: Mapping[str, Any]) -> Found:
    card = card_of(raw)
    source = str(spec.weights or (raw.path if raw else ""))
    check_network(card, replace(spec, source="timm", name=name), source)
    stated = spec.num_classes or number_of_classes(card) or config.get("num_classes")
    latest: list[nn.Module] = []

    def build(classes: int | None) -> nn.Module:
        latest[:] = [timm_network(timm, replace(spec, name=name), classes)]
        return latest[0]

    filter_fn = getattr(sys.modules.get(timm.model_entrypoint(name).__module__), "checkpoint_filter_fn", None)

    def translated(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        try:
            return dict(filter_fn(dict(state), latest[0]))  # type: ignore[misc]
        except Exception:  # made for its own kinds of files; on others it may raise anything
            return dict(state)

    renamings = [Renaming(dialect="timm's checkpoint_filter_fn:", apply=translated)] if callable(filter_fn) else []
    module, _, notes = built(build, stated, raw, spec, renamings=renamings, hint=f" timm's {name}")
    preprocessing = from_timm({**dict(getattr(module, "pretrained_cfg", None) or {}), **config})
    if not card:
        preprocessing, shown = as_pooled(preprocessing, spec)
        notes += shown
    if raw and spec.weights is not None and spec.source == "timm" and not card:
        notes += same_keys(f"timm:{name.partition('.')[0]}", raw)
        file = printable(raw.path.name)
        if config:
            notes += (f"preprocessing: that of config.json beside {file}.",)
        else:
            notes += assumed(spec, preprocessing, f"that of timm's {name}", f"{file} does not say")
    classes = int(getattr(module, "num_classes", 0))
    return Found(
        module=module,
        arch=name.partition(".")[0],
        pooling=spec.pooling,
        placement=placed(spec),
        preprocessing=from_card(card, source) if card else preprocessing,
        num_classes=classes,
        class_names=class_names_of(card, classes, source),
        sha256=raw.sha256 if raw else None,
        card=card,
        notes=notes,
    )


def timm_network(timm: Any, spec: ModelSpec, classes: int | None) -> nn.Module:
    """An untrained network of timm, its pooling replaced when the spec says so."""
    pooling, extra = split_options(spec)
    if forbidden := sorted({"pretrained", "checkpoint_path"} & set(extra)):
        raise UsageError(f"{spec}: {', '.join(forbidden)} would let timm read weights by itself; write @FILE.")
    given = {"num_classes": classes} if classes else {}
    module = constructed(lambda: timm.create_model(spec.name, pretrained=False, **given, **extra), spec)
    return pooled(module, spec, pooling)


def _timm_weights(timm: Any, spec: ModelSpec) -> Path:
    config = timm.get_pretrained_cfg(spec.name)
    if config is None or not (config.hf_hub_id or config.url):
        raise UsageError(f"timm publishes no weights for {spec.name}; write {spec}@FILE.")
    if config.hf_hub_id:
        repository = str(config.hf_hub_id)
        repository = repository if repository.rpartition("/")[2] != "" else f"timm/{spec.name}"
        return _hub_file(repository, HUB_FILES, spec)
    return cached_download(str(config.url), spec, spec.name)


# ---------------------------------------------------------------- Hugging Face hub

HUB_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Names of the weights in a repository, the preferred first."""


def from_hugging_face(spec: ModelSpec) -> Found:
    """`hf:REPOSITORY` or `hf:FOLDER`: timm's (config.json names the network) or a file of ours (its card does)."""
    folder = Path(spec.name)
    local = folder.is_dir() or spec.name.startswith(("/", ".", "~"))
    if local:
        folder = Path(spec.name).expanduser()
        raw = read_raw(folder / spec.weights if spec.weights else _in_folder(folder))
    elif not re.fullmatch(r"[\w.-]+/[\w.-]+", spec.name):
        raise UsageError(
            f"{printable(str(spec))}: a repository is OWNER/NAME, for example hf:timm/resnetblur50.bt_in1k, or a "
            "folder with its config.json: hf:./copy."
        )
    else:
        raw = read_raw(_hub_file(spec.name, (spec.weights,) if spec.weights else HUB_FILES, spec))
    if card_of(raw).get("architecture"):
        found = from_zoo(replace(spec, source="card", name="", weights=str(raw.path)))
        found.name = spec.name
        return found
    config = _config(folder / "config.json" if local else _hub_file(spec.name, ("config.json",), spec))
    name = config.get("architecture")
    if not isinstance(name, str):
        raise CheckpointError(
            f"{printable(spec.name)} is neither a timm repository (its config.json names no `architecture`) nor "
            "weights of ours; download the file and name its network: timm:NAME@FILE or package.module:factory@FILE."
        )
    timm = library("timm", "timm")
    if not timm.is_model(name):
        raise unknown_of_many("timm model", name, timm.list_models())
    return _timm_model(timm, spec, name, raw, _settings(config))


def _in_folder(folder: Path) -> Path:
    """The weights in a local copy of a repository."""
    for name in HUB_FILES:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{printable(folder)} has none of {', '.join(HUB_FILES)}; name the file: hf:FOLDER@FILE.")


def _config(path: Path) -> dict[str, Any]:
    """The config.json of a repository."""
    try:
        config = read_json(path)
    except (DataError, OSError) as error:
        raise CheckpointError(f"{printable(path)} cannot be read: {printable(str(error))}.") from None
    return config if isinstance(config, dict) else {}


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.json says of classes and preprocessing, as timm's configurations do."""
    known = ("mean", "std", "interpolation", "crop_pct", "test_crop_pct", "input_size", "test_input_size")
    stated = config.get("pretrained_cfg") or {}
    classes = config.get("num_classes")
    return {key: stated[key] for key in known if isinstance(stated, dict) and key in stated} | {
        "num_classes": classes if isinstance(classes, int) else None
    }


def _hub_file(repository: str, names: tuple[str, ...], spec: ModelSpec) -> Path:
    """The first of these files that is in the hub's cache; fetched when the spec says so."""
    hub = library("huggingface_hub", "huggingface-hub")
    for name in names:
        cached = hub.try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    if not spec.download:
        raise CheckpointError(
            f"{names[0]} of {repository} is not in the cache and the network is used only when asked: write "
            f"{replace(spec, download=True)}, or download the file and write timm:NAME@FILE."
        )
    last: Exception | None = None
    for name in names:
        try:
            return Path(hub.hf_hub_download(repository, name))
        except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
            last = error
    raise CheckpointError(f"{names[0]} of {repository} could not be fetched: {str(last).splitlines()[0][:200]}")
