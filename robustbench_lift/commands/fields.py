"""Options of a command out of the frozen dataclass that they fill: a field is an option, written once.

    @expanded
    def run(request: Request, settings: Settings, models: ...) -> None: ...

has an option for every field of `Request` and `Settings`. A field's `Doc` is the option's help, its default the
option's default, a `Literal` its choices; a tuple takes commas or repetition, a mapping NAME=NUMBER; a class with
`parse` reads its own text. A parameter `Annotated[Mapping[str, Any], Overriding(Policy)]` gets what was typed alone: it
goes over a file.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from robustbench_lift.commands.config import configured
from robustbench_lift.commands.options import Overriding, filled, options_of, typed


def expanded(function: Callable[..., None] | None = None, *, config: bool = False) -> Callable[..., Any]:
    """A command whose parameters that are dataclasses are replaced by an option for each of their fields.

    Args:
        function: the command.
        config: add `--config FILE`, a TOML file with values for any of the options, by the names of their fields.
    """
    if function is None:
        return functools.partial(expanded, config=config)
    hints = typing.get_type_hints(function, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and dataclasses.is_dataclass(hint)}
    changes = {
        name: extra
        for name, hint in hints.items()
        for extra in getattr(hint, "__metadata__", ())
        if isinstance(extra, Overriding)
    }
    plain = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in groups and name not in changes
    ]
    options = [option for kind in groups.values() for option in options_of(kind)]
    called = function

    @functools.wraps(function)
    def command(**given: Any) -> None:
        if config:
            context = given.pop("context")
            if (file := given.pop("config")) is not None:
                asked = {name for name in given if context.get_parameter_source(name).name == "COMMANDLINE"}
                given = configured(Path(file), given, asked, options, plain)
        values = {name: filled(kind, given) for name, kind in groups.items()}
        values |= {name: typed(which, given) for name, which in changes.items()}
        own = {parameter.name: given[parameter.name] for parameter in plain}
        called(**values, **own)

    parameters = [*plain, *(option.parameter() for option in options)]
    parameters += [option.parameter(overriding=True) for which in changes.values() for option in which.options()]
    if config:
        file = Annotated[
            str | None, typer.Option(help="TOML file of options by their names, such as a run's run.toml.")
        ]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter("config", keyword, default=None, annotation=file))
        parameters.append(inspect.Parameter("context", keyword, annotation=typer.Context))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del command.__wrapped__  # its signature is the old one
    return command
