"""Models x cells -> predictions: the only part that runs a network, and all it writes is predictions.

Several models look at the same frames, so that reading and corrupting is paid once. Reading (worker processes),
rendering (a thread) and the forward passes overlap. A cell is stored when it is complete; a cell that is stored is
skipped; nothing depends on batch size, order, workers or restarts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from robustbench_lift.data.base import fingerprint
from robustbench_lift.device import PRECISIONS
from robustbench_lift.errors import DataError, IncomparableError, UsageError
from robustbench_lift.evaluation.diagnosis import diagnose_chance
from robustbench_lift.protocols.base import EvaluationProtocol
from robustbench_lift.runs import Cell, Manifest, Predictions, Run
from robustbench_lift.workers import Work

if TYPE_CHECKING:
    from robustbench_lift.weights import LoadedModel

Answer = tuple[npt.NDArray[np.int16], npt.NDArray[np.float32]]
"""top-5 classes [n, T, 5] and top-1 confidence [n, T] of a batch."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an evaluation stands, told after every batch."""

    cell: Cell
    """The cell under way."""
    cells_done: int
    """Cells complete, those found on disk included."""
    cells_total: int
    """All cells."""
    images_done: int
    """Images of this cell that are done."""
    images_total: int
    """Images of this cell."""
    note: str = ""
    """Something to tell once: a smaller batch after running out of memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How to evaluate; none of it but precision and shard changes a number, and precision is in the signature."""

    batch_size: int | None = None
    """Frames in one forward pass; None: 256 on CUDA, what fits the caches on a CPU. Halved when memory runs out."""
    device: str = "auto"
    """`auto` takes CUDA when there is one."""
    precision: str = "fp32"
    """fp32 (without TF32), tf32, bf16 or fp16."""
    workers: int = 0
    """Processes that read and prepare images; 0 reads in this process."""
    compile: bool = False
    """Compile each network with torch.compile."""
    allow_chance: bool = False
    """Go on although a model answers no better than guessing, which is nearly always a mistake in data or weights."""
    shard: tuple[int, int] = (0, 1)
    """(i, n): this job takes every n-th image, starting with i; the last of the n jobs merges the cells."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"unknown precision {self.precision!r}: one of {', '.join(PRECISIONS)}.")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"the batch size must be at least 1, not {self.batch_size}.")
        if self.workers < 0:
            raise UsageError(f"the number of workers is 0 or more, not {self.workers}.")
        index, count = self.shard
        if count < 1 or not 0 <= index < count:
            raise UsageError(f"shard {index}/{count} does not exist: i/n needs 0 <= i < n.")


def evaluate(
    model: LoadedModel | str | Sequence[LoadedModel | str],
    protocol: EvaluationProtocol | Sequence[EvaluationProtocol],
    *,
    run: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    settings: Settings | None = None,
    normaliser: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    provenance: dict[str, object] | None = None,
) -> list[Run]:
    """Evaluate models on protocols and store the predictions, one run folder a model.

    Args:
        model: a model spec, a loaded model, or several; several see the same frames.
        protocol: one protocol or several, over images of one data set.
        run: the run folder of each model. A folder that holds cells of the same model, protocol and images goes on.
        settings: batch size, device, precision, workers, shard.
        normaliser: what CE and FR are divided by when scored: `alexnet` or the path of a run relative to each folder.
        progress: called after every batch.
        provenance: extra facts for run.json (command line, git revision).

    Returns:
        The runs, in the order of the models.

    Raises:
        IncomparableError: a folder holds something else.
        StorageError: a folder cannot be written.
        DataError: a model gives NaN, or an image cannot be used.

    Example:
        >>> from robustbench_lift import evaluate
        >>> from robustbench_lift.protocols import Request
        >>> evaluate("photos/resnet-lift", Request().build(), run="runs/lift")  # doctest: +SKIP
    """
    from robustbench_lift.evaluation.engine import Engine
    from robustbench_lift.weights import load_model

    settings = settings or Settings()
    specs = [model] if isinstance(model, str) or not isinstance(model, Sequence) else list(model)
    paths = [run] if isinstance(run, str | os.PathLike) else list(run)
    protocols = list(protocol) if isinstance(protocol, Sequence) else [protocol]
    if len(specs) != len(paths):
        raise UsageError(f"{len(specs)} models need as many run folders, not {len(paths)}.")
    engine = Engine(settings)
    models = [load_model(spec, device=str(engine.device)) if isinstance(spec, str) else spec for spec in specs]
    if settings.compile:
        models = [engine.compiled(one) for one in models]
    runs = [
        Run.prepare(path, manifest(one, protocols, settings, normaliser=normaliser, provenance=provenance or {}))
        for one, path in zip(models, paths, strict=True)
    ]
    cells = [(p, cell) for p in protocols for cell in p.cells()]
    tell = _Teller(progress, len(cells))
    _settle(cells, runs, settings.shard, tell)

    def work() -> Iterator[_Task]:
        for number, (which, cell) in enumerate(cells):
            pending = [(m, r) for m, r in zip(models, runs, strict=True) if not r.has(cell)]
            if any(not r.has_part(cell, *settings.shard) for _, r in pending):
                yield _task(number, which, cell, pending, settings.shard)

    # the work is taken ahead, in the thread that renders: the next cells are listed and read while one is shown
    with contextlib.closing(engine.stream(work())) as frames_of:
        for task, rows, frames in frames_of:
            assert isinstance(task, _Task)
            task.take([engine.predict(one, frames) for one, _ in task.waiting], len(rows))
            for note in engine.news():
                tell(task.cell, task.number, task.shown, len(task.rows), note)
            if task.shown == len(task.rows):
                _store(task, settings)
            tell(task.cell, task.number, task.shown, len(task.rows))
    return runs


def _settle(
    cells: list[tuple[EvaluationProtocol, Cell]], runs: list[Run], shard: tuple[int, int], tell: _Teller
) -> None:
    """Merge cells of which this job has nothing left to show, because it has done so or has no image of them."""
    for number, (which, cell) in enumerate(cells):
        pending = [r for r in runs if not r.has(cell)]
        images = int(runs[0].manifest.data["sets"][which.name]["images"])
        if shard[0] >= images:  # more jobs than images
            for run in pending:
                run.write(cell, Predictions.none(), shard=shard)
        if pending and all(r.has_part(cell, *shard) for r in pending):
            for run in pending:
                run.merge(cell, shard[1])
            tell(cell, number, 1, 1)


@dataclass(kw_only=True, eq=False)
class _Task(Work):
    """A cell under way: who is still to answer, and what they have answered."""

    number: int
    """Position among all cells."""
    pending: list[tuple[LoadedModel, Run]]
    """Models without this cell."""
    waiting: list[tuple[LoadedModel, Run]]
    """Those of them without this job's share of it."""
    answers: list[list[Answer]]
    """Of each that waits, a batch an entry."""
    shown: int = 0
    """Images that are done."""

    def take(self, answers: list[Answer], images: int) -> None:
        """Note the answers to a batch, one entry a waiting model."""
        for mine, answer in zip(self.answers, answers, strict=True):
            mine.append(answer)
        self.shown += images


def _task(
    number: int,
    protocol: EvaluationProtocol,
    cell: Cell,
    pending: list[tuple[LoadedModel, Run]],
    shard: tuple[int, int],
) -> _Task:
    images = protocol.images(cell)
    for one, store in pending:
        if one.num_classes != len(images.class_names):
            raise DataError(
                f"{one.name} has {one.num_classes} outputs, the data set {store.manifest.data['name']} has "
                f"{len(images.class_names)} classes: its answers cannot be scored. Evaluate a checkpoint trained for "
                "these classes."
            )
    waiting = [(m, r) for m, r in pending if not r.has_part(cell, *shard)]
    return _Task(
        protocol=protocol,
        cell=cell,
        images=images,
        rows=list(range(shard[0], len(images.ids), shard[1])),
        number=number,
        pending=pending,
        waiting=waiting,
        answers=[[] for _ in waiting],
    )


def _store(task: _Task, settings: Settings) -> None:
    """Write the cell of each model that waited for it, or this job's share; whoever comes last merges."""
    ids = [task.images.ids[i] for i in task.rows]
    for (one, store), answers in zip(task.waiting, task.answers, strict=True):
        predictions = Predictions.sorted(
            ids,
            task.images.labels[task.rows],
            np.concatenate([top5 for top5, _ in answers]),
            np.concatenate([confidence for _, confidence in answers]),
        )
        if not settings.allow_chance:
            _stop_at_chance(one, task.cell, predictions, len(task.images.class_names))
        store.write(task.cell, predictions, shard=settings.shard)
    for _, store in task.pending:
        store.merge(task.cell, settings.shard[1])


class _Teller:
    """Tells whoever asked where a cell stands."""

    def __init__(self, progress: Callable[[Progress], None] | None, cells: int) -> None:
        self._progress, self._cells = progress, cells

    def __call__(self, cell: Cell, number: int, done: int, images: int, note: str = "") -> None:
        if self._progress is not None:
            self._progress(Progress(cell, number + (done == images), self._cells, done, images, note))


def _stop_at_chance(model: LoadedModel, cell: Cell, predictions: Predictions, classes: int) -> None:
    top1 = predictions.top1[:, 0]
    error = float((top1 != predictions.labels).mean())
    found = diagnose_chance(error, classes, images=len(top1), cell=cell, labels=predictions.labels, top1=top1)
    if found is not None:
        raise DataError(
            f"{model.name}: {found}\nThe run stops here and keeps what was stored before; "
            "--allow-chance goes on nevertheless."
        )


def manifest(
    model: LoadedModel,
    protocols: Sequence[EvaluationProtocol],
    settings: Settings,
    *,
    normaliser: str | None,
    provenance: dict[str, object],
) -> Manifest:
    """run.json of one model on some protocols.

    Raises:
        IncomparableError: the protocols are over different data sets.
    """
    from robustbench_lift.provenance import environment

    sets: dict[str, dict[str, object]] = {}
    for protocol in protocols:
        source = protocol.images(protocol.cells()[0])
        mark = fingerprint(source.ids, source.labels, getattr(source, "content", bytes)())
        sets[protocol.name] = {"images": len(source.ids), "fingerprint": mark}
    whole, *others = dict.fromkeys(protocol.data for protocol in protocols)
    if others:
        shown = ", ".join(f"{one.name}@{one.fingerprint[:8]} ({one.images:,} images)" for one in (whole, *others))
        raise IncomparableError(
            f"one run is over one data set, not over {shown}. Build its protocols with one Request, or give them one "
            "identity."
        )
    common = {
        "data": f"{whole.name}@{whole.fingerprint[:8]}",
        "n": str(whole.images),
        "precision": settings.precision,
    }
    return Manifest(
        model=model_record(model),
        data={"name": whole.name, "images": whole.images, "classes": len(whole.class_names), "sets": sets},
        signature={"common": common, **{p.name: p.fields() for p in protocols}},
        cells=tuple(cell.key for p in protocols for cell in p.cells()),
        normaliser=normaliser,
        provenance={**environment(settings.device), **provenance},
    )


def model_record(model: LoadedModel) -> dict[str, object]:
    """What run.json says of a model."""
    return {
        "spec": model.spec,
        "name": model.name,
        "arch": model.arch,
        "pooling": model.pooling,
        "placement": model.placement,
        "weights_sha256": model.weights_sha256,
        "parameters": model.parameters,
        "num_classes": model.num_classes,
        "preprocessing": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(model.preprocessing).items()},
        "card": dict(model.card),
        "notes": list(model.notes),
    }
