"""Reports from runs: one document, and tables, figures and a page rendered from it.

schema      the document: every number of a report, one JSON value
build       runs -> document, in one pass over the cells (groups: which runs may be compared)
registry    what a table is, and how one is made    notes       what tables say in words
tables      of classifiers                          map_tables  of segmentation networks
figures     document -> figures, one entry each     canvas      colours, sheet, saving
page        document -> one HTML file               pictures    its sample images
files       where everything lies                   export      the numbers as data: frame, scores.json, hub, timm

>>> from robustbench_lift.report import document, render_all
>>> render_all(document(runs), "report")  # doctest: +SKIP
"""

from __future__ import annotations

# both register their tables, in the order of the report
from robustbench_lift.report import tables  # noqa: F401

# isort: split
from robustbench_lift.report import map_tables  # noqa: F401

# isort: split
from robustbench_lift.report.build import document
from robustbench_lift.report.export import frame
from robustbench_lift.report.files import open_runs, read_document, render_all
from robustbench_lift.report.schema import Document

__all__ = ["Document", "document", "frame", "open_runs", "read_document", "render_all"]
