"""`convert`: weights of any form into one .safetensors file with a card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustbench_lift.commands.console import console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert")(convert)


def convert(
    spec: Annotated[str, typer.Argument(help="Model spec, for example resnet50/blur?placement=zhang@file.pth.tar")],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    num_classes: Annotated[
        int | None, typer.Option(help="Number of classes, where the weights are not for 1000.")
    ] = None,
    data: Annotated[str, typer.Option(help="What the weights were trained on; goes into the card.")] = "",
    recipe: Annotated[str, typer.Option(help="How they were trained; goes into the card.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Convert weights of any form into our .safetensors with its card: no pickle, one state dict, keys cleaned.

    Reads what `run` reads: .safetensors, .pt, .pth, .pth.tar; bare or nested state dicts; DataParallel, Lightning and
    antialiased-cnns names. Nothing in the file is executed.

    Example: `robustbench-lift convert "resnet8/lift?num_classes=12@random" /tmp/untrained.safetensors --overwrite`
    """
    from robustbench_lift.errors import StorageError
    from robustbench_lift.weights import convert_weights

    if out.exists() and not overwrite:
        raise StorageError(f"{out} exists. Choose another name, or replace it with --overwrite.")
    model, sha256 = convert_weights(spec, out, num_classes=num_classes, data=data, recipe=recipe)
    for note in model.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    console.print(
        f"{out}: {model.parameters:,} parameters, {out.stat().st_size:,} bytes, sha256 {sha256}",
        markup=False,
        soft_wrap=True,
    )
    if model.pooling is not None:
        console.print(f"load it as {model.arch}/{model.pooling}@{out} or @{out}", markup=False, soft_wrap=True)
