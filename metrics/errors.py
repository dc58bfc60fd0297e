"""The one error of this package, and how every function reads what it is given."""

from __future__ import annotations

import numbers
import operator

import numpy as np
import numpy.typing as npt

ROUNDING = 1e-9
"""Sums of fractions that are closer than this are equal: one answer among a hundred million images is more."""


class MetricError(ValueError):
    """Numbers that do not make a metric: a missing cell, a wrong shape, a value outside its range."""

    exit_code = 2


def number(value: object, what: str) -> float:
    """One real number: not text, a sequence, a yes or no, or nothing.

    Raises:
        MetricError: it is something else.

    >>> number(np.float32(0.5), "error"), number(np.array(1), "error")
    (0.5, 1.0)
    """
    found = value
    if getattr(found, "shape", None) == () and callable(getattr(found, "item", None)) and not _masked(found):
        found = found.item()  # type: ignore[attr-defined]  # a scalar of another library
    if isinstance(found, bool) or not isinstance(found, numbers.Real):
        raise MetricError(f"{what}: expected one number, found {shown(value)}.")
    return float(found)


def fraction(value: object, what: str, *, highest: float = 1.0) -> float:
    """One number between 0 and `highest`.

    Raises:
        MetricError: it is something else; NaN is.
    """
    found = number(value, what)
    if not 0.0 <= found <= highest:
        hint = " Fractions are expected, not percent." if found > 1 and highest == 1 else ""
        raise MetricError(f"{what}: {value} is not between 0 and {highest:g}.{hint}")
    return found


def whole(value: object, what: str, *, least: int = 1) -> int:
    """A whole number that is no less than `least`.

    Raises:
        MetricError: it is something else.
    """
    try:
        found = None if isinstance(value, (bool, np.bool_)) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        found = None
    if found is None or found < least:
        raise MetricError(f"{what} must be a whole number, at least {least}, not {shown(value)}.")
    return found


def array(values: object, what: str) -> npt.NDArray[np.generic]:
    """Whatever numpy takes as an array, with every entry known and rows of one length.

    Raises:
        MetricError: rows of different lengths, a tensor that numpy does not take (on a GPU, with a gradient), or masked
            entries, which numpy would take for numbers.
    """
    if _masked(values):
        raise MetricError(f"{what}: some entries are masked; leave them out, or give void pixels their label.")
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MetricError(f"{what}: expected an array, found {shown(values)} ({error}).") from None


def classes(values: npt.ArrayLike, what: str) -> npt.NDArray[np.integer]:
    """Class indices as an array; fractions and NaN are no classes.

    Raises:
        MetricError: the values are not integers.
    """
    found = array(values, what)
    if found.size and found.dtype.kind not in "iu":
        raise MetricError(f"{what} must be class indices, integers; found {found.dtype}.")
    return found  # type: ignore[return-value]


def true_classes(labels: npt.ArrayLike) -> npt.NDArray[np.integer]:
    """Labels as an array; a negative one is no class, and would be found among ranks that have none.

    Raises:
        MetricError: the labels are not integers of 0 or more.
    """
    found = classes(labels, "labels")
    if found.size and int(found.min()) < 0:
        raise MetricError(f"labels go from {found.min()}; expected 0 or more. Leave images without a label out.")
    return found


def reals(values: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    """Real numbers as an array of float64; True and False are 1 and 0.

    Raises:
        MetricError: the values are no real numbers.
    """
    found = array(values, what)
    if found.size and found.dtype.kind not in "biuf":
        raise MetricError(f"{what} must be numbers; found {found.dtype}.")
    return found.astype(np.float64, copy=False)


def shown(value: object) -> str:
    """A value inside a message, cut short."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _masked(values: object) -> bool:
    return isinstance(values, np.ma.MaskedArray) and bool(np.ma.getmaskarray(values).any())
