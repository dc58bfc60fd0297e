"""Examples in docstrings, which doctest runs, as blocks of code on the site."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

EXAMPLE = re.compile(r"^( *)>>>.*\n?(?:\1\S.*\n?|\1 +\S.*\n?)*", re.MULTILINE)


class Doctests(Extension):
    """Fences each example, which Markdown takes for a quotation."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Called for every module, class and function."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """A docstring with its examples fenced.

    >>> print(fenced("Half.\\n\\nExample:\\n    >>> 1 / 2\\n    0.5\\n\\nSource: none."))
    Half.
    <BLANKLINE>
    Example:
        ```pycon
        >>> 1 / 2
        0.5
        ```
    <BLANKLINE>
    Source: none.
    """
    return EXAMPLE.sub(lambda found: f"{found[1]}```pycon\n{found[0].rstrip()}\n{found[1]}```\n", text)
