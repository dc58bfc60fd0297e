r"""Tables for LaTeX: booktabs rules, headings stacked so that a table fits a page, longtable where it takes several."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from robustbench_lift.tables.table import Column, Entry, Table, interval, plain, text_of

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
}
"""What LaTeX would read as a command, and how it is written instead."""
PAGE_ROWS = 30
"""Rows that fit a page together with the notes; a longer table is broken over several."""
HEADING_WIDTH = 13
"""Characters of a heading's line, about the width of a number with its marks."""
ARROWS = {"lower": r" $\downarrow$", "higher": r" $\uparrow$", "": ""}


def latex_escape(text: str) -> str:
    r"""Text that LaTeX prints as it is.

    >>> latex_escape("50% of resnet_8")
    '50\\% of resnet\\_8'
    """
    return "".join(SPECIAL.get(c, c) for c in plain(text))


def to_latex(table: Table) -> str:
    r"""A booktabs table; best bold, second best underlined, ties with \sim; arrows say which way is better.

    The first line names the packages that it needs.
    """
    several_pages = len(table.rows) > PAGE_ROWS
    layout = "".join("l" if c.unit == "text" else "r" for c in table.columns)
    head = " & ".join(_heading(column) for column in table.columns) + r" \\"
    title = re.sub(r"^Table \d+: ", "", table.title)  # LaTeX numbers tables itself
    named = [rf"\caption{{{latex_escape(title[:1].upper() + title[1:])}}}", rf"\label{{tab:{table.name}}}"]
    if several_pages:
        top = [r"% needs \usepackage{booktabs,longtable}", "{", *_small(), rf"\begin{{longtable}}{{{layout}}}"]
        top += [*named[:1], rf"{named[1]} \\", r"\toprule", head, r"\midrule", r"\endhead"]
        bottom = [r"\bottomrule", r"\end{longtable}", *_notes(table), "}"]
    else:
        top = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", *_small(), *named]
        top += [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", head, r"\midrule"]
        bottom = [r"\bottomrule", r"\end{tabular}", "", r"\smallskip", *_notes(table), r"\end{table}"]
    return "\n".join([*top, *_rows(table), *bottom]) + "\n"


def _small() -> tuple[str, str]:
    return r"\small", r"\setlength{\tabcolsep}{4pt}"


def _heading(column: Column) -> str:
    """Title, unit and direction, one below the other."""
    unit = {"percent": r"\%", "ranks": "ranks"}.get(column.unit, "") + ARROWS[column.direction]
    lines = [latex_escape(line) for line in textwrap.wrap(column.title, HEADING_WIDTH, break_long_words=False)]
    side = "l" if column.unit == "text" else "r"
    stacked = r" \\ ".join([*lines, unit.strip()] if unit else lines)
    return rf"\shortstack[{side}]{{{stacked}}}"


def _rows(table: Table) -> list[str]:
    lines = []
    for position, row in enumerate(table.rows):
        if row.rule and position:
            lines.append(r"\midrule")
        lines.append(" & ".join(_cell(c, e) for c, e in zip(table.columns, row.entries, strict=True)) + r" \\")
    return lines


def _cell(column: Column, entry: Entry) -> str:
    text = latex_escape(text_of(column, entry))
    if column.unit != "text":
        text = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}", "": text}[entry.mark]
    return text + (r"$^{\sim}$" if entry.tie else "")


def _notes(table: Table) -> Sequence[str]:
    notes = []
    if any(column.direction for column in table.columns):
        notes.append(r"$\downarrow$ lower is better, $\uparrow$ higher is better.")
    if table.is_marked:
        notes.append(latex_escape("Bold: best, underlined: second best, ~: tied with the best; -: unknown."))
    notes += [latex_escape(note) for note in table.notes]
    if any(interval(c, e) for row in table.rows for c, e in zip(table.columns, row.entries, strict=True)):
        notes.append("Confidence intervals are in the CSV and JSON files of this table.")
    signatures = [_breakable(latex_escape(line)) for line in table.signatures]
    return [r"\footnotesize\raggedright", *(rf"{text}\par" for text in (*notes, *signatures))]


def _breakable(text: str) -> str:
    """A signature line that LaTeX may break after its separators."""
    for separator in (r"\textbar{}", ","):
        text = text.replace(separator, rf"{separator}\allowbreak{{}}")
    return text
