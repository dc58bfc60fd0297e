"""JSON Schemas (draft 2020-12) of the files that runs, reports, comparisons and gates write."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from robustbench_lift.errors import unknown

NAMES = ("run", "scores", "document", "gate")
"""run.json, scores.json, document.json, and the JSON of `compare` and `gate`."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a kind of file.

    Args:
        name: one of `NAMES`.

    Raises:
        UsageError: there is no such kind.

    >>> schema("scores")["required"]
    ['schema', 'runs']
    """
    if name not in NAMES:
        raise unknown("schema", name, NAMES)
    text = resources.files(__name__).joinpath(f"{name}.schema.json").read_text(encoding="ascii")
    found: dict[str, Any] = json.loads(text)
    return found
