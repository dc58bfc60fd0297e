"""What a table is, before it is rendered: columns with unit and direction, rows of values with marks, notes."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from robustbench_lift.scores.numbers import Number
from robustbench_lift.text import condition_words

Unit = Literal["percent", "count", "ranks", "nats", "plain", "text"]
Direction = Literal["lower", "higher", ""]
Mark = Literal["best", "second", ""]
PRINTED_UNITS = {"percent": "%", "count": "", "ranks": "ranks", "nats": "nats", "plain": "", "text": ""}
"""Units as printed."""


@dataclass(frozen=True, slots=True)
class Value:
    """A number with its confidence interval; None where it cannot be known."""

    value: float | None = None
    """The number, a fraction."""
    low: float | None = None
    """Lower end of the interval, None where there is none."""
    high: float | None = None
    """Upper end of the interval, None where there is none."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what it holds, in which unit, and which way is better."""

    key: str
    """Name in JSON."""
    title: str
    """Heading without the unit."""
    unit: Unit = "percent"
    """`percent` is a fraction inside and a percentage where printed; `ranks` is a top-5 distance."""
    direction: Direction = ""
    """Which way is better, if any."""
    digits: int = 1
    """Digits after the point, where printed."""
    short: str = ""
    """Heading where room is scarce; the title unless given."""

    @classmethod
    def of(cls, number: Number) -> Column:
        """The column of a number, headed as `NUMBERS` says.

        >>> from robustbench_lift.scores import NUMBERS
        >>> Column.of(NUMBERS["consistency"]).heading
        'Shift consistency % (higher is better)'
        """
        return cls(number.key, number.title, number.unit, number.direction, number.digits, number.short)

    @property
    def unit_text(self) -> str:
        """Unit and direction as printed: `%, lower is better`."""
        unit = PRINTED_UNITS[self.unit]
        return ", ".join(part for part in (unit, f"{self.direction} is better" if self.direction else "") if part)

    @property
    def heading(self) -> str:
        """Title, unit and direction in one line.

        >>> Column("mce", "mCE", direction="lower").heading
        'mCE % (lower is better)'
        """
        unit = PRINTED_UNITS[self.unit]
        direction = f"({self.direction} is better)" if self.direction else ""
        return " ".join(part for part in (self.title, unit, direction) if part)

    @property
    def data_heading(self) -> str:
        """The heading of data files, where numbers are not turned into percent.

        >>> Column("mce", "mCE", direction="lower").data_heading
        'mCE [fraction, lower is better]'
        """
        unit = "fraction" if self.unit == "percent" else "count" if self.unit == "count" else PRINTED_UNITS[self.unit]
        inner = ", ".join(part for part in (unit, f"{self.direction} is better" if self.direction else "") if part)
        return f"{self.title} [{inner}]" if inner else self.title


@dataclass(frozen=True, slots=True)
class Entry:
    """One place of a table."""

    value: float | int | str | None = None
    """Fraction, count or text; None is printed as a dash."""
    low: float | None = None
    """Lower end of the confidence interval."""
    high: float | None = None
    """Upper end of the confidence interval."""
    mark: Mark = ""
    """Best or second best among what it may be compared with."""
    tie: bool = False
    """The paired difference from the best has an interval that holds zero."""
    words: str = ""
    """What readers see in place of a text that data files keep as a key: `Gaussian noise` for `gaussian_noise`."""

    @classmethod
    def of(cls, value: Value) -> Entry:
        """An entry of a value with its interval."""
        return cls(value.value, value.low, value.high)

    @classmethod
    def of_condition(cls, key: str) -> Entry:
        """The heading of a row of one corruption or perturbation.

        >>> Entry.of_condition("gaussian_noise").words
        'Gaussian noise'
        """
        return cls(key, words=condition_words(key))


@dataclass(frozen=True, slots=True)
class Row:
    """One row."""

    entries: tuple[Entry, ...]
    """As many as there are columns."""
    rule: bool = False
    """Whether a rule is drawn above it."""
    foot: bool = False
    """Whether it stays below the others when a page sorts them: a mean, the normaliser."""
    ranked: bool = True
    """Whether it takes part in best marks."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a report."""

    name: str
    """File name without ending."""
    title: str
    """Heading."""
    columns: tuple[Column, ...]
    """Left to right."""
    rows: tuple[Row, ...]
    """Top to bottom."""
    notes: tuple[str, ...] = ()
    """Footnotes: the tie rule, what is missing, group marks."""
    signatures: tuple[str, ...] = ()
    """The signature line of each group with its counts, marked where there are several."""

    @property
    def is_marked(self) -> bool:
        """Whether anything is marked as best, so that a legend is needed."""
        return any(entry.mark for row in self.rows for entry in row.entries)


def plain(text: str) -> str:
    r"""A name without control characters, which could move a terminal's cursor or break a line.

    >>> plain("lift\x1b[2J\n")
    'lift?[2J?'
    """
    return "".join("?" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)


def number(column: Column, value: float | int | str | None) -> str:
    """A value as printed: percent without the sign, thousands separated, a dash for None.

    >>> number(Column("mce", "mCE"), 0.7671), number(Column("p", "parameters", "count"), 25557032)
    ('76.7', '25,557,032')
    >>> number(Column("mce", "mCE"), None)
    '-'
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if column.unit == "count":
        return f"{int(value):,}"
    scaled = round(100 * value if column.unit == "percent" else value, column.digits)
    return f"{scaled + 0.0:.{column.digits}f}"  # + 0.0 turns a rounded -0.0 into 0.0


def text_of(column: Column, entry: Entry) -> str:
    """An entry as readers see it, without its interval and marks.

    >>> text_of(Column("condition", "Corruption", "text"), Entry.of_condition("fog"))
    'Fog'
    """
    return entry.words or number(column, entry.value)


def interval(column: Column, entry: Entry) -> str:
    """The confidence interval of an entry as printed, empty when it has none.

    >>> interval(Column("mce", "mCE"), Entry(0.767, 0.75, 0.781))
    '75.0..78.1'
    """
    if entry.low is None or entry.high is None or entry.value is None:
        return ""
    return f"{number(column, entry.low)}..{number(column, entry.high)}"
