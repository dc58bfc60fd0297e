"""Which part of a weight file is the model: the forms in which checkpoints are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from robustbench_lift.errors import CheckpointError
from robustbench_lift.text import printable
from robustbench_lift.weights.read import RawWeights

PLAIN = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "params", "module")
"""Where the trained weights lie: pytorch/examples, antialiased-cnns and Lightning (state_dict), timm (state_dict,
model), VainF (model_state), CIFAR repositories (net), ..."""
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema", "ema")
"""Where an exponential moving average of them lies."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StateDict:
    """A flat state dict and where in the file it was."""

    tensors: dict[str, Tensor]
    where: str
    """Path of keys; empty for a bare state dict."""
    versions: Mapping[str, Any] = field(default_factory=dict)
    """What torch.save kept beside the tensors: for each module's path, the version of its layout."""
    notes: tuple[str, ...] = ()


def find_state_dict(raw: RawWeights, *, ema: bool | None = None) -> StateDict:
    """The state dict in a file's content.

    Args:
        raw: the file.
        ema: True for the moving average, False for the plain weights, None for the average where there are both.

    Raises:
        CheckpointError: no state dict, not the one that was asked for, or several of one network.
    """
    content = raw.content
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{raw.where} holds a {type(content).__name__}; a state dict was expected.")
    everything = list(_search(content))
    averages = [one for one in everything if set(one.where.split(".")) & set(AVERAGED)]
    plain, averaged = _only([one for one in everything if one not in averages], raw), _only(averages, raw)
    bare = _flat(content)
    if bare is not None:
        plain = StateDict(tensors=bare, where="", versions=_versions(content))
    if ema and averaged is None:
        raise CheckpointError(f"{raw.where} holds no moving average (looked for {', '.join(AVERAGED)}); leave ema out.")
    chosen = plain if (ema is False or averaged is None) else averaged
    if chosen is None:
        keys = ", ".join(repr(printable(str(key))) for key in list(content)[:8])
        other = " It holds a moving average alone; ask for it with ema=true." if averaged and ema is False else ""
        raise CheckpointError(
            f"{raw.where} holds no state dict (found {keys or 'nothing'}; looked for tensors and under "
            f"{', '.join(PLAIN)}).{other} Store the network's own: torch.save(model.state_dict(), 'weights.pt')."
        )
    notes: tuple[str, ...] = ()
    if averaged is not None and plain is not None and plain.where != averaged.where:
        other_one = plain if chosen is averaged else averaged
        kind = "moving average" if chosen is averaged else "plain weights"
        choice = f"taken the {kind} ({chosen.where}), not {other_one.where}"
        flag = str(chosen is not averaged).lower()
        notes = (f"the file holds two sets of weights: {choice}; ema={flag} takes the other.",)
    return replace(chosen, notes=notes)


def _flat(content: Mapping[Any, Any]) -> dict[str, Tensor] | None:
    """Tensors by name when this is a state dict, perhaps with a few plain values (a step, a version) among them."""
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    named = any("." in key for key in tensors) or len(tensors) == len(content)
    return tensors if tensors and named and len(tensors) >= len(content) / 2 else None


def _versions(content: Mapping[Any, Any]) -> Mapping[str, Any]:
    found = getattr(content, "_metadata", None)
    return dict(found) if isinstance(found, Mapping) else {}


def _only(found: list[StateDict], raw: RawWeights) -> StateDict | None:
    """The first; refused where another one would fit wherever it does and has other values."""
    for one in found[1:]:
        first = found[0].tensors
        alike = first.keys() == one.tensors.keys() and all(one.tensors[k].shape == first[k].shape for k in first)
        if alike and not all(torch.equal(one.tensors[k], first[k]) for k in first):
            raise CheckpointError(
                f"{raw.where} holds two sets of weights of one network, under {found[0].where} and {one.where}, and "
                f"nothing says which is meant. Store it alone: torch.save({_path(one.where)}, 'weights.pt')."
            )
    return found[0] if found else None


def _path(where: str) -> str:
    """A path of keys as Python.

    >>> _path("model.net")
    "content['model']['net']"
    """
    return "content" + "".join(f"[{key!r}]" for key in where.split("."))


def _search(content: Mapping[Any, Any], where: str = "", depth: int = 3) -> Iterator[StateDict]:
    """Every state dict under the known names, trained weights before averages."""
    for name in (*PLAIN, *AVERAGED):
        inside = content.get(name)
        if not isinstance(inside, Mapping):
            continue
        path = f"{where}.{name}" if where else name
        flat = _flat(inside)
        if flat is not None:
            yield StateDict(tensors=flat, where=path, versions=_versions(inside))
        elif depth:
            yield from _search(inside, path, depth - 1)
