"""Which part of a weight file is the model: the forms in which checkpoints are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from robustbench_lift.errors import CheckpointError
from robustbench_lift.text import printable
from robustbench_lift.weights.read import RawWeights

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
    versions: Mapping[str, Any] = field(default_factory=dict)
    """What torch.save kept beside the tensors: for each module's path, the version of its layout."""
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
        raise CheckpointError(f"{raw.where} holds a {type(content).__name__}; a state dict was expected.")
    plain, averaged = _search(content, PLAIN), _search(content, AVERAGED)
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


def _search(content: Mapping[Any, Any], names: tuple[str, ...], where: str = "", depth: int = 3) -> StateDict | None:
    for name in names:
        inside = content.get(name)
        if not isinstance(inside, Mapping):
            continue
        path = f"{where}.{name}" if where else name
        flat = _flat(inside)
        if flat is not None:
            return StateDict(tensors=flat, where=path, versions=_versions(inside))
        if depth and (found := _search(inside, (*PLAIN, *AVERAGED), path, depth - 1)):
            return found
    return None
