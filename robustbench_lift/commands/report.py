"""`report`: tables, figures and the page from run folders."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated

import typer

from robustbench_lift.commands.console import console
from robustbench_lift.errors import DataError, UsageError, unknown


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    runs: Annotated[
        list[str], typer.Argument(help="Run folders, a folder of run folders, or a `document.json` of a report.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where files go; `report` beside or inside the runs unless told.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Comma-separated: html, md, csv, tex, json, png, svg, pdf, or `all`.")
    ] = "html,md,csv,tex,json,png,svg",
    table: Annotated[
        list[str] | None, typer.Option(help="Print and write this table only; repeat for several. `none` for none.")
    ] = None,
    figure: Annotated[
        list[str] | None, typer.Option(help="Write this figure only; repeat for several. `none` for none.")
    ] = None,
    replicates: Annotated[
        int, typer.Option(help="Bootstrap replicates of intervals and ties; 0 leaves them out.")
    ] = 1000,
    confidence: Annotated[float, typer.Option(help="Level of the intervals, between 0 and 1.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "",
) -> None:
    """Make tables, figures and one self-contained page from runs, complete or not.

    Tables: table-5, table-4, trainings, per-corruption, per-perturbation, relative-mce, shift,
    calibration, numbers, corruption-details, perturbation-details. Figures: figure-9, figure-4, severity, reliability.

    Example: `robustbench-lift report runs/photos --table table-5 --figure figure-9 --format md,png,svg`
    """
    from robustbench_lift.report import console_tables, document, open_runs, read_document, render_all
    from robustbench_lift.report.figures import FIGURES
    from robustbench_lift.report.files import CONSOLE, FORMATS
    from robustbench_lift.report.tables import TABLES

    _known("table", table, TABLES)
    _known("figure", figure, FIGURES)
    chosen = FORMATS if formats.strip() == "all" else tuple(part.strip() for part in formats.split(",") if part.strip())
    _known("report format", chosen, FORMATS)
    if replicates < 0:
        raise UsageError(f"--replicates {replicates}: a number of replicates, or 0 to leave intervals out.")
    if not 0 < confidence < 1:
        raise UsageError(f"--confidence {confidence}: a level between 0 and 1, for example 0.95.")
    stored = [path for path in runs if Path(path).is_file()]
    if stored and len(runs) > 1:
        raise UsageError(f"{stored[0]} is a file: give one document.json alone, or run folders.")
    where = out or (Path(runs[0]).parent if stored else _beside(Path(runs[0]), many=len(runs) > 1))
    if stored:
        made = read_document(stored[0])
    else:
        command = "robustbench-lift report " + " ".join(map(shlex.quote, runs))
        if replicates != 1000 or seed or confidence != 0.95:
            command += f" --replicates {replicates} --confidence {confidence} --seed {seed}"
        made = document(
            open_runs(runs), title=title, command=command, replicates=replicates, confidence=confidence, seed=seed
        )
    single = any(name != "none" for name in (*(table or ()), *(figure or ())))
    tables = _names(table, single=single)
    figures = _names(figure, single=single)
    if single:
        chosen = tuple(form for form in chosen if form != "html")
    for printed in console_tables(made, CONSOLE if tables is None else tables):
        console.print(printed)
    paths = render_all(made, where, formats=chosen, tables=tables, figures=figures)
    for path in paths if single else [p for p in paths if p.suffix in (".html", ".json") and p.parent == where]:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
    if not single:
        console.print(f"tables and figures: {where}", markup=False, soft_wrap=True)


def _known(kind: str, names: Iterable[str] | None, known: Collection[str]) -> None:
    """Refuse an unknown name before anything is computed or printed."""
    for name in names or ():
        if name not in (*known, "none"):
            raise unknown(kind, name, known)


def _names(names: list[str] | None, *, single: bool) -> list[str] | None:
    """What is asked for: None is everything, and nothing of the other kind when one kind is named."""
    if names is None:
        return [] if single else None
    return [name for name in names if name != "none"]


def _beside(path: Path, *, many: bool) -> Path:
    """`report` inside a folder of runs; beside a run folder, or beside several."""
    if not path.exists():
        raise DataError(f"{path} does not exist. Name a run folder, or a folder of run folders.")
    return (path.parent if many or (path / "run.json").exists() else path) / "report"
