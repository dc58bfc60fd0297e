"""Weights into a module: how keys are cleaned, which of several networks is meant; everything else is strict."""

from __future__ import annotations

import copy
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_lift.errors import CheckpointError, UsageError
from robustbench_lift.pooling import PoolingLayer
from robustbench_lift.text import listed, printable
from robustbench_lift.weights.read import RawWeights
from robustbench_lift.weights.spec import ModelSpec
from robustbench_lift.weights.state_dict import find_state_dict

BOOKKEEPING = re.compile(r"^((module|model|_orig_mod)\.)*(n_averaged$|attacker\.|normalizer\.|normalize\.)")
"""Not the network: AveragedModel's counter, the robustness library's attacker and normaliser."""
WRAPPERS = re.compile(r"(?<![^.])(module|_orig_mod)\.")
"""What DataParallel and torch.compile put into the names of what they wrap, wherever they wrap it."""
RECOMPUTABLE = ("filt", "window2d", "rect")
"""Buffers of fixed filters (BlurPool, spectral windows): their shape is verified, their values are the layer's."""
SHOWN = 8
"""Keys that a message lists before it says how many more there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Renaming:
    """How the keys of a known dialect become a module's own."""

    dialect: str
    """What notes call it."""
    apply: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


class ClassesMismatch(CheckpointError):
    """Everything fits but the last layer, which distinguishes another number of classes."""

    def __init__(self, message: str, classes: int, key: str) -> None:
        super().__init__(message)
        self.classes = classes
        self.key = key


def weights_into(
    module: nn.Module, raw: RawWeights, spec: ModelSpec, *, renamings: Sequence[Renaming] = (), hint: str = ""
) -> tuple[str, ...]:
    """Find the state dict of a file and fit it into the module; returns the notes.

    Raises:
        CheckpointError: as `find_state_dict` and `fit`.
    """
    state = find_state_dict(raw, ema=spec.ema)
    label = raw.where + (f" [{printable(state.where)}]" if state.where else "")
    fitted = fit(
        module,
        state.tensors,
        source=label,
        renamings=renamings,
        versions=state.versions,
        ema=spec.ema,
        hint=hint,
    )
    return (*raw.notes, *state.notes, *fitted)


def built(
    build: Callable[[int | None], nn.Module],
    classes: int | None,
    raw: RawWeights | None,
    spec: ModelSpec,
    *,
    renamings: Sequence[Renaming] = (),
    hint: str = "",
) -> tuple[nn.Module, int | None, tuple[str, ...]]:
    """A network with the weights of a file; the number of classes is the file's where nothing else says it.

    Args:
        build: makes the network for a number of classes, None for its own default.
        classes: what the spec or the card says.
        raw: the file; None leaves the network untrained.
        spec: for `ema`.
        renamings: known dialects of keys.
        hint: a sentence for messages that say what the network is.

    Returns:
        The network, the number of classes where it is known, the notes.

    Raises:
        UsageError: `ema` is given and there is no file in which it could choose.
        CheckpointError: as `weights_into`.
    """
    if raw is None and spec.ema is not None:
        raise UsageError(
            f"{spec}: ema chooses between two sets of weights in a file, and no file is read. Leave ema out."
        )
    module = build(classes)
    if raw is None:
        return module, classes, ("the weights are untrained (@random).",)
    try:
        return module, classes, weights_into(module, raw, spec, renamings=renamings, hint=hint)
    except ClassesMismatch as mismatch:
        if classes is not None:
            raise
        found, key = mismatch.classes, mismatch.key
    module = build(found)
    notes = weights_into(module, raw, spec, renamings=renamings, hint=hint)
    return module, found, (*notes, f"num_classes={found}, as {key} has it.")


def fit(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    source: str,
    renamings: Sequence[Renaming] = (),
    versions: Mapping[str, Any] | None = None,
    ema: bool | None = None,
    hint: str = "",
) -> tuple[str, ...]:
    """Load a state dict into a module, strictly; returns what was done to it, in words.

    Args:
        module: is changed only when everything fits.
        tensors: by name.
        source: what messages call the weights.
        renamings: known dialects of keys.
        versions: versions of the modules' layouts as torch.save stored them, for the modules' own hooks.
        ema: which of two sets under different prefixes, the moving average or the plain one.
        hint: a sentence for messages that say what the module is.

    Raises:
        CheckpointError: missing or unexpected keys, other shapes, values that are not finite numbers, two networks of
            which either would fit.
    """
    state = module.state_dict()
    own = dict(state)
    buffers = dict(module.named_buffers())
    known = own | buffers
    required = [key for key in own if key.rpartition(".")[2] not in (*RECOMPUTABLE, "num_batches_tracked")]
    spelling, notes = _spelled(tensors, known, required, renamings, source, ema)
    found = dict(spelling.tensors)
    for key in [key for key in found if key.rpartition(".")[2] in RECOMPUTABLE and key in buffers]:
        stored = found.pop(key)
        if stored.shape != buffers[key].shape:
            raise CheckpointError(
                f"{source}: {key} has shape {tuple(stored.shape)}, the model's filter has {tuple(buffers[key].shape)}; "
                "build the model with the filter that the weights were trained with."
            )
    for key in own.keys() - set(required):
        found.setdefault(key, own[key])
    missing = [key for key in required if key not in found]
    unexpected = [key for key in found if key not in own and not _compared_by_a_layer(module, key)]
    shapes = [key for key in own if key in found and found[key].shape != own[key].shape]
    stated = _layouts(state, versions or {}, spelling.prefix)
    layouts = [stated]
    if missing or unexpected or shapes:
        # The modules themselves may know older names and layouts: their hooks decide, as in load_state_dict, where
        # layouts without a version are the oldest.
        layouts = [kind for kind in (stated if versions else {}, stated) if _accepted(module, found, kind)]
    if not layouts:
        if missing or unexpected:
            raise CheckpointError(_mismatch(module, source, missing, unexpected, len(required), hint))
        raise _shapes(source, shapes, found, own, hint)
    ready: OrderedDict[str, Tensor] = OrderedDict()
    casts: set[str] = set()
    for key, value in found.items():
        ready[key] = _number(source, key, value, known.get(key), casts)
    ready._metadata = layouts[0]  # type: ignore[attr-defined]
    try:
        module.load_state_dict(ready, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        raise CheckpointError(f"{source} does not fit: {printable(' '.join(lines[:SHOWN]), limit=2000)}") from None
    if casts:
        notes += (f"weights cast from {', '.join(sorted(casts))} to float32.",)
    return notes


def _layouts(state: Mapping[str, Tensor], versions: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """For each path of a module, the version of its layout in the file, else its own."""
    layouts: dict[str, Any] = dict(getattr(state, "_metadata", {}))
    for path in layouts:
        stated = versions.get((prefix + path).rstrip("."))
        if isinstance(stated, Mapping) and type(stated.get("version")) is int:
            layouts[path] = {**layouts[path], "version": stated["version"]}
    return layouts


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Spelling:
    """A state dict with its keys as a module may know them."""

    tensors: Mapping[str, Tensor]
    prefix: str
    """What stood before each key."""
    steps: tuple[str, ...]
    """What was done, in words."""
    left: tuple[str, ...]
    """Keys outside of the prefix."""


def _spelled(
    tensors: Mapping[str, Tensor],
    known: Mapping[str, Tensor],
    required: Sequence[str],
    renamings: Sequence[Renaming],
    source: str,
    ema: bool | None,
) -> tuple[_Spelling, tuple[str, ...]]:
    """The spelling that the module shares most of, the file's own where none is better; and the notes."""
    candidates = list(_spellings(tensors, known, renamings))
    best = max(candidates, key=lambda s: _likeness(s.tensors, known))  # the first of equals
    notes: tuple[str, ...] = ()
    whole: dict[int, _Spelling] = {}  # the networks that the file holds, by the tensor of their first key
    for spelling in candidates:
        bookkeeping = BOOKKEEPING.match(spelling.prefix)
        if required and not bookkeeping and all(key in spelling.tensors for key in required):
            whole.setdefault(id(spelling.tensors[required[0]]), spelling)
    prefixes = [spelling.prefix for spelling in whole.values()]
    if len(whole) > 1:
        averaged = [s for s in whole.values() if re.search(r"(^|[._])ema", s.prefix)]
        plain = [s for s in whole.values() if s not in averaged]
        chosen = averaged if ema or (ema is None and averaged) else plain
        if len(chosen) != 1:
            under = listed([prefix or "(no prefix)" for prefix in prefixes])
            raise CheckpointError(
                f"{source} holds {len(whole)} networks that fit, under {under}: store the one that "
                "is meant alone: torch.save({k: v for k, v in state.items() if k.startswith(PREFIX)}, FILE)."
            )
        best = chosen[0]
        if not best.prefix:  # what lies under the other prefixes is the other network's
            inside = {k: v for k, v in best.tensors.items() if not k.startswith(tuple(filter(None, prefixes)))}
            best = replace(best, tensors=inside)
        if averaged and plain:
            kind, flag = ("moving average", "false") if chosen is averaged else ("plain weights", "true")
            where = f"{best.prefix or 'without prefix'}"
            notes = (f"the file holds two sets of weights: taken the {kind} ({where}); ema={flag} takes the other.",)
    steps = list(best.steps)
    if best.left and len(whole) < 2:
        steps.append(f"left out, because it is no part of the network: {listed(list(best.left), most=SHOWN)}")
    return best, notes + ((f"keys: {'; '.join(steps)}.",) if steps else ())


def _likeness(tensors: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> int:
    """How many keys agree, less those that do not; equal shapes count too."""
    same = [key for key in tensors if key in known]
    return 2 * len(same) - len(tensors) + sum(tensors[key].shape == known[key].shape for key in same)


def _spellings(
    tensors: Mapping[str, Tensor], known: Mapping[str, Tensor], renamings: Sequence[Renaming]
) -> Iterator[_Spelling]:
    """The keys as they are; without what wrappers put into them; below each prefix; each also in the known dialects."""
    kept = {key: value for key, value in tensors.items() if not BOOKKEEPING.match(key)}
    starts = [dict(tensors), kept] if kept and len(kept) < len(tensors) else [dict(tensors)]
    for start in starts:
        left = tuple(key for key in tensors if key not in start)
        for bare, steps in _unwrapped(start):
            for prefix in ("", *_prefixes(bare, known)):
                inside = {key[len(prefix) :]: value for key, value in bare.items() if key.startswith(prefix)}
                outside = left + tuple(key for key in bare if not key.startswith(prefix))
                done = (*steps, f"prefix {printable(prefix)} removed") if prefix else steps
                yield _Spelling(tensors=inside, prefix=prefix, steps=done, left=outside)
                for renaming in renamings:
                    renamed = renaming.apply(inside)
                    changed = renamed.keys() != inside.keys()
                    if changed or any(renamed[key].shape != inside[key].shape for key in renamed):
                        how = (*done, f"{renaming.dialect} names translated")
                        yield _Spelling(tensors=renamed, prefix=prefix, steps=how, left=outside)


def _unwrapped(tensors: dict[str, Tensor]) -> Iterator[tuple[dict[str, Tensor], tuple[str, ...]]]:
    yield tensors, ()
    bare = {WRAPPERS.sub("", key): value for key, value in tensors.items()}
    if bare.keys() != tensors.keys() and len(bare) == len(tensors):
        yield bare, ("names of wrappers (module., _orig_mod.) removed",)


def _prefixes(tensors: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> list[str]:
    """What stands before names that the module knows, most frequent first."""
    counts: Counter[str] = Counter()
    for key in tensors:
        place = key.find(".")
        while place >= 0:
            if key[place + 1 :] in known:
                counts[key[: place + 1]] += 1
            place = key.find(".", place + 1)
    found = [prefix for prefix, count in counts.most_common(8) if 4 * count >= len(known)]
    common = {key.partition(".")[0] for key in tensors}
    return found or ([f"{common.pop()}."] if len(common) == 1 else [])


def _accepted(module: nn.Module, state: Mapping[str, Tensor], layouts: Mapping[str, Any]) -> bool:
    """Whether load_state_dict would take a state dict, asked of a copy of the module without memory for its weights."""
    versioned = OrderedDict(state)
    versioned._metadata = layouts  # type: ignore[attr-defined]
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        like = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(like, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else like
    try:
        copy.deepcopy(module, memo).load_state_dict(versioned, strict=True, assign=True)
    except Exception:  # hooks of any library may raise anything on keys that they do not know
        return False
    return True


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
    if value.is_meta:
        raise CheckpointError(
            f"{source}: {printable(key)} has a shape and no values (a meta tensor): the network was stored before its "
            "weights were there. Store it again from the process that has them."
        )
    if value.layout is not torch.strided or value.is_quantized:
        raise CheckpointError(f"{source}: {printable(key)} is sparse or quantised; store the weights as plain float32.")
    if own is not None and own.is_floating_point() != value.is_floating_point():
        raise CheckpointError(f"{source}: {printable(key)} is {value.dtype}, {own.dtype} was expected.")
    if value.is_floating_point():
        if value.dtype is not torch.float32 and (own is None or own.dtype is torch.float32):
            casts.add(str(value.dtype).removeprefix("torch."))
            value = value.to(torch.float32)
        if not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            raise CheckpointError(
                f"{source}: {count:,} of the {value.numel():,} values of {printable(key)} are NaN or infinite; "
                "training diverged or the file is damaged."
            )
    return value


def _mismatch(module: nn.Module, source: str, missing: list[str], unexpected: list[str], total: int, hint: str) -> str:
    parts = [f"{source} does not fit{hint}."]
    if missing:
        parts.append(f"Missing {len(missing)} of {total} keys: {listed(missing, most=SHOWN)}.")
    if unexpected:
        parts.append(f"Unexpected {len(unexpected)} keys: {listed(unexpected, most=SHOWN)}.")
    poolings = tuple(name + "." for name, m in module.named_modules() if name and isinstance(m, PoolingLayer))
    if any(key.rpartition(".")[2] == "filt" for key in unexpected):
        parts.append("The `filt` keys are BlurPools: name the pooling, for example /blur?placement=zhang.")
    elif missing and poolings and all(key.startswith(poolings) for key in missing):
        parts.append("All that is missing belongs to pooling layers: the weights were trained with another pooling.")
    elif missing and len(missing) == total:
        parts.append("Nothing fits: it is another architecture, or its keys have other names.")
    else:
        parts.append("Name the network that these weights were trained as.")
    if re.search(r"-\d+-of-0*([2-9]|\d\d+)\.\w+", source):
        parts.append("The file is one part of a sharded checkpoint: name its index (....index.json) instead.")
    return " ".join(parts)


def _shapes(
    source: str, keys: list[str], found: Mapping[str, Tensor], own: Mapping[str, Tensor], hint: str
) -> CheckpointError:
    pairs = [f"{key} {tuple(found[key].shape)}, the model has {tuple(own[key].shape)}" for key in keys]
    message = f"{source} does not fit{hint}: {len(keys)} tensors have another shape: {listed(pairs, most=SHOWN)}."
    last = [key for key in keys if own[key].dim() in (1, 2, 4) and found[key].shape[1:] == own[key].shape[1:]]
    if len(last) == len(keys) <= 4 and len({found[key].shape[0] for key in keys}) == 1:  # an auxiliary head has its own
        theirs, ours = found[keys[0]].shape[0], own[keys[0]].shape[0]
        message += (
            f" The weights distinguish {theirs:,} classes, the model was built for {ours:,}: when your data has these "
            f"classes, give num_classes={theirs} (in a model spec ?num_classes={theirs} before the @)."
        )
        return ClassesMismatch(message, theirs, keys[0])
    return CheckpointError(message)
