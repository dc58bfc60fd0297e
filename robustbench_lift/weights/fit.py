"""Weights into a module: which part of a file is the model, how its keys are cleaned; everything else is strict."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_lift.errors import CheckpointError
from robustbench_lift.pooling import PoolingLayer
from robustbench_lift.weights.read import RawWeights
from robustbench_lift.weights.spec import ModelSpec

PLAIN = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "params", "module")
"""Where the trained weights lie: pytorch/examples, antialiased-cnns and Lightning (state_dict), timm (state_dict,
model), VainF (model_state), CIFAR repositories (net), ..."""
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema", "ema")
"""Where an exponential moving average of them lies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StateDict:
    """A flat state dict and where in the file it was."""

    tensors: dict[str, Tensor]
    where: str
    """Path of keys; empty for a bare state dict."""
    notes: tuple[str, ...] = ()


def find_state_dict(raw: RawWeights, *, ema: bool | None = None) -> StateDict:
    """The state dict in a file's content.

    Args:
        raw: the file.
        ema: True for the moving average, False for the plain weights, None for the average where there are both.

    Raises:
        CheckpointError: no state dict, or not the one that was asked for.
    """
    content = raw.content
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{raw.path} holds a {type(content).__name__}; a state dict was expected.")
    plain, averaged = _search(content, PLAIN), _search(content, AVERAGED)
    bare = _flat(content)
    if bare is not None:
        plain = StateDict(tensors=bare, where="")
    if ema and averaged is None:
        raise CheckpointError(f"{raw.path} holds no moving average (looked for {', '.join(AVERAGED)}); leave ema out.")
    chosen = plain if (ema is False or averaged is None) else averaged
    if chosen is None:
        keys = ", ".join(repr(str(key)) for key in list(content)[:8])
        other = " It holds a moving average alone; ask for it with ema=true." if averaged and ema is False else ""
        raise CheckpointError(
            f"{raw.path} holds no state dict (found {keys or 'nothing'}; looked for tensors and under "
            f"{', '.join(PLAIN)}).{other}"
        )
    notes: tuple[str, ...] = ()
    if averaged is not None and plain is not None and plain.where != averaged.where:
        other_one = plain if chosen is averaged else averaged
        kind = "moving average" if chosen is averaged else "plain weights"
        choice = f"taken the {kind} ({chosen.where}), not {other_one.where}"
        flag = str(chosen is not averaged).lower()
        notes = (f"the file holds two sets of weights: {choice}; ema={flag} takes the other.",)
    return StateDict(tensors=chosen.tensors, where=chosen.where, notes=notes)


def _flat(content: Mapping[Any, Any]) -> dict[str, Tensor] | None:
    """Tensors by name when this is a state dict, perhaps with a few plain values (a step, a version) among them."""
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    named = any("." in key for key in tensors) or len(tensors) == len(content)
    return tensors if tensors and named and len(tensors) >= len(content) / 2 else None


def _search(content: Mapping[Any, Any], names: tuple[str, ...], where: str = "", depth: int = 3) -> StateDict | None:
    for name in names:
        inside = content.get(name)
        if not isinstance(inside, Mapping):
            continue
        path = f"{where}.{name}" if where else name
        flat = _flat(inside)
        if flat is not None:
            return StateDict(tensors=flat, where=path)
        if depth and (found := _search(inside, (*PLAIN, *AVERAGED), path, depth - 1)):
            return found
    return None


PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.")
"""Wrappers whose name may stand before every key: DataParallel, torch.compile, Lightning, ..."""
BOOKKEEPING = re.compile(r"^((module|model|_orig_mod)\.)*(n_averaged$|attacker\.|normalizer\.|normalize\.)")
"""Not the network: AveragedModel's counter, the robustness library's attacker and normaliser."""
RECOMPUTABLE = ("filt", "window2d", "rect")
"""Buffers of fixed filters (BlurPool, spectral windows): their shape is verified, their values are the layer's."""
SHOWN = 8
"""Keys that a message lists before it says how many more there are."""

Renaming = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def fit(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    source: str,
    renaming: Renaming | None = None,
    hint: str = "",
) -> tuple[str, ...]:
    """Load a state dict into a module, strictly; returns what was done to it, in words.

    Args:
        module: is changed only when everything fits.
        tensors: by name.
        source: what messages call the weights.
        renaming: turns a known dialect of keys into the module's.
        hint: a sentence for messages that say what the module is.

    Raises:
        CheckpointError: missing or unexpected keys, other shapes, values that are not finite numbers.
    """
    own = dict(module.state_dict())
    buffers = dict(module.named_buffers())
    found, notes = _named_alike(tensors, set(own) | set(buffers), renaming)
    known = own | buffers
    for key in [key for key in found if key.rpartition(".")[2] in RECOMPUTABLE and key in buffers]:
        stored = found.pop(key)
        if stored.shape != buffers[key].shape:
            raise CheckpointError(
                f"{source}: {key} has shape {tuple(stored.shape)}, the model's filter has {tuple(buffers[key].shape)}; "
                "build the model with the filter that the weights were trained with."
            )
    required = [key for key in own if key.rpartition(".")[2] not in (*RECOMPUTABLE, "num_batches_tracked")]
    for key in own.keys() - set(required):
        found.setdefault(key, own[key])
    missing = [key for key in own if key not in found]
    unexpected = [key for key in found if key not in own and not _compared_by_a_layer(module, key)]
    if missing or unexpected:
        raise CheckpointError(_mismatch(module, source, missing, unexpected, len(required), hint))
    shapes = [key for key in own if found[key].shape != own[key].shape]
    if shapes:
        raise CheckpointError(_shapes(source, shapes, found, own, hint))
    ready: dict[str, Tensor] = {}
    casts: set[str] = set()
    for key, value in found.items():
        ready[key] = _number(source, key, value, known.get(key), casts)
    try:
        module.load_state_dict(ready, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        raise CheckpointError(f"{source} does not fit: {' '.join(lines[:SHOWN])}") from None
    if casts:
        notes += (f"weights cast from {', '.join(sorted(casts))} to float32.",)
    return notes


def _named_alike(
    tensors: Mapping[str, Tensor], known: set[str], renaming: Renaming | None
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The spelling of the keys that the module shares most of; the file's own where none is better."""
    best: dict[str, Tensor] = dict(tensors)
    words = ""
    most = -1
    for candidate, how in _spellings(tensors, renaming):
        matched = len(known & set(candidate)) - len(set(candidate) - known)
        if matched > most or most < 0:
            best, words, most = candidate, how, matched
    return best, ((f"keys: {words}.",) if words else ())


def _spellings(tensors: Mapping[str, Tensor], renaming: Renaming | None) -> Iterator[tuple[dict[str, Tensor], str]]:
    """The keys as they are, then cleaned step by step, each also in the known dialect."""
    current, done = dict(tensors), list[str]()
    while True:
        for variant, how in _variants(current, renaming):
            yield variant, ", ".join([*done, *how])
        kept = {key: value for key, value in current.items() if not BOOKKEEPING.match(key)}
        prefix = next((p for p in PREFIXES if kept and all(key.startswith(p) for key in kept)), None)
        if prefix is None:
            if len(kept) < len(current):
                for variant, how in _variants(kept, renaming):
                    yield variant, ", ".join([*done, "bookkeeping left out", *how])
            return
        if len(kept) < len(current):
            done.append("bookkeeping left out")
        current = {key[len(prefix) :]: value for key, value in kept.items()}
        done.append(f"prefix {prefix} removed")


def _variants(tensors: dict[str, Tensor], renaming: Renaming | None) -> Iterator[tuple[dict[str, Tensor], list[str]]]:
    yield tensors, []
    inner = {key.replace(".module.", "."): value for key, value in tensors.items()}
    if inner.keys() != tensors.keys() and len(inner) == len(tensors):
        yield inner, ["inner module. removed"]
    if renaming is not None:
        renamed = renaming(inner)
        if renamed.keys() != inner.keys():
            yield renamed, ["antialiased-cnns names translated"]


def _compared_by_a_layer(module: nn.Module, key: str) -> bool:
    """Whether a pooling layer of ours takes this fixed filter out of the state dict and compares it."""
    owner, _, name = key.rpartition(".")
    if name not in RECOMPUTABLE:
        return False
    try:
        layer = module.get_submodule(owner)
    except AttributeError:
        return False
    return isinstance(layer, PoolingLayer) and hasattr(layer, "kernel")


def _number(source: str, key: str, value: Tensor, own: Tensor | None, casts: set[str]) -> Tensor:
    if value.layout is not torch.strided or value.is_quantized:
        raise CheckpointError(f"{source}: {key} is sparse or quantised; store the weights as plain float32.")
    if own is not None and own.is_floating_point() != value.is_floating_point():
        raise CheckpointError(f"{source}: {key} is {value.dtype}, {own.dtype} was expected.")
    if value.is_floating_point():
        if value.dtype is not torch.float32 and (own is None or own.dtype is torch.float32):
            casts.add(str(value.dtype).removeprefix("torch."))
            value = value.to(torch.float32)
        if not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            raise CheckpointError(
                f"{source}: {count:,} of the {value.numel():,} values of {key} are NaN or infinite; training "
                "diverged or the file is damaged."
            )
    return value


def _mismatch(module: nn.Module, source: str, missing: list[str], unexpected: list[str], total: int, hint: str) -> str:
    parts = [f"{source} does not fit{hint}."]
    if missing:
        parts.append(f"Missing {len(missing)} of {total} keys: {shown(missing)}.")
    if unexpected:
        parts.append(f"Unexpected {len(unexpected)} keys: {shown(unexpected)}.")
    poolings = tuple(name + "." for name, m in module.named_modules() if name and isinstance(m, PoolingLayer))
    if any(key.rpartition(".")[2] == "filt" for key in unexpected):
        parts.append("The `filt` keys are BlurPools: name the pooling, for example /blur?placement=zhang.")
    elif missing and poolings and all(key.startswith(poolings) for key in missing):
        parts.append("All that is missing belongs to pooling layers: the weights were trained with another pooling.")
    elif missing and len(missing) == total:
        parts.append("Nothing fits: it is another architecture, or its keys carry a prefix that is not known.")
    return " ".join(parts)


def _shapes(source: str, keys: list[str], found: Mapping[str, Tensor], own: Mapping[str, Tensor], hint: str) -> str:
    listed = [f"{key} {tuple(found[key].shape)}, the model has {tuple(own[key].shape)}" for key in keys]
    message = f"{source} does not fit{hint}: {len(keys)} tensors have another shape: {shown(listed)}."
    last = [key for key in keys if own[key].dim() in (1, 2) and found[key].shape[1:] == own[key].shape[1:]]
    if len(last) == len(keys) and len(keys) <= 2:
        theirs, ours = found[keys[0]].shape[0], own[keys[0]].shape[0]
        message += (
            f" The weights distinguish {theirs:,} classes, the model was built for {ours:,}: when your data has these "
            f"classes, give num_classes={theirs} (in a model spec ?num_classes={theirs} before the @)."
        )
    return message


def shown(names: list[str]) -> str:
    """The first names, and how many more there are.

    >>> shown(["a", "b"]), shown([str(i) for i in range(10)])
    ('a, b', '0, 1, 2, 3, 4, 5, 6, 7 and 2 more')
    """
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def weights_into(
    module: nn.Module, raw: RawWeights, spec: ModelSpec, *, renaming: Renaming | None = None, hint: str = ""
) -> tuple[str, ...]:
    """Find the state dict of a file, fit it into the module; the notes."""
    state = find_state_dict(raw, ema=spec.ema)
    label = f"{raw.path}" + (f" [{state.where}]" if state.where else "")
    fitted = fit(module, state.tensors, source=label, renaming=renaming, hint=hint)
    return (*raw.notes, *state.notes, *fitted)
