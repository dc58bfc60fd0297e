"""Files of a report: which there are, and where each lies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_lift.errors import DataError, IncompleteError, UsageError, unknown
from robustbench_lift.files import read_bytes, write_atomic
from robustbench_lift.report.build import document
from robustbench_lift.report.canvas import FORMATS as FIGURE_FORMATS
from robustbench_lift.report.canvas import to_bytes
from robustbench_lift.report.export import file_stem, model_index, tidy_csv, timm_csv
from robustbench_lift.report.figures import available_figures, make_figure
from robustbench_lift.report.notes import Signature, short_signatures
from robustbench_lift.report.registry import available_tables, make_table
from robustbench_lift.report.schema import Document
from robustbench_lift.runs import Run
from robustbench_lift.tables.render import TEXT

if TYPE_CHECKING:
    from robustbench_lift.report.pictures import Pictures

FORMATS = ("html", *TEXT, *FIGURE_FORMATS, "timm", "hf")
"""Everything that can be written."""
DEFAULT_FORMATS = ("html", "md", "csv", "tex", "json", "png", "svg")
"""What is written unless given."""
SIGNED = ("md", "tex")
"""Formats for readers, whose signature can be cut; data files have all of it."""


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


DOCUMENT_LIMIT = 256 << 20
"""Largest document that is read, in bytes."""


def read_document(path: str | os.PathLike[str]) -> Document:
    """The document of an earlier report.

    Raises:
        DataError: the file cannot be read or is not a report document.
    """
    try:
        text = read_bytes(Path(path), limit=DOCUMENT_LIMIT).decode()
    except (OSError, UnicodeDecodeError, DataError) as error:
        raise DataError(f"{path} cannot be read ({error}); expected the document.json of a report.") from None
    return Document.from_json(text)


def render_all(
    source: Document | Sequence[Run],
    out: str | os.PathLike[str],
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    tables: Sequence[str] | None = None,
    figures: Sequence[str] | None = None,
    pictures: Pictures | None = None,
    signature: Signature = "full",
) -> list[Path]:
    """Write a report: document.json, numbers.csv, tables, figures, and the page.

    Args:
        source: a document, or the runs to make one of.
        out: folder to write to; made if needed. Files of an earlier report are replaced.
        formats: `html`, `md`, `csv`, `tex`, `json` for tables, `png`, `svg`, `pdf` for figures, `timm` for a CSV in the
            manner of timm's results files, `hf` for the model-index of model cards.
        tables: names of tables; all that have something to say unless given.
        figures: names of figures, likewise.
        signature: of tables in Markdown and LaTeX: all of it, its short name (document.json has the rest), or none.
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
    contents: dict[Path, bytes] = {folder / "document.json": _bytes(made.to_json())}
    if "csv" in formats and tables is None:
        contents[folder / "numbers.csv"] = _bytes(tidy_csv(made))
    if "timm" in formats:
        contents[folder / "results-timm.csv"] = _bytes(timm_csv(made))
    if "hf" in formats:
        for model in made.models:
            contents[folder / "hf" / f"{file_stem(model.label)}.md"] = _bytes(model_index(made, model))
    cut = {"full": None, "short": short_signatures(made), "none": ()}[signature]
    for name in tables if tables is not None else available_tables(made):
        table = make_table(made, name)
        for form in formats:
            if form in TEXT:
                one = table if cut is None or form not in SIGNED else replace(table, signatures=cut)
                contents[folder / "tables" / f"{name}.{form}"] = _bytes(TEXT[form](one))
    wanted = list(figures) if figures is not None else available_figures(made)
    drawn = {name: make_figure(made, name) for name in wanted} if {"html", *FIGURE_FORMATS} & set(formats) else {}
    for name, figure in drawn.items():
        for form in formats:
            if form in FIGURE_FORMATS:
                contents[folder / "figures" / f"{name}.{form}"] = to_bytes(figure, form, name=name)
    if "html" in formats:
        from robustbench_lift.report.page import page

        contents = {folder / "report.html": _bytes(page(made, pictures=pictures, drawn=drawn)), **contents}
    for path, content in contents.items():
        write_atomic(path, content)
    return list(contents)


def _bytes(text: str) -> bytes:
    """Text as a file holds it; half a surrogate pair, which a name in JSON can have, becomes a question mark."""
    return text.encode("utf-8", "replace")
