"""Reports from runs: one document, and tables, figures and a page rendered from it.

>>> from robustbench_lift.report import document, render_all
>>> render_all(document(runs), "report")  # doctest: +SKIP
"""

from __future__ import annotations

from robustbench_lift.report.build import document
from robustbench_lift.report.files import console_tables, open_runs, read_document, render_all
from robustbench_lift.report.schema import Document

__all__ = ["Document", "console_tables", "document", "open_runs", "read_document", "render_all"]
