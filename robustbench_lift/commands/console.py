"""Where the commands print: rich on a terminal, plain lines in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from robustbench_lift.text import printed

if TYPE_CHECKING:
    from robustbench_lift.evaluation.progress import Progress as State


class SafeConsole(Console):
    """A console that every text passes through `printed`: names in it move no cursor and start no command of a job.

    `:name:` is no emoji: specs and paths have colons.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as rich shows it."""
        return super().render_str(printed(text), **options)


console = SafeConsole(soft_wrap=False, highlight=False)
errors = SafeConsole(stderr=True, highlight=False)

LOG_WIDTH = 200
"""Columns of a table where there is no terminal, unless it needs more."""


def for_tables(needed: int = 0) -> Console:
    """Where tables are printed: on a terminal they fit its width, in a log file or a pipe every row stays one line.

    Args:
        needed: columns that the table takes with every row on one line.
    """
    if console.is_terminal:
        return console
    return SafeConsole(file=console.file, width=max(LOG_WIDTH, needed), highlight=False)


LONGEST_LINE, MOST_LINES = 1500, 60
"""Characters of a line of an error, and lines."""
LINE_EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""

Advance = Callable[[float, str], None]
"""Tell the share that is done, 0..1, and what is under way."""


def bounded(message: str) -> str:
    """A message whose lines and length stay readable, whatever long name it quotes."""
    lines = [line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 3] + "..." for line in message.split("\n")]
    return "\n".join([*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more lines"][: max(len(lines), 1)])


def print_error(message: str) -> None:
    """One message on standard error, names from data shown literally."""
    errors.print("error: ", style="bold red", end="")
    errors.print(bounded(message), markup=False, soft_wrap=True)


def print_note(message: str) -> None:
    """One line on standard error beside the results."""
    errors.print(f"note: {message}", markup=False, soft_wrap=True)


@contextmanager
def doing(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Say what takes a while and cannot say how long: a spinner on a terminal, a line otherwise."""
    if quiet:
        yield
    elif console.is_terminal:
        with console.status(what):
            yield
    else:
        sys.stdout.write(f"{what} ...\n")
        sys.stdout.flush()
        yield


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Advance]:
    """Progress with time left: a bar on a terminal, a line now and then otherwise; nothing where `quiet`.

    Yields:
        a function to call with the share done, 0..1, and a word for what is under way.
    """
    if quiet:
        yield lambda share, doing: None
        return
    if not console.is_terminal:
        yield _lines(title)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.fields[doing]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=1.0, doing="")
        yield lambda share, doing: bar.update(task, completed=share, doing=doing)


def _lines(title: str) -> Advance:
    start = last = time.monotonic()

    def advance(share: float, doing: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_EVERY and share < 1.0:
            return
        last = now
        left = duration((now - start) * (1 - share) / share) if share > 0 else "unknown"
        sys.stdout.write(f"{title}: {share:.0%} after {duration(now - start)}, {left} left, {doing}\n")
        sys.stdout.flush()

    return advance


def duration(seconds: float) -> str:
    """A span of time in words.

    >>> duration(8), duration(95), duration(7260)
    ('8 s', '1 min 35 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def follow(advance: Advance) -> Callable[[State], None]:
    """Turn an evaluation's progress into a share of the work; notes are printed."""

    def report(state: State) -> None:
        if state.note:
            console.print(state.note, markup=False)
        advance(state.fraction, state.cell.key)

    return report
