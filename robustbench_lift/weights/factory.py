"""Networks that a function of the user's builds."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from robustbench_lift.errors import RobustbenchError, UsageError
from robustbench_lift.networks.placement import image_side
from robustbench_lift.text import printable
from robustbench_lift.weights.card import card_of, check_network, number_of_classes
from robustbench_lift.weights.fit import built
from robustbench_lift.weights.model import Found, ask, explained, task_of
from robustbench_lift.weights.preprocessing import Preprocessing, from_card
from robustbench_lift.weights.read import read_raw
from robustbench_lift.weights.sources import assumed
from robustbench_lift.weights.spec import RANDOM, ModelSpec


def from_factory(spec: ModelSpec) -> Found:
    """`package.module:factory@FILE`: the user's own code builds the module; the file is read as any other.

    The function gets the spec's options as keywords, and `num_classes` when the spec gives one (or the file does and
    the function takes it). A module may carry its own `preprocessing` (a Preprocessing).
    """
    factory = _imported(spec)
    keywords = dict(spec.options)
    side = image_side(keywords.pop("input_size", 224))
    try:
        counted = "num_classes" in inspect.signature(factory).parameters
    except (TypeError, ValueError):
        counted = False

    def build(classes: int | None) -> nn.Module:
        given = {"num_classes": classes} if classes is not None and (counted or spec.num_classes) else {}
        try:
            module = factory(**keywords, **given)
        except RobustbenchError:
            raise
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"{spec.name} raised {explained(error)}. It is called with {_listed(keywords | given)}."
            ) from error
        if not isinstance(module, nn.Module):
            raise UsageError(f"{spec.name} returned a {type(module).__name__}; a torch.nn.Module was expected.")
        return module

    raw = read_raw(spec.weights) if spec.weights not in (None, RANDOM) else None
    card = card_of(raw)
    source = str(spec.weights)
    notes: tuple[str, ...] = ()
    if card.get("architecture"):
        recorded = printable(f"{card['architecture']}/{card.get('pooling', '')}")
        text = f"the card of {printable(source)} says {recorded}; they were loaded into what {spec.name} returned."
        notes = (text,)
    else:
        check_network(card, spec, source)
    stated = spec.num_classes or (number_of_classes(card) if counted else None)
    module, _, more = built(build, stated, raw, spec, hint=f" the module of {spec.name}")
    notes = more + notes if raw else (f"the weights are those that {spec.name} returned.",)
    own = from_card(card, source) if card else getattr(module, "preprocessing", None)
    if not isinstance(own, Preprocessing):
        own = Preprocessing() if side == 224 else Preprocessing(resize=None, crop=side)
        notes += assumed(spec, own, "ImageNet's defaults", "the module carries no `preprocessing`")
    module.eval()
    hint = "" if "input_size" in spec.options else " If the size is the cause, give the network's: ?input_size=64."
    with torch.no_grad():
        logits = ask(module, torch.zeros(1, 3, side, side), spec.name, hint=hint)
    return Found(
        module=module,
        arch=spec.name.partition(":")[2],
        preprocessing=own,
        num_classes=int(logits.shape[1]),
        task=task_of(logits),
        sha256=raw.sha256 if raw else None,
        card=card,
        notes=notes,
    )


def _imported(spec: ModelSpec) -> Callable[..., Any]:
    place, _, attribute = spec.name.partition(":")
    try:
        found: Any = importlib.import_module(place)
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise UsageError(f"{spec.name} cannot be used: {error}. Name a function that makes the network.") from None
    except ImportError as error:
        raise UsageError(
            f"{spec.name} cannot be imported: {error}. Is it in the working folder or on PYTHONPATH?"
        ) from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{spec.name} cannot be imported: {place} raised {explained(error)}.") from error
    if not callable(found):
        raise UsageError(f"{spec.name} is a {type(found).__name__}. Name a function that makes the network.")
    return found  # type: ignore[no-any-return]


def _listed(keywords: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in keywords.items()) or "no arguments"
