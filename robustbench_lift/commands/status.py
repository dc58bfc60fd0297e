"""`status`: where runs stand, while they go on elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustbench_lift.commands.console import duration, for_tables
from robustbench_lift.errors import IncompleteError
from robustbench_lift.text import printable


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.")],
) -> None:
    """Where runs stand, from any machine that sees their folders: cells done and begun, silent shares, time left.

    Time left is the median time between two complete cells times the cells that are missing. It ends with 3 while cells
    are missing, so that a script can wait for a run.

    Example: `robustbench-lift status runs/imagenet`
    """
    from rich.table import Table

    from robustbench_lift.report.files import open_runs
    from robustbench_lift.runs.status import status as stand

    table = Table(title="Runs")
    for heading in ("run", "protocol", "cells", "begun", "time left", "shares without a file"):
        table.add_column(heading, justify="left" if heading in ("run", "protocol") else "right", overflow="fold")
    missing = 0
    for run in open_runs(runs):
        for one in stand(run):
            missing += one.total - one.done
            left = "" if one.done == one.total else "unknown yet" if one.left is None else duration(one.left)
            silent = one.silent
            shown = ", ".join(silent[:8]) + (f" and {len(silent) - 8} more" if len(silent) > 8 else "")
            table.add_row(
                printable(run.path.name), one.protocol, f"{one.done} of {one.total}", str(one.begun), left, shown
            )
    for_tables().print(table)
    if missing:
        raise IncompleteError(f"{missing} cells are missing. The same `robustbench-lift run` goes on where it stopped.")
