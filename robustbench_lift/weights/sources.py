"""Models of torchvision, and what all foreign sources share.

Networks come from the installed library, weights from a file, from the library's cache, or, only when the spec says
`download=true`, from the network. Whatever the way, weights are read by `read_raw` and fitted strictly.
"""

from __future__ import annotations

import difflib
import importlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_lift.device import out_of_memory
from robustbench_lift.errors import CheckpointError, RobustbenchError, UsageError
from robustbench_lift.networks import Task, replace_pooling
from robustbench_lift.pooling import POOLINGS, PoolingError
from robustbench_lift.text import printable
from robustbench_lift.weights.card import card_of, check_network, class_names_of, number_of_classes
from robustbench_lift.weights.fit import Renaming, built
from robustbench_lift.weights.model import Found, explained
from robustbench_lift.weights.ours import published_as
from robustbench_lift.weights.preprocessing import Preprocessing, from_card, from_torchvision
from robustbench_lift.weights.read import RawWeights, read_raw
from robustbench_lift.weights.spec import RANDOM, ModelSpec
from robustbench_lift.weights.state_dict import find_state_dict

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


def from_torchvision_hub(spec: ModelSpec) -> Found:
    """`torchvision:NAME@WEIGHTS`: a published name such as IMAGENET1K_V1 or DEFAULT, or a file."""
    import torchvision

    check_torchvision(spec)
    published = torchvision.models.get_model_weights(spec.name)
    if spec.weights is None:
        names = ", ".join(published.__members__) if len(published) else "none published"
        raise UsageError(f"{spec} names no weights: write {spec}@FILE or @ one of {names}.")
    chosen = published["DEFAULT"] if spec.weights == "DEFAULT" and len(published) else None
    chosen = chosen or published.__members__.get(spec.weights)
    raw, entry = None, chosen
    if chosen is not None:
        if spec.pooling:
            raise UsageError(f"{spec}: {spec.weights} was trained with the network's own pooling; train one with it.")
        raw = read_raw(cached_download(chosen.url, spec, f"{spec.name} {chosen.name}"))
    elif spec.weights != RANDOM:
        if re.fullmatch(r"[A-Z0-9_]+", spec.weights) and not Path(spec.weights).exists():
            raise unknown_of_many(f"weights of torchvision {spec.name}", spec.weights, list(published.__members__))
        raw = read_raw(spec.weights)
        entry = next((w for w in published if published_as(raw) == PurePosixPath(w.url).name), None)
    card = card_of(raw)
    source = str(spec.weights)
    check_network(card, spec, source)
    stated = spec.num_classes or number_of_classes(card) or (len(entry.meta["categories"]) if entry else None)
    size, notes = _vit_size(spec, raw, entry)
    task = _torchvision_names()[spec.name]
    sized = replace(
        spec,
        options={
            **({"image_size": size} if size else {}),
            **({"aux_loss": True} if task == "segmentation" and _has_auxiliary(spec, raw) else {}),
            **spec.options,
        },
    )
    module, classes, more = built(
        lambda count: torchvision_network(sized, count, published=entry is not None),
        stated,
        raw,
        spec,
        renamings=[Renaming(dialect="torchvision's DenseNet", apply=_densenet_keys)],
        hint=f" torchvision's {spec.name}",
    )
    notes = more + notes
    preprocessing = from_torchvision(entry) if entry else Preprocessing()
    if entry is None and task == "segmentation":
        preprocessing = Preprocessing(resize=None, crop=None)
    if entry is None and size:
        preprocessing = Preprocessing(resize=size, crop=size)
    if not card:
        preprocessing, shown = as_pooled(preprocessing, spec)
        notes += shown
    if raw and entry is None and not card:
        notes += same_keys(f"torchvision:{spec.name}", raw)
        notes += assumed(spec, preprocessing, "ImageNet's defaults", f"{printable(raw.path.name)} is not torchvision's")
    classes = classes or (1000 if task == "classification" else 21)
    categories = tuple(entry.meta["categories"]) if entry else ()
    return Found(
        module=module,
        arch=spec.name,
        task=task,
        pooling=spec.pooling,
        placement=placed(spec),
        preprocessing=from_card(card, source) if card else preprocessing,
        num_classes=classes,
        class_names=class_names_of(card, classes, source) or (categories if len(categories) == classes else None),
        sha256=raw.sha256 if raw else None,
        card=card,
        notes=notes,
    )


def check_torchvision(spec: ModelSpec) -> None:
    """Refuse a name that torchvision does not have, before a file is read."""
    known = _torchvision_names()
    if spec.name not in known:
        raise unknown_of_many("torchvision model", spec.name, known)


def _torchvision_names() -> dict[str, Task]:
    """The networks of torchvision that are evaluated, and what they do."""
    import torchvision

    models = torchvision.models
    return {
        **dict.fromkeys(models.list_models(module=models), "classification"),
        **dict.fromkeys(models.list_models(module=models.segmentation), "segmentation"),
    }


def torchvision_network(spec: ModelSpec, classes: int | None, *, published: bool = False) -> nn.Module:
    """An untrained network of torchvision, its pooling replaced when the spec says so."""
    import torchvision

    pooling, extra = split_options(spec)
    default = 1000
    if _torchvision_names()[spec.name] == "segmentation":
        extra["weights_backbone"], default = None, 21  # or torchvision would fetch them
    if spec.name in ("googlenet", "inception_v3"):
        extra.setdefault("init_weights", False)
        extra.setdefault("transform_input", published)
    module = constructed(
        lambda: torchvision.models.get_model(spec.name, weights=None, num_classes=classes or default, **extra), spec
    )
    return pooled(module, spec, pooling)


def _has_auxiliary(spec: ModelSpec, raw: RawWeights | None) -> bool:
    """Whether a file holds the auxiliary head that torchvision trains its segmentation networks with."""
    if raw is None or not isinstance(raw.content, Mapping):
        return False
    return any("aux_classifier." in key for key in find_state_dict(raw, ema=spec.ema).tensors)


def _densenet_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's published DenseNets have the names of its first version: norm.1 for norm1."""
    return {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key): v for key, v in state.items()}


def _vit_size(spec: ModelSpec, raw: RawWeights | None, entry: Any) -> tuple[int | None, tuple[str, ...]]:
    """The side of the images that weights of a ViT are for, where it is not the 224 pixels of its constructor."""
    match = re.fullmatch(r"vit_[a-z]_(\d+)", spec.name)
    if match is None or raw is None or "image_size" in spec.options or not isinstance(raw.content, Mapping):
        return None, ()
    tensors = find_state_dict(raw, ema=spec.ema).tensors
    grid = next((value for key, value in tensors.items() if key.endswith("encoder.pos_embedding")), None)
    if grid is None or grid.dim() != 3:
        return None, ()
    side = math.isqrt(max(grid.shape[1] - 1, 0)) * int(match[1])
    if side in (0, 224) or (entry is not None and entry.meta["min_size"][0] != side):
        return None, ()
    return side, (f"image_size={side}, as the position embedding has it.",)


def cached_download(url: str, spec: ModelSpec, what: str) -> Path:
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


def split_options(spec: ModelSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the pooling that replaces the network's, and those of the network."""
    own = set(POOLINGS[spec.pooling].options) if spec.pooling in POOLINGS else set()
    taken = own | ({"input_size"} if spec.pooling else set())
    return (
        {key: value for key, value in spec.options.items() if key in taken},
        {key: value for key, value in spec.options.items() if key not in taken},
    )


def pooled(module: nn.Module, spec: ModelSpec, options: Mapping[str, Any]) -> nn.Module:
    """A library's network with its downsampling replaced, in place, where the spec names a pooling."""
    if spec.pooling is not None:
        replace_pooling(module, spec.pooling, placement=spec.placement or "before", **options)
    return module


def as_pooled(preprocessing: Preprocessing, spec: ModelSpec) -> tuple[Preprocessing, tuple[str, ...]]:
    """The preprocessing of a network whose poolings were replaced for images of `input_size`, and a note where that is
    not the size at which images are shown: only poolings that are tied to one map size decide it."""
    side = spec.options.get("input_size") if spec.pooling else None
    if not isinstance(side, int) or side == preprocessing.crop:
        return preprocessing, ()
    if POOLINGS[str(spec.pooling)].needs_size:
        return replace(preprocessing, resize=None, crop=side), ()
    note = f"input_size={side} chose the layers to replace; images are shown at {preprocessing.crop} pixels unless the "
    return preprocessing, (f"{note}data say otherwise: --data 'folder:DIR?resize=none&crop={side}'.",)


def placed(spec: ModelSpec) -> str | None:
    """Where `pooled` put the poolings; None where the spec names none."""
    return (spec.placement or "before") if spec.pooling else None


def assumed(spec: ModelSpec, taken: Preprocessing, whose: str, why: str) -> tuple[str, ...]:
    """The note on a preprocessing that nobody stated; the normalisation is no guess where the spec gives it."""
    if spec.normalize is None:
        return (f"preprocessing: {whose}, assumed; {why}.",)
    return (f"resizing and cropping: {whose} ({taken.resize}, {taken.crop}), assumed; {why}.",)


def unknown_of_many(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """As `errors.unknown`, but of a thousand names only those that are near."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {len(names)}, none of them near."
    return UsageError(f"unknown {kind} {printable(name)!r}. {hint}")


def constructed(build: Callable[[], Any], spec: ModelSpec) -> nn.Module:
    """What a library's constructor makes.

    Raises:
        UsageError: it fails, with its reason.
    """
    try:
        module = build()
    except (RobustbenchError, PoolingError):
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise UsageError(f"{spec}: the network does not fit into memory.") from None
        raise UsageError(f"{spec}: the model cannot be built with these options: {explained(error)}.") from error
    assert isinstance(module, nn.Module)
    return module


def same_keys(name: str, raw: RawWeights) -> tuple[str, ...]:
    """A note where the keys of a file fit another network as well (`AMBIGUOUS`)."""
    if name not in AMBIGUOUS or (name.startswith("torchvision:") and published_as(raw)):
        return ()
    note = f"the keys of {printable(raw.path.name)} fit {name} and {AMBIGUOUS[name]} alike; "
    note += f"it was loaded as {name} because the spec says so."
    return (note,)


def library(module: str, package: str) -> Any:
    """An optional library.

    Raises:
        UsageError: it is not installed; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{module} is not installed: pip install {package} (or robustbench-lift[models]).") from None
