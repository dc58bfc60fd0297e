"""The folder of an item: its tables and figures as files, a page that shows them, and a record of what they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from robustbench_lift.files import write_atomic
from robustbench_lift.paper.item import Item, Rendering
from robustbench_lift.paper.panels import laid_out
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.study import Study
from robustbench_lift.provenance import environment
from robustbench_lift.report.canvas import to_bytes
from robustbench_lift.tables.render import TEXT, to_markdown
from robustbench_lift.text import code_span, listed

FIGURE_FORMATS = ("png", "svg")
PAGE, RECORD = "README.md", "item.json"
LACKING = ("Not made: ", "Not complete yet: ")
"""What the sentences about data or networks that are not there begin with."""
SCHEMA = 1
"""Version of the record."""


def write_item(item: Item, results: Results, made: Rendering, folder: Path, *, command: str) -> list[Path]:
    """Write tables, figures, page and record; files of an earlier time are replaced.

    Returns:
        The files, the page first.

    Raises:
        StorageError: the folder cannot be written.
    """
    contents: dict[Path, bytes] = {folder / PAGE: page(item, results, made, command=command).encode()}
    for table in made.tables:
        for form, render in TEXT.items():
            contents[folder / "tables" / f"{table.name}.{form}"] = render(table).encode()
    for name, figure in made.figures.items():
        laid_out(figure)
        for form in FIGURE_FORMATS:
            contents[folder / "figures" / f"{name}.{form}"] = to_bytes(figure, form, name=name)
    contents[folder / RECORD] = (json.dumps(record(results, made, command=command), indent=1) + "\n").encode()
    for path, content in contents.items():
        write_atomic(path, content)
    return list(contents)


def record(results: Results, made: Rendering, *, command: str) -> dict[str, object]:
    """What the item was made of, for `paper` to read."""
    versions = environment()["versions"]
    assert isinstance(versions, Mapping)
    return {
        "schema": SCHEMA,
        "item": results.name,
        "scale": results.scale,
        "complete": not results.open and not results.lacking,
        "command": command,
        "tables": [table.name for table in made.tables],
        "figures": list(made.figures),
        "lacking": list(results.lacking),
        "members": [
            {"network": m.label, "seed": m.seed, "model": m.model, "run": None if m.run is None else str(m.run)}
            for m in results.members
        ],
        "open": [{"network": m.label, "seed": m.seed} for m in results.open],
        "versions": {key: str(value) for key, value in versions.items() if value is not None},
    }


def page(item: Item, results: Results, made: Rendering, *, command: str) -> str:
    """The page of an item, in Markdown: what it shows, of what, the paper's words, tables, figures, what is missing."""
    lines = [f"# {item.title}", "", f"`{command}`", "", item.shows, ""]
    if item.in_paper:
        lines += [f"**The paper says:** {item.words}", ""]
        lines += ["No number on this page is the paper's. " + _scale_words(results), ""]
    else:
        lines += [item.words, ""]
    for table in made.tables:
        lines += [to_markdown(table).strip(), ""]
    for name in made.figures:
        lines += [f"![{name}](figures/{name}.png)", ""]
    notes = [*made.notes, *other_trainings(results), *missing_words(results)]
    lines += [*(f"- {note}" for note in notes), ""] if notes else []
    lines += ["## Made of", "", *(f"- {study_words(study)}" for study in results.studies), ""]
    return "\n".join(lines)


def other_trainings(results: Results) -> list[str]:
    """Given weights that were not trained as the studies say, a sentence each."""
    found = {
        f"{m.label}" + ("" if m.seed is None else f" seed {m.seed}"): m.otherwise
        for m in results.members
        if m.otherwise
    }
    return [f"{name} was not trained as said below: {words}." for name, words in found.items()]


def missing_words(results: Results) -> list[str]:
    """What is not there, a sentence each."""
    not_made, not_complete = LACKING
    words = [f"{not_made}it needs {text}." for text in results.lacking]
    if results.open:
        names = [f"{m.label}" + ("" if m.seed is None else f" seed {m.seed}") for m in results.open]
        words.append(f"{not_complete}{listed(names)}. The same command goes on.")
    return words


def study_words(study: Study) -> str:
    """A study in one line: networks, recipe, data, protocols."""
    if not study.networks:
        return "a picture and equations, without a network."
    networks = ", ".join(code_span(network) for network in study.networks)
    if study.recipe is None:
        how = "weights that ship"
    else:
        changes = ", ".join(f"{key}={value}" for key, value in study.changes.items())
        seeds = ",".join(map(str, study.seeds))
        how = f"recipe `{study.recipe}`" + (f" with {changes}" if changes else "")
        how += f", {study.epochs} epochs, seed{'s' if len(study.seeds) > 1 else ''} {seeds}"
    part = f", {study.training_images:,} training images" if study.training_images else ""
    options = ", ".join(f"{key}={value}" for key, value in study.options.items())
    shown = ", ".join(study.protocols) + (f" ({options})" if options else "") if study.protocols else "a picture"
    label = f"{study.label}: " if study.label else ""
    return f"{label}{networks}; {how}; data `{study.data}`{part}; shown {shown}."


def _scale_words(results: Results) -> str:
    return {
        "paper": "The scale is the paper's.",
        "small": "The scale is small: other networks, fewer images and epochs than the paper's; it asks the same "
        "question.",
        "embedded": "It is made of what ships with the package; it claims nothing about the paper's networks and data.",
    }[results.scale]
