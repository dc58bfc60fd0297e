"""Differences as `compare` and `gate` show them: a table on the terminal, or another format in a file."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from robustbench_lift.commands.console import LOG_WIDTH, SafeConsole, errors, for_tables
from robustbench_lift.errors import StorageError, unknown

if TYPE_CHECKING:
    from robustbench_lift.regression import Comparison, Difference, Outcome

FORMATS = ("text", "markdown", "json", "csv")


def check_format(form: str) -> None:
    """Refuse a format that does not exist, before anything is computed."""
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)


def show(comparison: Comparison, outcome: Outcome | None, form: str, out: Path | None, rows: int) -> None:
    """Print a comparison, or write it to `out`; `rows` cells as text."""
    from robustbench_lift.regression.render import to_csv, to_json, to_markdown

    if form == "text" and out is None:
        _print(for_tables(), comparison, outcome, rows)
        return
    if form == "text":
        buffer = io.StringIO()
        _print(SafeConsole(file=buffer, width=LOG_WIDTH, highlight=False), comparison, outcome, rows)
        text = buffer.getvalue()
    else:
        text = {
            "markdown": lambda: to_markdown(comparison, outcome),
            "json": lambda: to_json(comparison, outcome),
            "csv": lambda: to_csv(comparison),
        }[form]()
    if out is None:
        sys.stdout.write(text)
    else:
        write(out, text.encode())


def _print(to: Console, comparison: Comparison, outcome: Outcome | None, rows: int) -> None:
    from robustbench_lift.regression.render import family
    from robustbench_lift.tables.table import plain
    from robustbench_lift.text import listed

    def line(text: str, style: str = "") -> None:
        # names come from run.json: one line each, so that none of them starts a line of its own
        to.print(plain(text), markup=False, soft_wrap=True, style=style)

    line(
        f"{comparison.candidate} against {comparison.baseline}: differences in percentage points, "
        f"{100 * comparison.confidence:g} % intervals (each for itself), p corrected ({comparison.correction})"
    )
    for note in comparison.notes:
        line(f"NOTE {note}", "bold")
    to.print(_table(family(comparison, "headline"), "Headline numbers", outcome, power=True))
    details = [
        d
        for kind in ("ce", "fr")
        for d in sorted(family(comparison, kind), key=lambda d: -d.worsening)
        if d.verdict != "same"
    ]
    if details:
        to.print(_table(details, "Corruptions and perturbations that changed", outcome, power=False))
    moved = [d for d in comparison.worst if d.lost or d.gained]
    if moved:
        shown = moved if rows == 0 else moved[:rows]
        to.print(_table(shown, f"Cells, worst first ({len(shown)} of {len(comparison.cells)})", outcome, power=False))
    elif comparison.cells:
        cells = len(comparison.cells)
        to.print(f"In {f'all {cells} cells' if cells > 1 else 'the one cell'} the same images are right.", markup=False)
    if comparison.one_sided:
        line(f"on one side only: {listed(comparison.one_sided, most=8)}")
    line(f"signature: {comparison.signature}")
    if outcome is None:
        return
    style = "bold green" if outcome.exit_code == 0 else "bold red" if outcome.exit_code == 1 else "bold yellow"
    line(f"{outcome.mode} gate: {outcome.word}", style)
    for reason in outcome.reasons:
        line(f"  {reason}")
    if outcome.exit_code and outcome.acceptable:
        line("To accept the candidate as the new baseline:")
        line(f"  {outcome.accept}")


def _table(differences: list[Difference], title: str, outcome: Outcome | None, *, power: bool) -> Table:
    from robustbench_lift.regression.render import flips, power_words, row

    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    table.add_column("number", overflow="fold")
    for name in ("baseline %", "candidate %", "difference [interval]", "p"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("detectable" if power else "lost/gained", justify="right", overflow="fold")
    table.add_column("verdict", overflow="fold")
    for d in differences:
        name, before, after, delta, p, _, verdict = row(d, outcome)
        table.add_row(name, before, after, delta, p, power_words(d) if power else flips(d), verdict)
    return table


def write(path: Path, content: bytes) -> None:
    """A file, whole or not at all, and a line that says where; a folder that was made for it is named.

    The line goes to standard error: standard output may be JSON.
    """
    from robustbench_lift.files import write_atomic

    if path.is_dir():
        raise StorageError(f"{path} is a folder; name a file.")
    made = "" if path.parent.exists() else f" (made the folder {path.parent})"
    write_atomic(path, content)
    errors.print(f"wrote {path}{made}", markup=False, soft_wrap=True)
