"""`train` and `sweep`: make the checkpoints that the suite evaluates."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_lift.commands.console import console, duration, for_tables, progress
from robustbench_lift.commands.fields import expanded
from robustbench_lift.commands.memory import keep_freed_memory
from robustbench_lift.errors import INTERRUPTED, IncompleteError, UsageError
from robustbench_lift.shares import Share
from robustbench_lift.text import printable
from robustbench_lift.training.settings import TrainingImages, TrainingSettings

if TYPE_CHECKING:
    from robustbench_lift.training import Network, Recipe, TrainingOutcome, TrainingProgress
    from robustbench_lift.training.data import TrainingData
    from robustbench_lift.training.sweep import SweepRow

RecipeName = Annotated[str, typer.Argument(help="Recipe; `robustbench-lift list recipes` shows them.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change the recipe: `--set epochs=5 --set auxiliary.c_u=0`.")
]
Start = Annotated[
    Path | None,
    typer.Option(
        help="Weights to begin from: of a classifier for the encoder of a segmentation network, or of the same network."
    ),
]
RecipeFile = Annotated[Path | None, typer.Option(help="Changes from a TOML file; --set goes over them.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train")(train)
    app.command("sweep")(sweep)


@expanded
def train(
    recipe: RecipeName,
    model: Annotated[str, typer.Option(help="ARCH/POOLING, for example resnet8/lift?kernel_size=7.")],
    images: TrainingImages,
    settings: TrainingSettings,
    out: Annotated[Path | None, typer.Option(help="Folder of this training; training-runs/... by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, order, augmentation and dropout.")] = 0,
    start: Start = None,
    changes: Changes = None,
    recipe_file: RecipeFile = None,
) -> None:
    """Train one network by a recipe; the same command goes on where it stopped.

    Example: `robustbench-lift train photos --model resnet8/lift --out training-runs/resnet8-lift`

    Many processes: `torchrun --nproc-per-node 8 --no-python robustbench-lift train RECIPE --model M --data D`
    """
    from robustbench_lift.training import Network

    chosen = _recipe(recipe, changes, recipe_file)
    if not model:
        raise UsageError(
            "which network? For example --model resnet8/lift; `robustbench-lift list` shows what there is."
        )
    network = dataclasses.replace(Network.parse(model), start=start)
    _check(chosen, [network])
    data = _open(chosen, images, settings)
    folder = out or Path("training-runs") / chosen.name / network.slug / f"seed{seed}"
    with interruptible() as stop:
        outcome = train_one(network, chosen, data, folder, seed, settings, stop)
        _finish(outcome, chosen, interrupted=stop())


@expanded
def sweep(
    recipe: RecipeName,
    models: Annotated[str, typer.Option(help="Networks, comma-separated: resnet8/max,resnet8/lift?kernel_size=7.")],
    images: TrainingImages,
    settings: TrainingSettings,
    seeds: Annotated[str, typer.Option(help="Seeds, comma-separated.")] = "0",
    out: Annotated[Path, typer.Option(help="Folder of all trainings.")] = Path("training-runs"),
    shard: Annotated[
        str, typer.Option(help="i/n, i from 1 to n: this job's share of the trainings; `slurm`: this array task's.")
    ] = "1/1",
    start: Start = None,
    changes: Changes = None,
    recipe_file: RecipeFile = None,
) -> None:
    """Train networks x seeds by one recipe; what is complete is skipped; ends with the table.

    Example: `robustbench-lift sweep photos --models resnet8/max,resnet8/lift --seeds 0,1`
    """
    from robustbench_lift.training import Network
    from robustbench_lift.training.state import RESULT
    from robustbench_lift.training.sweep import Job, jobs_of, table
    from robustbench_lift.training.sweep import sweep as run_all

    chosen = _recipe(recipe, changes, recipe_file)
    parsed = [Network.parse(text.strip()) for text in models.split(",") if text.strip()]
    networks = [dataclasses.replace(network, start=start) for network in parsed]
    _check(chosen, networks)
    numbers = [_seed(text) for text in seeds.split(",")]
    mine = jobs_of(chosen, networks, numbers, out=out, shard=Share.parse(shard))
    everything = jobs_of(chosen, networks, numbers, out=out)
    data = _open(chosen, images, settings)
    end = math.inf if settings.stop_after is None else time.monotonic() + settings.stop_after
    settings = dataclasses.replace(settings, stop_after=None)  # the limit is that of the whole sweep
    with interruptible() as stop:

        def run(job: Job) -> TrainingOutcome:
            _say(f"{job.network.spec}, seed {job.seed} ({mine.index(job) + 1} of {len(mine)}): {job.folder}")
            done = (job.folder / RESULT).exists()
            outcome = train_one(
                job.network,
                chosen,
                data,
                job.folder,
                job.seed,
                settings,
                lambda: stop() or time.monotonic() >= end,
            )
            if done and outcome.result:
                _say(f"complete already, clean {chosen.error_names[1]} {outcome.result['clean_error']:.2%}")
            return outcome

        outcomes = run_all(mine, run)
        _print_table(table(everything, chosen), chosen)
        if len(outcomes) < len(mine) or not all(outcome.finished for _, outcome in outcomes):
            _say("stopped before the end; the same command goes on from there.")
            sys.exit(INTERRUPTED if stop() else IncompleteError.exit_code)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask for a stop after the current step; a second Ctrl-C ends at once.

    Yields:
        a function that tells whether a stop was asked for.
    """
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_rank() -> bool:
    return Share.of_process().index == 0


def _say(text: str) -> None:
    if _first_rank():
        console.print(text, markup=False, soft_wrap=True)


def _recipe(name: str, changes: list[str] | None, file: Path | None) -> Recipe:
    from robustbench_lift.training.recipes import override, parse_changes, read_changes, recipe_named

    return override(recipe_named(name), {**(read_changes(file) if file else {}), **parse_changes(changes or [])})


def _check(recipe: Recipe, networks: list[Network]) -> None:
    """A mistake in the last name of a sweep is said before the first training, not after it."""
    from robustbench_lift.training.checks import check_use

    for network in networks:
        network.check()
    check_use(recipe, networks)


def _open(recipe: Recipe, images: TrainingImages, settings: TrainingSettings) -> TrainingData:
    from robustbench_lift.device import pick_device, slow_precision
    from robustbench_lift.training.data import open_data

    device = pick_device(settings.device)  # a device that is not there is said before the data are read
    if (slow := slow_precision(device, settings.precision)) is not None:
        _say(slow)
    data = open_data(recipe, **dataclasses.asdict(images), workers=settings.workers)
    if data.held_out:
        _say(
            f"{len(data.images.ids):,} images are set aside for testing; evaluate on these, not on the images that are "
            f"trained on: --data {shlex.quote(data.held_out)}"
        )
    elif images.hold_out is not None:
        _say(
            f"{len(data.images.ids):,} images are set aside for testing, and no data spec of `run` names them: an "
            f"evaluation on {printable(str(images.data))} would count images that were trained on."
        )
    return data


def train_one(
    network: Network,
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    seed: int,
    settings: TrainingSettings,
    stop: Callable[[], bool],
) -> TrainingOutcome:
    """One training with its progress on the terminal, shown by the first process alone."""
    from robustbench_lift.training import DivergedError
    from robustbench_lift.training import train as run
    from robustbench_lift.training.distributed import OtherProcessError

    keep_freed_memory()

    def go(follow: Callable[[TrainingProgress], None] | None = None) -> TrainingOutcome:
        return run(
            network,
            recipe,
            data.source,
            data.images,
            out=folder,
            seed=seed,
            settings=settings,
            stop=stop,
            progress=follow,
        )

    if not _first_rank():
        try:
            return go()
        except (OtherProcessError, DivergedError) as error:
            sys.exit(error.exit_code)  # the first process says what happened
    start: float | None = None
    with progress(f"{network.spec} by {recipe.name}") as advance:

        def follow(now: TrainingProgress) -> None:
            nonlocal start
            if start is None:  # a training that goes on: the time left follows from this session alone
                start = now.share
            if now.note:
                console.print(now.note, markup=False, soft_wrap=True)
            elif now.finished:
                line, (own, test) = now.finished, recipe.error_names
                console.print(
                    f"epoch {line['epoch']} of {now.epochs}: train loss {line['train_loss']:.3f}, train {own} "
                    f"{line['train_error']:.1%}, test {test} {line['test_error']:.1%}, {now.images_per_second:.0f} "
                    f"images/s, {_left(now)}",
                    markup=False,
                    soft_wrap=True,
                )
            else:
                share = (now.share - start) / (1 - start) if start < 1 else 1.0
                where = f"epoch {now.epoch + 1} of {now.epochs}"
                advance(share, f"{where}, loss {now.loss:.3f}, {now.images_per_second:.0f} images/s")

        return go(follow)


def _left(now: TrainingProgress) -> str:
    # a training that goes on with the test of an epoch has taken no step yet
    return "time left unknown" if math.isnan(now.seconds_left) else f"{duration(now.seconds_left)} left"


def _finish(outcome: TrainingOutcome, recipe: Recipe, *, interrupted: bool) -> None:
    if outcome.finished:
        result = outcome.result or {}
        if result:
            epochs = "1 epoch" if result["epochs"] == 1 else f"{result['epochs']} epochs"
            _say(
                f"clean {recipe.error_names[1]} {result['clean_error']:.2%} on {result['test_images']} test images "
                f"after {epochs}, {duration(result['seconds'])}; weights: {outcome.folder}/final.safetensors; "
                f"evaluate them: robustbench-lift run @{outcome.folder}/final.safetensors"
            )
        return
    _say(f"stopped after {outcome.epochs} complete epochs; the same command goes on from {outcome.folder}.")
    sys.exit(INTERRUPTED if interrupted else IncompleteError.exit_code)


def _print_table(rows: list[SweepRow], recipe: Recipe) -> None:
    from rich.table import Table

    if not _first_rank():
        return
    sheet = Table(title=f"clean {recipe.error_names[1]} (%), recipe {recipe.name}")
    for heading in ("network", "parameters", "seeds", "mean", "std", "each"):
        sheet.add_column(heading, justify="left" if heading == "network" else "right")
    for row in rows:
        mean = "incomplete" if row.missing else f"{100 * row.mean:.2f}"
        spread = f"{100 * row.deviation:.2f}" if row.deviation == row.deviation else "-"
        each = " ".join(f"{100 * error:.2f}" for error in row.errors)
        count = f"{len(row.errors)} of {len(row.errors) + row.missing}"
        sheet.add_row(row.network, f"{row.parameters:,}" if row.parameters else "-", count, mean, spread, each)
    for_tables().print(sheet)


def _seed(text: str) -> int:
    if not re.fullmatch(r"\s*-?[0-9]{1,18}\s*", text):
        raise UsageError(f"{printable(text)!r} is no seed; write whole numbers separated by commas.")
    return int(text)
