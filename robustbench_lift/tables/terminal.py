"""A table on a screen: numbers are never cut, and a name that does not fit is broken after a separator."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustbench_lift.tables.render import suffix
from robustbench_lift.tables.table import Table, interval, plain, text_of

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table as RichTable

UNIT_WIDTH = len("% lower")
"""Characters of the longest part of a unit line that is not broken."""
TEXT_WIDTH = 24
"""Characters of a name below which intervals make room for it."""
GAP = 2
"""Characters between two columns."""
SEPARATORS = (r"[\s/?&@,]", r"[=:_-]")
"""Where a name is broken: first between its parts, then inside one."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A table for rich: intervals are printed where the console is wide enough."""

    table: Table
    """What to print."""
    notes: bool = True
    """Whether notes and signatures follow; without them, only the legend of the marks."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Table, notes, signatures."""
        from rich.text import Text

        shared = _unit_line(self.table)
        yield Text(plain(self.table.title) + (f"; {shared}" if shared else ""), style="bold")
        yield _grid(self.table, options.max_width, intervals=_has_room(self.table, options.max_width))
        legend = ("* best, + second best, ~ tied with the best; - unknown.",) if self.table.is_marked else ()
        for line in (*legend, *((*self.table.notes, *self.table.signatures) if self.notes else ())):
            yield Text(plain(line), style="dim")
        yield Text("")


def to_rich(table: Table, *, notes: bool = True) -> Printed:
    """A renderable for rich: the table, then notes and signatures where wanted."""
    return Printed(table, notes)


def broken(name: str, width: int) -> list[str]:
    """A name as lines of at most `width` characters, broken after separators; a part that is longer stays whole.

    >>> broken("lift?constraint=mse", 14), broken("lift?constraint=mse", 17), broken("lift?constraint=mse", 12)
    (['lift?', 'constraint=mse'], ['lift?', 'constraint=mse'], ['lift?', 'constraint=', 'mse'])
    >>> broken("Gaussian noise", 10)
    ['Gaussian', 'noise']
    """
    return _broken(name, width, SEPARATORS) or [""]


def _broken(name: str, width: int, separators: tuple[str, ...]) -> list[str]:
    if len(name.rstrip()) <= width or not separators:
        return [name.rstrip()]
    lines: list[str] = []
    line = ""
    for part in re.split(rf"(?<={separators[0]})", name):
        if len((line + part).rstrip()) <= width:
            line += part
            continue
        *whole, line = [*([line.rstrip()] if line else []), *_broken(part, width, separators[1:])]
        lines += whole
    return [*lines, line.rstrip()] if line.strip() else lines


def _unit_line(table: Table) -> str:
    """Unit and direction when all columns of numbers share them, so that they are said once, in the title."""
    units = {c.unit_text for c in table.columns if c.unit != "text"}
    return units.pop() if len(units) == 1 else ""


def _cells(table: Table, k: int, *, intervals: bool) -> list[tuple[str, str, str]]:
    """(number, marks padded to one width, interval) of column k."""
    column = table.columns[k]
    entries = [row.entries[k] for row in table.rows]
    width = max((len(suffix(e)) for e in entries), default=0)
    return [
        (plain(text_of(column, e)), suffix(e).ljust(width), interval(column, e) if intervals else "") for e in entries
    ]


def _widths(table: Table, k: int, *, intervals: bool) -> tuple[int, int]:
    """The fewest characters that show column k uncut, and the most that it has use for."""
    column = table.columns[k]
    cells = _cells(table, k, intervals=intervals)
    whole = max((max(len(text), len(span)) + len(marks) for text, marks, span in cells), default=1)
    word = max(len(word) for word in (column.short or column.title or "-").split())
    if column.unit == "text":
        part = max((len(line) for text, _, _ in cells for line in broken(text, 1)), default=1)
        return max(part, word), max(whole, word)
    unit = 0 if _unit_line(table) or not column.unit_text else UNIT_WIDTH
    return whole, max(whole, min(word, TEXT_WIDTH), unit)


def _has_room(table: Table, room: int) -> bool:
    """Whether intervals fit, names given the room that short ones need."""
    taken = 0
    for k, column in enumerate(table.columns):
        least, most = _widths(table, k, intervals=True)
        taken += (max(least, min(most, TEXT_WIDTH)) if column.unit == "text" else most) + GAP
    return taken <= room


def fit(table: Table, room: int, *, intervals: bool) -> list[int]:
    """Characters of every column so that the table fits `room`, if it can: names give way first, then headings."""
    both = [_widths(table, k, intervals=intervals) for k in range(len(table.columns))]
    widths = [most for _, most in both]
    for giving in (True, False):
        columns = [k for k, column in enumerate(table.columns) if (column.unit == "text") is giving]
        while sum(widths) + GAP * len(widths) > room:
            able = [k for k in columns if widths[k] > both[k][0]]
            if not able:
                break
            widths[max(able, key=lambda k: widths[k])] -= 1
    return widths


def _grid(table: Table, room: int, *, intervals: bool) -> RichTable:
    import rich.box
    from rich.table import Table as RichTable
    from rich.text import Text

    shared = _unit_line(table)
    widths = fit(table, room, intervals=intervals)
    grid = RichTable(box=rich.box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column, width in zip(table.columns, widths, strict=True):
        header = Text(plain(column.short or column.title), style="bold")
        if column.unit_text and not shared:
            header.append("\n" + column.unit_text.replace(",", ""), style="dim")
        grid.add_column(header, justify="left" if column.unit == "text" else "right", width=width, overflow="fold")
    styles = {"best": "bold green", "second": "underline", "": ""}
    columns = [_cells(table, k, intervals=intervals) for k in range(len(table.columns))]
    for position, row in enumerate(table.rows):
        cells = []
        for k, entry in enumerate(row.entries):
            text, marks, span = columns[k][position]
            if table.columns[k].unit == "text":
                text = "\n".join(broken(text, widths[k]))
            cell = Text(text, style=styles[entry.mark] if row.ranked else "dim")
            cell.append(marks)
            if span:
                cell.append(f"\n{span}{' ' * len(marks)}", style="not bold not underline dim")
            cells.append(cell)
        following = position + 1 < len(table.rows) and table.rows[position + 1].rule
        grid.add_row(*cells, end_section=following)
    return grid
