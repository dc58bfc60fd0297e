"""Files of a report: which there are, and where each lies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_lift.errors import DataError, IncompleteError, UsageError, unknown
from robustbench_lift.files import write_atomic
from robustbench_lift.report.build import document
from robustbench_lift.report.canvas import FORMATS as FIGURE_FORMATS
from robustbench_lift.report.canvas import to_bytes
from robustbench_lift.report.figures import FIGURES, make_figure
from robustbench_lift.report.schema import Document
from robustbench_lift.report.tables import TABLES, make_table
from robustbench_lift.report.trainings import repeated
from robustbench_lift.runs import Run
from robustbench_lift.tables.render import TEXT, to_rich

if TYPE_CHECKING:
    from rich.console import RenderableType

    from robustbench_lift.report.pictures import Pictures

FORMATS = ("html", *TEXT, *FIGURE_FORMATS)
"""Everything that can be written."""
DEFAULT_FORMATS = ("html", "md", "csv", "tex", "json", "png", "svg")
"""What is written unless told."""
CONSOLE = ("per-corruption", "per-perturbation", "table-5")
"""Tables that are printed unless told; the headline last, where the eye ends."""


def open_runs(paths: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """The runs in folders: each path is a run folder, or a folder of run folders.

    Raises:
        IncompleteError: a path holds no run.
        UsageError: a run is named twice.
    """
    runs: list[Run] = []
    for path in map(Path, paths):
        if (path / "run.json").exists():
            runs.append(Run.open(path))
            continue
        inside = sorted(file.parent for file in path.glob("*/run.json")) if path.is_dir() else []
        if not inside:
            raise IncompleteError(
                f"{path} is neither a run nor a folder of runs: there is no run.json in it or one level below. Name "
                "the folder that `robustbench-lift run --out` wrote."
            )
        runs += [Run.open(folder) for folder in inside]
    places = [run.path.resolve() for run in runs]
    for place in places:
        if places.count(place) > 1:
            raise UsageError(f"{place} is named twice; name each run once.")
    return runs


def read_document(path: str | os.PathLike[str]) -> Document:
    """The document of an earlier report.

    Raises:
        DataError: the file cannot be read or is not a report document.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); expected the document.json of a report.") from None
    return Document.from_json(text)


def console_tables(made: Document, names: Sequence[str] = CONSOLE, *, intervals: bool = True) -> list[RenderableType]:
    """Tables for rich to print, those that have something to say.

    Raises:
        UsageError: there is no such table.
    """
    return [to_rich(make_table(made, name), intervals=intervals) for name in names if has_rows(made, name)]


def has_rows(made: Document, name: str) -> bool:
    """Whether the document has cells that a table is about."""
    if name == "trainings":
        return repeated(made)
    if name == "shift":
        return any(model.headline["consistency"].value is not None for model in made.models)
    needs = {"corruption": "corruptions", "perturbation": "perturbations"}
    wanted = next((attribute for word, attribute in needs.items() if word in name), None)
    return wanted is None or any(getattr(model, wanted) for model in made.models)


def render_all(
    source: Document | Sequence[Run],
    out: str | os.PathLike[str],
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    tables: Sequence[str] | None = None,
    figures: Sequence[str] | None = None,
    pictures: Pictures | None = None,
) -> list[Path]:
    """Write a report: document.json, tables, figures, and the page.

    Args:
        source: a document, or the runs to make one of.
        out: folder to write to; made if needed. Files of an earlier report are replaced.
        formats: `html`, `md`, `csv`, `tex`, `json` for tables, `png`, `svg`, `pdf` for figures.
        tables: names of tables; all that have something to say unless told.
        figures: names of figures, likewise.
        pictures: where the page's sample images come from; the embedded photographs when the runs are on them.

    Returns:
        The files, the page first.

    Raises:
        UsageError: an unknown format, table or figure, or a figure that was asked for and cannot be made.
        StorageError: the folder cannot be written.
    """
    for form in formats:
        if form not in FORMATS:
            raise unknown("report format", form, FORMATS)
    made = source if isinstance(source, Document) else document(source)
    folder = Path(out)
    contents: dict[Path, bytes] = {folder / "document.json": made.to_json().encode()}
    for name in tables if tables is not None else [name for name in TABLES if has_rows(made, name)]:
        table = make_table(made, name)
        for form in formats:
            if form in TEXT:
                contents[folder / "tables" / f"{name}.{form}"] = TEXT[form](table).encode()
    wanted = list(figures) if figures is not None else available_figures(made)
    drawn = {name: make_figure(made, name) for name in wanted} if {"html", *FIGURE_FORMATS} & set(formats) else {}
    for name, figure in drawn.items():
        for form in formats:
            if form in FIGURE_FORMATS:
                contents[folder / "figures" / f"{name}.{form}"] = to_bytes(figure, form, name=name)
    if "html" in formats:
        from robustbench_lift.report.page import page

        contents = {folder / "report.html": page(made, pictures=pictures, drawn=drawn).encode(), **contents}
    for path, content in contents.items():
        write_atomic(path, content)
    return list(contents)


def available_figures(made: Document) -> list[str]:
    """Figures for which the document has cells."""
    shift = any(
        m.headline["consistency"].value is not None and m.headline["clean_error"].value is not None for m in made.models
    )
    corruption, perturbation = (any(getattr(m, a) for m in made.models) for a in ("corruptions", "perturbations"))
    reliable = any(b.count for m in made.models for bins in m.reliability.values() for b in bins)
    possible = {
        "figure-9": corruption or perturbation,
        "figure-4": shift,
        "severity": corruption,
        "reliability": reliable,
    }
    return [name for name in FIGURES if possible[name]]
