"""Models x cells -> predictions: the only part that runs a network, and all it writes is predictions.

    worker processes         a thread                 the caller
    read, resize, crop  ->   to device, render   ->   forward passes of every model   ->   a file a cell

`evaluate` is the whole of it; what follows are its stages, in the order in which an image meets them. Each arrow is a
queue of a few batches, so memory is bounded by the batch and what is stored of a cell. The queues run on from one cell
to the next: while the last images of a cell are shown, those of the next are read. Several models look at the same
frames, so that reading and corrupting is paid once. A cell is stored when it is complete; a cell that is stored is
skipped; nothing depends on order, workers, shards or restarts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from robustbench_lift.data.base import ImageSet, Outputs, outputs_of
from robustbench_lift.device import autocast, out_of_memory, pick_device, slow_precision, tensor_float_32
from robustbench_lift.errors import DataError, IncompleteError, NoImageError, RobustbenchError, UsageError, unknown
from robustbench_lift.evaluation.dependence import PROBABILITIES, refusal, show
from robustbench_lift.evaluation.diagnosis import diagnose_chance
from robustbench_lift.evaluation.identity import changed_since, files_sha256, manifest
from robustbench_lift.evaluation.prepared import KeptImages, PreparedImages
from robustbench_lift.evaluation.reestimation import reestimated
from robustbench_lift.evaluation.settings import Progress, Settings
from robustbench_lift.protocols.base import EvaluationProtocol
from robustbench_lift.protocols.request import Request
from robustbench_lift.runs import Cell, PixelCounts, Predictions, Record, Run
from robustbench_lift.scores import ScoredRun
from robustbench_lift.shares import Share
from robustbench_lift.text import listed
from robustbench_lift.weights import LoadedModel, load_model
from robustbench_lift.weights.model import in_memory, task_of
from robustbench_lift.workers import ReadingPool

T = TypeVar("T")
Model = str | LoadedModel | nn.Module | Callable[[Tensor], Any]
"""A model spec, a loaded model, a network in memory, or any function from normalised images to logits."""
Data = str | Request | EvaluationProtocol | Sequence[EvaluationProtocol]
"""A data spec, a request, or protocols."""

AHEAD = 2
"""Rendered batches that may wait for the networks."""
CPU_PIXELS = 64 * 64 * 64
"""Pixels in one forward pass on a CPU: beyond, activations leave the caches and small networks run 3 times slower."""
GPU_PIXELS = 1 << 22
"""The same on an accelerator, of images of more than `LARGE` pixels."""
LARGE = 512 * 512
"""Pixels beyond which an image makes a pass of its own worth while: passes are not filled up."""
LEAST_PASS = 8
"""Frames of the smallest pass; fewer are filled up, since libraries compute one to three images by other kernels, whose
rounding would make stored probabilities depend on how images were split."""
HOPELESS = 16
"""Images of a cell that cannot be read before a single one can: then something else is wrong than an image."""


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
    paths = [Path(run)] if isinstance(run, str | os.PathLike) else [Path(one) for one in run]
    if len(asked) != len(paths):
        raise UsageError(f"{len(asked)} models need as many run folders, not {len(paths)}.")
    protocols, settings = _requested(data, settings, options)
    engine = Engine(settings)
    with tensor_float_32(False), contextlib.ExitStack() as modes:
        classes = protocols[0].data.answers
        models = [_model(one, engine.device, classes, modes) for one in asked]
        _told_apart(models)
        for one in models:
            _same_task(one.task, one.name, protocols[0])
        runs = _evaluate(models, protocols, paths, engine, normaliser, progress, provenance)
    return runs if several else runs[0]


def _told_apart(models: Sequence[LoadedModel]) -> None:
    """Networks in memory have nothing but their name by which tables tell them apart.

    Raises:
        UsageError: two have one name.
    """
    specs = [one.spec for one in models]
    for one in models:
        if one.spec == in_memory(one.name) and specs.count(one.spec) > 1:
            raise UsageError(
                f"{specs.count(one.spec)} of the networks are called {one.name}, and tables could not tell them apart. "
                'Give each a name: LoadedModel.of(network, name="...").'
            )


def _evaluate(
    models: list[LoadedModel],
    protocols: list[EvaluationProtocol],
    paths: list[Path],
    engine: Engine,
    normaliser: str | None,
    progress: Callable[[Progress], None] | None,
    provenance: Mapping[str, object] | None,
) -> list[ScoredRun]:
    settings = engine.settings
    image = _first_image(protocols[0], engine)
    models, prepared = [list(parts) for parts in zip(*(reestimated(m, engine.device) for m in models), strict=True)]
    if settings.fold:
        models = [model.folded() for model in models]
    # of all models, before anything is written
    folded = {"networks": "folded"} if settings.fold else {}
    asked = [_asked(model, image, settings) for model in models]
    models = [model for model, _ in asked]
    marks = [own | mark | folded for own, (_, mark) in zip(prepared, asked, strict=True)]
    say = functools.partial(
        manifest,
        protocols=protocols,
        precision=settings.precision,
        device=str(engine.device),
        normaliser=normaliser,
        provenance=provenance,
    )
    if not all((path / "run.json").exists() for path in paths):  # a refusal leaves no folder behind
        for protocol in protocols:
            images = protocol.images(protocol.cells()[0])
            for model in models:
                _require_same_classes(model, protocol, images)
    runs = [
        ScoredRun.prepare(path, say(model, mark=mark)) for model, path, mark in zip(models, paths, marks, strict=True)
    ]
    if settings.compile:
        models = [replace(one, module=cast(nn.Module, torch.compile(one.module))) for one in models]
    cells = [(protocol, cell) for protocol in protocols for cell in protocol.cells()]
    report = _Reporter(progress, cells, runs[0])
    for model in models:
        if PROBABILITIES in model.notes:
            report.say(f"note on {model.name}: {PROBABILITIES}")
    if (slow := slow_precision(engine.device, settings.precision)) is not None:
        report.say(slow)
    _merge_waiting(cells, runs, settings.shard, report)
    unread = _Unread()
    kept = KeptImages(
        [p for p, cell in cells if not all(r.has_share(cell, settings.shard) for r in runs)] if settings.keep else [],
        settings.shard,
    )

    def work() -> Iterator[_Task]:
        seen: dict[int, tuple[ImageSet, str | None]] = {}
        for number, (protocol, cell) in enumerate(cells):
            pending = [(m, r) for m, r in zip(models, runs, strict=True) if not r.has(cell)]
            if any(not r.has_share(cell, settings.shard) for _, r in pending):
                task = _task(number, protocol, cell, pending, settings.shard, seen)
                if unread.concerns(task):
                    unread.cells.append(cell)
                else:
                    yield task

    # the work is taken ahead, in the thread that renders: the next cells are listed and read while one is shown
    with contextlib.closing(kept), contextlib.closing(engine.stream(work(), kept)) as shown:
        for batch in shown:
            task = cast(_Task, batch.work)
            if batch.failed:
                unread.note(task, batch.failed)
            if batch.frames is not None:
                for number, (model, _) in enumerate(task.waiting):
                    task.take(number, batch.rows, engine.answer(model, batch))
            task.done += len(batch.rows) + len(batch.failed)
            for note in (*engine.notes(), *kept.said()):
                report.say(note)
            if task.done == len(task.rows) and not task.failed:
                _store(task, settings)
            report.batch(task.cell, task.number, task.done, len(task.rows))
    unread.complain(len(cells))
    return runs


# ---------------------------------------------------------------- what is asked for


def _requested(
    data: Data,
    settings: Settings | None,
    options: dict[str, Any],
) -> tuple[list[EvaluationProtocol], Settings]:
    """Protocols and settings of a call; options go to the one whose field they are."""
    of_settings = {f.name for f in dataclasses.fields(Settings)}
    of_request = {f.name for f in dataclasses.fields(Request)} - {"data"} if isinstance(data, str) else set()
    for name in options:
        if name not in of_settings | of_request:
            raise unknown("option", name, sorted(of_settings | of_request))
    chosen = {name: value for name, value in options.items() if name in of_settings}
    settings = replace(settings or Settings(), **chosen)
    if isinstance(data, str):
        data = Request(data=data, **{name: value for name, value in options.items() if name in of_request})
    if isinstance(data, Request):
        protocols = list(data.build())
    else:
        protocols = list(data) if isinstance(data, list | tuple) else [cast(EvaluationProtocol, data)]
    if not protocols or not all(hasattr(one, "cells") for one in protocols):
        raise UsageError(f"a data spec, a Request or protocols were expected, not {type(data).__name__}.")
    return protocols, settings


def _model(model: Model, device: torch.device, classes: int, modes: contextlib.ExitStack) -> LoadedModel:
    """A model that answers on the device; a module of the caller's gets its modes back when `modes` ends."""
    if isinstance(model, str):
        return load_model(model, device=str(device))
    if isinstance(model, LoadedModel):
        model.module.to(device)
        return model
    if isinstance(model, nn.Module):
        for part in model.modules():
            modes.callback(setattr, part, "training", part.training)
    # how many classes it has is seen when it is shown its first image, whose size is known then
    return LoadedModel.of(model, num_classes=classes, device=device)


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


def _asked(model: LoadedModel, image: Tensor | None, settings: Settings) -> tuple[LoadedModel, dict[str, str]]:
    """The model, noted where it answers with probabilities, and what the signature says of one that needs its batch."""
    if image is None:
        return model, {}
    try:
        answers = show(model, image)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise _no_memory(image) from None
    if answers.are_probabilities():
        model = replace(model, notes=(*model.notes, PROBABILITIES))
    found = answers.dependence()
    if found is None:
        return model, {}
    if not settings.allow_dependent:
        raise refusal(model, found)
    count = f"/{settings.shard.count}" if settings.shard.count > 1 else ""
    return model, {"dependent": f"batch{settings.batch_size or 'default'}{count}"}


# ---------------------------------------------------------------- the cells that are to be done


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


@dataclass(kw_only=True, eq=False)
class Work:
    """One cell, and which of its images are to be shown."""

    protocol: EvaluationProtocol
    cell: Cell
    images: ImageSet
    rows: Sequence[int]
    """Indices into `images`, at least one."""
    failed: bool = False
    """Whether an image could not be read: then the others are only read, to name all that cannot."""


@dataclass(kw_only=True, eq=False)
class _Task(Work):
    """A cell under way: who is still to answer, and what they have answered."""

    number: int
    """Position among all cells."""
    record: type[Record]
    """What is stored of an answer."""
    pending: Sequence[tuple[LoadedModel, Run]]
    """Models without this cell."""
    waiting: list[tuple[LoadedModel, Run]]
    """Those of them without this job's share of it."""
    files: str | None
    """What the files of the images were when they were first shown."""
    answers: list[dict[str, npt.NDArray[Any]]] = field(default_factory=list)
    """Of each that waits, the arrays of the record, made once for all rows: memory does not grow with the images."""
    done: int = 0
    """Images that were shown or could not be read."""

    def take(self, model: int, rows: Sequence[int], answers: Mapping[str, npt.NDArray[Any]]) -> None:
        """Note what a waiting model answered to some rows."""
        while len(self.answers) <= model:
            self.answers.append({})
        arrays = self.answers[model]
        first, step = self.rows[0], self.rows[1] - self.rows[0] if len(self.rows) > 1 else 1
        places = [(row - first) // step for row in rows]
        for name, values in answers.items():
            if name not in arrays:
                arrays[name] = np.empty((len(self.rows), *values.shape[1:]), values.dtype)
            arrays[name][places] = values


def _task(
    number: int,
    protocol: EvaluationProtocol,
    cell: Cell,
    pending: Sequence[tuple[LoadedModel, Run]],
    shard: Share,
    seen: dict[int, tuple[ImageSet, str | None]],
) -> _Task:
    images = protocol.images(cell)
    for model, _ in pending:
        _require_same_classes(model, protocol, images)
    if id(images) not in seen:
        seen[id(images)] = images, files_sha256(images)
    return _Task(
        protocol=protocol,
        cell=cell,
        images=images,
        rows=range(shard.index, len(images.ids), shard.count),
        number=number,
        record=_record(protocol),
        pending=pending,
        waiting=[(m, r) for m, r in pending if not r.has_share(cell, shard)],
        files=seen[id(images)][1],
    )


def _record(protocol: EvaluationProtocol) -> type[Record]:
    return getattr(protocol, "record", Predictions)


def _combining(batch: Shown) -> Callable[[dict[str, Tensor]], dict[str, npt.NDArray[Any]]] | None:
    """How a protocol that compares the frames of an image makes what is stored; None for those that do not."""
    work = batch.work
    combine = getattr(work.protocol, "combine", None)
    if combine is None:
        return None
    ids = [work.images.ids[row] for row in batch.rows]
    made: Callable[[dict[str, Tensor]], dict[str, npt.NDArray[Any]]] = partial(
        combine, work.cell, targets=batch.targets.cpu(), ids=ids
    )
    return made


ANSWERS = {"classification": "one class for an image", "segmentation": "a class for every pixel"}
"""What networks of a task answer, in words."""


def _same_task(task: str | None, model: str, protocol: EvaluationProtocol) -> None:
    """Refuse a classifier on label maps, and a segmentation network on labels."""
    wanted = _record(protocol).TASK
    if task is not None and task != wanted:
        named = {"classification": "resnet50/lift@FILE", "segmentation": "segnet/lift@FILE"}[wanted]
        raise UsageError(
            f"{model} is a network for {task}, which answers {ANSWERS[task]}; {protocol.data.name} needs {wanted}: "
            f"{ANSWERS[wanted]}. Name such a network, for example {named}, or other data."
        )


def _require_same_classes(model: LoadedModel, protocol: EvaluationProtocol, images: ImageSet) -> None:
    """Refuse a network of another task, or of another number of classes than the images are of."""
    _same_task(model.task, model.name, protocol)
    outputs = outputs_of(images)
    wanted = len(images.class_names) if outputs is None else outputs.of
    if model.num_classes != wanted:
        raise _other_classes(model, model.num_classes, protocol.data.name, images, wanted)


def _other_classes(model: LoadedModel, outputs: int, data: str, images: ImageSet, classes: int) -> DataError:
    from robustbench_lift.data.classes import wnids

    met = len(np.unique(images.labels))
    advice = "Evaluate a checkpoint trained for these classes."
    if outputs == len(wnids()) and set(images.class_names) < set(wnids()):
        advice = (
            "These classes are some of ImageNet's: for a network of all 1,000 say imagenet:PATH?classes=partial, which "
            "keeps their indices (imagenet-c: and imagenet-p: take it too)."
        )
    elif outputs == met < classes and set(images.class_names) <= set(wnids()):
        advice = (
            f"The images are of {met} of them: for a network that was trained on these alone, in sorted order, "
            "say imagenet:PATH?classes=subset (imagenet-c: and imagenet-p: take it too), or folder:PATH."
        )
    elif model.spec.endswith("@random"):
        advice = f"Untrained networks take their classes from the spec: ?num_classes={classes}."
    return DataError(
        f"{model.name} has {outputs} outputs, the data set {data} has {classes} classes: its answers cannot be scored. "
        f"{advice}"
    )


def _merge_waiting(
    cells: list[tuple[EvaluationProtocol, Cell]], runs: Sequence[Run], shard: Share, report: _Reporter
) -> None:
    """Merge cells of which this job has nothing left to show, because it has done so or has no image of them."""
    for run in runs:
        if others := run.other_shares(shard.count):
            names = listed([file.name for file in others], most=2)
            report.say(
                f"{run.path} holds {len(others)} shares of jobs of another number ({names}); they are not used, and "
                "removed when their cells are complete"
            )
    for number, (protocol, cell) in enumerate(cells):
        pending = [r for r in runs if not r.has(cell)]
        if shard.index >= runs[0].manifest.images(protocol.name):  # more jobs than images
            for run in pending:
                run.write(cell, _record(protocol).none(), share=shard)
        if pending and all(r.has_share(cell, shard) for r in pending):
            for run in pending:
                run.merge(cell, shard.count)
            report.batch(cell, number, 1, 1)


# ---------------------------------------------------------------- reading, rendering, forward passes


@dataclass(frozen=True, slots=True)
class Shown:
    """A batch of a cell on its way to the networks."""

    work: Work
    rows: list[int]
    """Rows of the frames, indices into the images."""
    frames: Tensor | None
    """uint8 [n, T, 3, h, w] on the device; None where the cell cannot be completed."""
    targets: Tensor
    """[n, ...] what answers are measured by, on the device."""
    failed: list[tuple[int, RobustbenchError]] = field(default_factory=list)
    """Rows that could not be read, and why."""


class Engine:
    """Streams frames and predicts; holds the device, the precision and the batch size that fits."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device = pick_device(settings.device)
        self.batch_size = settings.batch_size or 256
        self._notes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._launching: contextlib.AbstractContextManager[Any] = (
            threading.Lock() if settings.precision == "tf32" else contextlib.nullcontext()
        )

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
            return self.batch_size
        return min(self.batch_size, _record(one.protocol).READ * one.protocol.frames(one.cell))

    def rendered(self, one: Work, rows: list[int], images: Tensor, targets: Tensor) -> Iterator[Shown]:
        """The frames of a batch; in halves when memory runs out, which changes no frame."""
        frames = None
        try:
            with self._launching:  # TF32 is on during forward passes that ask for it, never while frames are made
                frames = one.protocol.render(one.cell, images, [one.images.ids[row] for row in rows])
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        if frames is not None:
            yield Shown(one, rows, frames, targets)
            return
        # outside the except block, whose exception would keep what it could not finish
        self._back_off(len(rows), images, frames=one.protocol.frames(one.cell))
        half = (len(rows) + 1) // 2
        yield from self.rendered(one, rows[:half], images[:half], targets[:half])
        yield from self.rendered(one, rows[half:], images[half:], targets[half:])

    def _back_off(self, tried: int, images: Tensor, *, frames: int = 1) -> None:
        """Halve the batch after running out of memory over `tried` images of so many frames."""
        if tried == 1:
            raise _no_memory(images)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.batch_size = min(self.batch_size, (tried + 1) // 2 * frames)
        self._notes.put(f"out of memory: the batch size is now {self.batch_size}")

    def notes(self) -> Iterator[str]:
        """What is to be said since the last call: smaller batches."""
        while not self._notes.empty():
            yield self._notes.get()

    def answer(self, model: LoadedModel, shown: Shown) -> dict[str, npt.NDArray[Any]]:
        """What is stored of a model's answers to a batch that has frames."""
        assert shown.frames is not None
        record = _record(shown.work.protocol)
        return self.predict(
            model,
            shown.frames,
            shown.targets,
            record=record,
            outputs=outputs_of(shown.work.images),
            combine=_combining(shown),
        )

    @torch.inference_mode()
    def predict(
        self,
        model: LoadedModel,
        frames: Tensor,
        targets: Tensor,
        *,
        record: type[Record] = Predictions,
        outputs: Outputs | None = None,
        combine: Callable[[dict[str, Tensor]], dict[str, npt.NDArray[Any]]] | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """What is stored of a model's answers, arrays [n, T, ...] (without T where the record has none).

        Args:
            model: on the engine's device.
            frames: uint8 [n, T, 3, h, w].
            targets: [n, ...], a target an image.
            record: what is stored of logits.
            outputs: which outputs stand for the classes of the data; None: output k is class k.
            combine: makes what is stored out of what was measured of all frames of each image, [n, T, ...]; what was
                measured is stored as it is when there is none.
        """
        n, count = frames.shape[:2]
        flat, wanted = frames.flatten(0, 1), targets.repeat_interleave(count, dim=0)
        found: list[dict[str, Tensor]] = []
        start = 0
        while start < len(flat):
            size = self._pass(flat)
            piece = flat[start : start + size]
            logits = None
            try:
                least = LEAST_PASS if piece.shape[-1] * piece.shape[-2] <= LARGE else 1
                logits = self._logits(model, _filled(piece, min(size, least)))[: len(piece)]
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            if logits is None:  # outside the except block, whose exception would keep the activations
                self._back_off(len(piece), piece)
                continue
            _check_logits(logits, model, record)
            logits = logits if outputs is None else outputs(logits)
            found.append({k: v.cpu() for k, v in record.measure(logits, wanted[start : start + len(piece)]).items()})
            start += len(piece)
        whole = {name: torch.cat([piece[name] for piece in found]) for name in found[0]}
        if combine is not None:
            return combine({name: values.view(n, count, *values.shape[1:]) for name, values in whole.items()})
        return {name: _by_image(values, n, count, record.ARRAYS[name][1]) for name, values in whole.items()}

    def _pass(self, images: Tensor) -> int:
        """Frames in one forward pass."""
        pixels = images.shape[-1] * images.shape[-2]
        if self.settings.batch_size is not None or (self.device.type != "cpu" and pixels <= LARGE):
            return self.batch_size
        return max(1, min(self.batch_size, (CPU_PIXELS if self.device.type == "cpu" else GPU_PIXELS) // pixels))

    def _logits(self, model: LoadedModel, images: Tensor) -> Tensor:
        precision = self.settings.precision
        with self._launching, autocast(self.device, precision), tensor_float_32(precision == "tf32"):
            return model.logits(images).float()


def _no_memory(images: Tensor) -> DataError:
    return DataError(
        f"{images.device} has not enough memory for a single image of {tuple(images.shape[-2:])} pixels. Use another "
        "--device, or end what else uses its memory."
    )


def _filled(images: Tensor, least: int) -> Tensor:
    """At least so many images, filled up with copies of the last."""
    if len(images) >= least:
        return images
    return torch.cat([images, images[-1:].expand(least - len(images), *images.shape[1:])])


def _by_image(values: Tensor, n: int, count: int, shape: Sequence[int | str]) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = values.numpy()
    if "T" in shape:
        return array.reshape(n, count, *array.shape[1:])
    if count != 1:
        raise DataError(f"a record without an axis for frames takes one frame an image, not {count}.")
    return array


def _check_logits(logits: Tensor, model: LoadedModel, record: type[Record]) -> None:
    """Refuse answers that cannot be scored.

    Raises:
        DataError: a logit is not a number, there is another number of classes, or the network does something else.
    """
    if task_of(logits) != record.TASK:
        raise DataError(
            f"{model.name} answers {ANSWERS[task_of(logits)]}; the data need {record.TASK}: {ANSWERS[record.TASK]}."
        )
    if logits.shape[1] != model.num_classes:
        raise DataError(f"{model.name} answers with {logits.shape[1]} values, expected {model.num_classes} classes.")
    # a sum is finite only if all that enters it is, and reads the logits once; of large ones it may overflow
    if not bool(logits.sum().isfinite()) and not bool(logits.isfinite().all()):
        raise DataError(
            f"{model.name} answers with NaN or infinity. Check the checkpoint (`robustbench-lift check`), the "
            "normalisation and, with --precision fp16, the range."
        )


def ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items, made by a thread that is at most `depth` ahead; its errors are raised here."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: tuple[T | None, BaseException | None]) -> bool:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:  # raised again in the caller's thread
            put((None, error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, daemon=True, name="render-ahead")
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None
            yield item
    finally:
        stop.set()
        thread.join()


# ---------------------------------------------------------------- what becomes of a cell


def _store(task: _Task, settings: Settings) -> None:
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
            _stop_at_chance(model, task.cell, stored, len(task.images.class_names))
        if isinstance(stored, PixelCounts) and settings.shard.count == 1 and not stored.counts[..., 1].any():
            raise DataError(
                f"no pixel of the {len(stored.ids):,} label maps of {task.images.name} has a known class: all are void."
                " Check which value means void; `robustbench-lift check` counts the pixels of each class."
            )
        store.write(task.cell, stored, share=settings.shard)
    for _, store in task.pending:
        store.merge(task.cell, settings.shard.count)


def _stop_at_chance(model: LoadedModel, cell: Cell, predictions: Predictions, classes: int) -> None:
    top1 = predictions.top1[:, 0]
    error = float((top1 != predictions.labels).mean())
    found = diagnose_chance(error, classes, images=len(top1), cell=cell, labels=predictions.labels, top1=top1)
    if found is not None:
        raise DataError(
            f"{model.name}: {found}\nThe run stops here and keeps what was stored before; "
            "--allow-chance goes on nevertheless."
        )


class _Unread:
    """Images that could not be read: named and counted, and the cells that need them left out."""

    NAMED = 20

    def __init__(self) -> None:
        self.cells: list[Cell] = []
        self._errors: dict[str, RobustbenchError] = {}
        self._sets: list[ImageSet] = []

    def note(self, task: _Task, failed: list[tuple[int, RobustbenchError]]) -> None:
        """Some images of a cell could not be read.

        Raises:
            RobustbenchError: the first, when not one image of the cell could be.
        """
        if task.done == 0 and len(failed) >= min(HOPELESS, len(task.rows)):
            raise failed[0][1]
        if task.cell not in self.cells:
            self.cells.append(task.cell)
            self._sets.append(task.images)
        self._errors |= {str(error): error for _, error in failed}

    def concerns(self, task: _Task) -> bool:
        """Whether a cell shows images of which some are known to be unreadable."""
        return any(task.images is one for one in self._sets)

    def complain(self, cells: int) -> None:
        """End with what could not be read.

        Raises:
            IncompleteError: some image is damaged.
            NoImageError: all that could not be read are other things than images, so that the data are to be mended.
        """
        if not self._errors:
            return
        named = list(self._errors)[: self.NAMED]
        more = len(self._errors) - len(named)
        count = "1 image" if len(self._errors) == 1 else f"{len(self._errors)} images"
        others = all(isinstance(error, NoImageError) for error in self._errors.values())
        raise (NoImageError if others else IncompleteError)(
            f"{count} cannot be read:\n  "
            + "\n  ".join(named)
            + (f"\n  and {more} more" if more else "")
            + f"\n{len(self.cells)} of {cells} cells need them and were not stored; no mean is taken over the rest. "
            "What else was asked for is stored. Replace the images and run the same command again: it goes on from "
            "there."
        )


class _Reporter:
    """Reports where the evaluation stands, in cells, images and the share of all frames."""

    def __init__(
        self,
        progress: Callable[[Progress], None] | None,
        cells: Sequence[tuple[EvaluationProtocol, Cell]],
        run: Run,
    ) -> None:
        self._progress = progress
        # all cells of a protocol show the same images: none of them has to be listed for their number
        costs = [run.manifest.images(protocol.name) * protocol.frames(cell) for protocol, cell in cells]
        self._until = [0, *np.cumsum(costs).tolist()]
        self._last = Progress(cells[0][1], 0, len(cells), 0, 1)

    def batch(self, cell: Cell, number: int, done: int, images: int) -> None:
        """A batch of a cell is done."""
        before, after = self._until[number], self._until[number + 1]
        fraction = (before + (after - before) * done / images) / self._until[-1]
        self._last = Progress(cell, number + (done == images), len(self._until) - 1, done, images, fraction)
        if self._progress is not None:
            self._progress(self._last)

    def say(self, note: str) -> None:
        """Something to say once."""
        if self._progress is not None:
            self._progress(replace(self._last, note=note))
