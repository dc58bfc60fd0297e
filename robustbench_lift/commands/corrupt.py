"""`corrupt`: write an ImageNet-C or ImageNet-P tree, or CIFAR-style arrays, from a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_lift.commands.console import console, errors, progress
from robustbench_lift.errors import IncompleteError, UsageError
from robustbench_lift.shares import Share
from robustbench_lift.text import printable

if TYPE_CHECKING:
    from corruptions.tree import TreeReport, Verification

SHOWN = 20
"""Images or problems that are printed by name; the manifest has all of them."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("corrupt")(corrupt)


def corrupt(
    source: Annotated[Path, typer.Argument(help="Folder of class folders of images, for example ImageNet's val.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: new, empty, or begun with the same settings.")],
    layout: Annotated[
        str, typer.Option(help="`imagenet-c`, `imagenet-p`, `cifar-c` or `cifar-p` (.npy).")
    ] = "imagenet-c",
    conditions: Annotated[
        str | None,
        typer.Option(
            "--conditions",
            "--corruptions",
            "--perturbations",
            help="Names, comma-separated, or `all`; by default the 15 or 10 of the benchmark.",
        ),
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option(
            "--levels",
            "--severities",
            help="Severities, by default 1,2,3,4,5, or difficulties of noise sequences, by default 1.",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="224, 299, 64 or 32: preparation and parameter table; 32 for the cifar layouts, else 224."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    variant: Annotated[str, typer.Option(help="imagenet-c or imagecorruptions.")] = "imagenet-c",
    workers: Annotated[int | None, typer.Option(help="Processes; by default one a core.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda: where images are corrupted.")] = "cpu",
    limit: Annotated[int | None, typer.Option(help="The first so many images of every class.")] = None,
    shard: Annotated[
        str,
        typer.Option(
            metavar=Share.METAVAR,
            help="Do the i-th of n shares of the work; jobs of all shares may run side by side.",
        ),
    ] = "",
    verify: Annotated[bool, typer.Option("--verify", help="Afterwards read every file back and compare.")] = False,
) -> None:
    """Write an ImageNet-C or ImageNet-P tree from clean images: official layout and storage, resumable.

    The same command goes on where it was stopped. A source image that cannot be decoded is named at the end (exit code
    3); everything else is written.

    Example: `robustbench-lift corrupt imagenet/val imagenet-c --conditions fog,snow --levels 3 --limit 2 --verify`
    """
    from corruptions.tree import TreeSpec, verify_tree, write_tree

    spec = TreeSpec(
        layout=layout,
        conditions=_conditions(conditions, layout),
        levels=tuple(_whole_number(part) for part in _parts(levels)),
        size=size if size is not None else 32 if layout.startswith("cifar") else 224,
        seed=seed,
        variant=variant,
    )
    share = Share.parse(shard) if shard else Share.of_process()
    with progress(f"{len(spec.cells)} conditions") as advance:
        report = write_tree(
            source,
            out,
            spec,
            workers=workers,
            device=device,
            limit=limit,
            share=(share.index + 1, share.count),
            progress=lambda done, total: advance(done / max(total, 1), f"image {done} of {total}"),
        )
    _tell_report(report)
    found = None
    if verify:
        with progress("verify") as advance:
            found = verify_tree(
                out,
                workers=workers,
                progress=lambda done, total: advance(done / max(total, 1), f"file {done} of {total}"),
            )
        _tell_verification(found)
    _judge(report, found)


def _tell_report(report: TreeReport) -> None:
    console.print(
        f"{printable(str(report.out))}: {report.written} files written, {report.kept} were there, from {report.images} "
        "images",
        markup=False,
        soft_wrap=True,
    )
    if report.ignored:
        console.print(f"{report.ignored} files of the source folder are no images and were left out")
    for failure in report.failed[:SHOWN]:
        text = f"cannot be used: {printable(failure.path)} ({printable(failure.reason)})"
        errors.print(text, markup=False, soft_wrap=True)


def _tell_verification(found: Verification) -> None:
    if not found.problems:
        console.print(f"verified: {found.files} files are as written")
    for problem in found.problems[:SHOWN]:
        errors.print(printable(problem), markup=False, soft_wrap=True)


def _judge(report: TreeReport, found: Verification | None) -> None:
    """Raise what decides the exit code."""
    if found is not None and found.problems:
        raise IncompleteError(
            f"{len(found.problems)} problems in {report.out}. Delete the files that are named and run the same command "
            "again: it writes what is missing."
        )
    if report.failed:
        raise IncompleteError(
            f"{len(report.failed)} of {report.images} images cannot be used and are missing from {report.out}; "
            "manifest.json names all of them. Mend or remove them and run the same command again."
        )


def _conditions(text: str | None, layout: str) -> tuple[str, ...]:
    """Names; every known one for `all`; none, which means the benchmark, when none is given."""
    if text != "all":
        return _parts(text)
    import corruptions

    if layout.endswith("-p"):
        return tuple(corruptions.SEQUENCES)
    return tuple(corruptions.CORRUPTIONS)


def _parts(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--levels: {text!r} is not a whole number; expected for example 1,2,3.") from None
