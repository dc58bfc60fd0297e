"""`plan`: cells, images, frames and the estimated time of a run, before it starts."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from robustbench_lift.commands.console import console, doing, duration, for_tables
from robustbench_lift.commands.fields import expanded
from robustbench_lift.commands.run import Models, models_of
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.protocols.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from robustbench_lift.evaluation.engine import Engine
    from robustbench_lift.protocols.base import EvaluationProtocol
    from robustbench_lift.runs import Cell
    from robustbench_lift.weights import LoadedModel

R = TypeVar("R")
SAMPLE = 8
"""Frames of a condition, or one image's, that are rendered and shown to the network to measure their cost."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


@expanded(config=True)
def plan(
    request: Request,
    settings: Settings,
    models: Models = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Jobs of one device each that share the run, as --shard 1/N to N/N would.")
    ] = 1,
) -> None:
    """What a run will cost: cells, images and frames, and the time estimated from a few images of every condition.

    It takes the options of `run` that say what is evaluated and how.

    Example: `robustbench-lift plan photos/resnet-lift --protocols corruption --severities 3`
    """
    from rich.table import Table

    from robustbench_lift.evaluation.engine import Engine
    from robustbench_lift.evaluation.prepared import KeptImages
    from robustbench_lift.weights import load_model

    specs = models_of(request, models)
    engine = Engine(settings)
    with doing("opening the data and the networks"):
        plans = request.build()
        loaded = [load_model(spec, device=str(engine.device)) for spec in specs]
    many = "1 model" if len(specs) == 1 else f"{len(specs)} models"
    table = Table(title=f"Plan: {many} on {request.data}, {engine.device}")
    for heading in ("protocol", "cells", "images a cell", "frames", "reading", "rendering", "networks"):
        first = heading == "protocol"
        table.add_column(heading, justify="left" if first else "right", no_wrap=first)
    total = 0.0
    sizes = Sizes()
    kept = KeptImages([one for one in plans for _ in one.cells()] if settings.keep else [], settings.shard)
    decoded: set[tuple[int, str]] = set()
    for protocol in plans:
        with doing(f"measuring {protocol.name}"):
            cost = _cost(engine, protocol, loaded)
        cells = protocol.cells()
        if (key := kept.shared(protocol)) is not None:
            cost.reading = 0.0 if key in decoded else cost.reading / len(cells)
            decoded.add(key)
        sizes += sizes_of(protocol, cost.frames, len(specs))
        reading = cost.reading / max(1, settings.workers)
        table.add_row(
            protocol.name,
            str(len(cells)),
            f"{protocol.count():,}",
            f"{cost.frames:,}",
            duration(reading),
            duration(cost.rendering),
            duration(cost.networks),
        )
        # with processes of their own, and on a device of its own, stages run side by side: then the longest counts
        stages = (reading, cost.rendering, cost.networks)
        total += max(stages) if settings.workers and engine.device.type == "cuda" else sum(stages)
    for_tables().print(table)
    console.print(f"about {duration(total)} in all, measured on a few images of every condition")
    console.print(
        f"{sizes.images:,} images are read, {sizes.cells:,} cells of {sizes.bytes / 1e6:,.1f} MB are stored",
        soft_wrap=True,
    )
    for protocol in plans:
        if (key := kept.shared(protocol)) in decoded and (size := kept.size(protocol)):
            console.print(
                f"{protocol.name}: images are decoded once, {size / 1e9:.2g} GB of their pixels are kept in "
                f"{tempfile.gettempdir()} during the run, where twice that must be free (--no-keep decodes for every "
                "cell)",
                soft_wrap=True,
            )
            decoded.discard(key)
    if jobs > 1:
        share = total / jobs
        console.print(
            f"in {jobs:,} jobs: about {duration(share)} each besides its start, {sizes.images / max(total, 1e-9):,.0f} "
            f"images a second read by each and {jobs * sizes.images / max(total, 1e-9):,.0f} by all; "
            f"{jobs * sizes.cells:,} files of shares, {jobs * sizes.cells / max(share, 1e-9):,.1f} a second, of which "
            f"{sizes.cells:,} cells remain",
            soft_wrap=True,
        )


@dataclass(frozen=True)
class Sizes:
    """What a run reads and stores."""

    images: int = 0
    """Images that are read, once for each cell."""
    cells: int = 0
    """Files, over all models."""
    bytes: int = 0
    """Of all cells, before compression, without the ids."""

    def __add__(self, other: Sizes) -> Sizes:
        return Sizes(self.images + other.images, self.cells + other.cells, self.bytes + other.bytes)


def sizes_of(protocol: EvaluationProtocol, frames: int, models: int) -> Sizes:
    """The sizes of one protocol.

    Args:
        protocol: its cells are counted.
        frames: of all of them.
        models: networks that answer.
    """
    import math

    import numpy as np

    from robustbench_lift.protocols.base import stored_by

    cells, images = len(protocol.cells()), protocol.count() * len(protocol.cells())
    stored = 0
    for kind, shape in stored_by(protocol).ARRAYS.values():
        # a first letter is the frames of an image; other letters, such as classes, count once
        items = math.prod(size for size in shape if isinstance(size, int))
        stored += np.dtype(kind).itemsize * items * (frames if shape and isinstance(shape[0], str) else images)
    return Sizes(images, cells * models, stored * models)


@dataclass
class _Cost:
    """Of a protocol: frames, and seconds of each stage in one process, for all models together."""

    frames: int = 0
    reading: float = 0.0
    rendering: float = 0.0
    networks: float = 0.0


def _cost(engine: Engine, protocol: EvaluationProtocol, models: list[LoadedModel]) -> _Cost:
    """What a protocol costs, measured on a few images of every condition."""
    cost = _Cost()
    measured: dict[str, _Cost] = {}
    networks: dict[tuple[int, ...], float] = {}
    count = protocol.count()
    for cell in protocol.cells():
        if cell.condition not in measured:
            measured[cell.condition] = _measure(engine, protocol, cell, models, networks)
        one = measured[cell.condition]
        cost.frames += one.frames * count
        cost.reading += one.reading * count
        cost.rendering += one.rendering * count
        cost.networks += one.networks * count
    return cost


def _measure(
    engine: Engine,
    protocol: EvaluationProtocol,
    cell: Cell,
    models: list[LoadedModel],
    known: dict[tuple[int, ...], float],
) -> _Cost:
    """What one image of a condition costs; `known` are seconds of the networks for an image, by its frames' shape."""
    from robustbench_lift.evaluation.engine import by_size
    from robustbench_lift.evaluation.prepared import PreparedImages
    from robustbench_lift.evaluation.work import Shown, Work

    images = protocol.images(cell)
    prepared = PreparedImages(protocol, images)
    count = min(max(1, SAMPLE // protocol.frames(cell)), len(images.ids))
    reading, groups = _seconds(lambda: by_size([prepared[row] for row in range(count)]))
    places, batch, targets = max(groups, key=lambda group: len(group[0]))  # of the size that most of them have
    work = Work(protocol=protocol, cell=cell, images=images, rows=places)
    batch, targets = batch.to(engine.device), targets.to(engine.device)
    rendering, shown = _seconds(lambda: protocol.render(cell, batch, [images.ids[row] for row in places]))
    seen = Shown(work, places, shown, targets)
    shape = tuple(shown.shape[1:])
    if shape not in known:  # what networks cost does not depend on what the images show
        times = (_seconds(lambda one=model: engine.answer(one, seen))[0] for model in models)  # type: ignore[misc]
        known[shape] = sum(times) / len(places)
    return _Cost(shown.shape[1], reading / count, rendering / len(places), known[shape])


def _seconds(work: Callable[[], R]) -> tuple[float, R]:
    """The time of the second call: the first one warms up."""
    work()
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result
