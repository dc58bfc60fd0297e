"""The one error of this package, and the sentences it speaks."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path


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


def blamed(name: str, error: Exception, when: str) -> PoolingError:
    """The error for a pooling of a user's that raised one: whose, what, where, and in which situation.

    >>> str(blamed("mine", KeyError("gain"), "on a map of shape (1, 3, 8, 8)"))
    "your pooling mine raised KeyError: 'gain' on a map of shape (1, 3, 8, 8)."
    """
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    own = [f for f in frames if Path(f.filename).parent != Path(__file__).parent]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    text = (str(error).strip().splitlines() or [""])[0][:300].rstrip(".")
    return PoolingError(f"your pooling {name} raised {type(error).__name__}: {text} {when}{where}.")
