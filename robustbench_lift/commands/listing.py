"""`list`: what there is, built in or from plug-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from robustbench_lift.commands.console import for_tables
from robustbench_lift.errors import RobustbenchError, unknown

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderResult
    from rich.table import Table

RIGHT = ("parameters", "error %", "count", "conditions")
"""Columns of numbers."""
WHOLE = ("name", "key", "list", *RIGHT)
"""Columns that never shrink: a name is there to be copied, a number to be read."""
MOST_LINES = 3
"""Lines of a row of a table, about; where more are needed, rows become blocks."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_)


def list_(
    kind: Annotated[str | None, typer.Argument(help="What to list; without it, everything there is to list.")] = None,
    backbone: Annotated[str, typer.Option(help="Backbone whose parameters `list poolings` prints.")] = "resnet50",
) -> None:
    """List poolings, pairs, models, checkpoints, corruptions, suites, data, protocols, numbers, recipes and more.

    Example: `robustbench-lift list poolings --backbone resnet18`
    """
    if kind is not None and kind not in LISTS:
        raise unknown("list", kind, LISTS)
    table = _overview() if kind is None else LISTS[kind](backbone)
    for_tables(table.width).print(table)


@dataclass
class TerminalList:
    """A table for the terminal; where its texts would be broken into slivers, a block of lines a row."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row of plain text; brackets in it are no markup."""
        self.rows.append(cells)

    @property
    def width(self) -> int:
        """Columns of a terminal on which every row is one line."""
        lengths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        return sum(lengths) + 3 * len(lengths) + 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or the blocks."""
        yield self._table() if self._fits(options.max_width) else self._blocks()

    def _fits(self, width: int) -> bool:
        """Whether no row needs more than `MOST_LINES` lines beside the columns that never shrink."""
        rows = (self.columns, *self.rows)
        whole = [k for k, column in enumerate(self.columns) if column in WHOLE]
        taken = sum(max(len(row[k]) for row in rows) for k in whole) + 3 * len(self.columns) + 1
        longest = max(sum(len(text) for k, text in enumerate(row) if k not in whole) for row in rows)
        return longest <= MOST_LINES * (width - taken)

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.title, title_justify="left")
        for column in self.columns:
            side: Literal["left", "right"] = "right" if column in RIGHT else "left"
            table.add_column(column, justify=side, no_wrap=column in WHOLE, overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def _blocks(self) -> Group:
        from rich.console import Group
        from rich.padding import Padding
        from rich.text import Text

        parts: list[Any] = [Text(self.title, style="italic")]
        for name, *cells in self.rows:
            parts.append(Text(name, style="bold"))
            for column, text in zip(self.columns[1:], cells, strict=True):
                if text:
                    parts.append(Padding(Text(f"{column}: ", style="dim").append(text, style="not dim"), (0, 0, 0, 4)))
        return Group(*parts)


def _overview() -> TerminalList:
    table = TerminalList("What there is: `robustbench-lift list NAME` shows it", ("list", "count", "such as"))
    for name, names in _names().items():
        table.add(name, str(len(names)), ", ".join(names[:4]))
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
    from robustbench_lift.weights.ours import shipped

    return {
        "poolings": (*POOLINGS, *UP_POOLINGS),
        "pairs": tuple(PAIRS),
        "models": tuple(BACKBONES),
        "checkpoints": tuple(shipped()),
        "corruptions": conditions_of("corruption"),
        "perturbations": conditions_of("perturbation"),
        "suites": tuple(SUITES),
        "data": tuple(KINDS),
        "protocols": tuple(PROTOCOLS),
        "numbers": tuple(NUMBERS),
        "recipes": tuple(RECIPES),
        "plugins": tuple(plugins.loaded()),
    }


def _origin(registry: str, name: str) -> str:
    """` (plug-in mine)` behind what a plug-in added."""
    from robustbench_lift import plugins

    module = plugins.provider(registry, name)
    return f" (plug-in {module})" if module else ""


def _poolings(backbone: str) -> TerminalList:
    from robustbench_lift.networks import BACKBONES, build_model, poolings_of
    from robustbench_lift.pooling import UP_POOLINGS, PoolingError

    if backbone not in BACKBONES:
        raise unknown("backbone", backbone, BACKBONES)
    table = TerminalList(f"Poolings, parameters of {backbone}", ("name", "parameters", "idea", "source"))
    for name, entry in poolings_of(backbone).items():
        try:
            parameters = f"{sum(p.numel() for p in build_model(backbone, name).parameters()):,}"
        except (RobustbenchError, PoolingError):
            parameters = "not in a backbone"
        origin = _origin("pair" if BACKBONES[backbone].pairs else "pooling", name)
        table.add(name, parameters, entry.idea + origin, str(getattr(entry, "source", None) or ""))
    for name, up in UP_POOLINGS.items():
        table.add(name, "up", up.idea + _origin("up-pooling", name), str(up.source or ""))
    return table


def _pairs(backbone: str) -> TerminalList:
    from robustbench_lift.networks import PAIRS

    table = TerminalList("Pairs of poolings, for encoder-decoders (segnet/NAME)", ("name", "idea", "options"))
    for name, entry in PAIRS.items():
        table.add(name, entry.idea + _origin("pair", name), ", ".join(entry.options))
    return table


def _models(backbone: str) -> TerminalList:
    from robustbench_lift.networks import BACKBONES

    table = TerminalList(
        "Backbones (spec: BACKBONE/POOLING?placement=P@weights)", ("name", "input", "placements", "idea")
    )
    for name, entry in BACKBONES.items():
        places = ", ".join(entry.placements)
        table.add(name, str(entry.input_size), places, entry.idea + _origin("backbone", name))
    return table


def _checkpoints(backbone: str) -> TerminalList:
    from robustbench_lift.weights.ours import shipped

    table = TerminalList(
        "Shipped checkpoints, with clean error (segmentation: 1 - mIoU)", ("name", "network", "parameters", "error %")
    )
    for name, entry in shipped().items():
        network = f"{entry['architecture']}/{entry['pooling']}"
        table.add(name, network, f"{entry['parameters']:,}", f"{100 * entry['clean_error']:.1f}")
    return table


def _conditions(protocol: str) -> Callable[[str], TerminalList]:
    def make(backbone: str) -> TerminalList:
        from robustbench_lift.data.suites import SUITES, conditions_of

        table = TerminalList(f"{protocol.capitalize()}s", ("name", "category", "suites"))
        for name in conditions_of(protocol):
            within = [suite for suite in SUITES.values() if suite.protocol == protocol and name in suite.conditions]
            category = next((suite.category(name) for suite in within if suite.category(name)), "")
            table.add(name, category, ", ".join(suite.name for suite in within) + _origin(protocol, name))
        return table

    return make


def _suites(backbone: str) -> TerminalList:
    from robustbench_lift.data.kinds import KINDS
    from robustbench_lift.data.suites import SUITES

    table = TerminalList("Suites of conditions", ("name", "size", "--data", "normaliser", "source"))
    for name, suite in SUITES.items():
        trees = [(key, kind) for key, kind in KINDS.items() if kind.suites.get(suite.protocol) == name]
        read = ", ".join(f"{key}:" for key, kind in trees if kind.serves == suite.protocol)
        made = "clean images (generated)" if any(kind.serves == "images" for _, kind in trees) else ""
        data = " or ".join(part for part in (read, made) if part)
        images = {kind.expected.cell for _, kind in trees if kind.expected.cell is not None}
        size = f"{len(suite.conditions)} {suite.protocol}s"
        if suite.limits:
            levels = (suite.limits.get(condition, suite.severities) for condition in suite.conditions)
            size += f", {sum(map(len, levels))} cells"
        else:
            size += f" x {len(suite.severities)}"
        size += f" x {max(images):,} images" if images else ""
        table.add(name, size, data, suite.normaliser or "none", suite.source + _origin("suite", name))
    return table


def _data(backbone: str) -> TerminalList:
    from robustbench_lift.data.kinds import KINDS

    table = TerminalList("Kinds of data (--data NAME:PATH?option=value)", ("name", "serves", "what", "options"))
    for name, kind in KINDS.items():
        options = ", ".join(option.name for option in kind.options)
        table.add(name, kind.serves, kind.title + _origin("data kind", name), options)
    return table


def _protocols(backbone: str) -> TerminalList:
    import inspect

    from robustbench_lift.protocols import PROTOCOLS

    table = TerminalList("Protocols", ("name", "what"))
    for name, kind in PROTOCOLS.items():
        first = (inspect.getdoc(kind) or "").partition("\n")[0]
        table.add(name, first + _origin("protocol", name))
    return table


def _numbers(backbone: str) -> TerminalList:
    from robustbench_lift.scores.numbers import NUMBERS

    table = TerminalList("Numbers", ("key", "title", "better", "protocols", "gated", "definition"))
    for key, number in NUMBERS.items():
        name = f"{key}/CONDITION" if number.family else key
        definition = number.about + _origin("number", key)
        gated = "no" if number.family else "yes" if number.gated else "where it is named"
        table.add(name, number.title, number.direction, ", ".join(number.protocols), gated, definition)
    return table


def _recipes(backbone: str) -> TerminalList:
    from robustbench_lift.training import RECIPES

    table = TerminalList("Training recipes", ("name", "source"))
    for name, recipe in RECIPES.items():
        table.add(name, recipe.source)
    return table


def _plugins(backbone: str) -> TerminalList:
    from robustbench_lift import plugins

    table = TerminalList("Plug-ins that are loaded", ("name", "file", "adds"))
    for name, module in plugins.loaded().items():
        table.add(name, str(module.__file__), ", ".join(_added(name)))
    return table


def _added(plugin: str) -> Iterator[str]:
    from robustbench_lift import plugins

    for registry, name in plugins.added_by(plugin):
        yield f"{registry} {name}"


LISTS: dict[str, Callable[[str], TerminalList]] = {
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
