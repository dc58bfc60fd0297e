"""The exceptions of this package, and how unknown names are reported."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CorruptionError(ValueError):
    """Bad input: says what was found, what was expected and what to do."""

    exit_code = 2


class OpenCVError(ImportError):
    """OpenCV is not installed, or a library that it needs is missing."""

    exit_code = 2


def unknown(kind: str, name: object, known: Iterable[str]) -> CorruptionError:
    """The error for an unknown name, with the near ones.

    >>> str(unknown("corruption", "gausian_noise", ["gaussian_noise", "fog"]))
    "unknown corruption 'gausian_noise'. Did you mean 'gaussian_noise'? Known: gaussian_noise, fog."
    """
    names = list(known)
    near = difflib.get_close_matches(str(name).lower().replace("-", "_").replace(" ", "_"), names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return CorruptionError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")
