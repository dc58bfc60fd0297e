"""The page: one HTML file with everything inside it, readable without a network, on a phone, in the dark."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING

from robustbench_lift.report import style
from robustbench_lift.report.canvas import to_bytes
from robustbench_lift.report.figures import make_figure
from robustbench_lift.report.inline import inline_svg
from robustbench_lift.report.notes import counts_text, order, shown
from robustbench_lift.report.pictures import LOSSLESS, PhotoPictures, data_uri, strip
from robustbench_lift.report.schema import Document, Flips
from robustbench_lift.report.tables import TABLES, make_table
from robustbench_lift.tables.table import Column, Entry, Table, interval, number, plain
from robustbench_lift.text import listed

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

    from robustbench_lift.report.pictures import Pictures

CAPTIONS = {
    "figure-9": "Corruption error of every corruption and flip rate of every perturbation, one bar a pooling.",
    "figure-4": "Shift consistency against accuracy, one point a model.",
    "severity": "Error at each severity, one panel a corruption.",
    "reliability": "Accuracy against confidence, one panel a model.",
}
"""What a screen reader says of each figure."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One headline number at the top of the page."""

    metric: str
    heading: str
    value: str
    winner: str
    rest: str


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of the gallery."""

    name: str
    uri: str


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive frames with one prediction."""

    frames: int
    text: str
    right: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Film:
    """One sequence with the predictions of every model."""

    title: str
    label: str
    frames: int
    uri: str
    rows: tuple[tuple[str, int, tuple[Span, ...]], ...]
    """(model, changes, spans) of each model."""


def page(document: Document, *, pictures: Pictures | None = None, drawn: Mapping[str, Figure] | None = None) -> str:
    """The whole page as HTML text.

    Args:
        document: what to say.
        pictures: where sample images come from; the embedded photographs unless told.
        drawn: figures by name, where they are there already; all that can be made unless told.
    """
    import jinja2
    from markupsafe import Markup

    from robustbench_lift.report.files import available_figures, has_rows

    shown_pictures = pictures or PhotoPictures(document)
    folder = files("robustbench_lift.report") / "templates"
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(texts), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"plain": plain, "condition": style.title}
    environment.globals |= {
        "cell": _cell, "interval": interval, "sort_key": _sort_key, "shown": lambda m: shown(document, m),
        "counts": counts_text,
    }  # fmt: skip
    tables = {name: make_table(document, name) for name in TABLES if has_rows(document, name)}
    known = drawn if drawn is not None else {n: make_figure(document, n) for n in available_figures(document)}
    figures = {name: _inline(figure, name) for name, figure in known.items()}
    return environment.get_template("page.html").render(
        document=document,
        tables=tables,
        figures=figures,
        tiles=_tiles(document, tables["table-5"]),
        gallery=_gallery(document, shown_pictures),
        gallery_caption=shown_pictures.caption,
        films=[film for flips in document.flips if (film := _film(document, flips, shown_pictures))],
        css=Markup(texts["page.css"]),
        js=Markup(texts["page.js"]),
        policy=(
            f"default-src 'none'; img-src data:; style-src '{_hash(texts['page.css'])}'; "
            f"script-src '{_hash(texts['page.js'])}'; base-uri 'none'; form-action 'none'"
        ),
    )


def _hash(text: str) -> str:
    """A content security policy's hash of an inline element."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _inline(figure: Figure, name: str) -> Markup:
    from markupsafe import Markup

    svg = to_bytes(figure, "svg", name=name, as_text=True)
    return Markup(inline_svg(svg, name=name, label=CAPTIONS[name]))


def _cell(column: Column, entry: Entry) -> str:
    return number(column, entry.value)


def _sort_key(entry: Entry) -> str:
    """What a column is sorted by; empty goes last."""
    return "" if entry.value is None else repr(entry.value) if isinstance(entry.value, float) else str(entry.value)


def _tiles(document: Document, table: Table) -> list[Tile]:
    """The best of each headline number, for the first group."""
    models = sorted(document.models, key=lambda m: m.is_normaliser)
    first = document.groups[0].key
    tiles = []
    for k, column in enumerate(table.columns):
        if not column.direction:
            continue
        places = [(m, row.entries[k]) for m, row in zip(models, table.rows, strict=True) if m.group == first]
        best = [(m, e) for m, e in places if e.mark == "best"]
        if not best:
            continue
        ranked = [e for m, e in places if not m.is_normaliser and isinstance(e.value, float)]
        worst = (max if column.direction == "lower" else min)(ranked, key=lambda e: float(e.value or 0.0))
        tied = [m.label for m, e in places if e.tie and e.mark != "best"]
        others = f"tied with {listed(tied, most=3)}" if tied else f"the weakest has {number(column, worst.value)} %"
        tiles.append(
            Tile(
                column.key, column.title.partition(",")[0], number(column, best[0][1].value),
                listed([m.label for m, _ in best], most=3), others,
            )
        )  # fmt: skip
    return tiles


def _gallery(document: Document, pictures: Pictures) -> list[Strip]:
    strips = []
    for name in order(document.models, "corruptions"):
        tiles = pictures.gallery(name)
        if not tiles:
            continue
        small = max(tiles[0].shape[:2]) <= LOSSLESS
        strips.append(Strip(name, data_uri(strip(tiles), lossless=small)))
    return strips


def _film(document: Document, flips: Flips, pictures: Pictures) -> Film | None:
    frames = pictures.frames(flips)
    if frames is None:
        return None
    rows = []
    for label, classes in flips.predictions.items():
        if len(classes) != len(frames):  # another geometry than the one the models saw: show nothing false
            return None
        spans = _spans(document, flips, classes, flips.confidence[label])
        rows.append((label, len(spans) - 1, spans))
    small = max(frames.shape[1:3]) <= LOSSLESS
    return Film(
        title=f"{style.title(flips.perturbation)}, {flips.image}",
        label=_class_name(document, flips.label),
        frames=len(frames),
        uri=data_uri(strip(list(frames)), lossless=small),
        rows=tuple(rows),
    )


def _spans(document: Document, flips: Flips, classes: Sequence[int], confidence: Sequence[float]) -> tuple[Span, ...]:
    spans, position = [], 0
    for predicted, run in groupby(classes):
        count = len(list(run))
        inside = confidence[position : position + count]
        frames = f"frame {position + 1}" if count == 1 else f"frames {position + 1} to {position + count}"
        name = _class_name(document, predicted)
        spans.append(
            Span(
                count, name, predicted == flips.label,
                f"{name}, {frames}, confidence {100 * min(inside):.0f} to {100 * max(inside):.0f} %",
            )
        )  # fmt: skip
        position += count
    return tuple(spans)


def _class_name(document: Document, index: int) -> str:
    return document.class_names[index] if 0 <= index < len(document.class_names) else f"class {index}"
