"""Changes of a recipe: from code, from `name=value` texts, from a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.training.recipe import Recipe


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with some values changed; `auxiliary.<name>`, or a table `auxiliary`, changes the weights it names.

    A new `epochs` alone stretches milestones and warm-up, so that the schedule keeps its shape.

    Raises:
        UsageError: an unknown setting, or a value of the wrong type.

    Example:
        >>> from robustbench_lift.training.recipes import RECIPES
        >>> short = override(RECIPES["cifar100-vgg13"], {"epochs": 16, "auxiliary.c_u": 0.0})
        >>> short.milestones, short.auxiliary
        ((8, 12), {'c_u': 0.0, 'c_p': 0.1})
    """
    types = {f.name: str(f.type) for f in dataclasses.fields(Recipe)}
    values: dict[str, Any] = {}
    auxiliary = dict(recipe.auxiliary)
    for name, value in changes.items():
        if name.startswith("auxiliary."):
            auxiliary[name.removeprefix("auxiliary.")] = _typed(name, "float", value)
        elif name not in types:
            raise unknown("recipe setting", name, types)
        elif name == "auxiliary":
            if not isinstance(value, Mapping):
                raise UsageError(f"auxiliary must be a table of weights such as {{c_u = 0.01}}, not {value!r}.")
            # as dotted names do: `auxiliary.c_u = 0` means the same in a file and on the command line
            auxiliary |= {str(k): _typed(f"auxiliary.{k}", "float", v) for k, v in value.items()}
        else:
            values[name] = _typed(name, types[name], value)
    values["auxiliary"] = auxiliary
    if "epochs" in values and values["epochs"] >= 1:
        stretch = values["epochs"] / recipe.epochs
        stretched = sorted({round(m * stretch) for m in recipe.milestones})
        values.setdefault("milestones", tuple(m for m in stretched if 0 < m < values["epochs"]))
        values.setdefault("warmup_epochs", recipe.warmup_epochs * stretch)
    return dataclasses.replace(recipe, **values)


def parse_changes(texts: Iterable[str]) -> dict[str, Any]:
    """`name=value` texts as values, written as in TOML; a word that is no TOML value is a string.

    >>> parse_changes(["epochs=5", "milestones=[2, 4]", "schedule=cosine", "auxiliary.c_p=0"])
    {'epochs': 5, 'milestones': [2, 4], 'schedule': 'cosine', 'auxiliary.c_p': 0}
    """
    changes: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"{text!r} is not name=value; write for example --set epochs=5.")
        try:
            changes[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changes[name.strip()] = value.strip()
    return changes


def read_changes(path: Path) -> dict[str, Any]:
    """Overrides from a TOML file: recipe settings at the top level, `[auxiliary]` a table.

    Raises:
        UsageError: the file is not there or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"recipe file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe file {path} is not TOML: {error}. Write lines such as `epochs = 5`.") from None


def _typed(name: str, kind: str, value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in ("int", "int | None") and isinstance(value, int) and number:
        return value
    if kind == "int | None" and value in (None, "none"):
        return None
    if kind == "float" and number:
        return float(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "str" and isinstance(value, str):
        return value
    if kind.startswith("tuple") and isinstance(value, list | tuple):
        inner = "int" if "int" in kind else "float"
        return tuple(_typed(name, inner, item) for item in value)
    example = {"int": "5", "int | None": "256 (or none)", "float": "0.1", "bool": "true", "str": "cosine"}.get(
        kind, "[0.1, 0.2]"
    )
    raise UsageError(f"{name} must be of type {kind}, not {value!r}; write for example {name}={example}.")
