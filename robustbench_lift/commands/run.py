"""`run`: evaluate models and print the tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_lift.commands.config import write_config
from robustbench_lift.commands.console import console, doing, follow, print_note, progress
from robustbench_lift.commands.fields import expanded
from robustbench_lift.commands.memory import keep_freed_memory
from robustbench_lift.commands.remarks import data_notes, model_notes, shift_words
from robustbench_lift.errors import UsageError
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.protocols.request import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robustbench_lift.runs import Run

SCORES = "scores.json"
"""Scores of a run, beside its run.json."""
CONFIG = "run.toml"
"""What repeats a command, beside its runs."""

Models = Annotated[
    list[str] | None,
    typer.Argument(
        help="Model specs: `resnet50/lift@weights.safetensors`, `torchvision:resnet50@file.pth`, ...; the shipped ones "
        "by default where there are some for the data."
    ),
]
Normaliser = Annotated[
    str | None,
    typer.Option(
        "--normaliser",
        "--normalizer",
        help="What CE and FR are divided by: `alexnet` (published, ImageNet only), a model spec, or `none`.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def embedded() -> None:
    """The embedded benchmark: shipped networks, embedded photographs."""
    evaluate_and_report(Request(), Settings(), models=None, out=None, normaliser=None, report=True)


@expanded(config=True)
def run(
    request: Request,
    settings: Settings,
    models: Models = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run folders; `runs/<data>` by default.")] = None,
    normaliser: Normaliser = None,
    report: Annotated[bool, typer.Option(help="Write tables, figures and the page when all cells are there.")] = True,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the scores of all models here, as scores.json of each run has them."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors and what to know of data and models, and nothing else.")
    ] = False,
) -> None:
    """Evaluate models on clean images, ImageNet-C, ImageNet-P and shift consistency; by default the embedded benchmark.

    A run goes on where it stopped; a run of other weights, another protocol or other images is refused.

    Example: `robustbench-lift run photos/resnet-lift photos/resnet-max --protocols clean,shift --out runs/two`
    """
    evaluate_and_report(
        request,
        settings,
        models=models,
        out=out,
        normaliser=normaliser,
        report=report,
        json_file=json_file,
        quiet=quiet,
    )


def evaluate_and_report(
    request: Request,
    settings: Settings,
    *,
    models: list[str] | None,
    out: Path | None,
    normaliser: str | None,
    report: bool,
    json_file: Path | None = None,
    quiet: bool = False,
) -> None:
    """What `run` does."""
    with doing("loading PyTorch", quiet=quiet):
        from robustbench_lift.device import pick_device
        from robustbench_lift.evaluation.engine import evaluate
        from robustbench_lift.weights import load_model
    with doing("opening the data and the networks", quiet=quiet):
        protocols = request.build()
        folder = out or Path("runs") / protocols[0].data.name
        specs, divisor = models_of(request, models, normaliser)
        folders = dict(zip(specs, _folder_names(specs), strict=True))
        keep_freed_memory()
        device = str(pick_device(settings.device))
        loaded = [load_model(spec, device=device) for spec in specs]
    if settings.shard.index == 0:
        for note in (*data_notes(protocols), *model_notes(loaded, protocols)):
            print_note(note.removeprefix("note ")) if quiet else console.print(note, markup=False, soft_wrap=True)
    paths = [folder / name for name in folders.values()]
    try:
        with progress(f"{len(specs)} {'model' if len(specs) == 1 else 'models'}", quiet=quiet) as advance:
            runs = evaluate(
                loaded,
                protocols,
                run=paths,
                settings=settings,
                normaliser=f"../{folders[divisor]}" if divisor in folders else divisor,
                progress=follow(advance),
            )
    finally:  # of a run that was stopped too, but not of one that was refused
        if settings.shard.index == 0:
            for path in paths:
                if (path / "run.json").exists():
                    write_config(path / CONFIG, request, settings, models=specs, normaliser=normaliser, out=folder)
    _results(runs, folder, report=report, json_file=json_file, quiet=quiet)


def models_of(request: Request, models: list[str] | None, normaliser: str | None) -> tuple[list[str], str | None]:
    """The models that are named, or those that ship for the data, after the normaliser where that is one; which it is.

    Raises:
        UsageError: none is named and none ships, or one is named twice.
    """
    specs = list(models or request.models)
    if not specs:
        raise UsageError(
            f"no model given for {request.data}; the shipped ones know the embedded photographs alone. Name at least "
            "one, for example `resnet50/lift@weights.safetensors`; `robustbench-lift list models` shows what there is."
        )
    for spec in specs:
        if specs.count(spec) > 1:
            raise UsageError(f"{spec} is given twice.")
    divisor = request.normaliser(normaliser)
    if divisor not in (None, "alexnet"):
        specs = [divisor, *(spec for spec in specs if spec != divisor)]
    return specs, divisor


def _results(runs: Sequence[Run], folder: Path, *, report: bool, json_file: Path | None, quiet: bool) -> None:
    """Store the scores and print the tables, once every cell is there."""
    from robustbench_lift.commands.report import print_files, print_tables
    from robustbench_lift.files import write_atomic
    from robustbench_lift.report import document, render_all
    from robustbench_lift.report.export import scores_json

    open_cells = sum(len(one.missing()) for one in runs)
    if open_cells:
        console.print(
            f"{open_cells} cells wait for other shards; the last job merges them. Runs lie in {folder}",
            markup=False,
            soft_wrap=True,
        )
        return
    with doing("scores, intervals and ties", quiet=quiet):
        made = document(runs, command=f"robustbench-lift report {folder}")
    for run in runs:
        its = [model for model in made.models if (model.name, model.spec) == (run.name, run.manifest.model["spec"])]
        write_atomic(run.path / SCORES, scores_json(made, its).encode())
    if json_file is not None:
        write_atomic(json_file, scores_json(made).encode())
    if not quiet:
        for run in runs:
            words = shift_words(run)
            if words is not None:
                console.print(words, markup=False, soft_wrap=True)
        print_tables(made)
    written = []
    if report:
        with doing("drawing figures, writing tables and the page", quiet=quiet):
            written = render_all(made, folder / "report")
    if quiet:
        return
    if report:
        print_files(folder / "report", written)
    console.print(
        f"predictions: {folder}, one folder a model, scores in its {SCORES}; `robustbench-lift report {folder}` makes "
        f"it all again, `robustbench-lift run --config {runs[0].path / CONFIG}` evaluates again",
        markup=False,
        soft_wrap=True,
    )


def _folder_name(spec: str, *, long: bool = False) -> str:
    """A folder name for a model spec: model and stem of the weights file; `long` adds options and the file's folder.

    >>> _folder_name("photos/resnet-lift"), _folder_name("resnet50/lift@/w/best.safetensors")
    ('resnet-lift', 'resnet50-lift-best')
    >>> _folder_name("resnet8/lift?kernel_size=7@seed1/best.pt", long=True)
    'resnet8-lift-kernel_size-7-seed1-best'
    >>> _folder_name("hf:./nets/mine"), _folder_name("hf:~/mine@../best.pt")
    ('hf-nets-mine', 'hf-mine-best')
    """
    model, _, file = spec.partition("@")
    path, _, options = model.removeprefix("photos/").partition("?")
    head = "-".join(part for part in re.split("[:/]", path) if part not in ("", ".", "..", "~"))
    stem = Path(file).name.partition(".")[0]
    parts = (head, options, Path(file).parent.name, stem) if long else (head, stem)
    name = "-".join(part for part in parts if part)
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def _folder_names(specs: Sequence[str]) -> list[str]:
    """The folder name of each model; models that would share one get the folder of their weights into the name.

    >>> _folder_names(["resnet8/lift@seed0/final.pt", "resnet8/lift@seed1/final.pt", "resnet8/max@final.pt"])
    ['resnet8-lift-seed0-final', 'resnet8-lift-seed1-final', 'resnet8-max-final']
    """
    short = [_folder_name(spec) for spec in specs]
    names = [_folder_name(spec, long=True) if short.count(n) > 1 else n for spec, n in zip(specs, short, strict=True)]
    for name in names:
        same = [other for other, its in zip(specs, names, strict=True) if its == name]
        if len(same) > 1:
            raise UsageError(
                f"{' and '.join(same)} would be stored in one folder, {name}. Evaluate them one by one, each with its "
                "own --out."
            )
    return names
