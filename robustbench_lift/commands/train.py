"""`train` and `sweep`: make the checkpoints that the suite evaluates."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robustbench_lift.commands.console import console, duration, progress
from robustbench_lift.errors import UsageError

if TYPE_CHECKING:
    from robustbench_lift.training import Network, Recipe, TrainingOutcome, TrainingProgress, TrainingSettings
    from robustbench_lift.training.data import TrainingData

INCOMPLETE = 3
INTERRUPTED = 130

RecipeName = Annotated[str, typer.Argument(help="Recipe; `robustbench-lift list recipes` shows them.")]
Data = Annotated[
    str | None,
    typer.Option(
        help="As `run` takes it (imagenet:PATH, folder:PATH, tiny-imagenet:PATH, cifar100:PATH), or an .npz with x "
        "and y, one folder a class, a folder with train and val."
    ),
]
TestData = Annotated[str | None, typer.Option(help="Test images, unless they lie beside the training images.")]
HoldOut = Annotated[
    float | None, typer.Option(help="Fraction of each class set aside for testing, when there is no --test-data.")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change the recipe: `--set epochs=5 --set auxiliary.c_u=0`.")
]
RecipeFile = Annotated[Path | None, typer.Option(help="Changes from a TOML file; --set goes over them.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Precision = Annotated[str, typer.Option(help="fp32 (without TF32), tf32, bf16 or fp16.")]
MicroBatch = Annotated[
    int | None, typer.Option(help="Images in one forward pass; the recipe's batch is accumulated from them.")
]
Workers = Annotated[int, typer.Option(help="Processes that read image files.")]
Compile = Annotated[bool, typer.Option("--compile", help="torch.compile the network.")]
ChannelsLast = Annotated[bool, typer.Option(help="Activations in NHWC memory.")]
SyncBatchNorm = Annotated[bool, typer.Option("--sync-batchnorm", help="One BatchNorm over all CUDA processes.")]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="Refuse CUDA kernels that are not repeatable.")]
StopAfter = Annotated[
    str | None, typer.Option(help="Stop after 25m, 90s or 1h30m with a state that the same command goes on from.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train")(train)
    app.command("sweep")(sweep)


def train(
    recipe: RecipeName,
    model: Annotated[str, typer.Option(help="ARCH/POOLING, for example resnet8/lift?kernel_size=7.")],
    data: Data = None,
    test_data: TestData = None,
    hold_out: HoldOut = None,
    out: Annotated[Path | None, typer.Option(help="Folder of this training; training-runs/... unless told.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, order, augmentation and dropout.")] = 0,
    changes: Changes = None,
    recipe_file: RecipeFile = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    micro_batch: MicroBatch = None,
    workers: Workers = 0,
    compile_: Compile = False,
    channels_last: ChannelsLast = True,
    sync_batchnorm: SyncBatchNorm = False,
    deterministic: Deterministic = False,
    stop_after: StopAfter = None,
) -> None:
    """Train one network by a recipe; the same command goes on where it stopped.

    Example: `robustbench-lift train photos --model resnet8/lift --out training-runs/resnet8-lift`

    Many processes: `torchrun --nproc-per-node 8 run_benchmark.py train imagenet --model resnet50/lift --data DATA`
    """
    from robustbench_lift.training import Network

    chosen = _recipe(recipe, changes, recipe_file)
    if not model:
        raise UsageError(
            "which network? For example --model resnet8/lift; `robustbench-lift list` shows what there is."
        )
    network = Network.parse(model)
    _check(chosen, [network])
    settings = _settings(
        device=device,
        precision=precision,
        micro_batch=micro_batch,
        workers=workers,
        compile=compile_,
        channels_last=channels_last,
        sync_batchnorm=sync_batchnorm,
        deterministic=deterministic,
        stop_after=seconds(stop_after),
    )
    from robustbench_lift.training.data import open_data

    opened = open_data(chosen, data=data, test_data=test_data, hold_out=hold_out, workers=workers)
    folder = out or Path("training-runs") / chosen.name / network.slug / f"seed{seed}"
    with interruptible() as stop:
        outcome = _train(network.spec, chosen, opened, folder, seed, settings, stop)
        _finish(outcome, interrupted=stop())


def sweep(
    recipe: RecipeName,
    models: Annotated[str, typer.Option(help="Networks, comma-separated: resnet8/max,resnet8/lift?kernel_size=7.")],
    seeds: Annotated[str, typer.Option(help="Seeds, comma-separated.")] = "0",
    data: Data = None,
    test_data: TestData = None,
    hold_out: HoldOut = None,
    out: Annotated[Path, typer.Option(help="Folder of all trainings.")] = Path("training-runs"),
    shard: Annotated[str, typer.Option(help="i/n: this job's share of the trainings.")] = "0/1",
    changes: Changes = None,
    recipe_file: RecipeFile = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    micro_batch: MicroBatch = None,
    workers: Workers = 0,
    compile_: Compile = False,
    channels_last: ChannelsLast = True,
    deterministic: Deterministic = False,
    stop_after: StopAfter = None,
) -> None:
    """Train networks x seeds by one recipe; what is complete is skipped; ends with the table.

    Example: `robustbench-lift sweep photos --models resnet8/max,resnet8/lift --seeds 0,1`
    """
    from robustbench_lift.training import Network
    from robustbench_lift.training.data import open_data
    from robustbench_lift.training.state import RESULT
    from robustbench_lift.training.sweep import Job, jobs_of, table
    from robustbench_lift.training.sweep import sweep as run_all

    chosen = _recipe(recipe, changes, recipe_file)
    networks = [Network.parse(text.strip()) for text in models.split(",") if text.strip()]
    _check(chosen, networks)
    numbers = [_integer(text, "seed") for text in seeds.split(",")]
    mine = jobs_of(chosen, networks, numbers, out=out, shard=_shard(shard))
    everything = jobs_of(chosen, networks, numbers, out=out)
    settings = _settings(
        device=device,
        precision=precision,
        micro_batch=micro_batch,
        workers=workers,
        compile=compile_,
        channels_last=channels_last,
        deterministic=deterministic,
    )
    opened = open_data(chosen, data=data, test_data=test_data, hold_out=hold_out, workers=workers)
    until = _deadline(seconds(stop_after))
    with interruptible() as stop:

        def run(job: Job) -> TrainingOutcome:
            _say(f"{job.network.spec}, seed {job.seed} ({mine.index(job) + 1} of {len(mine)}): {job.folder}")
            done = (job.folder / RESULT).exists()
            outcome = _train(
                job.network.spec, chosen, opened, job.folder, job.seed, settings, lambda: stop() or until()
            )
            if done and outcome.result:
                _say(f"complete already, clean error {outcome.result['clean_error']:.2%}")
            return outcome

        outcomes = run_all(mine, run)
        _print_table(table(everything, chosen), chosen)
        if len(outcomes) < len(mine) or not all(outcome.finished for _, outcome in outcomes):
            _say("stopped before the end; the same command goes on from there.")
            sys.exit(INTERRUPTED if stop() else INCOMPLETE)


def seconds(text: str | None) -> float | None:
    """A span of time in seconds.

    >>> seconds("25m"), seconds("1h30m"), seconds("90"), seconds(None)
    (1500.0, 5400.0, 90.0, None)
    """
    if text is None:
        return None
    found = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if found is None or not text.strip():
        raise UsageError(f"{text!r} is no span of time; write 25m, 90s or 1h30m.")
    hours, minutes, rest = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + rest


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


def _deadline(span: float | None) -> Callable[[], bool]:
    import time

    end = None if span is None else time.monotonic() + span
    return lambda: end is not None and time.monotonic() >= end


def _first_rank() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _say(text: str) -> None:
    if _first_rank():
        console.print(text, markup=False, soft_wrap=True)


def _recipe(name: str, changes: list[str] | None, file: Path | None) -> Recipe:
    from robustbench_lift.training.recipes import override, parse_changes, read_changes, recipe_named

    return override(recipe_named(name), {**(read_changes(file) if file else {}), **parse_changes(changes or [])})


def _check(recipe: Recipe, networks: list[Network]) -> None:
    """A mistake in the last name of a sweep is told before the first training, not after it."""
    from robustbench_lift.training.objective import check_use

    for network in networks:
        network.check()
    check_use(recipe, networks)


def _settings(**values: Any) -> TrainingSettings:
    from robustbench_lift.training import TrainingSettings

    return TrainingSettings(**values)


def _train(
    spec: str,
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    seed: int,
    settings: TrainingSettings,
    stop: Callable[[], bool],
) -> TrainingOutcome:
    from robustbench_lift.training import DivergedError, Network
    from robustbench_lift.training import train as run
    from robustbench_lift.training.distributed import OtherProcessError

    if not _first_rank():
        try:
            return run(
                Network.parse(spec),
                recipe,
                data.source,
                data.images,
                out=folder,
                seed=seed,
                settings=settings,
                stop=stop,
            )
        except (OtherProcessError, DivergedError) as error:
            sys.exit(error.exit_code)  # the first process tells
    start: float | None = None
    with progress(f"{spec} by {recipe.name}") as advance:

        def tell(now: TrainingProgress) -> None:
            nonlocal start
            if start is None:  # a training that goes on: the time left follows from this session alone
                start = now.share
            if now.finished:
                line = now.finished
                console.print(
                    f"epoch {line['epoch']} of {now.epochs}: train loss {line['train_loss']:.3f}, train error "
                    f"{line['train_error']:.1%}, test error {line['test_error']:.1%}, {now.images_per_second:.0f} "
                    f"images/s, {_left(now)}",
                    markup=False,
                    soft_wrap=True,
                )
            else:
                share = (now.share - start) / (1 - start) if start < 1 else 1.0
                where = f"epoch {now.epoch + 1} of {now.epochs}"
                advance(share, f"{where}, loss {now.loss:.3f}, {now.images_per_second:.0f} images/s")

        return run(
            Network.parse(spec),
            recipe,
            data.source,
            data.images,
            out=folder,
            seed=seed,
            settings=settings,
            stop=stop,
            progress=tell,
        )


def _left(now: TrainingProgress) -> str:
    # a training that goes on with the test of an epoch has taken no step yet
    return "time left unknown" if math.isnan(now.seconds_left) else f"{duration(now.seconds_left)} left"


def _finish(outcome: TrainingOutcome, *, interrupted: bool) -> None:
    if outcome.finished:
        result = outcome.result or {}
        if result:
            _say(
                f"clean error {result['clean_error']:.2%} on {result['test_images']} test images after "
                f"{result['epochs']} epochs, {duration(result['seconds'])}; weights: {outcome.folder}/final.safetensors"
            )
        return
    _say(f"stopped after {outcome.epochs} complete epochs; the same command goes on from {outcome.folder}.")
    sys.exit(INTERRUPTED if interrupted else INCOMPLETE)


def _print_table(rows: list[Any], recipe: Recipe) -> None:
    from rich.table import Table

    if not _first_rank():
        return
    sheet = Table(title=f"clean error (%), recipe {recipe.name}")
    for heading in ("network", "parameters", "seeds", "mean", "std", "each"):
        sheet.add_column(heading, justify="left" if heading == "network" else "right")
    for row in rows:
        mean = "incomplete" if row.missing else f"{100 * row.mean:.2f}"
        spread = f"{100 * row.deviation:.2f}" if row.deviation == row.deviation else "-"
        each = " ".join(f"{100 * error:.2f}" for error in row.errors)
        count = f"{len(row.errors)} of {len(row.errors) + row.missing}"
        sheet.add_row(row.network, f"{row.parameters:,}" if row.parameters else "-", count, mean, spread, each)
    console.print(sheet)


def _integer(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{text!r} is no {what}; write whole numbers separated by commas.") from None


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not slash or not index.isdigit() or not count.isdigit():
        raise UsageError(f"{text!r} is no shard; write i/n, for example 0/4.")
    return int(index), int(count)
