"""`plan`: cells, images, frames and the estimated time of a run, before it starts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from robustbench_lift.commands.console import console, duration
from robustbench_lift.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from robustbench_lift.models import LoadedModel
    from robustbench_lift.pipeline import Engine
    from robustbench_lift.protocols.base import EvaluationProtocol
    from robustbench_lift.runs import Cell

R = TypeVar("R")
SAMPLE = 8
"""Images that are rendered and shown to the network to measure their cost."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    models: Annotated[list[str] | None, typer.Argument(help="Model specs; the shipped ones unless told.")] = None,
    data: Annotated[str, typer.Option(help="`photos`, `imagenet:/data/imagenet/val`, ...")] = "photos",
    protocols: Annotated[
        str, typer.Option(help="Which of clean, corruption, perturbation, shift; comma-separated.")
    ] = "clean,corruption,perturbation,shift",
    limit: Annotated[int | None, typer.Option(help="A fixed, class-balanced subset of so many images.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """What a run will cost: cells, images and frames, and the time estimated from a few images of every condition.

    Example: `robustbench-lift plan photos/resnet-lift`
    """
    from rich.table import Table

    from robustbench_lift import embedded
    from robustbench_lift.evaluate import Settings
    from robustbench_lift.models import load_model
    from robustbench_lift.pipeline import Engine
    from robustbench_lift.requests import Request

    request = Request(data=data, protocols=tuple(part.strip() for part in protocols.split(",")), limit=limit)
    engine = Engine(Settings(device=device))
    specs = list(models or (embedded.MODELS if request.embedded else ()))
    if not specs:
        raise UsageError(f"no model given for {data}; the shipped ones know the embedded photographs alone.")
    loaded = [load_model(spec, device=str(engine.device)) for spec in specs]
    table = Table(title=f"Plan: {len(specs)} models on {data}, {engine.device}")
    for heading in ("protocol", "cells", "images a cell", "frames in all", "rendering", "networks"):
        table.add_column(heading, justify="left" if heading == "protocol" else "right")
    total = 0.0
    for protocol in request.build():
        frames, rendering, forward = _cost(engine, protocol, loaded)
        cells = protocol.cells()
        table.add_row(
            protocol.name,
            str(len(cells)),
            f"{len(protocol.images(cells[0]).ids):,}",
            f"{frames:,}",
            duration(rendering),
            duration(forward),
        )
        total += rendering + forward
    console.print(table)
    console.print(f"about {duration(total)} in all, measured on {SAMPLE} images of every condition")


def _cost(engine: Engine, protocol: EvaluationProtocol, models: list[LoadedModel]) -> tuple[int, float, float]:
    """Frames of a protocol, seconds of rendering, seconds of forward passes (all models)."""
    import numpy as np
    import torch

    frames, rendering, forward = 0, 0.0, 0.0
    measured: dict[str, tuple[int, float, float]] = {}
    for cell in protocol.cells():
        images = protocol.images(cell)
        if cell.condition not in measured:
            rows = list(range(min(SAMPLE, len(images.ids))))
            batch = torch.stack(
                [torch.from_numpy(np.moveaxis(protocol.prepare(images.read(i)), -1, -3).copy()) for i in rows]
            ).to(engine.device)
            measured[cell.condition] = _measure(engine, protocol, cell, batch, [images.ids[i] for i in rows], models)
        length, render, predict = measured[cell.condition]
        frames += length * len(images.ids)
        rendering += render * len(images.ids)
        forward += predict * len(images.ids)
    return frames, rendering, forward


def _measure(
    engine: Engine,
    protocol: EvaluationProtocol,
    cell: Cell,
    batch: object,
    ids: list[str],
    models: list[LoadedModel],
) -> tuple[int, float, float]:
    from torch import Tensor

    assert isinstance(batch, Tensor)
    render, shown = _seconds(lambda: protocol.render(cell, batch, ids))
    forward = sum(_seconds(lambda one=model: engine.predict(one, shown))[0] for model in models)  # type: ignore[misc]
    return shown.shape[1], render / len(ids), forward / len(ids)


def _seconds(work: Callable[[], R]) -> tuple[float, R]:
    """The time of the second call: the first one warms up."""
    work()
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result
