"""`paper`: the tables and figures of the paper, an item a command."""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typing_extensions import Doc

from robustbench_lift.commands.console import console, follow, progress
from robustbench_lift.commands.fields import expanded
from robustbench_lift.commands.memory import keep_freed_memory
from robustbench_lift.commands.train import interruptible, train_one
from robustbench_lift.device import Precision
from robustbench_lift.errors import INTERRUPTED, IncompleteError, UsageError
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.shares import EVERYTHING, Share
from robustbench_lift.text import printable
from robustbench_lift.training.settings import Seconds, TrainingSettings

if TYPE_CHECKING:
    from robustbench_lift.evaluation.progress import Progress
    from robustbench_lift.paper.runner import Experiment
    from robustbench_lift.training import Network, Recipe, TrainingOutcome
    from robustbench_lift.training.data import TrainingData


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """How an item's trainings and evaluations run on this machine."""

    device: Annotated[str, Doc("auto (CUDA when there is one), cpu, cuda, cuda:1, ...")] = "auto"
    precision: Annotated[Precision, Doc("Of trainings: fp32, tf32, or autocast to bf16 or fp16.")] = "fp32"
    workers: Annotated[int, Doc("Processes that read image files.")] = 0
    stop_after: Annotated[Seconds | float | None, Doc("Stop after 25m, 90s or 1h30m; the same command goes on.")] = None
    shard: Annotated[Share, Doc("i/n, i from 1 to n: this job's share of the trainings and evaluations.")] = EVERYTHING


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("paper")(paper)


@expanded
def paper(
    machine: Machine,
    items: Annotated[
        list[str] | None, typer.Argument(help="table-1 ... table-7, figure-1 ... figure-10, or `all`; none: the map.")
    ] = None,
    scale: Annotated[
        Literal["paper", "small", "embedded"],
        typer.Option(help="The paper's networks and data, the same question on a CPU, or what ships."),
    ] = "embedded",
    data: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SPEC, such as cifar100=cifar100:DIR or imagenet=imagenet:DIR; repeatable."),
    ] = None,
    checkpoints: Annotated[
        list[str] | None,
        typer.Option(help="Take these weights and train nothing: a folder of them, or a model spec; repeatable."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Figures of maps: the network, as a model spec; repeatable for figure-7.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Figures of maps: a picture file, or an embedded photograph by name.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Figures of maps: the layer by its name in the network; its first pooling.")
    ] = None,
    channels: Annotated[
        str, typer.Option(help="Figures of maps: channels, comma-separated; those that vary most by default.")
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder of all items, trainings and runs.")] = Path("paper"),
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done and for how long, and do nothing.")
    ] = False,
    pages: Annotated[
        Path | None, typer.Option(help="Write the map, the results and the pictures of what is done as pages here.")
    ] = None,
) -> None:
    """Make a table or figure of the LiftPool paper; alone: the map of all of them.

    Every step goes on where it stopped; trainings and runs are shared by the items that need them.

    Example: `robustbench-lift paper figure-3 --image photo.jpg`

    Example: `robustbench-lift paper table-3 --scale small --data cifar100=cifar100:/data/cifar-100-python --plan`
    """
    from robustbench_lift.paper import ITEMS, item_named
    from robustbench_lift.paper.book import write_pages
    from robustbench_lift.paper.places import parse_places
    from robustbench_lift.paper.results import Drawing
    from robustbench_lift.paper.runner import Experiment

    places = parse_places(data or [])
    names = list(items or [])
    chosen = list(ITEMS.values()) if names == ["all"] else [item_named(name) for name in names]
    if names == ["all"]:
        chosen = [item for item in chosen if scale in item.studies]
    drawing = Drawing(models=tuple(model or ()), image=image, layer=layer, channels=_numbers(channels))
    if chosen and drawing != Drawing() and not all(item.draws for item in chosen):
        plain = next(item.name for item in chosen if not item.draws)
        raise UsageError(f"{plain} draws no maps: --model, --image, --layer and --channels are for figures that do.")
    experiments = [
        Experiment(
            item=item,
            scale=scale,
            out=out,
            places=places,
            checkpoints=tuple(checkpoints or ()),
            drawing=drawing if item.draws else Drawing(),
        )
        for item in chosen
    ]
    for experiment in experiments:
        experiment.item.at(scale)
    if not experiments and pages is None:
        _print_map(out)
    elif plan:
        for experiment in experiments:
            _print_plan(experiment)
    elif experiments:
        _make(experiments, machine)
    if pages is not None and not plan:
        for path in write_pages(out, pages):
            console.print(f"wrote {path}", markup=False, soft_wrap=True)


def _make(experiments: list[Experiment], machine: Machine) -> None:
    from robustbench_lift.paper.runner import make

    keep_freed_memory()
    training = TrainingSettings(
        device=machine.device, precision=machine.precision, workers=machine.workers, stop_after=machine.stop_after
    )
    settings = Settings(device=machine.device, workers=machine.workers)
    complete, interrupted = True, False

    def train(network: Network, recipe: Recipe, data: TrainingData, folder: Path, seed: int) -> TrainingOutcome:
        nonlocal interrupted
        with interruptible() as stop:  # a training stops with a state; an evaluation by Ctrl-C, its cells are stored
            outcome = train_one(network, recipe, data, folder, seed, training, stop)
            interrupted = interrupted or stop()
        return outcome

    for experiment in experiments:
        lacking = experiment.lacking()
        if lacking and len(experiments) > 1 and not experiment.members():
            _say(f"{experiment.item.name}: left out, it needs {'; '.join(lacking)}")
            complete = False
            continue
        results, files = make(
            experiment,
            command=_command(experiment),
            train=train,
            settings=settings,
            workers=machine.workers,
            share=machine.shard,
            say=_say,
            progress=_progress,
        )
        if files:
            _say(f"{experiment.item.name}: {files[0]}")
        complete = complete and not results.open and not results.lacking
        for text in results.lacking:
            _say(f"{experiment.item.name}: not whole, it needs {text}")
        if results.open:
            count = len(results.open) + len(results.members)
            _say(f"{experiment.item.name}: {len(results.open)} of {count} networks are not done.")
        if interrupted:
            _say("stopped; the same command goes on from there.")
            sys.exit(INTERRUPTED)
    if not complete:
        sys.exit(IncompleteError.exit_code)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[Progress], None]]:
    with progress(title) as advance:
        yield follow(advance)


def _print_map(out: Path) -> None:
    from robustbench_lift.paper.book import map_rows

    line = "  {:<10}{:<24}{:>10}{:>12}  {}"
    console.print(line.format("scale", "needs --data", "H100 hours", "core-hours", "done"), style="bold", markup=False)
    last = ""
    for row in map_rows(out):
        if row.item.name != last:
            title = row.item.title.partition(": ")[2] or row.item.title
            console.print(f"{row.item.name}: {title}", markup=False, soft_wrap=True)
            last = row.item.name
        text = line.format(row.scale, row.needs or "-", row.gpu, row.cores, row.state or "-")
        console.print(text, style="dim", markup=False, soft_wrap=True)
    console.print(
        "\n`paper ITEM --scale SCALE` makes one, --plan says first what that takes; `paper all` makes all that need no "
        "data. Hours are estimates unless marked m (measured).",
        markup=False,
        soft_wrap=True,
    )


def _print_plan(experiment: Experiment) -> None:
    from robustbench_lift.paper.book import hours_words
    from robustbench_lift.paper.output import study_words

    console.print(experiment.item.title, style="bold", markup=False, soft_wrap=True)
    console.print(experiment.item.shows, markup=False, soft_wrap=True)
    for study in experiment.item.at(experiment.scale):
        gpu, cores = hours_words(study)
        console.print(f"- {study_words(study)} H100 hours {gpu}, core-hours {cores}.", markup=False, soft_wrap=True)
    for text in experiment.lacking():
        console.print(f"needs {text}", markup=False, soft_wrap=True)
    members = experiment.members()
    for member in members:
        state = "done" if member.trained and member.evaluated else "to evaluate" if member.trained else "to train"
        seed = "" if member.seed is None else f", seed {member.seed}"
        console.print(f"  {state}: {member.label}{seed}", markup=False, soft_wrap=True)
    console.print(f"goes to {experiment.folder}; {_command(experiment)}", markup=False, soft_wrap=True)


def _command(experiment: Experiment) -> str:
    parts = ["robustbench-lift", "paper", experiment.item.name, "--scale", experiment.scale]
    for name, spec in experiment.places.items():
        parts += ["--data", f"{name}={spec}"]
    for place in experiment.checkpoints:
        parts += ["--checkpoints", place]
    for spec in experiment.drawing.models:
        parts += ["--model", spec]
    if experiment.item.draws:
        parts += ["--image", experiment.drawing.image] if experiment.drawing.image else []
        parts += ["--layer", experiment.drawing.layer] if experiment.drawing.layer else []
        parts += ["--channels", ",".join(map(str, experiment.drawing.channels))] if experiment.drawing.channels else []
    return shlex.join(parts)


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        if not re.fullmatch(r"[0-9]{1,6}", part):
            raise UsageError(f"--channels {printable(text)}: whole numbers separated by commas, for example 0,3,7.")
    return tuple(int(part) for part in parts)


def _say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
