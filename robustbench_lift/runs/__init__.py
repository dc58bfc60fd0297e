"""The run folder: one model's predictions, a file a cell, and the manifest that says what they are."""

from __future__ import annotations

from .cells import Cell, Predictions, Record, record
from .manifest import SCHEMA, Manifest, differences, signature_line
from .run import Run, opened
from .segmentation import TRIMAP_WIDTHS, PixelAgreement, PixelCounts

__all__ = [
    "SCHEMA",
    "TRIMAP_WIDTHS",
    "Cell",
    "Manifest",
    "PixelAgreement",
    "PixelCounts",
    "Predictions",
    "Record",
    "Run",
    "differences",
    "opened",
    "record",
    "signature_line",
]
