"""`list`: what there is, built in or from plug-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robustbench_lift.commands.console import console
from robustbench_lift.errors import RobustbenchError, unknown

if TYPE_CHECKING:
    from rich.table import Table

RIGHT = ("parameters", "error %", "count", "conditions")
"""Columns of numbers."""
WHOLE = ("name", "key", "list", *RIGHT)
"""Columns that never shrink: a name is there to be copied, a number to be read."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_)


def list_(
    kind: Annotated[str | None, typer.Argument(help="What to list; without it, everything there is to list.")] = None,
    backbone: Annotated[str, typer.Option(help="Backbone whose parameters `list poolings` prints.")] = "resnet50",
) -> None:
    """List poolings, models, checkpoints, corruptions, perturbations, suites, data, protocols, numbers or recipes.

    Example: `robustbench-lift list poolings --backbone resnet18`
    """
    if kind is None:
        console.print(_overview())
    elif kind in LISTS:
        console.print(LISTS[kind](backbone))
    else:
        raise unknown("list", kind, LISTS)


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(
            column, justify="right" if column in RIGHT else "left", no_wrap=column in WHOLE, overflow="fold"
        )
    return table


def _add(table: Table, *cells: str) -> None:
    """Add a row of plain text; brackets in it are no markup."""
    from rich.text import Text

    table.add_row(*map(Text, cells))


def _overview() -> Table:
    table = _table("What there is: `robustbench-lift list NAME` shows it", "list", "count", "such as")
    for name, names in _names().items():
        _add(table, name, str(len(names)), ", ".join(names[:4]))
    return table


def _names() -> dict[str, tuple[str, ...]]:
    """The names that each list has."""
    from robustbench_lift import plugins
    from robustbench_lift.data.kinds import KINDS
    from robustbench_lift.data.suites import conditions_of
    from robustbench_lift.networks import BACKBONES, PAIRS
    from robustbench_lift.pooling import POOLINGS, UP_POOLINGS
    from robustbench_lift.protocols import PROTOCOLS, SUITES
    from robustbench_lift.scores.numbers import NUMBERS
    from robustbench_lift.training import RECIPES

    return {
        "poolings": (*POOLINGS, *UP_POOLINGS),
        "pairs": tuple(PAIRS),
        "models": tuple(BACKBONES),
        "checkpoints": tuple(_index()),
        "corruptions": conditions_of("corruption"),
        "perturbations": conditions_of("perturbation"),
        "suites": tuple(SUITES),
        "data": tuple(KINDS),
        "protocols": tuple(PROTOCOLS),
        "numbers": tuple(NUMBERS),
        "recipes": tuple(RECIPES),
        "plugins": tuple(plugins.loaded()),
    }


def _index() -> dict[str, Any]:
    """What ships, by name."""
    import tomllib
    from importlib.resources import files

    return tomllib.loads((files("checkpoints") / "index.toml").read_text(encoding="utf-8"))


def _origin(registry: str, name: str) -> str:
    """` (plug-in mine)` behind what a plug-in added."""
    from robustbench_lift import plugins

    module = plugins.provider(registry, name)
    return f" (plug-in {module})" if module else ""


def _poolings(backbone: str) -> Table:
    from robustbench_lift.networks import BACKBONES, build_model, poolings_of
    from robustbench_lift.pooling import UP_POOLINGS, PoolingError

    if backbone not in BACKBONES:
        raise unknown("backbone", backbone, BACKBONES)
    table = _table(f"Poolings, parameters of {backbone}", "name", "parameters", "idea", "source")
    for name, entry in poolings_of(backbone).items():
        try:
            parameters = f"{sum(p.numel() for p in build_model(backbone, name).parameters()):,}"
        except (RobustbenchError, PoolingError):
            parameters = "not in a backbone"
        origin = _origin("pair" if BACKBONES[backbone].pairs else "pooling", name)
        _add(table, name, parameters, entry.idea + origin, str(getattr(entry, "source", None) or ""))
    for name, up in UP_POOLINGS.items():
        _add(table, name, "up", up.idea + _origin("up-pooling", name), str(up.source or ""))
    return table


def _pairs(backbone: str) -> Table:
    from robustbench_lift.networks import PAIRS

    table = _table("Pairs of poolings, for encoder-decoders (segnet/NAME)", "name", "idea", "options")
    for name, entry in PAIRS.items():
        _add(table, name, entry.idea + _origin("pair", name), ", ".join(entry.options))
    return table


def _models(backbone: str) -> Table:
    from robustbench_lift.networks import BACKBONES

    table = _table("Backbones (spec: BACKBONE/POOLING?placement=P@weights)", "name", "input", "placements", "idea")
    for name, entry in BACKBONES.items():
        places = ", ".join(entry.placements)
        _add(table, name, str(entry.input_size), places, entry.idea + _origin("backbone", name))
    return table


def _checkpoints(backbone: str) -> Table:
    table = _table("Shipped checkpoints, with clean error", "name", "network", "parameters", "error %")
    for name, entry in _index().items():
        network = f"{entry['architecture']}/{entry['pooling']}"
        _add(table, name, network, f"{entry['parameters']:,}", f"{100 * entry['clean_error']:.1f}")
    return table


def _conditions(protocol: str) -> Callable[[str], Table]:
    def make(backbone: str) -> Table:
        from robustbench_lift.data.suites import SUITES, conditions_of

        table = _table(f"{protocol.capitalize()}s", "name", "category", "suites")
        for name in conditions_of(protocol):
            within = [suite for suite in SUITES.values() if suite.protocol == protocol and name in suite.conditions]
            category = next((suite.category(name) for suite in within if suite.category(name)), "")
            _add(table, name, category, ", ".join(suite.name for suite in within) + _origin(protocol, name))
        return table

    return make


def _suites(backbone: str) -> Table:
    from robustbench_lift.data.kinds import KINDS
    from robustbench_lift.data.suites import SUITES

    table = _table("Suites of conditions", "name", "size", "--data", "normaliser", "source")
    for name, suite in SUITES.items():
        trees = [(key, kind) for key, kind in KINDS.items() if kind.suites.get(suite.protocol) == name]
        read = ", ".join(f"{key}:" for key, kind in trees if kind.serves == suite.protocol)
        made = "clean images (generated)" if any(kind.serves == "images" for _, kind in trees) else ""
        data = " or ".join(part for part in (read, made) if part)
        images = {kind.expected.cell for _, kind in trees if kind.expected.cell is not None}
        size = f"{len(suite.conditions)} {suite.protocol}s x {len(suite.severities)}"
        size += f" x {max(images):,} images" if images else ""
        _add(table, name, size, data, suite.normaliser or "none", suite.source + _origin("suite", name))
    return table


def _data(backbone: str) -> Table:
    from robustbench_lift.data.kinds import KINDS

    table = _table("Kinds of data (--data NAME:PATH?option=value)", "name", "serves", "what", "options")
    for name, kind in KINDS.items():
        options = ", ".join(option.name for option in kind.options)
        _add(table, name, kind.serves, kind.title + _origin("data kind", name), options)
    return table


def _protocols(backbone: str) -> Table:
    import inspect

    from robustbench_lift.protocols import PROTOCOLS

    table = _table("Protocols", "name", "what")
    for name, kind in PROTOCOLS.items():
        first = (inspect.getdoc(kind) or "").partition("\n")[0]
        _add(table, name, first + _origin("protocol", name))
    return table


def _numbers(backbone: str) -> Table:
    from robustbench_lift.scores.numbers import NUMBERS

    table = _table("Numbers", "key", "title", "better", "protocols", "definition")
    for key, number in NUMBERS.items():
        name = f"{key}/CONDITION" if number.family else key
        definition = number.about + _origin("number", key)
        _add(table, name, number.title, number.direction, ", ".join(number.protocols), definition)
    return table


def _recipes(backbone: str) -> Table:
    from robustbench_lift.training import RECIPES

    table = _table("Training recipes", "name", "source")
    for name, recipe in RECIPES.items():
        _add(table, name, recipe.source)
    return table


def _plugins(backbone: str) -> Table:
    from robustbench_lift import plugins

    table = _table("Plug-ins that are loaded", "name", "file", "adds")
    for name, module in plugins.loaded().items():
        _add(table, name, str(module.__file__), ", ".join(_added(name)))
    return table


def _added(plugin: str) -> Iterator[str]:
    from robustbench_lift import plugins

    for registry, name in plugins.added_by(plugin):
        yield f"{registry} {name}"


LISTS: dict[str, Callable[[str], Table]] = {
    "poolings": _poolings,
    "pairs": _pairs,
    "models": _models,
    "checkpoints": _checkpoints,
    "corruptions": _conditions("corruption"),
    "perturbations": _conditions("perturbation"),
    "suites": _suites,
    "data": _data,
    "protocols": _protocols,
    "numbers": _numbers,
    "recipes": _recipes,
    "plugins": _plugins,
}
"""What can be listed."""
