"""The one error of this package."""

from __future__ import annotations


class MetricError(ValueError):
    """Numbers that do not make a metric: a missing cell, a wrong shape, a value outside its range."""

    exit_code = 2
