"""`list`: what there is: poolings, models, checkpoints, kinds of data, protocols, suites, corruptions, recipes, ..."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_lift.commands.console import console
from robustbench_lift.errors import unknown

if TYPE_CHECKING:
    from rich.table import Table

KINDS = (
    "poolings",
    "models",
    "checkpoints",
    "data",
    "protocols",
    "suites",
    "corruptions",
    "perturbations",
    "recipes",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_)


def list_(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))] = "checkpoints",
    backbone: Annotated[str, typer.Option(help="Backbone whose parameters `list poolings` prints.")] = "resnet50",
) -> None:
    """List poolings, models, checkpoints, data, protocols, suites, corruptions, perturbations or recipes.

    Example: `robustbench-lift list poolings --backbone resnet18`
    """
    if kind == "poolings":
        console.print(_poolings(backbone))
    elif kind == "models":
        console.print(_models())
    elif kind == "checkpoints":
        console.print(_checkpoints())
    elif kind == "data":
        console.print(_data())
    elif kind == "protocols":
        console.print(_protocols())
    elif kind == "suites":
        console.print(_suites())
    elif kind in ("corruptions", "perturbations"):
        console.print(_conditions(kind))
    elif kind == "recipes":
        console.print(_recipes())
    else:
        raise unknown("list", kind, KINDS)


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        right = column in ("parameters", "MACs", "error %", "layer parameters at 256 channels")
        # a name is there to be copied and a number to be read: they never shrink, and nothing ends in an ellipsis
        whole = right or column == "name"
        table.add_column(column, justify="right" if right else "left", no_wrap=whole, overflow="fold")
    return table


def _poolings(backbone: str) -> Table:
    from robustbench_lift.errors import RobustbenchError
    from robustbench_lift.networks import build_model
    from robustbench_lift.pooling import POOLINGS, UP_POOLINGS, PoolingError

    table = _table(f"Poolings, parameters of {backbone}", "name", "parameters", "idea", "source")
    for name, entry in POOLINGS.items():
        try:
            parameters = f"{sum(p.numel() for p in build_model(backbone, name).parameters()):,}"
        except (RobustbenchError, PoolingError) as error:
            if "unknown architecture" in str(error):
                raise
            parameters = "not in a backbone"
        table.add_row(name, parameters, entry.idea, str(entry.source or ""))
    for name, entry in UP_POOLINGS.items():
        table.add_row(name, "up", entry.idea, str(entry.source or ""))
    return table


def _models() -> Table:
    from robustbench_lift.networks import BACKBONES

    table = _table("Architectures (spec: ARCH/POOLING?placement=P@weights)", "name", "input", "placements", "idea")
    for name, entry in BACKBONES.items():
        table.add_row(name, str(entry.input_size), ", ".join(entry.placements), entry.idea)
    return table


def _checkpoints() -> Table:
    import tomllib
    from importlib.resources import files

    table = _table("Shipped checkpoints, with clean error", "name", "network", "parameters", "error %")
    index = tomllib.loads((files("checkpoints") / "index.toml").read_text(encoding="utf-8"))
    for name, entry in index.items():
        table.add_row(
            name,
            f"{entry['architecture']}/{entry['pooling']}",
            f"{entry['parameters']:,}",
            f"{100 * entry['clean_error']:.1f}",
        )
    return table


def _data() -> Table:
    from robustbench_lift.data.kinds import KINDS as KINDS_OF_DATA

    table = _table("Kinds of data (spec: KIND:PATH?OPTION=VALUE&...)", "name", "what lies there", "options")
    for name, kind in KINDS_OF_DATA.items():
        table.add_row(name, kind.title, ", ".join(option.name for option in kind.options))
    return table


def _protocols() -> Table:
    from robustbench_lift.protocols import PROTOCOLS

    table = _table("Protocols", "name", "what they show")
    for name, cls in PROTOCOLS.items():
        table.add_row(name, (cls.__doc__ or "").strip().partition("\n")[0])
    return table


def _suites() -> Table:
    from robustbench_lift.protocols import SUITES

    table = _table("Suites of conditions", "name", "conditions", "source")
    for name, suite in SUITES.items():
        table.add_row(name, ", ".join(suite.conditions), suite.source)
    return table


def _conditions(kind: str) -> Table:
    import corruptions

    lists = {
        "corruptions": (corruptions.BENCHMARK, corruptions.EXTRA),
        "perturbations": (corruptions.PERTURBATIONS, corruptions.EXTRA_PERTURBATIONS),
    }
    benchmark, extra = lists[kind]
    table = _table(kind.capitalize(), "name", "set")
    for name in (*benchmark, *extra):
        table.add_row(name, "benchmark" if name in benchmark else "extra")
    for name in corruptions.CORRUPTIONS if kind == "corruptions" else corruptions.SEQUENCES:
        if name not in (*benchmark, *extra):
            table.add_row(name, "plug-in")
    return table


def _recipes() -> Table:
    from robustbench_lift.training import RECIPES

    table = _table("Training recipes", "name", "source")
    for name, recipe in RECIPES.items():
        table.add_row(name, recipe.source)
    return table
