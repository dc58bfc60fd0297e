from __future__ import annotations

from robustbench_lift.tables.marks import mark
from robustbench_lift.tables.table import Column, Entry, number


def test_equal_values_share_the_mark_and_leave_no_second() -> None:
    marked = mark({"a": Entry(0.2), "b": Entry(0.2), "c": Entry(0.3)}, direction="lower")
    assert [marked[k].mark for k in "abc"] == ["best", "best", ""]


def test_higher_is_better_turns_the_order() -> None:
    marked = mark({"a": Entry(0.2), "b": Entry(0.9), "c": Entry(0.3)}, direction="higher")
    assert [marked[k].mark for k in "abc"] == ["", "best", "second"]


def test_unknown_values_and_lone_values_get_no_mark() -> None:
    assert mark({"a": Entry(0.2), "b": Entry(None)}, direction="lower")["a"].mark == ""
    assert mark({"a": Entry(0.2), "b": Entry(0.2)}, direction="lower")["a"].mark == ""
    assert mark({"a": Entry(0.2), "b": Entry(0.3)}, direction="")["a"].mark == ""


def test_only_ties_with_the_best_count() -> None:
    entries = {"a": Entry(0.2), "b": Entry(0.3), "c": Entry(0.31)}
    marked = mark(entries, direction="lower", ties=[("b", "c")])
    assert not any(entry.tie for entry in marked.values())
    marked = mark(entries, direction="lower", ties=[("c", "a")])
    assert [marked[k].tie for k in "abc"] == [True, False, True]


def test_numbers_are_percent_where_printed() -> None:
    assert number(Column("mce", "mCE"), 0.76749) == "76.7"
    assert number(Column("flip", "flips", digits=2), 0.0792) == "7.92"
    assert number(Column("distance", "T5D", "ranks", digits=3), 1.5) == "1.500"
