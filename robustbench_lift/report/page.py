"""The page: one HTML file with everything inside it, readable without a network, on a phone, in the dark."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from robustbench_lift.report.canvas import FAINT, FOOT, INK, to_bytes
from robustbench_lift.report.figures import FIGURES, available_figures, figure_notes, make_figure
from robustbench_lift.report.map_pictures import map_pictures
from robustbench_lift.report.notes import (
    common_notes,
    counts_text,
    glossary,
    is_embedded,
    order,
    shown,
    signature_id,
    summary,
)
from robustbench_lift.report.pictures import LOSSLESS, PhotoPictures, data_uri, strip
from robustbench_lift.report.registry import available_tables, headline_table, make_table
from robustbench_lift.report.schema import Document, Flips
from robustbench_lift.tables.table import Entry, Table, interval, number, plain, text_of
from robustbench_lift.text import condition_words, listed

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

    from robustbench_lift.report.pictures import Pictures

CITATIONS = """\
@inproceedings{hendrycks2019benchmarking,
  title     = {Benchmarking Neural Network Robustness to Common Corruptions and Perturbations},
  author    = {Hendrycks, Dan and Dietterich, Thomas},
  booktitle = {International Conference on Learning Representations},
  year      = {2019}
}
@inproceedings{zhao2021liftpool,
  title     = {{LiftPool}: Bidirectional {ConvNet} Pooling},
  author    = {Zhao, Jiaojiao and Snoek, Cees G. M.},
  booktitle = {International Conference on Learning Representations},
  year      = {2021}
}
@inproceedings{zhang2019making,
  title     = {Making Convolutional Networks Shift-Invariant Again},
  author    = {Zhang, Richard},
  booktitle = {International Conference on Machine Learning},
  year      = {2019}
}"""
"""What to cite: the benchmark, the pooling, and shift consistency."""
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
FONT = re.compile(r"(?:(?P<style>italic|oblique|normal)\s+)?(?:(?P<weight>bold|\d{3})\s+)?(?P<size>[\d.]+px)\s")


@dataclass(frozen=True, slots=True)
class Tile:
    """One headline number at the top of the page."""

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
        pictures: where sample images come from; the embedded photographs unless given.
        drawn: figures by name, where they are there already; all that can be made unless given.
    """
    import jinja2
    from markupsafe import Markup

    shown_pictures = pictures or PhotoPictures(document)
    folder = files("robustbench_lift.report") / "templates"
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(texts), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"plain": plain, "condition": condition_words}
    environment.globals |= {
        "cell": text_of, "interval": interval, "sort_key": _sort_key, "shown": lambda m: shown(document, m),
        "counts": counts_text, "signature_id": signature_id,
    }  # fmt: skip
    tables = {name: make_table(document, name) for name in available_tables(document)}
    known = drawn if drawn is not None else {n: make_figure(document, n) for n in available_figures(document)}
    figures = {name: _inline(figure, name) for name, figure in known.items()}
    common = (*filter(None, (document.tie_rule,)), *common_notes(document))
    notes = {name: [note for note in table.notes if note not in common] for name, table in tables.items()}
    notes |= {name: [note for note in figure_notes(document, name) if note not in common] for name in figures}
    return environment.get_template("page.html").render(
        document=document,
        tables=tables,
        first=headline_table(document),
        figures=figures,
        captions={name: FIGURES[name].caption for name in figures},
        notes=notes,
        common=common,
        summary=summary(document),
        glossary=glossary(document),
        embedded=is_embedded(document),
        citations=CITATIONS,
        generated=_generated(document),
        tiles=_tiles(document, tables[headline_table(document)]),
        maps=map_pictures(document),
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
    return Markup(inline_svg(svg, name=name, label=FIGURES[name].caption))


def _sort_key(entry: Entry) -> str:
    """What a column is sorted by; empty goes last."""
    if isinstance(entry.value, str):
        return plain(entry.value)
    return "" if entry.value is None else repr(entry.value)


def _generated(document: Document) -> bool:
    """Whether corruptions were rendered by this package rather than read from the official files."""
    return any("official" not in group.fields.get("corruption", {}).get("source", "") for group in document.groups)


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
                column.title.partition(",")[0], number(column, best[0][1].value),
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
        title=f"{condition_words(flips.perturbation)}, {flips.image}",
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


# ---- figures inside the page


def inline_svg(content: bytes, *, name: str, label: str) -> str:
    """An SVG element for a page.

    Colours of text and axes become `currentColor`, so that a figure follows light and dark pages; style attributes
    become presentation attributes, so that the page needs no permission for inline styles.

    The foot is left out: a page says notes and signature as text.

    Args:
        content: a file of `canvas.to_bytes(..., as_text=True)`.
        name: prefix of all ids, unique in the page.
        label: what a screen reader says.
    """
    ElementTree.register_namespace("", SVG[1:-1])
    root = ElementTree.fromstring(content)  # our own file: matplotlib wrote it a moment ago
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
            elif (identity := child.get("id", "")).startswith(FOOT):
                parent.remove(child)
                left, top, width, height = (float(part) for part in root.attrib["viewBox"].split())
                root.set("viewBox", f"{left:g} {top:g} {width:g} {height - float(identity.removeprefix(FOOT)):g}")
    for element in root.iter():
        attributes = _presentation(element.attrib)
        element.attrib.clear()
        for key, value in attributes.items():
            element.set("href" if key == f"{XLINK}href" else key, _named(key, value, name))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": label, "stroke-linejoin": "round", "stroke-linecap": "butt"}
    return ElementTree.tostring(root, encoding="unicode")


def _presentation(attributes: dict[str, str]) -> dict[str, str]:
    """Attributes with the style attribute taken apart and colours replaced."""
    found = {key: value for key, value in attributes.items() if key != "style"}
    for part in filter(None, (p.strip() for p in attributes.get("style", "").split(";"))):
        key, _, value = (text.strip() for text in part.partition(":"))
        if key == "font":
            match = FONT.match(value)
            assert match, f"matplotlib wrote a font that is not understood: {value}"
            found |= {f"font-{k}": v for k, v in match.groupdict().items() if v}
        else:
            found[key] = value
    for key in ("fill", "stroke"):
        colour = found.get(key, "").lower()
        if colour == INK:
            found[key] = "currentColor"
        elif colour == FAINT:
            found |= {key: "currentColor", f"{key}-opacity": "0.2"}
    return found


def _named(key: str, value: str, name: str) -> str:
    """Ids and references with the name before them."""
    if key == "id":
        return f"{name}-{value}"
    if key in ("href", f"{XLINK}href") and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", value)
