"""`check`: look at data and checkpoints before a long run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_lift.commands.console import bounded, console, progress
from robustbench_lift.errors import IncompleteError, RobustbenchError, UsageError
from robustbench_lift.text import printable

if TYPE_CHECKING:
    from robustbench_lift.data.check import CheckReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    targets: Annotated[
        list[str],
        typer.Argument(help="Data specs (`imagenet:/data/val`, `imagenet-c:/data/c`, ...) and model specs."),
    ],
    samples: Annotated[int, typer.Option(help="Files of each data set that are decoded, a fixed choice.")] = 200,
    everything: Annotated[bool, typer.Option("--all", help="Decode every file.")] = False,
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Compare the md5 of published archives that lie there.")
    ] = False,
) -> None:
    """Check data (layout, counts, files, sizes, frames, archives) and checkpoints before a long run.

    Nothing is changed. Problems end with exit code 3 and say what to do.

    Example: `robustbench-lift check photos photos/resnet-lift`
    """
    from robustbench_lift.data.check import check_data

    reports: list[CheckReport] = []
    for target in targets:
        if is_data(target):
            with progress(f"check {target.partition(':')[0]}") as advance:
                found = check_data(target, samples=None if everything else samples, md5=checksums, progress=advance)
        else:
            found = [check_model(target)]
        for report in found:
            _print(report)
        reports += found
    count = sum(len(report.problems) for report in reports)
    if count:
        raise IncompleteError(
            f"{count} {'problem' if count == 1 else 'problems'} found; each line above says what to do."
        )


def is_data(target: str) -> bool:
    """Whether a target is a data spec; anything else is a model spec.

    Raises:
        UsageError: it is a bare path of a folder or an archive.

    >>> is_data("imagenet-c:/data/c"), is_data("photos"), is_data("photos/resnet-lift"), is_data("timm:resnet50")
    (True, True, False, False)
    """
    from pathlib import Path

    from robustbench_lift.data.kinds import KINDS

    if target.partition(":")[0] in KINDS:
        return True
    path = Path(target).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix in (".tar", ".npz") and "@" not in target):
        raise UsageError(
            f"{target} is a path; say what it holds, for example imagenet:{target} or imagenet-c:{target}. "
            f"Kinds: {', '.join(KINDS)}."
        )
    return False


def check_model(spec: str) -> CheckReport:
    """Load a checkpoint as a run would, and show it one image."""
    import torch

    from robustbench_lift.data.check import CheckReport, Finding
    from robustbench_lift.weights import load_model

    try:
        model = load_model(spec)
    except RobustbenchError as error:
        return CheckReport(spec, (Finding("problem", str(error)),))
    side = model.preprocessing.crop or 32
    pooling = f", pooling {model.pooling} ({model.placement})" if model.pooling else ""
    how = model.preprocessing
    resizing = f"resize {how.resize} ({how.interpolation}), crop {how.crop}"
    findings = [
        Finding("ok", f"{model.arch}{pooling}, {model.parameters:,} parameters, {model.num_classes:,} classes"),
        Finding("ok", f"weights sha256 {model.weights_sha256}"),
        Finding("ok", f"images: {resizing}, mean {how.mean}, std {how.std}"),
        *(Finding("note", note) for note in model.notes),
    ]
    image = (torch.arange(3 * side * side) * 37 % 256).to(torch.uint8).reshape(1, 3, side, side)
    try:
        with torch.inference_mode():
            finite = bool(torch.isfinite(model.logits(image)).all())
    except RobustbenchError as error:
        return CheckReport(spec, (*findings, Finding("problem", str(error))))
    if finite:
        findings.append(Finding("ok", f"answers an image of {side}x{side} pixels with finite numbers"))
    else:
        findings.append(Finding("problem", "answers with NaN or infinity: the weights are damaged. Get them again."))
    return CheckReport(spec, tuple(findings))


def _print(report: CheckReport) -> None:
    console.print(printable(report.target), markup=False, style="bold", soft_wrap=True)
    styles = {"ok": "green", "note": "yellow", "problem": "bold red"}
    for finding in report.findings:
        console.print(f"  {finding.level:8}", style=styles[finding.level], end="")
        console.print(bounded(printable(finding.text, limit=None)), markup=False, soft_wrap=True)
