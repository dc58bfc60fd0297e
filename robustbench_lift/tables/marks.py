"""Best, second best and ties.

Only entries that may be compared are ranked: those of one group, without the normaliser. The best has the extreme
value; an entry is tied with it when the confidence interval of their *paired* difference holds zero, which is a
statement about the difference and not about whether two intervals overlap. Equal values share a mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from robustbench_lift.tables.table import Direction, Entry

TIE_RULE = (
    "A tie (~) with the best: the {level:.0f} % confidence interval of the paired difference holds zero (images "
    "resampled together for both models). Numbers without an interval are ranked by value alone."
)


def mark(
    entries: Mapping[str, Entry], *, direction: Direction, ties: Sequence[tuple[str, str]] = ()
) -> dict[str, Entry]:
    """The entries of one group and one metric, with best, second best and ties marked.

    Args:
        entries: by label; entries without a value are left alone.
        direction: which way is better; no direction, no marks.
        ties: pairs of labels that are tied.

    Example:
        >>> marked = mark({"max": Entry(0.5), "lift": Entry(0.4), "blur": Entry(0.41)}, direction="lower",
        ...               ties=[("lift", "blur")])
        >>> marked["lift"].mark, marked["blur"].mark, marked["blur"].tie, marked["max"].tie
        ('best', 'second', True, False)
    """
    numbers = {k: e.value for k, e in entries.items() if isinstance(e.value, int | float)}
    if not direction or len(numbers) < 2:
        return dict(entries)
    order = sorted(set(numbers.values()), reverse=direction == "higher")
    if len(order) == 1:  # all equal: nobody is best
        return dict(entries)
    best = {k for k, v in numbers.items() if v == order[0]}
    second = {k for k, v in numbers.items() if v == order[1]} if len(best) == 1 else set()
    tied = {other for pair in ties for one, other in (pair, pair[::-1]) if one in best} & set(numbers)
    return {
        label: replace(
            entry,
            mark="best" if label in best else "second" if label in second else "",
            tie=(label in tied and label not in best) or (label in best and bool(tied - best)),
        )
        for label, entry in entries.items()
    }
