"""Adding to a registry: a plain dict at module level that modules of ours and of plug-ins fill when imported."""

from __future__ import annotations

from typing import TypeVar

from robustbench_lift.errors import UsageError

Entry = TypeVar("Entry")

_ORIGINS: dict[tuple[int, str], str] = {}
"""(registry, name) -> module that registered it."""


def add(registry: dict[str, Entry], what: str, name: str, entry: Entry, *, module: str) -> Entry:
    """Add an entry under a name of its own.

    Args:
        registry: the dict.
        what: what its entries are, for the message: `protocol`.
        name: of the entry.
        entry: what is added.
        module: who adds it.

    Raises:
        UsageError: the name is taken; the message names both modules.

    >>> colours: dict[str, int] = {}
    >>> add(colours, "colour", "red", 1, module="mine")
    1
    >>> add(colours, "colour", "red", 2, module="yours")
    Traceback (most recent call last):
    robustbench_lift.errors.UsageError: colour 'red' of yours is already registered by mine. Give one another name.
    """
    if name in registry:
        first = _ORIGINS.get((id(registry), name), "another module")
        raise UsageError(f"{what} {name!r} of {module} is already registered by {first}. Give one another name.")
    registry[name] = entry
    _ORIGINS[id(registry), name] = module
    return entry
