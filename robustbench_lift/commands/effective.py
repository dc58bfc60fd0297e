"""`effective`: accuracy under a natural shift beyond what accuracy without it predicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_lift.commands.console import console, for_tables
from robustbench_lift.errors import UsageError

if TYPE_CHECKING:
    import metrics


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("effective")(effective)


def effective(
    clean: Annotated[str, typer.Argument(help="Folder of runs without the shift.")],
    shifted: Annotated[str, typer.Argument(help="Folder of runs of the same weights under it.")],
    reference: Annotated[
        list[str] | None,
        typer.Option(help="Networks that the line is fitted to, by name; commas or repetition, at least two."),
    ] = None,
    line: Annotated[
        str | None, typer.Option(help="SLOPE,INTERCEPT between logits in their place, of a publication.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table here as CSV; fractions.")] = None,
) -> None:
    """Effective robustness: accuracy under a shift minus what a line through reference networks predicts.

    Example: `robustbench-lift effective runs/imagenet runs/imagenet-r --reference resnet50-max,resnet18-max`
    """
    from rich.table import Table

    from robustbench_lift.files import write_atomic
    from robustbench_lift.report import open_runs
    from robustbench_lift.scores import effective_frame

    names = [part.strip() for text in reference or () for part in text.split(",") if part.strip()]
    frame = effective_frame(open_runs([clean]), open_runs([shifted]), reference=names, line=_line(line))
    table = Table(title="Effective robustness, percent and points", title_justify="left")
    for title in ("network", "accuracy", "under shift", "predicted", "beyond"):
        table.add_column(title, justify="left" if title == "network" else "right")
    for row in frame.to_dict("records"):
        name = f"{row['model']}{' (reference)' if row['reference'] else ''}"
        numbers = (row["accuracy"], row["shifted_accuracy"], row["predicted"])
        table.add_row(name, *(f"{100 * x:.1f}" for x in numbers), f"{100 * row['effective_robustness']:+.1f}")
    for_tables().print(table)
    console.print(f"line: {frame['line'].iloc[0]}", markup=False, soft_wrap=True)
    if out is not None:
        write_atomic(out, frame.to_csv(index=False).encode())


def _line(text: str | None) -> metrics.AccuracyLine | None:
    """A line as it is typed."""
    import metrics

    if text is None:
        return None
    try:
        slope, intercept = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--line {text}: expected SLOPE,INTERCEPT, for example 0.9,-1.6.") from None
    return metrics.AccuracyLine(slope, intercept, f"slope {slope:g}, intercept {intercept:g}, as given")
