"""The one error of this package, and the sentences it speaks."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PoolingError(ValueError):
    """A pooling, option or size that cannot work; the message says what was found, expected and possible."""

    exit_code = 2


def unknown(kind: str, name: object, known: Iterable[str]) -> PoolingError:
    """An error for a name that nobody registered, with the near ones first.

    >>> str(unknown("pooling", "lifft", ["lift", "max"]))
    "unknown pooling 'lifft'. Did you mean 'lift'? Known: lift, max."
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return PoolingError(f"unknown {kind} {str(name)!r}.{hint} Known: {', '.join(names) or '(none)'}.")


def choose(option: str, value: object, known: Iterable[str]) -> str:
    """`value` if it is one of `known`, otherwise an error that lists them."""
    names = list(known)
    if isinstance(value, str) and value in names:
        return value
    raise unknown(f"value of {option}", value, names)
