"""`plan`: cells, images, frames and the estimated time of a run, before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import typer

from robustbench_lift.commands.console import console, duration
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
"""Images that are rendered and shown to the network to measure their cost."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


@expanded(config=True)
def plan(request: Request, settings: Settings, models: Models = None) -> None:
    """What a run will cost: cells, images and frames, and the time estimated from a few images of every condition.

    It takes the options of `run` that say what is evaluated and how.

    Example: `robustbench-lift plan photos/resnet-lift --protocols corruption --severities 3`
    """
    from rich.table import Table

    from robustbench_lift.evaluation.engine import Engine
    from robustbench_lift.weights import load_model

    specs = models_of(request, models)
    engine = Engine(settings)
    plans = request.build()
    loaded = [load_model(spec, device=str(engine.device)) for spec in specs]
    many = "1 model" if len(specs) == 1 else f"{len(specs)} models"
    table = Table(title=f"Plan: {many} on {request.data}, {engine.device}")
    for heading in ("protocol", "cells", "images a cell", "frames", "reading", "rendering", "networks"):
        first = heading == "protocol"
        table.add_column(heading, justify="left" if first else "right", no_wrap=first)
    total = 0.0
    for protocol in plans:
        cost = _cost(engine, protocol, loaded)
        cells = protocol.cells()
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
    console.print(table)
    console.print(f"about {duration(total)} in all, measured on {SAMPLE} images of every condition")


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
    count = protocol.count()
    for cell in protocol.cells():
        if cell.condition not in measured:
            measured[cell.condition] = _measure(engine, protocol, cell, models)
        one = measured[cell.condition]
        cost.frames += one.frames * count
        cost.reading += one.reading * count
        cost.rendering += one.rendering * count
        cost.networks += one.networks * count
    return cost


def _measure(engine: Engine, protocol: EvaluationProtocol, cell: Cell, models: list[LoadedModel]) -> _Cost:
    """What one image of a condition costs."""
    from robustbench_lift.evaluation.engine import PreparedImages, Shown, Work, by_size

    images = protocol.images(cell)
    prepared = PreparedImages(protocol, images)
    count = min(SAMPLE, len(images.ids))
    reading, groups = _seconds(lambda: by_size([prepared[row] for row in range(count)]))
    places, batch, targets = max(groups, key=lambda group: len(group[0]))  # of the size that most of them have
    work = Work(protocol=protocol, cell=cell, images=images, rows=places)
    batch, targets = batch.to(engine.device), targets.to(engine.device)
    rendering, shown = _seconds(lambda: protocol.render(cell, batch, [images.ids[row] for row in places]))
    seen = Shown(work, places, shown, targets)
    networks = sum(_seconds(lambda one=model: engine.answer(one, seen))[0] for model in models)  # type: ignore[misc]
    return _Cost(shown.shape[1], reading / count, rendering / len(places), networks / len(places))


def _seconds(work: Callable[[], R]) -> tuple[float, R]:
    """The time of the second call: the first one warms up."""
    work()
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result
