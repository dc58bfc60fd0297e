"""Plug-ins: modules of users that register poolings, backbones, corruptions, kinds of data, protocols or numbers.

A plug-in is a module whose import registers what it adds. It is named on the command line (`--plugin mine.py` or
`--plugin package.module`), in the environment variable ROBUSTBENCH_LIFT_PLUGINS (comma-separated), or by an installed
package's entry point of the group `robustbench_lift.plugins`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from robustbench_lift.errors import UsageError
from robustbench_lift.text import printable

GROUP = "robustbench_lift.plugins"
VARIABLE = "ROBUSTBENCH_LIFT_PLUGINS"
REGISTRIES = {
    "pooling": ("robustbench_lift.pooling", "POOLINGS"),
    "up-pooling": ("robustbench_lift.pooling", "UP_POOLINGS"),
    "backbone": ("robustbench_lift.networks", "BACKBONES"),
    "pair": ("robustbench_lift.networks", "PAIRS"),
    "corruption": ("corruptions", "CORRUPTIONS"),
    "perturbation": ("corruptions", "SEQUENCES"),
    "suite": ("robustbench_lift.data.suites", "SUITES"),
    "data kind": ("robustbench_lift.data.kinds", "KINDS"),
    "protocol": ("robustbench_lift.protocols", "PROTOCOLS"),
    "number": ("robustbench_lift.scores.numbers", "NUMBERS"),
    "recipe": ("robustbench_lift.training", "RECIPES"),
}
"""What can be added: the module and the dictionary that holds each."""

_loaded: dict[str, ModuleType] = {}
_providers: dict[tuple[str, str], str] = {}
_environment_read = False


def load(name: str) -> ModuleType:
    """Import a plug-in by the name of its module or the path of its file; a second time does nothing.

    Args:
        name: `mine`, `package.module`, or a file such as `plugins/mine.py`.

    Raises:
        UsageError: there is no such module, or its import fails; the message names the line that did.

    >>> load("json").__name__  # any module; this one registers nothing
    'json'
    """
    module_name = _module_name(name)
    if module_name in _loaded:
        return _loaded[module_name]
    before = _names()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no plug-in {printable(name)}: no module {printable(module_name)} is installed or lies in "
                f"{Path.cwd()}. Give the file, for example --plugin path/to/mine.py."
            ) from None
        raise _failed(name, error) from error
    except Exception as error:
        raise _failed(name, error) from error
    _loaded[module_name] = module
    for registry, names in _names().items():
        for added in names - before[registry]:
            _providers[registry, added] = module_name
    return module


def load_all(names: tuple[str, ...] = ()) -> None:
    """Load the plug-ins of installed packages, those of the environment variable, and the ones that are named.

    Raises:
        UsageError: one of them is absent or fails.
    """
    global _environment_read  # once a process: entry points and the environment do not change under it
    if not _environment_read:
        _environment_read = True
        found: list[EntryPoint] = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
        for entry in found:
            load(entry.module)
        for name in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
            load(name)
    for name in names:
        load(name)


def provider(registry: str, name: str) -> str | None:
    """The plug-in that registered a name, None for what is built in.

    Args:
        registry: a key of `REGISTRIES`, such as "pooling".
        name: the registered name.

    >>> provider("pooling", "lift") is None
    True
    """
    return _providers.get((registry, name))


def added_by(plugin: str) -> tuple[tuple[str, str], ...]:
    """What a plug-in registered: (registry, name)."""
    return tuple(key for key, module in _providers.items() if module == plugin)


def loaded() -> Mapping[str, ModuleType]:
    """The plug-ins that are loaded, by the name of their module."""
    return dict(_loaded)


def missing(name: str) -> str:
    """A sentence for something that a plug-in provides which is not loaded."""
    shown = printable(name)
    return f"It needs the plug-in {shown}, which is not loaded: give --plugin {shown}, or set {VARIABLE}={shown}."


def _module_name(name: str) -> str:
    """The importable name of a plug-in; the folder of a file goes last on the module path."""
    path = Path(name)
    if path.suffix != ".py":
        return name
    if not path.is_file():
        raise UsageError(f"--plugin {printable(name)}: there is no such file in {Path.cwd()}.")
    folder, stem = str(path.resolve().parent), path.stem
    if folder not in sys.path:
        sys.path.append(folder)  # so that processes that read images find the module under its name
    spec = importlib.util.find_spec(stem) if stem not in sys.modules else sys.modules[stem].__spec__
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != path.resolve():
        raise UsageError(
            f"--plugin {printable(name)}: another module is called {stem!r} ({spec.origin if spec else 'unknown'}). "
            "Rename the plug-in's file."
        )
    return stem


def _names() -> dict[str, set[str]]:
    """What every registry holds now. Imports them all, so that what is built in is there before a plug-in is."""
    return {
        key: set(getattr(importlib.import_module(module), registry)) for key, (module, registry) in REGISTRIES.items()
    }


def _failed(name: str, error: Exception) -> UsageError:
    """The error for a plug-in that raises: where, and what."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    where = f"{Path(last.filename).name}, line {last.lineno}"
    return UsageError(
        f"the plug-in {printable(name)} cannot be loaded: {type(error).__name__}: {printable(str(error))} ({where})."
    )
