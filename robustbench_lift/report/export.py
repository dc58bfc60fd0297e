"""A document as data for other programs: scores of a run, Hugging Face's metadata, a CSV in the manner of timm's.

Values are fractions (ranks of top-5 distances), as in `document.json`, except in the CSV for timm, whose columns are
percentages.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.report.schema import Document, Group, Model
from robustbench_lift.runs import Cell
from robustbench_lift.scores.frames import COLUMNS, place
from robustbench_lift.scores.numbers import NUMBERS, headlines
from robustbench_lift.tables.render import csv_value

if TYPE_CHECKING:
    import pandas as pd

TIDY = (*COLUMNS, "low", "high")
"""Columns of the tidy frame."""
SCHEMA = 1
"""Layout of scores.json."""
TIMM = ("model", "top1", "top1_err", "top5", "top5_err", "param_count", "data", "signature", "weights_sha256")
"""Columns of the CSV beside headline numbers; the first six are timm's."""


def records(made: Document) -> list[dict[str, Any]]:
    """Every number that is known, one record a (model, protocol, condition, severity, number)."""
    found: list[dict[str, Any]] = []
    for model in made.models:
        for name, value in model.numbers().items():
            if value.value is not None and name.partition("/")[0] in NUMBERS:  # else of a plug-in that is absent
                spans = {"value": value.value, "low": value.low, "high": value.high}
                found.append({"model": model.label, **place(name), **spans})
        for corruption, result in model.corruptions.items():
            for number, values in (("error", result.errors), ("ece", result.calibration)):
                for severity, one in enumerate(values, 1):
                    if one is not None:
                        where = place(Cell("corruption", corruption, severity).key)
                        spans = {"value": one, "low": None, "high": None}
                        found.append({"model": model.label, **where, "number": number, **spans})
    return found


def frame(made: Document) -> pd.DataFrame:
    """A document as a tidy pandas frame: one row a (model, protocol, condition, severity, number).

    Columns are `TIDY`: values are fractions (ranks for top-5 distances), `low` and `high` the ends of the confidence
    interval; what is unknown is not there.

    Example:
        >>> frame(document(runs)).query("number == 'ce' and condition == 'fog'")  # doctest: +SKIP
    """
    import pandas as pd

    columns = pd.DataFrame.from_records(records(made), columns=list(TIDY))
    return columns.astype({"severity": "Int64", "value": float, "low": float, "high": float})


def tidy_csv(made: Document) -> str:
    """The same as a CSV file, every digit kept."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(TIDY)
    writer.writerows([csv_value(record[key]) for key in TIDY] for record in records(made))
    return stream.getvalue()


def scores(document: Document, model: Model) -> dict[str, Any]:
    """What scores.json says of one run: every number that is known, and what fixes it.

    Args:
        document: of the report.
        model: one of its models.

    Returns:
        plain values: `headline` by key with title, unit, direction, value, low and high; `conditions`, a list with
        protocol, condition, severity (null for all of them), number, value, low and high; model, signature, normaliser.
    """
    group = _group(document, model)
    return {
        "schema": SCHEMA,
        "model": {
            "label": model.label,
            "name": model.name,
            "spec": model.spec,
            "arch": model.arch,
            "pooling": model.pooling,
            "placement": model.placement,
            "parameters": model.parameters,
            "weights_sha256": model.weights_sha256,
        },
        "data": document.data,
        "images": dict(model.counts),
        "signature": group.signature,
        "normaliser": group.normaliser or None,
        "confidence": document.confidence,
        "missing": list(model.missing),
        "headline": {
            key: {
                "title": NUMBERS[key].title,
                "unit": "fraction" if NUMBERS[key].unit == "percent" else NUMBERS[key].unit,  # percent is print's
                "direction": NUMBERS[key].direction,
                "value": value.value,
                "low": value.low,
                "high": value.high,
            }
            for key, value in model.headline.items()
            if value.value is not None and key in NUMBERS
        },
        "conditions": [
            {key: record[key] for key in ("protocol", "condition", "severity", "number", "value", "low", "high")}
            for record in records(document)
            if record["model"] == model.label and record["condition"] is not None
        ],
    }


def scores_json(document: Document, models: Sequence[Model] | None = None) -> str:
    """The scores of several runs as one JSON value, `{"schema": 1, "runs": [...]}`."""
    chosen = document.models if models is None else models
    return json.dumps({"schema": SCHEMA, "runs": [scores(document, model) for model in chosen]}, indent=1) + "\n"


def timm_csv(document: Document) -> str:
    """One row a network, sorted by top-1 accuracy, in the manner of timm's results files; percentages.

    Columns are timm's where there is a counterpart (top1, top1_err, top5, top5_err, param_count in millions), then the
    headline numbers that any network has. What is unknown is empty.

    Source: huggingface/pytorch-image-models, results/README.md.
    """
    beside = {"clean_error", "clean_top5_error"}
    there = [key for key in headlines() if any(m.value(key).value is not None for m in document.models)]
    known = [key for key in there if key not in beside]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((*TIMM[:6], *known, *TIMM[6:]))

    def percent(value: float | None, key: str = "") -> str:
        if value is None:
            return ""
        return f"{100 * value:.3f}" if not key or NUMBERS[key].unit == "percent" else f"{value:.4f}"

    def accuracy(model: Model, key: str) -> tuple[str, str]:
        error = model.value(key).value
        return (percent(None if error is None else 1 - error), percent(error))

    def rank(model: Model) -> tuple[float, str]:
        error = model.value("clean_error").value
        return (2.0 if error is None else error, model.label)

    for model in sorted(document.models, key=rank):
        writer.writerow(
            (
                model.spec or model.label,
                *accuracy(model, "clean_error"),
                *accuracy(model, "clean_top5_error"),
                f"{model.parameters / 1e6:.2f}",
                *(percent(model.value(key).value, key) for key in known),
                document.data,
                _group(document, model).signature,
                model.weights_sha256,
            )
        )
    return stream.getvalue()


def model_index(document: Document, model: Model) -> str:
    """`model-index` of a model card on the Hugging Face hub: YAML, as the README.md of a repository begins.

    Source: huggingface/hub-docs, modelcard.md.
    """
    group = _group(document, model)
    lines = ["---", "model-index:", f"- name: {_text(model.name)}", "  results:", "  - task:"]
    lines += ["      type: image-classification", "    dataset:"]
    lines += [f"      type: {_text(document.data)}", f"      name: {_text(document.data)}"]
    lines += ["      args:", f"        signature: {_text(group.signature)}", "    metrics:"]
    for key, value in model.headline.items():
        if value.value is not None and key in NUMBERS:
            lines += [f"    - type: {_text(key)}", f"      name: {_text(NUMBERS[key].title)}"]
            lines += [f"      value: {_number(value.value)}"]
    return "\n".join([*lines, "---", ""])


def eval_results(document: Document, model: Model, results: Sequence[str], *, date: str = "") -> str:
    """`.eval_results/*.yaml` of a model's repository on the Hugging Face hub.

    Args:
        document: of the report.
        model: one of its models.
        results: `OWNER/NAME:TASK=NUMBER` each: a benchmark's data set on the hub, its task, and a headline number.
        date: ISO-8601, of the evaluation.

    Raises:
        UsageError: another form, or a number that is unknown here.

    Source: huggingface/hub-docs, docs/hub/eval-results.md.
    """
    lines: list[str] = []
    for text in results:
        match = re.fullmatch(r"([\w.-]+/[\w.-]+):([\w.-]+)=([a-z0-9_]+)", text)
        if match is None:
            raise UsageError(
                f"--hf-result {text}: expected OWNER/NAME:TASK=NUMBER, for example me/imagenet-c:default=mce."
            )
        if match[3] not in NUMBERS or NUMBERS[match[3]].family:
            raise unknown("number", match[3], headlines())
        value = model.value(match[3]).value
        if value is None:
            raise UsageError(f"--hf-result {text}: {model.label} has no {match[3]}.")
        lines += [
            "- dataset:",
            f"    id: {_text(match[1])}",
            f"    task_id: {_text(match[2])}",
            f"  value: {_number(value)}",
        ]
        lines += [f"  date: {_text(date)}"] if date else []
        lines += [f"  notes: {_text(_group(document, model).signature)}"]
    return "\n".join([*lines, ""])


def _group(document: Document, model: Model) -> Group:
    return next(group for group in document.groups if group.key == model.group)


def _number(value: float) -> str:
    """A number as YAML, without an exponent, which YAML takes for text unless it has a point.

    >>> _number(1e-05), _number(0.0)
    ('0.00001', '0.0')
    """
    text = repr(value)
    return f"{value:.20f}".rstrip("0") if "e" in text else text


def _text(value: str) -> str:
    """A text as YAML: a JSON string is one."""
    return json.dumps(value)


def file_stem(label: str) -> str:
    """A label as the name of a file.

    >>> file_stem("lift [b]")
    'lift-b'
    """
    return re.sub(r"[^\w.+-]+", "-", label, flags=re.ASCII).strip("-") or "model"
