"""Table 5 on screens of several widths and in a pipe: names break after a separator, numbers are never cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from robustbench_lift.commands import console
from robustbench_lift.scores import NUMBERS
from robustbench_lift.tables.table import Column, Entry, Row, Table
from robustbench_lift.tables.terminal import broken, to_rich

KEYS = ("mce", "mean_error", "mfr", "mean_flip_probability", "consistency", "clean_error")
NAMES = (
    "skip",
    "max",
    "lift?constraint=mse",
    "alexnet-small",
    "lift?constraint=mse&gradient=features&init=lazy",
    "blur?filter=bin-5&placement=stage",
)


def table(names: tuple[str, ...] = NAMES) -> Table:
    """Table 5 as wide as it becomes: three digits before the point, marks and intervals."""
    numbers = tuple(Column.of(NUMBERS[key]) for key in KEYS)
    columns = (
        Column("pooling", "Pooling", "text"),
        *numbers,
        Column("parameters", "Parameters", "count", short="Params"),
    )
    row = (*(Entry(1.412, 1.184, 1.684, "best", True) for _ in KEYS), Entry(264847))
    return Table("table-5", "Table 5", columns, tuple(Row((Entry(name), *row)) for name in names))


def printed(width: int, names: tuple[str, ...] = NAMES) -> list[str]:
    to = Console(width=width, file=io.StringIO(), force_terminal=False)
    to.print(to_rich(table(names), notes=False))
    assert isinstance(to.file, io.StringIO)
    return [line.rstrip() for line in to.file.getvalue().splitlines()]


def first_column(lines: list[str]) -> list[str]:
    """What the first column shows below the rule, without empty lines."""
    rule = next(n for n, line in enumerate(lines) if line.startswith(" ─"))
    wide = next(line.index("141.2") for line in lines if "141.2" in line)
    shown = [line[:wide].strip() for line in lines[rule + 1 :] if not line.startswith("*")]
    return [text.split("  ")[0] for text in shown if text]


@pytest.mark.parametrize("width", [80, 100, 128, 200])
def test_a_name_breaks_after_a_separator_only(width: int) -> None:
    lines = printed(width)
    assert max(map(len, lines)) <= width
    shown = [text for text in first_column(lines) if not text[0].isdigit()]
    assert "".join(shown) == "".join(NAMES)
    for text in shown:
        assert text[-1] in "?&=-" or any(name.endswith(text) for name in NAMES), text


@pytest.mark.parametrize("width", [80, 100, 128, 200])
def test_numbers_are_whole_at_every_width(width: int) -> None:
    lines = printed(width)
    assert sum(line.count("141.2") for line in lines) >= len(NAMES)
    assert sum(line.count("264,847") for line in lines) == len(NAMES)


def test_a_name_that_fits_stays_in_one_line() -> None:
    for width in (100, 128, 200):
        assert any(line.startswith(" lift?constraint=mse ") for line in printed(width, NAMES[:4])), width
    assert any(line.startswith(f" {NAMES[4]} ") for line in printed(200))


def test_intervals_are_printed_where_there_is_room() -> None:
    assert not any("118.4..168.4" in line for line in printed(100, NAMES[:4]))
    assert any("118.4..168.4" in line for line in printed(160, NAMES[:4]))


def test_a_pipe_has_every_row_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = console.SafeConsole(file=io.StringIO(), width=80)
    monkeypatch.setattr(console, "console", pipe)
    console.for_tables().print(to_rich(table(), notes=False))
    assert isinstance(pipe.file, io.StringIO)
    rows = pipe.file.getvalue().splitlines()
    assert all(any(line.startswith(f" {name} ") for line in rows) for name in NAMES)


def test_a_part_without_a_separator_stays_whole() -> None:
    assert broken("resnet_abcdefghij", 8) == ["resnet_", "abcdefghij"]
    assert broken("", 5) == [""]
    assert broken("a b", 1) == ["a", "b"]
