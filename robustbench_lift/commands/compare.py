"""`compare` and `gate`: two runs, image by image; a difference to look at, or a verdict for CI."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robustbench_lift.commands.console import console
from robustbench_lift.commands.differences import check_format, show, write
from robustbench_lift.commands.fields import expanded
from robustbench_lift.commands.options import Overriding
from robustbench_lift.errors import UsageError
from robustbench_lift.regression.policy import Policy

if TYPE_CHECKING:
    from robustbench_lift.regression import Outcome


Format = Annotated[str, typer.Option("--format", help="text, markdown, json or csv.")]
Out = Annotated[
    Path | None, typer.Option(help="Write it to this file instead of the terminal; missing folders are made.")
]
Rows = Annotated[int, typer.Option(help="Cells shown as text, worst first; 0 shows all.")]
Allow = Annotated[
    bool, typer.Option("--allow-protocol-diff", help="Compare although the signatures differ, under a banner.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("compare")(compare)
    app.command("gate")(gate)


@expanded
def compare(
    baseline: Annotated[Path, typer.Argument(help="A run folder, or a baseline file (*.json).")],
    candidate: Annotated[Path, typer.Argument(help="The run folder that is judged.")],
    rules: Annotated[
        Mapping[str, Any],
        Overriding(Policy, ("margins", "alpha", "correction", "confidence", "replicates", "seed")),
    ],
    form: Format = "text",
    out: Out = None,
    rows: Rows = 20,
    allow_protocol_diff: Allow = False,
) -> None:
    """Show every difference between two runs over the same images, with confidence, worst first.

    It ends with 0 whatever the difference; `gate` decides.

    Example: `robustbench-lift compare runs/photos/resnet-max runs/photos/resnet-lift`
    """
    from robustbench_lift.regression.policy import MARGINS, read_policy
    from robustbench_lift.regression.sides import compare_sides, only_run, open_runs, open_side

    check_format(form)
    margins = dict.fromkeys(MARGINS, 0.0) | dict(rules.get("margins") or {})
    comparison = compare_sides(
        open_side(baseline),
        only_run(open_runs([candidate]), candidate),
        read_policy(None, **{**rules, "margins": margins}),
        allow_protocol_diff=allow_protocol_diff,
    )
    show(comparison, None, form, out, rows)


@expanded
def gate(
    baseline: Annotated[
        Path, typer.Argument(help="A baseline file (*.json), a run folder, or a folder of runs, one a seed.")
    ],
    candidate: Annotated[list[Path], typer.Argument(help="The run folder that is judged; several seeds if given.")],
    rules: Annotated[Mapping[str, Any], Overriding(Policy)],
    policy: Annotated[Path | None, typer.Option(help="Policy, a TOML file; options override it.")] = None,
    form: Format = "text",
    out: Out = None,
    rows: Rows = 10,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here; missing folders are made.")] = None,
    comment: Annotated[Path | None, typer.Option(help="Write a Markdown comment for a pull request here.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the versioned JSON here.")] = None,
    badge: Annotated[Path | None, typer.Option(help="Write a badge for shields.io (endpoint JSON) here.")] = None,
    advisory: Annotated[
        bool, typer.Option("--advisory", help="Report a regression, in JUnit as skipped, and end with 0.")
    ] = False,
    allow_protocol_diff: Allow = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Decide nothing: write the run as the new baseline file.")
    ] = False,
    predictions: Annotated[
        bool, typer.Option(help="--accept: keep predicted classes beside it (.npz), so that tests are paired.")
    ] = True,
    note: Annotated[str, typer.Option(help="--accept: a line on why, kept in the file.")] = "",
    force: Annotated[bool, typer.Option("--force", help="--accept although files in git are changed.")] = False,
) -> None:
    """Decide whether a run may replace a baseline: one exit code.

    0 pass, 1 regression, 2 usage, 3 not comparable or incomplete, 4 inconclusive. A number fails when it is worse by
    more than its margin *and* its corrected p-value is below alpha; same weights must give the same labels; several
    seeds a side are compared by Welch's t. In a GitHub workflow it also writes the step summary and annotations.

    Example: `robustbench-lift gate baseline.json runs/photos/resnet-lift --margin mce=0.5 --junit gate.xml`
    """
    from robustbench_lift.regression import ci
    from robustbench_lift.regression.policy import read_policy
    from robustbench_lift.regression.sides import only_run, open_runs, open_side
    from robustbench_lift.regression.verdict import gate as decide

    check_format(form)
    if accept:
        _accept(baseline, only_run(open_runs(candidate), candidate[0]), predictions=predictions, note=note, force=force)
        return
    tolerated = read_policy(policy, **rules)
    start = time.perf_counter()
    try:
        outcome = decide(open_side(baseline), open_runs(candidate), tolerated, allow_protocol_diff=allow_protocol_diff)
    except Exception as error:
        # CI shows what it is given: a gate that could not decide says so there too, then as everywhere
        if isinstance(getattr(error, "exit_code", None), int):
            if junit:
                write(junit, ci.junit_error(str(error), seconds=time.perf_counter() - start))
            if os.environ.get("GITHUB_ACTIONS") == "true":
                typer.echo(ci.error_command(str(error)), err=True)
        raise
    seconds = time.perf_counter() - start
    if junit:
        write(junit, ci.junit(outcome, seconds=seconds, advisory=advisory))
    _publish(outcome, comment=comment, json_out=json_out, badge=badge)
    show(outcome.comparison, outcome, form, out, rows)
    if advisory and outcome.exit_code:
        console.print(f"advisory: exit code {outcome.exit_code} was not used.", markup=False)
    raise typer.Exit(0 if advisory else outcome.exit_code)


def _accept(path: Path, run: Any, *, predictions: bool, note: str, force: bool) -> None:
    from robustbench_lift.regression.baseline import accept, changed_files

    if path.suffix != ".json":
        raise UsageError(f"--accept writes a file: name one that ends in .json, for example {path}.json.")
    changed = changed_files(path)
    if changed and not force:
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise UsageError(
            f"files in git are changed ({shown}), so nobody could make this baseline again from its revision. "
            "Commit them first, or use --force."
        )
    written = accept(run, path, predictions=predictions, note=note)
    for file in written:
        console.print(f"wrote {file} ({file.stat().st_size / 1000:.1f} kB)", markup=False, soft_wrap=True)
    console.print(f"Commit it: git add {' '.join(map(str, written))}", markup=False, soft_wrap=True)


def _publish(outcome: Outcome, *, comment: Path | None, json_out: Path | None, badge: Path | None) -> None:
    """Everything that CI reads apart from the exit code."""
    from robustbench_lift.regression import ci
    from robustbench_lift.regression.render import to_json, to_markdown

    if comment:
        write(comment, to_markdown(outcome.comparison, outcome).encode())
    if json_out:
        write(json_out, to_json(outcome.comparison, outcome).encode())
    if badge:
        write(badge, ci.badge(outcome))
    ci.step_summary(outcome)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in ci.workflow_commands(outcome):
            typer.echo(line, err=True)  # GitHub reads both streams; standard output may be JSON
