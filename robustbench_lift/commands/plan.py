"""`plan`: cells, images, frames and the estimated time of a run, before it starts."""

from __future__ import annotations

import tempfile
from typing import Annotated

import typer

from robustbench_lift.commands.console import console, doing, duration, for_tables
from robustbench_lift.commands.fields import expanded
from robustbench_lift.commands.run import Models, Normaliser, models_of
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.protocols.request import Request


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


@expanded(config=True)
def plan(
    request: Request,
    settings: Settings,
    models: Models = None,
    normaliser: Normaliser = None,
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
    from robustbench_lift.evaluation.estimate import Sizes, estimates
    from robustbench_lift.weights import load_model

    specs, _ = models_of(request, models, normaliser)
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
    notes = []
    coming = estimates(engine, plans, loaded)
    for protocol in plans:
        with doing(f"measuring {protocol.name}"):
            one = next(coming)
        sizes += one.sizes
        total += one.seconds(settings.workers)
        table.add_row(
            protocol.name,
            str(len(protocol.cells())),
            f"{protocol.count():,}",
            f"{one.cost.frames:,}",
            duration(one.cost.reading / max(1, settings.workers)),
            duration(one.cost.rendering),
            duration(one.cost.networks),
        )
        if one.kept:
            notes.append(
                f"{protocol.name}: images are decoded once, {one.kept / 1e9:.2g} GB of their pixels are kept in "
                f"{tempfile.gettempdir()} during the run, where twice that must be free (--no-keep decodes for every "
                "cell)"
            )
    for_tables().print(table)
    console.print(
        f"about {duration(total)} in all, besides start and report; measured on a few images of every condition"
    )
    console.print(
        f"{sizes.images:,} images are read, {sizes.cells:,} cells of {sizes.bytes / 1e6:,.1f} MB are stored",
        soft_wrap=True,
    )
    for note in notes:
        console.print(note, soft_wrap=True)
    if jobs > 1:
        share = total / jobs
        console.print(
            f"in {jobs:,} jobs: about {duration(share)} each besides its start, {sizes.images / max(total, 1e-9):,.0f} "
            f"images a second read by each and {jobs * sizes.images / max(total, 1e-9):,.0f} by all; "
            f"{jobs * sizes.cells:,} files of shares, {jobs * sizes.cells / max(share, 1e-9):,.1f} a second, of which "
            f"{sizes.cells:,} cells remain",
            soft_wrap=True,
        )
