"""An item of the paper: what it shows, which studies it needs at each scale, and how it is drawn.

    Item    a table or figure: its studies at each scale, its renderer, and what the paper says about it in words
    ITEMS   all of them; each module of this package that is named after an item registers one

An item that only draws has studies without protocols: it needs weights and a picture.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.study import Scale, Study
from robustbench_lift.registry import add
from robustbench_lift.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Rendering:
    """What an item's renderer made."""

    tables: tuple[Table, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """By file name."""
    notes: tuple[str, ...] = ()
    """Sentences for the page: what was chosen, what is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A table or figure, re-made by one command."""

    name: str
    """`table-1`, `figure-9`, ..."""
    title: str
    """One line."""
    shows: str
    """What it shows and how it is made here."""
    words: str
    """What the paper says about it, in words: no cell of its tables is known here, and none is printed."""
    studies: Mapping[Scale, tuple[Study, ...]]
    """By scale; a scale that an item does not have is absent."""
    render: Callable[[Results], Rendering]
    draws: bool = False
    """Whether it draws feature maps and so takes --model, --image, --layer and --channels."""
    in_paper: bool = True
    """Whether it is an item of the paper; others ask what the paper leaves open."""

    def at(self, scale: Scale) -> tuple[Study, ...]:
        """The studies at a scale.

        Raises:
            UsageError: the item has none there.
        """
        if scale not in self.studies:
            raise UsageError(f"{self.name} has no --scale {scale}; it has {', '.join(self.studies)}.")
        return self.studies[scale]


ITEMS: dict[str, Item] = {}
"""Name -> item, in the order of the paper."""


def register_item(item: Item) -> Item:
    """Add an item; `robustbench-lift paper NAME` then makes it.

    Raises:
        UsageError: the name is taken.
    """
    return add(ITEMS, "item of the paper", item.name, item, module=sys._getframe(1).f_globals["__name__"])


def item_named(name: str) -> Item:
    """An item by name.

    Raises:
        UsageError: there is no such item.
    """
    if name not in ITEMS:
        raise unknown("item of the paper", name, ITEMS)
    return ITEMS[name]
