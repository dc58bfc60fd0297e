"""Names that come from data, made safe to show."""

from __future__ import annotations

import os

SHOWN = 200
"""Characters of a name that are shown."""


def printable(name: str | bytes | os.PathLike[str], *, limit: int = SHOWN) -> str:
    r"""A name from a file system, an archive or a pickle as one short line without control characters.

    Terminal escapes, line breaks, marks that turn the direction of text and undecodable bytes are shown as escapes.

    >>> printable("fog/\x1b[31m1\n")
    'fog/\\x1b[31m1\\n'
    >>> printable("x" * 300, limit=10)
    'xxxxxxx...'
    """
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else os.fspath(name)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def some(names: list[str] | tuple[str, ...], *, most: int = 5) -> str:
    """The first names of a list, printable, and how many more there are.

    >>> some(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(printable(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
