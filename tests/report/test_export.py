"""Results as data: scores.json, the CSV in timm's manner, the hub's YAML, and the schemas that all files keep."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from robustbench_lift import Run
from robustbench_lift.errors import UsageError
from robustbench_lift.report import Document, document
from robustbench_lift.report.export import eval_results, frame, model_index, scores, scores_json, timm_csv
from robustbench_lift.schemas import NAMES, schema

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "number": (int, float), "integer": (int,),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip


def errors(value: Any, rule: dict[str, Any], top: dict[str, Any], where: str = "") -> list[str]:
    """What of a value does not fit a schema: the part of JSON Schema that ours use."""
    unknown = set(rule) - {
        "$schema", "$defs", "$ref", "title", "description", "default", "type", "properties", "required", "items",
        "additionalProperties", "anyOf", "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum",
        "exclusiveMaximum", "minLength", "prefixItems", "minItems", "maxItems",
    }  # fmt: skip
    assert not unknown, unknown
    if "$ref" in rule:
        return errors(value, top["$defs"][rule["$ref"].rpartition("/")[2]], top, where)
    if "anyOf" in rule:
        return [] if any(not errors(value, one, top) for one in rule["anyOf"]) else [f"{where}: none of anyOf"]
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    fits = any(isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in kinds)
    if kinds and not fits:
        return [f"{where}: {type(value).__name__} is no {kinds}"]
    found = []
    if ("const" in rule and value != rule["const"]) or ("enum" in rule and value not in rule["enum"]):
        found.append(f"{where}: {value!r}")
    if isinstance(value, str) and "pattern" in rule and not re.search(rule["pattern"], value):
        found.append(f"{where}: {value!r} does not match")
    if isinstance(value, dict):
        found += [f"{where}: {key} is missing" for key in rule.get("required", ()) if key not in value]
        extra = rule.get("additionalProperties", True)
        for key, one in value.items():
            inner = rule.get("properties", {}).get(key, extra)
            if inner is False:
                found.append(f"{where}: {key} is unknown")
            elif isinstance(inner, dict):
                found += errors(one, inner, top, f"{where}.{key}")
    if isinstance(value, list):
        for number, one in enumerate(value):
            prefix = rule.get("prefixItems", ())
            inner = prefix[number] if number < len(prefix) else rule.get("items")
            found += errors(one, inner, top, f"{where}[{number}]") if isinstance(inner, dict) else []
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs on a small part of the photographs."""
    from robustbench_lift import evaluate

    folder = tmp_path_factory.mktemp("runs")
    options: dict[str, Any] = {"protocols": ("clean", "corruption", "shift"), "corruptions": ("fog",), "limit": 30}
    models = ["photos/resnet-max", "photos/resnet-lift"]
    return [evaluate(m, "photos", run=folder / str(k), device="cpu", **options) for k, m in enumerate(models)]


@pytest.fixture(scope="module")
def made(runs: list[Run]) -> Document:
    """Their document."""
    return document(runs, replicates=50)


def test_scores_are_those_of_the_run(made: Document, runs: list[Run]) -> None:
    model = next(m for m in made.models if m.spec == "photos/resnet-lift")
    found, expected = scores(made, model), runs[1].scores()
    assert {key: one["value"] for key, one in found["headline"].items()} == {
        key: value for key, value in expected.items() if "/" not in key
    }
    assert found["headline"]["consistency"]["direction"] == "higher"
    assert (
        found["headline"]["clean_error"]["low"] <= expected["clean_error"] <= found["headline"]["clean_error"]["high"]
    )
    cells = {(c["condition"], c["severity"]): c["value"] for c in found["conditions"] if c["number"] == "error"}
    assert cells["fog", None] == expected["error/fog"]
    assert cells["fog", 3] == expected.errors[next(cell for cell in expected.errors if cell.severity == 3)]
    assert found["signature"].startswith("rbl1|data:photos")
    assert set(frame(made)["model"]) == {m.label for m in made.models}


def test_every_file_keeps_its_schema(made: Document, runs: list[Run], tmp_path: Path) -> None:
    from robustbench_lift import compare, gate
    from robustbench_lift.regression.render import to_json

    outcome = gate(*runs)
    files = {
        "scores": scores_json(made),
        "document": made.to_json(),
        "run": (runs[0].path / "run.json").read_text(),
        "gate": to_json(outcome.comparison, outcome),
    }
    assert set(files) == set(NAMES)
    for name, text in files.items():
        rule = schema(name)
        assert errors(json.loads(text), rule, rule) == [], name
        damaged = {**json.loads(text), "schema": "one"}
        assert errors(damaged, rule, rule), name
        assert errors({key: value for key, value in damaged.items() if key != rule["required"][0]}, rule, rule)
    rule = schema("gate")
    assert errors(json.loads(to_json(compare(*runs))), rule, rule) == []


def test_the_schema_of_documents_is_that_of_the_classes() -> None:
    pydantic = pytest.importorskip("pydantic", reason="it writes schemas of dataclasses; typer brings it")
    made = pydantic.TypeAdapter(Document).json_schema()
    kept = schema("document")
    assert kept["properties"] == made["properties"]
    assert kept["$defs"] == made["$defs"]


def test_a_csv_as_timm_writes_them(made: Document, runs: list[Run]) -> None:
    rows = list(csv.DictReader(io.StringIO(timm_csv(made))))
    assert [float(row["top1_err"]) for row in rows] == sorted(float(row["top1_err"]) for row in rows)
    one = next(row for row in rows if row["model"] == "photos/resnet-max")
    error = runs[0].scores()["clean_error"]
    assert float(one["top1_err"]) == pytest.approx(100 * error, abs=1e-3)
    assert float(one["top1"]) + float(one["top1_err"]) == pytest.approx(100)
    assert one["param_count"] == "0.08"
    assert "mce" not in one


def test_the_hub_reads_what_is_written(made: Document) -> None:
    model = made.models[0]
    head, index, tail = model_index(made, model).partition("model-index:")
    assert head == "---\n"
    (entry,) = yaml.safe_load(index + tail.removesuffix("---\n"))["model-index"]
    metrics = {metric["type"]: metric["value"] for metric in entry["results"][0]["metrics"]}
    assert metrics["clean_error"] == model.value("clean_error").value
    assert all(isinstance(value, float) for value in metrics.values())
    (result,) = yaml.safe_load(eval_results(made, model, ["me/photos:default=consistency"], date="2026-01-02"))
    assert result["dataset"] == {"id": "me/photos", "task_id": "default"}
    assert result["value"] == model.value("consistency").value
    assert result["date"] == "2026-01-02"


@pytest.mark.parametrize(
    ("text", "message"), [("photos=mce", "OWNER/NAME:TASK"), ("me/c:d=mcr", "mce"), ("me/c:d=mce", "has no mce")]
)
def test_results_for_the_hub_that_mean_nothing(made: Document, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        eval_results(made, made.models[0], [text])
