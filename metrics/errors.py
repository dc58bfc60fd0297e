"""The one error of this package."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class MetricError(ValueError):
    """Numbers that do not make a metric: a missing cell, a wrong shape, a value outside its range."""

    exit_code = 2


def is_number(value: object) -> bool:
    """Whether a value is one number, not text, a sequence or nothing."""
    return not isinstance(value, (str, bytes)) and value is not None and np.ndim(value) == 0  # type: ignore[arg-type]


def classes(values: npt.ArrayLike, what: str) -> npt.NDArray[np.integer]:
    """Class indices as an array; fractions and NaN are no classes.

    Raises:
        MetricError: the values are not integers.
    """
    found = np.asarray(values)
    if found.size and not np.issubdtype(found.dtype, np.integer):
        raise MetricError(f"{what} must be class indices, integers; found {found.dtype}.")
    return found
