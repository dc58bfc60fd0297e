"""`run`: evaluate models and print the tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_lift.commands import options
from robustbench_lift.commands.console import console, follow, progress, stop_on_signals
from robustbench_lift.commands.memory import keep_freed_memory
from robustbench_lift.commands.remarks import data_notes, model_notes, shift_words
from robustbench_lift.errors import UsageError
from robustbench_lift.shares import Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robustbench_lift.runs import Run

EMBEDDED_OUT = Path("runs/photos")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def embedded(out: Path = EMBEDDED_OUT) -> None:
    """The embedded benchmark: shipped networks, embedded photographs."""
    run(models=None, data="photos", out=out)


def run(
    models: options.Models = None,
    data: options.Data = "photos",
    protocols: options.Protocols = options.ALL_PROTOCOLS,
    out: Annotated[Path | None, typer.Option(help="Folder of the run folders; `runs/<data>` unless told.")] = None,
    normaliser: Annotated[
        str | None,
        typer.Option(
            help="What CE and FR are divided by: `alexnet` (published, ImageNet only), a model spec, or `none`."
        ),
    ] = None,
    corruptions: options.Corruptions = None,
    severities: options.Severities = options.ALL_SEVERITIES,
    perturbations: options.Perturbations = None,
    difficulty: options.Difficulty = 1,
    variant: options.Variant = "imagenet-c",
    storage: options.Storage = None,
    shift_mode: options.ShiftMode = "crop",
    draws: options.Draws = 5,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    workers: options.Workers = 0,
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile the networks.")] = False,
    shard: Annotated[str, typer.Option(help="i/n: this job's share of the images; the last job merges.")] = "",
    allow_chance: Annotated[
        bool, typer.Option("--allow-chance", help="Go on although a model answers no better than guessing.")
    ] = False,
    allow_dependent: Annotated[
        bool,
        typer.Option(
            "--allow-dependent",
            help="Go on although a network's answers depend on the batch or change; the signature is marked.",
        ),
    ] = False,
    report: Annotated[bool, typer.Option(help="Write tables, figures and the page when all cells are there.")] = True,
) -> None:
    """Evaluate models on clean images, ImageNet-C, ImageNet-P and shift consistency; by default the embedded benchmark.

    A run goes on where it stopped; a run of other weights, another protocol or other images is refused.

    Example: `robustbench-lift run photos/resnet-lift photos/resnet-max --protocols clean,shift --out runs/two`
    """
    from robustbench_lift.device import pick_device
    from robustbench_lift.evaluation.engine import evaluate
    from robustbench_lift.evaluation.settings import Settings
    from robustbench_lift.weights import load_model

    request = options.make_request(
        data=data,
        protocols=protocols,
        corruptions=corruptions,
        severities=severities,
        perturbations=perturbations,
        difficulty=difficulty,
        variant=variant,
        storage=storage,
        shift_mode=shift_mode,
        draws=draws,
        limit=limit,
        seed=seed,
    )
    settings = Settings(
        batch_size=batch_size,
        device=device,
        precision=precision,  # type: ignore[arg-type]  # checked there
        workers=workers,
        compile=compile_,
        allow_chance=allow_chance,
        allow_dependent=allow_dependent,
        shard=_shard(shard),
    )
    plans = request.build()
    specs = options.models_for(request, models)
    folder = out or Path("runs") / plans[0].data.name
    divisor, specs = _normaliser(request.normaliser(normaliser), specs)
    keep_freed_memory()
    folders = _folder_names(specs)
    loaded = [load_model(spec, device=str(pick_device(settings.device))) for spec in specs]
    if settings.shard[0] == 0:
        for note in (*data_notes(plans), *model_notes(loaded, plans)):
            console.print(note, markup=False, soft_wrap=True)
    with stop_on_signals(), progress(f"{len(specs)} {'model' if len(specs) == 1 else 'models'}") as advance:
        runs = evaluate(
            loaded,
            plans,
            run=[folder / name for name in folders],
            settings=settings,
            normaliser=divisor,
            progress=follow(advance),
        )
    _tell(runs, folder, report=report)


def _tell(runs: Sequence[Run], folder: Path, *, report: bool) -> None:
    from robustbench_lift.report import console_tables, document, render_all

    open_cells = sum(len(one.missing()) for one in runs)
    if open_cells:
        console.print(
            f"{open_cells} cells wait for other shards; the last job merges them. Runs lie in {folder}",
            markup=False,
            soft_wrap=True,
        )
        return
    for run in runs:
        words = shift_words(run)
        if words is not None:
            console.print(words, markup=False, soft_wrap=True)
    made = document(runs, command=f"robustbench-lift report {folder}")
    for table in console_tables(made):
        console.print(table)
    if report:
        written = render_all(made, folder / "report")
        shown = [path for path in written if path.stem in ("report", "index", "figure-9", "table-5")]
        for path in shown or written:
            console.print(f"wrote {path}", markup=False, soft_wrap=True)
        console.print(f"and {len(written) - len(shown)} more files in {folder / 'report'}", markup=False)
    console.print(
        f"predictions: {folder}, one folder a model; `robustbench-lift report {folder}` makes it all again",
        markup=False,
        soft_wrap=True,
    )


def _normaliser(chosen: str | None, specs: list[str]) -> tuple[str | None, list[str]]:
    """What to record as normaliser, and the models with the measured normaliser among them."""
    if chosen is None or chosen == "alexnet":
        return chosen, specs
    return f"../{_folder_name(chosen)}", [chosen, *(spec for spec in specs if spec != chosen)]


def _folder_name(spec: str, *, long: bool = False) -> str:
    """A folder name for a model spec: model and stem of the weights file; `long` adds options and the file's folder.

    >>> _folder_name("photos/resnet-lift"), _folder_name("resnet50/lift@/w/best.safetensors")
    ('resnet-lift', 'resnet50-lift-best')
    >>> _folder_name("resnet8/lift?kernel_size=7@seed1/best.pt", long=True)
    'resnet8-lift-kernel_size-7-seed1-best'
    """
    model, _, file = spec.partition("@")
    head, _, options = model.removeprefix("photos/").partition("?")
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
    for spec, name in zip(specs, names, strict=True):
        same = [other for other, its in zip(specs, names, strict=True) if its == name]
        if specs.count(spec) > 1:
            raise UsageError(f"{spec} is given twice.")
        if len(same) > 1:
            raise UsageError(
                f"{' and '.join(same)} would be stored in one folder, {name}. Evaluate them one by one, each with its "
                "own --out."
            )
    return names


def _shard(text: str) -> tuple[int, int]:
    """`i/n` from 1 to n as (i - 1, n); torchrun's rank when nothing is given."""
    share = Share.parse(text) if text else Share.of_process()
    return share.index, share.count
