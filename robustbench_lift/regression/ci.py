"""A verdict for CI: JUnit XML, a badge, GitHub's step summary and annotations, within their limits."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree

from robustbench_lift.errors import StorageError
from robustbench_lift.regression.comparison import Difference
from robustbench_lift.regression.render import row, to_markdown
from robustbench_lift.regression.verdict import INCONCLUSIVE, NOT_COMPARABLE, PASS, REGRESSION, Outcome
from robustbench_lift.scores.numbers import NUMBERS, title
from robustbench_lift.tables.table import plain
from robustbench_lift.text import xml_text

SUMMARY_LIMIT = 1_000_000
"""Bytes of a step summary; GitHub refuses more than 1024 kB."""
COLOURS = {PASS: "brightgreen", REGRESSION: "red", NOT_COMPARABLE: "lightgrey", INCONCLUSIVE: "yellow"}
"""Of a badge, by exit code."""
BADGE_NUMBERS = ("mce", "mean_error", "clean_error", "mfr", "consistency")
"""What a badge shows beside the verdict: the first of these that the candidate has."""
ANNOTATIONS = 10
"""Annotations of one kind that GitHub shows for a step."""


def junit(outcome: Outcome, *, seconds: float, advisory: bool = False) -> bytes:
    """JUnit XML: a suite a protocol, a case a number; what was not measured on both sides is skipped.

    A regression fails the case of its number; the case `verdict` fails for what no other case shows (changed labels,
    too few seeds, missing numbers), so that one cause is one failure.

    Args:
        outcome: the verdict.
        seconds: how long the gate took.
        advisory: report failures as skipped, for builds that only watch.
    """
    comparison = outcome.comparison
    root = ElementTree.Element("testsuites", name="robustbench-lift gate")
    suites: dict[str, list[Difference | str]] = {}
    repeated = {  # the number that is not normalised says the same where there is a normaliser
        f"{NUMBERS[head].unnormalised}/{condition}"
        for head, slash, condition in (name.partition("/") for name in comparison.metrics)
        if slash
    }
    for d in (*comparison.metrics.values(), *comparison.worst):
        if d.name in repeated:
            continue
        suites.setdefault(_protocol(d.name), []).append(d)
    for name in comparison.one_sided:
        suites.setdefault(_protocol(name), []).append(name)
    verdict = ElementTree.SubElement(root, "testsuite", name="verdict", tests="1")
    properties = ElementTree.SubElement(verdict, "properties")
    for key, value in {
        "signature": comparison.signature,
        "baseline": comparison.baseline,
        "candidate": comparison.candidate,
        **comparison.sources,
        "mode": outcome.mode,
        "reproduce": outcome.reproduce,
        **({"accept": outcome.accept} if outcome.acceptable else {}),
    }.items():
        ElementTree.SubElement(properties, "property", name=key, value=xml_text(value))
    case = ElementTree.SubElement(
        verdict, "testcase", classname="robustbench_lift.gate", name="verdict", time=f"{seconds:.3f}"
    )
    elsewhere = any(fails(d, outcome) for numbers in suites.values() for d in numbers)
    failed = outcome.exit_code != PASS and not elsewhere
    verdict.set("failures", str(int(failed and not advisory)))
    if elsewhere:
        ElementTree.SubElement(case, "system-out").text = xml_text("\n".join(outcome.reasons))
    if failed:
        offer = [f"To accept it: {outcome.accept}"] if outcome.acceptable else []
        _fail(case, outcome.word, "\n".join((*outcome.reasons, *offer)), advisory)
    for protocol, numbers in sorted(suites.items()):
        _suite(root, protocol, numbers, outcome, advisory)
    ElementTree.indent(root)
    xml: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return xml


def junit_error(message: str, *, seconds: float) -> bytes:
    """JUnit XML of a gate that could not decide: one case, an error with the message that the user saw."""
    root = ElementTree.Element("testsuites", name="robustbench-lift gate")
    suite = ElementTree.SubElement(root, "testsuite", name="verdict", tests="1", failures="0", errors="1")
    case = ElementTree.SubElement(
        suite, "testcase", classname="robustbench_lift.gate", name="verdict", time=f"{seconds:.3f}"
    )
    ElementTree.SubElement(case, "error", message=xml_text(message.splitlines()[0])).text = xml_text(message)
    ElementTree.indent(root)
    xml: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return xml


def fails(number: Difference | str, outcome: Outcome) -> bool:
    """Whether a number is one that the gate fails for."""
    return not isinstance(number, str) and number.verdict == "regressed" and outcome.can_fail(number)


def badge(outcome: Outcome) -> bytes:
    """A badge as shields.io reads it from a URL (https://shields.io/badges/endpoint-badge): verdict and one number."""
    numbers = outcome.comparison.metrics
    shown = next((numbers[name] for name in BADGE_NUMBERS if name in numbers), None)
    message = outcome.word if shown is None else f"{outcome.word}, {title(shown.name)} {100 * shown.candidate:.1f} %"
    content = {
        "schemaVersion": 1,
        "label": "robustness",
        "message": plain(message),
        "color": COLOURS[outcome.exit_code],
    }
    return (json.dumps(content) + "\n").encode()


def error_command(message: str) -> str:
    """The annotation of a gate that could not decide."""
    return _capped("error", [message])[0]


def _suite(
    root: ElementTree.Element, protocol: str, numbers: list[Difference | str], outcome: Outcome, advisory: bool
) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name=protocol, tests=str(len(numbers)))
    failures = skipped = 0
    for one in numbers:
        name = one if isinstance(one, str) else one.name
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"robustbench_lift.{protocol}", name=xml_text(title(name)), time="0"
        )
        if isinstance(one, str):
            ElementTree.SubElement(case, "skipped", message="measured on one side only")
            skipped += 1
        elif fails(one, outcome):
            text = (
                "  ".join(row(one, outcome)) + f"\nmargin {100 * one.margin:g} points\nTo see it: {outcome.reproduce}"
            )
            text += f"\nTo accept it: {outcome.accept}" if outcome.acceptable else ""
            _fail(case, f"{title(name)} regressed by {100 * one.worsening:.2f} points", text, advisory)
            failures += not advisory
            skipped += advisory
    suite.set("failures", str(int(failures)))
    suite.set("skipped", str(int(skipped)))


def _fail(case: ElementTree.Element, message: str, text: str, advisory: bool) -> None:
    kind = "skipped" if advisory else "failure"
    ElementTree.SubElement(case, kind, message=xml_text(message)).text = xml_text(text)


def _protocol(name: str) -> str:
    head = name.partition("/")[0]
    return NUMBERS[head].protocol if head in NUMBERS else head


def workflow_commands(outcome: Outcome) -> list[str]:
    """Workflow commands for GitHub: at most ten errors and ten warnings, worst first, the last saying how many more.

    They are printed on standard output, where GitHub reads them.
    """
    failing = [d for d in outcome.comparison.metrics.values() if d.verdict == "regressed" and outcome.can_fail(d)]
    cells = [d for d in outcome.comparison.worst if d.verdict == "regressed"]
    failing.sort(key=lambda d: -d.worsening)
    grave, light = (failing + cells, []) if outcome.policy.cells else (failing, cells)
    if outcome.mode == "identity" and outcome.exit_code != PASS:
        return _capped("error", list(outcome.reasons))
    errors = [f"{title(d.name)} is worse by {100 * d.worsening:.2f} points" for d in grave]
    warnings = [f"{title(d.name)} is worse by {100 * d.worsening:.2f} points" for d in light]
    if outcome.exit_code != PASS and not errors:
        errors = list(outcome.reasons)
    return _capped("error", errors) + _capped("warning", warnings)


def _capped(kind: str, messages: list[str]) -> list[str]:
    shown = messages if len(messages) <= ANNOTATIONS else messages[: ANNOTATIONS - 1]
    more = len(messages) - len(shown)
    lines = [f"::{kind} title=robustness gate::{_command(message)}" for message in shown]
    if more:
        lines.append(f"::{kind} title=robustness gate::and {more} more, in the summary and the JSON output")
    return lines


def _command(text: str) -> str:
    """Text as GitHub's workflow commands want it, without a terminal's control characters."""
    text = "\n".join(plain(line) for line in text.splitlines())
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def step_summary(outcome: Outcome) -> bool:
    """Append the verdict to GitHub's step summary when this runs in a workflow.

    Returns:
        Whether there was a summary to write to, with room left.

    Raises:
        StorageError: GitHub names a file that cannot be written.
    """
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if not target:
        return False
    path = Path(target)
    try:
        used = path.stat().st_size if path.exists() else 0
        left = SUMMARY_LIMIT - used - 1
        text = to_markdown(outcome.comparison, outcome, limit=max(0, left))
        if len(text.encode()) > left:  # earlier steps have filled it; a longer one would be dropped whole
            text = f"Robustness gate: {outcome.word}"
        if len(text.encode()) > left:
            return False
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")
    except OSError as error:
        raise StorageError(f"the step summary {path} cannot be written: {error.strerror}.") from None
    return True
