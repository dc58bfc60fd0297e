"""The tables and figures of the LiftPool paper, each an experiment that one command makes.

    study      what is trained, evaluated and estimated together, and at which scale
    item       what an item is; the registry ITEMS
    places     which data a user names
    studies    trainings that several items share
    runner     train, evaluate, render: all of it goes on where it stopped
    results    what a renderer sees; summary, reports, maps, panels: what renderers share
    output     the folder of an item; book: the map and the results as pages
    table_1 ... figure_9    one module an item

>>> from robustbench_lift.paper import ITEMS
>>> ITEMS["table-5"].studies["embedded"][0].normaliser
'photos/alexnet'
"""

from __future__ import annotations

import importlib

from robustbench_lift.paper.item import ITEMS, Item, Rendering, item_named, register_item
from robustbench_lift.paper.study import SCALES, Scale, Study

__all__ = ["ITEMS", "SCALES", "Item", "Rendering", "Scale", "Study", "item_named", "register_item"]

_MODULES = (
    *(f"table_{k}" for k in range(1, 8)),
    *(f"figure_{k}" for k in (1, *range(3, 11))),
    "constraints",
    "poolings",
)
for _module in _MODULES:
    importlib.import_module(f"{__name__}.{_module}")
