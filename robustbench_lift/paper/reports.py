"""Tables and figures that a report of runs has too: Tables 4 and 5, Figures 4 and 9."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustbench_lift.paper.results import Results
from robustbench_lift.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from robustbench_lift.report import Document


def document_of(results: Results) -> Document:
    """The report's document of the item's runs."""
    from robustbench_lift.report import document

    return document(results.runs(), command=f"robustbench-lift paper {results.name} --scale {results.scale}")


def report_table(results: Results, name: str) -> Table:
    """A table of the report."""
    from robustbench_lift.report.registry import make_table

    return make_table(document_of(results), name)


def report_figure(results: Results, name: str) -> Figure:
    """A figure of the report."""
    from robustbench_lift.report.figures import make_figure

    return make_figure(document_of(results), name)
