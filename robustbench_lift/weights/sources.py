"""Models of other sources: torchvision, timm, the Hugging Face hub, and a function of the user's.

Architectures come from the installed library, weights from a file, from the library's cache, or, only when the spec
says `download=true`, from the network. Whatever the way, weights are read by `files.read_raw` and fitted strictly.
"""

from __future__ import annotations

import difflib
import importlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import nn

from robustbench_lift.errors import CheckpointError, UsageError
from robustbench_lift.weights.card import card_of, check_network, class_names_of
from robustbench_lift.weights.fit import weights_into
from robustbench_lift.weights.model import Found
from robustbench_lift.weights.ours import from_zoo
from robustbench_lift.weights.preprocessing import Preprocessing, from_card, from_timm, from_torchvision
from robustbench_lift.weights.published import published_as
from robustbench_lift.weights.read import RawWeights, read_raw
from robustbench_lift.weights.spec import RANDOM, ModelSpec

AMBIGUOUS: dict[str, str] = {
    "torchvision:resnet18": "timm:resnet18 and timm:resnetblur18",
    "torchvision:resnet50": "timm:resnet50, timm:resnetblur50 and timm:resnetaa50",
    "timm:resnet18": "torchvision:resnet18 and timm:resnetblur18",
    "timm:resnetblur18": "torchvision:resnet18 and timm:resnet18",
    "timm:resnet50": "torchvision:resnet50, timm:resnetblur50 and timm:resnetaa50",
    "timm:resnetblur50": "torchvision:resnet50, timm:resnet50 and timm:resnetaa50",
    "timm:resnetaa50": "torchvision:resnet50, timm:resnet50 and timm:resnetblur50",
}
"""Networks whose keys and shapes others share: timm's blur buffers are not stored, so a file cannot tell."""


# ---------------------------------------------------------------- torchvision


def from_torchvision_hub(spec: ModelSpec) -> Found:
    """`torchvision:NAME@WEIGHTS`: a published name such as IMAGENET1K_V1 or DEFAULT, or a file."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if spec.name not in known:
        raise _unknown("torchvision model", spec.name, known)
    published = torchvision.models.get_model_weights(spec.name)
    if spec.weights is None:
        names = ", ".join(published.__members__) if len(published) else "none published"
        raise UsageError(f"{spec} names no weights: write {spec}@FILE or @ one of {names}.")
    chosen = published["DEFAULT"] if spec.weights == "DEFAULT" and len(published) else None
    chosen = chosen or published.__members__.get(spec.weights)
    raw, entry = None, chosen
    if chosen is not None:
        raw = read_raw(_cached_download(chosen.url, spec, f"{spec.name} {chosen.name}"))
    elif spec.weights != RANDOM:
        path = Path(spec.weights).expanduser()
        if not path.exists() and re.fullmatch(r"[A-Z0-9_]+", spec.weights):
            raise _unknown(f"weights of torchvision {spec.name}", spec.weights, list(published.__members__))
        raw = read_raw(path)
        entry = next((w for w in published if published_as(raw) == PurePosixPath(w.url).name), None)
    card = card_of(raw)
    check_network(card, f"torchvision:{spec.name}", str(spec.weights))
    classes = spec.num_classes or _recorded(card) or (len(entry.meta["categories"]) if entry else 1000)
    extra = dict(spec.options)
    if spec.name in ("googlenet", "inception_v3"):
        extra.setdefault("init_weights", False)
        extra.setdefault("transform_input", entry is not None)
    module = _constructed(
        lambda: torchvision.models.get_model(spec.name, weights=None, num_classes=classes, **extra), spec
    )
    notes: tuple[str, ...] = ("the weights are untrained (@random).",)
    if raw:
        notes = weights_into(module, raw, spec, hint=f" torchvision's {spec.name}")
        if entry is None and not card:
            notes += _same_keys(f"torchvision:{spec.name}", raw)
            notes += (f"preprocessing: ImageNet's defaults, assumed; {raw.path.name} is none of torchvision's files.",)
    categories = tuple(entry.meta["categories"]) if entry else ()
    preprocessing = from_torchvision(entry) if entry else Preprocessing()
    return Found(
        module=module,
        arch=spec.name,
        preprocessing=from_card(card, str(spec.weights)) if card else preprocessing,
        num_classes=classes,
        class_names=class_names_of(card, classes, str(spec.weights))
        or (categories if len(categories) == classes else None),
        sha256=raw.sha256 if raw else None,
        card=card,
        notes=notes,
    )


def _cached_download(url: str, spec: ModelSpec, what: str) -> Path:
    """The file of a URL in torch's hub cache; fetched when the spec says so."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(url).name
    if path.is_file():
        return path
    if not spec.download:
        raise CheckpointError(
            f"{what} is not in the cache ({path}) and the network is used only when asked: write "
            f"{replace(spec, download=True)}, or put the file there; it is {url}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    expected = re.search(r"-([0-9a-f]{8})\.", path.name)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=expected[1] if expected else None, progress=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: other bytes than the name promises; nothing is kept
        raise CheckpointError(
            f"{url} could not be fetched: {error}. Fetch it elsewhere and put it at {path}."
        ) from None
    return path


# ---------------------------------------------------------------- timm


def from_timm_hub(spec: ModelSpec) -> Found:
    """`timm:NAME` (its pretrained weights, from the cache) or `timm:NAME@FILE`."""
    timm = _library("timm", "timm")
    base = spec.name.partition(".")[0]
    if base not in timm.list_models(module="") and not timm.is_model(base):
        raise _unknown("timm model", base, timm.list_models())
    if "." in spec.name and spec.name not in timm.list_models(f"{base}.*", pretrained=True):
        raise _unknown("timm weights", spec.name, timm.list_models(f"{base}.*", pretrained=True))
    if spec.weights == RANDOM:
        raw = None
    elif spec.weights is not None:
        raw = read_raw(Path(spec.weights).expanduser())
    else:
        raw = read_raw(_timm_weights(timm, spec))
    return _timm_model(timm, spec, spec.name, raw, {})


def _timm_model(timm: Any, spec: ModelSpec, name: str, raw: RawWeights | None, config: Mapping[str, Any]) -> Found:
    card = card_of(raw)
    check_network(card, f"timm:{name}", str(spec.weights))
    classes = spec.num_classes or _recorded(card) or config.get("num_classes")
    module = _constructed(
        lambda: timm.create_model(
            name, pretrained=False, **({"num_classes": classes} if classes else {}), **spec.options
        ),
        spec,
    )
    settings = {**dict(getattr(module, "pretrained_cfg", None) or {}), **config}
    notes: tuple[str, ...] = ("the weights are untrained (@random).",)
    if raw:
        notes = weights_into(module, raw, spec, hint=f" timm's {name}")
        if spec.weights is not None and not card:
            notes += _same_keys(f"timm:{name.partition('.')[0]}", raw)
            notes += (f"preprocessing: that of timm's {name}, assumed to be the one of {raw.path.name}.",)
    return Found(
        module=module,
        arch=name.partition(".")[0],
        preprocessing=from_card(card, str(spec.weights)) if card else from_timm(settings),
        num_classes=int(getattr(module, "num_classes", 0)),
        class_names=class_names_of(card, int(getattr(module, "num_classes", 0)), str(spec.weights)),
        sha256=raw.sha256 if raw else None,
        card=card,
        notes=notes,
    )


def _timm_weights(timm: Any, spec: ModelSpec) -> Path:
    config = timm.get_pretrained_cfg(spec.name)
    if config is None or not (config.hf_hub_id or config.url):
        raise UsageError(f"timm publishes no weights for {spec.name}; write {spec}@FILE.")
    if config.hf_hub_id:
        repository = str(config.hf_hub_id)
        repository = repository if repository.rpartition("/")[2] != "" else f"timm/{spec.name}"
        return _hub_file(repository, ("model.safetensors", "pytorch_model.bin"), spec)
    return _cached_download(str(config.url), spec, spec.name)


# ---------------------------------------------------------------- Hugging Face hub


def from_hugging_face(spec: ModelSpec) -> Found:
    """`hf:REPOSITORY`: a timm repository (config.json names the architecture) or a file of ours (its card does)."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", spec.name):
        raise UsageError(f"{spec}: a repository is OWNER/NAME, for example hf:timm/resnetblur50.bt_in1k.")
    names = (spec.weights,) if spec.weights else ("model.safetensors", "pytorch_model.bin")
    raw = read_raw(_hub_file(spec.name, names, spec))
    if card_of(raw).get("architecture"):
        found = from_zoo(replace(spec, source="card", name="", weights=str(raw.path)))
        found.name = spec.name
        return found
    path = _hub_file(spec.name, ("config.json",), spec)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"config.json of {spec.name} cannot be read: {error}.") from None
    name = config.get("architecture") if isinstance(config, dict) else None
    if not isinstance(name, str):
        raise CheckpointError(
            f"{spec.name} is neither a timm repository (its config.json names no `architecture`) nor weights of ours; "
            f"download the file and name its architecture: timm:NAME@FILE or package.module:factory@FILE."
        )
    timm = _library("timm", "timm")
    if not timm.is_model(name):
        raise _unknown("timm model", name, timm.list_models())
    known = ("mean", "std", "interpolation", "crop_pct", "test_crop_pct", "input_size", "test_input_size")
    stated = config.get("pretrained_cfg") or {}
    settings = {key: stated[key] for key in known if key in stated} | {"num_classes": config.get("num_classes")}
    return _timm_model(timm, spec, name, raw, settings)


def _hub_file(repository: str, names: tuple[str, ...], spec: ModelSpec) -> Path:
    """The first of these files that is in the hub's cache; fetched when the spec says so."""
    hub = _library("huggingface_hub", "huggingface-hub")
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


# ---------------------------------------------------------------- a function of the user's


def from_factory(spec: ModelSpec) -> Found:
    """`package.module:factory@FILE`: the user's own code builds the module; the file is read as any other.

    The function gets the spec's options as keywords, and `num_classes` when the spec gives one. A module may carry its
    own `preprocessing` (a Preprocessing).
    """
    place, _, attribute = spec.name.partition(":")
    try:
        factory = getattr(importlib.import_module(place), attribute)
    except ImportError as error:
        raise UsageError(f"{spec.name} cannot be imported: {error}. Is it on PYTHONPATH?") from None
    except AttributeError as error:
        raise UsageError(f"{spec.name} cannot be used: {error}. Name a function that makes the network.") from None
    keywords = dict(spec.options)
    side = keywords.pop("input_size", 224)
    if spec.num_classes is not None:
        keywords["num_classes"] = spec.num_classes
    module = factory(**keywords)
    if not isinstance(module, nn.Module):
        raise UsageError(f"{spec.name} returned a {type(module).__name__}; a torch.nn.Module was expected.")
    raw = read_raw(Path(spec.weights).expanduser()) if spec.weights not in (None, RANDOM) else None
    card = card_of(raw)
    check_network(card, spec.name, str(spec.weights))
    notes: tuple[str, ...] = (f"the weights are those that {spec.name} returned.",)
    if raw:
        notes = weights_into(module, raw, spec, hint=f" the module of {spec.name}")
    own = from_card(card, str(spec.weights)) if card else getattr(module, "preprocessing", None)
    if not isinstance(own, Preprocessing):
        own = Preprocessing()
        notes += ("preprocessing: ImageNet's defaults, assumed; the module carries no `preprocessing`.",)
    return Found(
        module=module,
        arch=attribute,
        preprocessing=own,
        num_classes=_answers(module, side, spec),
        sha256=raw.sha256 if raw else None,
        card=card,
        notes=notes,
    )


def _answers(module: nn.Module, side: object, spec: ModelSpec) -> int:
    """How many classes a module distinguishes, by asking it once."""
    if isinstance(side, bool) or not isinstance(side, int) or side < 1:
        raise UsageError(f"{spec}: input_size must be the side of the images in pixels, not {side!r}.")
    module.eval()
    try:
        with torch.no_grad():
            logits = module(torch.zeros(1, 3, side, side))
    except RuntimeError as error:
        raise UsageError(
            f"{spec.name} does not take an image of {side} pixels: {str(error).splitlines()[0][:200]}. "
            "Give its size: ?input_size=64."
        ) from None
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
        what = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UsageError(f"{spec.name} answers with {what}; logits [N, classes] were expected.")
    return int(logits.shape[1])


# ---------------------------------------------------------------- shared


def _recorded(card: Mapping[str, str]) -> int | None:
    """The number of classes that a card states."""
    return int(card["num_classes"]) if card.get("num_classes", "").isdigit() else None


def _unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """As `errors.unknown`, but of a thousand names only those that are near."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {len(names)}, none of them near."
    return UsageError(f"unknown {kind} {name!r}. {hint}")


def _constructed(build: Any, spec: ModelSpec) -> nn.Module:
    try:
        module = build()
    except (TypeError, ValueError, AssertionError) as error:
        raise UsageError(f"{spec}: the model cannot be built with these options: {error}.") from None
    assert isinstance(module, nn.Module)
    return module


def _same_keys(name: str, raw: RawWeights) -> tuple[str, ...]:
    if name not in AMBIGUOUS or (name.startswith("torchvision:") and published_as(raw)):
        return ()
    note = f"the keys of {raw.path.name} fit {name} and {AMBIGUOUS[name]} alike; "
    note += f"it was loaded as {name} because the spec says so."
    return (note,)


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{module} is not installed: pip install {package} (or robustbench-lift[models]).") from None
