"""Tables of segmentation networks: a class for every pixel."""

from __future__ import annotations

from dataclasses import replace

from robustbench_lift.report.notes import ranked
from robustbench_lift.report.registry import by_model, columns_of, made_table, marked, measured, table
from robustbench_lift.report.schema import Document
from robustbench_lift.scores.numbers import NUMBERS
from robustbench_lift.tables.table import Column, Entry, Row, Table

HEADLINES = (
    "miou",
    "class_accuracy",
    "pixel_accuracy",
    "mean_miou",
    "retention",
    "mcd",
    "mrcd",
    "pixel_consistency",
    "pixel_consistency_correct",
)
"""Columns of the table of segmentation networks, where they are known."""


@table("segmentation", "segmentation by pooling: mIoU, accuracies, robustness, shift consistency", measured("miou"))
def segmentation(document: Document) -> Table:
    """Pooling against mIoU, clean and corrupted."""
    known = [key for key in HEADLINES if any(m.value(key).value is not None for m in document.models)]
    return by_model(document, "segmentation", f"Segmentation by pooling ({document.data})", columns_of(*known))


def _family(document: Document, name: str, family: str, first: str, title: str) -> Table:
    """One row a member of a family, one column a model."""
    models = ranked(document)
    number = NUMBERS[family]
    members = list(dict.fromkeys(key for m in models for key in m.others if key.startswith(f"{family}/")))
    columns = [
        Column("member", first, "text"),
        *(replace(Column.of(number), key=m.label, title=m.label, short="") for m in models),
    ]
    rows = []
    for member in members:
        entries = marked(document, member, number.direction, {m.label: Entry.of(m.value(member)) for m in models})
        rows.append(Row((Entry(member.partition("/")[2]), *(entries[m.label] for m in models))))
    return made_table(document, name, f"{title} ({document.data})", columns, rows)


@table("class-iou", "IoU of each class on clean images, one column a model", measured("miou"))
def class_iou(document: Document) -> Table:
    """IoU by class."""
    return _family(document, "class-iou", "iou", "Class", "IoU by class, clean images")


@table("trimap-miou", "mIoU near boundaries by width of the band, one column a model", measured("miou"))
def trimap_miou(document: Document) -> Table:
    """mIoU within so many pixels of a boundary."""
    return _family(document, "trimap-miou", "trimap_miou", "Pixels", "mIoU within so many pixels of a boundary")


def _corrupted(document: Document) -> bool:
    return any(key.startswith("corrupted_miou/") for m in document.models for key in m.others)


@table("miou-per-corruption", "mIoU by corruption, one column a model", _corrupted)
def miou_per_corruption(document: Document) -> Table:
    """mIoU by corruption, mean over severities."""
    return _family(document, "miou-per-corruption", "corrupted_miou", "Corruption", "mIoU by corruption")
