"""Every error that a user can cause, in one tree.

    RobustbenchError            exit code 2
      UsageError            2   an argument, a name, a combination of options
      DataError             2   images or labels that cannot be used
        NoImageError        2   a file among the images that is something else
      CheckpointError       2   weights that cannot be read or do not fit
      StorageError          2   a folder or disk that cannot be written
      IncomparableError     3   two runs, or a run and a request, that must not be mixed
      IncompleteError       3   cells, images or files that are missing

The command line prints the message and ends with the exit code; nothing else is printed, no traceback. A command that
was stopped ends with 130, a bug of this package with 70 and its traceback.
`corruptions`, `metrics` and `robustbench_lift.pooling` stand alone and carry an `exit_code` on their own errors.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C, SIGTERM or SIGHUP stopped: 128 + SIGINT, as shells have it."""
INTERNAL = 70
"""Exit code of a bug (EX_SOFTWARE of sysexits.h)."""


class RobustbenchError(Exception):
    """A mistake or a state that the user can mend; the message says how."""

    exit_code = 2


class UsageError(RobustbenchError, ValueError):
    """An argument that means nothing here."""


class DataError(RobustbenchError):
    """Images, labels or folders that are not what was expected."""


class NoImageError(DataError):
    """A file among the images that is something else: empty, a web page, a format that is not read."""


class CheckpointError(RobustbenchError):
    """Weights that cannot be read, or that belong to another model."""


class StorageError(RobustbenchError):
    """An output folder that is read-only, full or half written."""


class IncomparableError(RobustbenchError):
    """Two things that must not be mixed: other weights, another protocol, another image set."""

    exit_code = 3


class IncompleteError(RobustbenchError):
    """Something that a result needs is missing; no mean is taken over holes."""

    exit_code = 3


def unknown(kind: str, name: object, known: Iterable[str]) -> UsageError:
    """An error for a name that nobody registered, with the near ones first.

    >>> str(unknown("pooling", "lifft", ["lift", "max", "blur"]))
    "unknown pooling 'lifft'. Did you mean 'lift'? Known: lift, max, blur."
    >>> str(unknown("number", "mCE", ["mfr", "mce"]))
    "unknown number 'mCE'. Did you mean 'mce'? Known: mfr, mce."
    """
    names = list(known)
    folded = {one.casefold(): one for one in reversed(names)}  # mCE for mce
    near = [folded[one] for one in difflib.get_close_matches(str(name).casefold(), folded, n=3, cutoff=0.6)]
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return UsageError(f"unknown {kind} {str(name)!r}.{hint} Known: {', '.join(names)}.")
