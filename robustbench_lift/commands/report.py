"""`report`: tables, figures and the page from run folders."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from robustbench_lift.commands.console import console, for_tables
from robustbench_lift.errors import DataError, UsageError, unknown

if TYPE_CHECKING:
    from robustbench_lift.report import Document
    from robustbench_lift.report.notes import Signature
    from robustbench_lift.runs import Run


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    runs: Annotated[
        list[str], typer.Argument(help="Run folders, a folder of run folders, or a `document.json` of a report.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where files go; `report` beside or inside the runs unless given.")
    ] = None,
    formats: Annotated[
        str,
        typer.Option("--format", help="Comma-separated: html, md, csv, tex, json, png, svg, pdf, timm, hf, or `all`."),
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
    classes: Annotated[
        bool, typer.Option("--classes", help="Write errors by class and the most confused classes of each run, as CSV.")
    ] = False,
    hf_result: Annotated[
        list[str] | None,
        typer.Option(
            help="OWNER/NAME:TASK=NUMBER: write .eval_results of the hub: a benchmark's data set, its task, and a "
            "headline number; repeat for several."
        ),
    ] = None,
    signature: Annotated[
        str, typer.Option(help="Under tables in LaTeX and Markdown: full, short (its hash) or none.")
    ] = "full",
) -> None:
    """Make tables, figures and one self-contained page from runs, complete or not.

    Tables: table-5, table-4, trainings, per-corruption, per-perturbation, top5-distance, relative-mce, stability,
    shift, calibration, numbers, corruption-details, perturbation-details, and of segmentation networks segmentation,
    class-iou, trimap-miou, miou-per-corruption. Figures: figure-9, figure-4, severity, reliability.

    Example: `robustbench-lift report runs/photos --table table-5 --figure figure-9 --format md,png,svg`
    """
    from robustbench_lift.regression.policy import MOST_REPLICATES
    from robustbench_lift.report import document, open_runs, read_document, render_all
    from robustbench_lift.report.figures import FIGURES
    from robustbench_lift.report.files import FORMATS
    from robustbench_lift.report.registry import TABLES, available_tables

    _known("table", table, TABLES)
    _known("figure", figure, FIGURES)
    chosen = FORMATS if formats.strip() == "all" else tuple(part.strip() for part in formats.split(",") if part.strip())
    _known("report format", chosen, FORMATS)
    if signature not in ("full", "short", "none"):
        raise unknown("signature", signature, ("full", "short", "none"))
    if not 0 <= replicates <= MOST_REPLICATES:
        raise UsageError(f"--replicates {replicates}: a number up to {MOST_REPLICATES:,}, or 0 to leave intervals out.")
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
    available = available_tables(made)
    print_tables(made, None if tables is None else [name for name in tables if name in available])
    paths = render_all(
        made, where, formats=chosen, tables=tables, figures=figures, signature=cast("Signature", signature)
    )
    if classes:
        if stored:
            raise UsageError("--classes reads predictions: give run folders, not a document.json.")
        paths += _class_files(open_runs(runs), where)
    if hf_result:
        paths += _hub_results(made, where, hf_result)
    if single:
        for path in paths:
            console.print(f"wrote {path}", markup=False, soft_wrap=True)
    else:
        print_files(where, paths)


def _class_files(runs: Sequence[Run], where: Path) -> list[Path]:
    """Errors by class and most confused classes of every run, clean and under corruption."""
    from robustbench_lift.files import write_atomic
    from robustbench_lift.report.export import file_stem
    from robustbench_lift.scores import class_frame, confused_frame

    written = []
    for run in runs:
        for protocol in dict.fromkeys(
            cell.protocol for cell in run.expected if cell.protocol in ("clean", "corruption")
        ):
            for kind, frame in (("classes", class_frame), ("confused", confused_frame)):
                path = where / "classes" / f"{file_stem(run.path.name)}-{protocol}-{kind}.csv"
                write_atomic(path, frame(run, protocol).to_csv(index=False).encode())
                written.append(path)
    return written


def _hub_results(made: Document, where: Path, results: Sequence[str]) -> list[Path]:
    """`.eval_results` of every model, to be put into its repository."""
    from robustbench_lift.files import write_atomic
    from robustbench_lift.report.export import eval_results, file_stem

    ranked = [model for model in made.models if not model.is_normaliser]
    texts = {
        where / "hf" / file_stem(model.label) / ".eval_results" / "robustbench-lift.yaml": eval_results(
            made, model, results, date=model.provenance.get("time", "")[:10]
        )
        for model in ranked
    }
    for path, text in texts.items():
        write_atomic(path, text.encode())
    return list(texts)


def print_tables(made: Document, names: Sequence[str] | None = None) -> None:
    """Tables (the first of a report unless named), then what they show, their notes and the signature line, once."""
    from robustbench_lift.report.notes import short_signatures, signature_id, signature_text, summary
    from robustbench_lift.report.registry import headline_table, make_table
    from robustbench_lift.tables.terminal import to_rich
    from robustbench_lift.text import printable

    first = headline_table(made)
    names = (first,) if names is None else names
    tables = [make_table(made, name) for name in names]
    tag = f" [{', '.join(signature_id(group) for group in made.groups)}]"
    screen = for_tables()
    for table in tables:
        screen.print(to_rich(replace(table, title=table.title + tag), notes=False))
    if first in names and (text := summary(made)):
        console.print(printable(text, limit=None), markup=False)
        console.print()
    for note in dict.fromkeys(note for table in tables for note in table.notes):
        console.print(f"- {printable(note, limit=None)}", markup=False, style="dim")
    for group, short in zip(made.groups, short_signatures(made), strict=True):
        line = printable(signature_text(made, group), limit=None)
        mark = short.partition("signature ")[0]
        console.print(f"{signature_id(group)} = {line.removeprefix(mark)}", markup=False, soft_wrap=True, style="dim")


def print_files(folder: Path, paths: Sequence[Path]) -> None:
    """Where the report lies, in two lines: the page and the main figure, and everything."""
    page = next((path for path in paths if path.name == "report.html"), None)
    drawn = [path for path in paths if path.parent.name == "figures"]
    figure = next((path for path in drawn if path.stem == "figure-9"), drawn[0] if drawn else None)
    places = [f"page: {page}"] if page else []
    places += [f"{figure.stem}: {figure}"] if figure else []
    if places:
        console.print("; ".join(places), markup=False, soft_wrap=True)
    console.print(f"all {len(paths)} files (tables, figures, document.json): {folder}", markup=False, soft_wrap=True)


def _known(kind: str, names: Iterable[str] | None, known: Collection[str]) -> None:
    """Refuse an unknown name before anything is computed or printed."""
    for name in names or ():
        if name not in (*known, "none"):
            from robustbench_lift.paper import ITEMS

            if name in ITEMS:
                raise UsageError(
                    f"{name} is no {kind} of a report, but an item of the paper: robustbench-lift paper {name}."
                )
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
