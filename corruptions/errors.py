"""The one error of this package: a mistake of the caller, with what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CorruptionError(ValueError):
    """Images, names, tables or files that cannot be used."""

    exit_code = 2


def unknown(kind: str, name: object, known: Iterable[str]) -> CorruptionError:
    """An error for a name that does not exist, with the near ones first.

    >>> str(unknown("corruption", "fogg", ["fog", "snow"]))
    "unknown corruption 'fogg'. Did you mean 'fog'? Known: fog, snow."
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return CorruptionError(f"unknown {kind} {str(name)!r}.{hint} Known: {', '.join(names)}.")
