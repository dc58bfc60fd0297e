"""A comparison or a verdict as JSON (versioned; everything else is made from it), Markdown and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from robustbench_lift.regression.comparison import Comparison, Difference
from robustbench_lift.regression.statistics import p_words
from robustbench_lift.regression.verdict import Outcome
from robustbench_lift.scores.numbers import title
from robustbench_lift.tables.render import csv_value
from robustbench_lift.tables.table import plain
from robustbench_lift.text import code_span, markdown

SCHEMA = 1
MARKER = "<!-- robustbench-lift gate -->"
"""First line of the Markdown comment, by which a bot finds it to update it in place."""
COMMENT_LIMIT = 64_000
"""Bytes of a pull request comment."""


def arrow(d: Difference) -> str:
    """Which way it went, in words that need no colour."""
    if d.delta == 0:
        return "="
    return "worse" if d.worsening > 0 else "better"


def to_data(comparison: Comparison, outcome: Outcome | None = None) -> dict[str, Any]:
    """Plain values, ready for JSON; fractions."""
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "baseline": comparison.baseline,
        "candidate": comparison.candidate,
        "signature": comparison.signature,
        "alpha": comparison.alpha,
        "correction": comparison.correction,
        "confidence": comparison.confidence,
        "same_weights": comparison.same_weights,
        "sources": dict(comparison.sources),
        "notes": list(comparison.notes),
        "one_sided": list(comparison.one_sided),
        "missing_cells": list(comparison.missing_cells),
        "metrics": [_record(d) for d in comparison.metrics.values()],
        "cells": [_record(d) | {"changed_labels": comparison.changed_labels[d.name]} for d in comparison.worst],
        "labels": {
            key: {"changed": changed, "compared": comparison.compared_labels[key]}
            for key, changed in comparison.changed_labels.items()
        },
    }
    if outcome is not None:
        data |= {
            "verdict": outcome.word,
            "exit_code": outcome.exit_code,
            "mode": outcome.mode,
            "paired": outcome.paired,
            "reasons": list(outcome.reasons),
            "reproduce": outcome.reproduce,
        }
        if outcome.acceptable:
            data["accept"] = outcome.accept
    return data


def _record(d: Difference) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": d.name,
        "baseline": d.baseline,
        "candidate": d.candidate,
        "delta": d.delta,
        "low": d.low,
        "high": d.high,
        "p_value": d.p_value,
        "p_adjusted": d.p_adjusted,
        "p_improved": d.p_improved,
        "p_improved_adjusted": d.p_improved_adjusted,
        "margin": d.margin,
        "detectable": d.detectable,
        "gained": d.gained,
        "lost": d.lost,
        "verdict": d.verdict,
    }
    # JSON has no infinities: what is unknown is null
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def to_json(comparison: Comparison, outcome: Outcome | None = None) -> str:
    """The versioned JSON."""
    return json.dumps(to_data(comparison, outcome), indent=1) + "\n"


def to_csv(comparison: Comparison) -> str:
    """One row a number; fractions."""
    records = [_record(d) for d in (*comparison.metrics.values(), *comparison.worst)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(records[0]) if records else ["name"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: csv_value(value) for key, value in record.items()} for record in records)
    return buffer.getvalue()


def row(d: Difference, outcome: Outcome | None = None) -> tuple[str, ...]:
    """A number as printed: name, baseline, candidate, difference with interval, corrected p, direction, verdict.

    In a gate, REGRESSED is said of numbers that can fail it; of others "worse, not gated".
    """
    bounds = f"[{100 * d.low:+.2f}, {100 * d.high:+.2f}]" if math.isfinite(d.low) else "unknown"
    verdict = "REGRESSED" if d.verdict == "regressed" else d.verdict
    if d.verdict == "regressed" and outcome is not None and not outcome.can_fail(d):
        verdict = "worse, not gated"
    return (
        plain(title(d.name)),
        f"{100 * d.baseline:.2f}",
        f"{100 * d.candidate:.2f}",
        f"{100 * d.delta:+.2f} {bounds}",
        p_words(min(d.p_adjusted, d.p_improved_adjusted)),
        arrow(d),
        verdict,
    )


def flips(d: Difference) -> str:
    """Images that became wrong and right, where that is known."""
    return "" if d.lost is None or d.gained is None else f"{d.lost}/{d.gained}"


def power_words(d: Difference) -> str:
    """The smallest difference that the test finds, points; empty when it is not known."""
    return f"{100 * d.detectable:.2f}" if math.isfinite(d.detectable) else ""


def family(comparison: Comparison, kind: str) -> list[Difference]:
    """Numbers of one kind: `headline`, or a prefix such as `ce`."""
    wanted = "" if kind == "headline" else kind
    return [d for name, d in comparison.metrics.items() if name.rpartition("/")[0] == wanted]


HEADINGS = ("number", "baseline %", "candidate %", "difference, points [interval]", "p corrected", "", "verdict")
POWER_HEADINGS = (*HEADINGS[:-1], "detectable, points", HEADINGS[-1])
FLIP_HEADINGS = (*HEADINGS[:-1], "lost/gained", HEADINGS[-1])


def to_markdown(comparison: Comparison, outcome: Outcome | None = None, *, limit: int = COMMENT_LIMIT) -> str:
    """A comment for a pull request: headline numbers, and the cells folded; cut to whole rows below `limit` bytes."""
    lines = [MARKER]
    if outcome is not None:
        lines += [f"### Robustness gate: {outcome.word}", ""]
        lines += [f"- {markdown(reason)}" for reason in outcome.reasons[:20]]
        if len(outcome.reasons) > 20:
            lines.append(f"- and {len(outcome.reasons) - 20} more")
    else:
        lines.append("### Robustness compared")
    lines += ["", f"{code_span(comparison.baseline)} -> {code_span(comparison.candidate)}", ""]
    for note in comparison.notes:
        lines += [f"> {markdown(note)}", ""]  # without the empty line the next note, or the table, would belong to it
    lines += _table(family(comparison, "headline"), outcome, power=True)
    level = f"{100 * comparison.confidence:g} %"
    lines += ["", f"The {level} intervals are of each number by itself; p and verdict are corrected for all numbers"]
    lines[-1] += f" that are tested together ({comparison.correction})."
    rest = [d for d in comparison.metrics.values() if d.name.partition("/")[0] in ("ce", "fr")]
    tail = ["", f"signature: {code_span(comparison.signature)}", ""]
    if outcome is not None and outcome.acceptable:
        tail.append(f"To accept the candidate as the new baseline: {code_span(outcome.accept)}\n")
    folded = [
        "",
        "<details><summary>corruptions, perturbations and cells, worst first</summary>",
        "",
        *_table([*sorted(rest, key=lambda d: (-d.worsening, d.name)), *comparison.worst], outcome, power=False),
        "",
        "</details>",
    ]
    text = "\n".join([*lines, *folded, *tail])
    dropped = 0
    while len(text.encode()) > limit and len(folded) > 8:
        del folded[-3]
        dropped += 1
        cut = [*folded[:-1], f"{dropped} more rows are in the JSON output.", folded[-1]]
        text = "\n".join([*lines, *cut, *tail])
    return text


def _table(rows: list[Difference], outcome: Outcome | None, *, power: bool) -> list[str]:
    headings = POWER_HEADINGS if power else FLIP_HEADINGS
    lines = ["| " + " | ".join(headings) + " |", "|---|---:|---:|---:|---:|---|---:|---|"]
    for d in rows:
        *cells, verdict = row(d, outcome)
        texts = [*cells, power_words(d) if power else flips(d), verdict]
        lines.append("| " + " | ".join(markdown(text) for text in texts) + " |")
    return lines
