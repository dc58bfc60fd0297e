"""Names and messages made safe to show: on a terminal, in Markdown, in XML, and as names of files.

Whatever comes from data, archives, checkpoints or other people's run folders passes through here before it is shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

SHOWN = 200
"""Characters of a name that are shown."""


def printable(name: str | bytes | os.PathLike[str], *, limit: int | None = SHOWN) -> str:
    r"""A name from a file system, an archive or a pickle as one line without control characters.

    Terminal escapes, line breaks, marks that turn the direction of text and undecodable bytes are shown as escapes.

    Args:
        name: text, bytes or a path.
        limit: most characters of the result; None for all.

    >>> printable("fog/\x1b[31m1\n")
    'fog/\\x1b[31m1\\n'
    >>> printable("x" * 300, limit=10)
    'xxxxxxx...'
    """
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else os.fspath(name)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    return text if limit is None or len(text) <= limit else text[: limit - 3] + "..."


_COMMAND = re.compile(r"::(?=[\w-]+(?:\s[^\n]*?)?::)|##(?=\[)")
"""What a continuous-integration service takes for a command of the job, wherever it stands in a line."""


def printed(text: str) -> str:
    r"""A text of one or several lines that is safe to print: no control characters, and no command for a CI service.

    Lines are kept; in each, names from data, archives and other people's files show as `printable` shows them.

    >>> printed("a\x1b[2J\n::error title=x::b")
    'a\\x1b[2J\n: :error title=x::b'
    """
    return _COMMAND.sub(lambda mark: " ".join(mark[0]), "\n".join(printable(s, limit=None) for s in text.split("\n")))


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """The first names of a list, printable, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(printable(name) for name in names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def condition_words(key: str) -> str:
    """A corruption or perturbation as papers write it; its key stays what options and data files have.

    >>> condition_words("jpeg_compression"), condition_words("gaussian_noise")
    ('JPEG compression', 'Gaussian noise')
    """
    words = key.replace("_", " ")
    return words.replace("jpeg", "JPEG") if words.startswith("jpeg") else words[:1].upper() + words[1:]


def file_name(text: str, *, limit: int | None = None) -> str:
    """Text as a name for a file, a folder or a signature: ASCII letters, digits, `-`, `_`, `.`; `-` for the rest.

    >>> file_name("resnet50/lift @best"), file_name("x" * 90, limit=4)
    ('resnet50-lift--best', 'xxxx')
    """
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in text)[:limit]


def markdown(text: str) -> str:
    r"""Text that Markdown shows literally, in one line, whatever a name holds.

    >>> markdown("a|b <c>")
    'a\\|b &lt;c&gt;'
    """
    text = printable(" ".join(text.split()), limit=None)
    marks = {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {mark: f"\\{mark}" for mark in "\\|*_`[]~#"}
    return "".join(marks.get(c, c) for c in text)


def code_span(text: str) -> str:
    """Text as a code span of Markdown, which a backtick in it would end.

    >>> code_span("a`b")
    "`a'b`"
    """
    return "`" + printable(" ".join(text.replace("`", "'").split()), limit=None) + "`"


def xml_text(text: str) -> str:
    r"""Text without the characters that XML 1.0 forbids, or that turn the direction of what is shown; lines are kept.

    >>> xml_text("a\x1b[31m")
    'a?[31m'
    """
    return "".join(c if c in "\n\t" or c.isprintable() else "?" for c in text)
