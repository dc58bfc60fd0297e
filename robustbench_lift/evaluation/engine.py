"""Models x cells -> predictions: the only part that runs a network, and all it writes is predictions.

    worker processes         a thread                 the caller
    read, resize, crop  ->   to device, render   ->   forward passes of every model   ->   a file a cell

`evaluate` is the whole of it; what follows are its stages, in the order in which an image meets them, but for the
passes, which have a file of their own (passes.py). Each arrow is a queue of a few batches, so memory is bounded by the
batch and what is stored of a cell. The queues run on from one cell to the next: while the last images of a cell are
shown, those of the next are read. Several models look at the same frames, so that reading and corrupting is paid once.
A cell is stored when it is complete; a cell that is stored is skipped; nothing depends on order, workers, shards or
restarts.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from robustbench_lift.data.base import ImageSet
from robustbench_lift.device import out_of_memory, pick_device, slow_precision, tensor_float_32
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.evaluation.ahead import ahead
from robustbench_lift.evaluation.answers import require_same_classes, require_same_task, stop_at_chance
from robustbench_lift.evaluation.arguments import Data, protocols_and_settings, run_facts, run_folders
from robustbench_lift.evaluation.dependence import PROBABILITIES
from robustbench_lift.evaluation.identity import changed_since, manifest
from robustbench_lift.evaluation.models import Model, loaded, ready, require_own_names
from robustbench_lift.evaluation.passes import Passes
from robustbench_lift.evaluation.prepared import KeptImages, PreparedImages
from robustbench_lift.evaluation.progress import Progress, Reporter
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.evaluation.unread import HOPELESS, Unread
from robustbench_lift.evaluation.work import Shown, Task, Work
from robustbench_lift.protocols.base import EvaluationProtocol, stored_by
from robustbench_lift.runs import Cell, PixelCounts, Predictions, Run
from robustbench_lift.scores import ScoredRun
from robustbench_lift.shares import Share
from robustbench_lift.text import listed
from robustbench_lift.weights import LoadedModel
from robustbench_lift.workers import ReadingPool

AHEAD = 2
"""Rendered batches that may wait for the networks."""


@overload
def evaluate(
    model: list[Any] | tuple[Any, ...],
    data: Data,
    *,
    run: Sequence[str | os.PathLike[str]],
    settings: Settings | None = None,
    normaliser: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    provenance: Mapping[str, object] | None = None,
    **options: Any,
) -> list[ScoredRun]: ...


@overload
def evaluate(
    model: Model,
    data: Data,
    *,
    run: str | os.PathLike[str],
    settings: Settings | None = None,
    normaliser: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    provenance: Mapping[str, object] | None = None,
    **options: Any,
) -> ScoredRun: ...


def evaluate(
    model: Model | list[Model] | tuple[Model, ...],
    data: Data,
    *,
    run: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    settings: Settings | None = None,
    normaliser: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    provenance: Mapping[str, object] | None = None,
    **options: Any,
) -> ScoredRun | list[ScoredRun]:
    """Evaluate models on data and store the predictions, one run folder a model.

    Args:
        model: a model spec, a `LoadedModel`, an `nn.Module` or any callable from normalised images to logits; or a list
            of them, which see the same frames. What is in memory should come as `LoadedModel.of(network,
            preprocessing=...)` when its normalisation is not ImageNet's. A module is evaluated in eval mode, on the
            device, and gets its mode back.
        data: a data spec such as "imagenet-c:/data/c" (all protocols that it has), a `Request`, or protocols.
        run: the run folder, for several models a list of them. A folder that holds cells of the same model, protocols
            and images goes on.
        settings: batch size, device, precision, workers, shard.
        normaliser: what CE and FR are divided by when scored: `alexnet` or the path of a run relative to each folder.
        progress: called after every batch.
        provenance: extra facts for run.json.
        options: fields of `Settings`; with a data spec, fields of `Request` too.

    Returns:
        the `Run` of one model; a list of them, in order, for a list of models.

    Raises:
        UsageError: an option, a spec or a network that cannot be used.
        IncomparableError: a folder holds something else.
        StorageError: a folder cannot be written.
        DataError: a model answers with NaN or no better than chance.
        IncompleteError: images cannot be read; they are named, and all cells that do not need them are stored.

    Example:
        >>> from robustbench_lift import evaluate
        >>> evaluate("photos/resnet-lift", "photos", run="runs/lift", protocols=("clean",))  # doctest: +SKIP
    """
    several = isinstance(model, list | tuple)
    asked: list[Model] = list(model) if isinstance(model, list | tuple) else [model]
    paths = run_folders(run, len(asked))
    normaliser, provenance = run_facts(normaliser, provenance)
    if progress is not None and not callable(progress):
        raise UsageError(f"progress must be a function that takes a Progress, not a {type(progress).__name__}.")
    protocols, settings = protocols_and_settings(data, settings, options)
    engine = Engine(settings)
    with tensor_float_32(False), contextlib.ExitStack() as modes:
        classes = protocols[0].data.answers
        models = [loaded(one, engine.device, classes, modes) for one in asked]
        require_own_names(models)
        for one in models:
            require_same_task(one.task, one.name, protocols[0])
        runs = _evaluate(models, protocols, paths, engine, normaliser, progress, provenance)
    return runs if several else runs[0]


def _evaluate(
    models: Sequence[LoadedModel],
    protocols: list[EvaluationProtocol],
    paths: list[Path],
    engine: Engine,
    normaliser: str | None,
    progress: Callable[[Progress], None] | None,
    provenance: Mapping[str, object] | None,
) -> list[ScoredRun]:
    settings = engine.settings
    image = _first_image(protocols[0], engine)
    models, marks = zip(*(ready(model, image, engine.device, settings) for model in models), strict=True)
    if not all((path / "run.json").exists() for path in paths):  # a refusal leaves no folder behind
        for protocol in protocols:
            images = protocol.images(protocol.cells()[0])
            for model in models:
                require_same_classes(model, protocol, images)
    runs = [
        ScoredRun.prepare(
            path,
            manifest(
                model,
                protocols=protocols,
                precision=settings.precision,
                device=str(engine.device),
                normaliser=normaliser,
                provenance=provenance,
                mark=mark,
            ),
        )
        for model, path, mark in zip(models, paths, marks, strict=True)
    ]
    if settings.compile:
        models = tuple(replace(one, module=cast(nn.Module, torch.compile(one.module))) for one in models)
    cells = [(protocol, cell) for protocol in protocols for cell in protocol.cells()]
    report = Reporter(progress, cells, runs[0])
    _say_beforehand(models, engine, runs, report)
    _merge_waiting(cells, runs, settings.shard, report)
    unread = Unread()
    tasks = _tasks(cells, list(zip(models, runs, strict=True)), settings.shard, unread)
    kept = KeptImages(
        [p for p, cell in cells if not all(r.has_share(cell, settings.shard) for r in runs)] if settings.keep else [],
        settings.shard,
    )
    with (
        contextlib.closing(kept),
        contextlib.closing(engine.passes),
        contextlib.closing(engine.stream(tasks, kept)) as shown,
    ):
        for batch in shown:
            task = cast(Task, batch.work)
            if batch.failed:
                unread.note(task, batch.failed)
            if batch.frames is not None:
                asked = [model for model, _ in task.waiting]
                for number, answers in enumerate(engine.passes.answers(asked, batch)):
                    task.take(number, batch.rows, answers)
            task.done += len(batch.rows) + len(batch.failed)
            for note in (*engine.passes.notes(), *kept.notes()):
                report.say(note)
            if task.done == len(task.rows) and not task.failed:
                _store(task, settings)
            report.batch(task.cell, task.number, task.done, len(task.rows))
    unread.require_none(len(cells))
    return runs


# ---------------------------------------------------------------- the cells that are to be done


def _first_image(protocol: EvaluationProtocol, engine: Engine) -> Tensor | None:
    """A frame of the first image that can be read, uint8 [3, h, w]; None when none of a few can."""
    cell = protocol.cells()[0]
    images = protocol.images(cell)
    for row in range(min(HOPELESS, len(images.ids))):
        try:
            prepared, target = PreparedImages(protocol, images)[row]
        except DataError:
            continue  # named when it is its turn
        work = Work(protocol=protocol, cell=cell, images=images, rows=[row])
        shown = next(iter(engine.rendered(work, [row], prepared[None].to(engine.device), target[None])))
        return None if shown.frames is None else shown.frames[0, 0]
    return None


def _say_beforehand(models: Sequence[LoadedModel], engine: Engine, runs: Sequence[Run], report: Reporter) -> None:
    """What a caller should know before the first batch: of models, of the device, of what lies in the folders."""
    for model in models:
        if PROBABILITIES in model.notes:
            report.say(f"note on {model.name}: {PROBABILITIES}")
    if (slow := slow_precision(engine.device, engine.settings.precision)) is not None:
        report.say(slow)
    for run in runs:
        if others := run.other_shares(engine.settings.shard.count):
            names = listed([file.name for file in others], most=2)
            report.say(
                f"{run.path} holds {len(others)} shares of jobs of another number ({names}); they are not used, and "
                "removed when their cells are complete"
            )


def _tasks(
    cells: list[tuple[EvaluationProtocol, Cell]],
    models: Sequence[tuple[LoadedModel, Run]],
    shard: Share,
    unread: Unread,
) -> Iterator[Task]:
    """The cells of which a model has not this job's share, but for those that need an image that cannot be read.

    They are taken ahead, in the thread that renders: the next cells are listed and read while one is shown.
    """
    seen: dict[int, tuple[ImageSet, str | None]] = {}
    for number, (protocol, cell) in enumerate(cells):
        pending = [(model, run) for model, run in models if not run.has(cell)]
        if any(not run.has_share(cell, shard) for _, run in pending):
            task = Task.of(number, protocol, cell, pending, shard, seen)
            if unread.concerns(task):
                unread.cells.append(cell)
            else:
                yield task


def _merge_waiting(
    cells: list[tuple[EvaluationProtocol, Cell]], runs: Sequence[Run], shard: Share, report: Reporter
) -> None:
    """Merge cells of which this job has nothing left to show, because it has done so or has no image of them."""
    for number, (protocol, cell) in enumerate(cells):
        pending = [r for r in runs if not r.has(cell)]
        if shard.index >= runs[0].manifest.images(protocol.name):  # more jobs than images
            for run in pending:
                run.write(cell, stored_by(protocol).none(), share=shard)
        if pending and all(r.has_share(cell, shard) for r in pending):
            for run in pending:
                run.merge(cell, shard.count)
            report.batch(cell, number, 1, 1)


# ---------------------------------------------------------------- reading, rendering, forward passes


def by_size(samples: list[tuple[Tensor, Tensor]]) -> list[tuple[list[int], Tensor, Tensor]]:
    """Batches of prepared images of one size each: their positions, the images, the targets.

    >>> small, large = torch.zeros(3, 2, 2), torch.zeros(3, 4, 4)
    >>> [positions for positions, _, _ in by_size([(x, torch.tensor(0)) for x in (small, large, small)])]
    [[0, 2], [1]]
    """
    groups: dict[torch.Size, list[int]] = {}
    for position, (image, _) in enumerate(samples):
        groups.setdefault(image.shape, []).append(position)
    return [
        (places, torch.stack([samples[k][0] for k in places]), torch.stack([samples[k][1] for k in places]))
        for places in groups.values()
    ]


class Engine:
    """Streams frames; holds the device, and the passes that answer them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device = pick_device(settings.device)
        self.passes = Passes(settings, self.device)

    def stream(self, work: Iterable[Work], kept: KeptImages | None = None) -> Generator[Shown]:
        """The batches of cells, read and rendered ahead of the caller; `kept` has what was read before."""
        return ahead(self._batches(work, kept), AHEAD)

    def _batches(self, work: Iterable[Work], kept: KeptImages | None) -> Iterator[Shown]:
        given: deque[Work] = deque()

        def wanted() -> Iterator[tuple[PreparedImages, list[int]]]:
            samples: PreparedImages | None = None
            for one in work:
                if samples is None or samples.images is not one.images or samples.protocol is not one.protocol:
                    pixels = None if kept is None else kept.of(one.protocol, one.images)
                    samples = PreparedImages(one.protocol, one.images, pixels)
                size = max(1, self._read_together(one) // one.protocol.frames(one.cell))
                for start in range(0, len(one.rows), size):
                    given.append(one)
                    yield samples, list(one.rows[start : start + size])

        with (
            ReadingPool(self.settings.workers, collate=by_size, pin_memory=self.device.type == "cuda") as pool,
            contextlib.closing(pool.read(wanted(), skip_errors=True)) as batches,
        ):
            for batch in batches:
                one = given.popleft()
                one.failed = one.failed or bool(batch.failed)
                if batch.data is None or one.failed:
                    yield Shown(one, batch.keys, None, torch.empty(0), batch.failed)
                    continue
                for places, images, targets in batch.data:
                    yield from self.rendered(
                        one,
                        [batch.keys[place] for place in places],
                        images.to(self.device, non_blocking=True),
                        targets.to(self.device, non_blocking=True),
                    )

    def _read_together(self, one: Work) -> int:
        """Frames of a batch: fewer where images are large, so that memory stays flat."""
        if self.settings.batch_size is not None:
            return self.passes.batch_size
        return min(self.passes.batch_size, stored_by(one.protocol).READ * one.protocol.frames(one.cell))

    def rendered(self, one: Work, rows: list[int], images: Tensor, targets: Tensor) -> Iterator[Shown]:
        """The frames of a batch; in halves when memory runs out, which changes no frame."""
        frames = None
        try:
            with self.passes.launching:
                frames = one.protocol.render(one.cell, images, [one.images.ids[row] for row in rows])
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        if frames is not None:
            yield Shown(one, rows, frames, targets)
            return
        # outside the except block, whose exception would keep what it could not finish
        self.passes.back_off(len(rows), images, frames=one.protocol.frames(one.cell))
        half = (len(rows) + 1) // 2
        yield from self.rendered(one, rows[:half], images[:half], targets[:half])
        yield from self.rendered(one, rows[half:], images[half:], targets[half:])


# ---------------------------------------------------------------- what becomes of a cell


def _store(task: Task, settings: Settings) -> None:
    """Write the cell of each model that waited for it, or this job's share; whoever comes last merges."""
    if changed_since(task.images, task.files):
        raise DataError(
            f"the images of {task.images.name} were changed while {task.cell.key} was evaluated: their files are no "
            "longer those that it began with. This cell was not stored; what was stored before is of the images as "
            "they were. Put them back and run the same command again, or evaluate the new ones with another --out."
        )
    ids = [task.images.ids[i] for i in task.rows]
    known = task.record.known(task.images, task.rows)
    for (model, store), answers in zip(task.waiting, task.answers, strict=True):
        stored = task.record.from_rows(ids, {**known, **answers})
        judged = not settings.allow_chance and not getattr(task.images, "adversarial", False)
        if isinstance(stored, Predictions) and judged:
            stop_at_chance(model, task.cell, stored, len(task.images.class_names))
        if isinstance(stored, PixelCounts) and settings.shard.count == 1 and not stored.counts[..., 1].any():
            raise DataError(
                f"no pixel of the {len(stored.ids):,} label maps of {task.images.name} has a known class: all are void."
                " Check which value means void; `robustbench-lift check` counts the pixels of each class."
            )
        store.write(task.cell, stored, share=settings.shard)
    for _, store in task.pending:
        store.merge(task.cell, settings.shard.count)
