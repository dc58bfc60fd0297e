"""A field of a dataclass as an option of a command: its name, help, default, and how its text becomes a value."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import typer
from typing_extensions import Doc

from robustbench_lift.errors import UsageError
from robustbench_lift.text import printable

SPELLINGS: dict[str, tuple[str, ...]] = {"metrics": ("--metric", "--metrics"), "margins": ("--margin", "--margins")}
"""Options with another spelling than their field."""


@dataclasses.dataclass(frozen=True)
class Overriding:
    """Options for fields of a dataclass of which only those that are typed count."""

    kind: type
    only: tuple[str, ...] = ()
    """Names of the fields; empty: all."""

    def options(self) -> tuple[OptionOf, ...]:
        """An option for each of the fields."""
        return tuple(option for option in options_of(self.kind) if not self.only or option.field.name in self.only)


@dataclasses.dataclass(frozen=True)
class OptionOf:
    """One field as an option."""

    field: dataclasses.Field[Any]
    kind: Any
    """The field's type without `Annotated` and `None`."""
    help: str
    optional: bool

    @property
    def flag(self) -> str:
        """`--batch-size`."""
        return f"--{self.field.name.replace('_', '-')}"

    @property
    def item(self) -> Any:
        """The type of an entry of a tuple, None for every other field."""
        return typing.get_args(self.kind)[0] if typing.get_origin(self.kind) is tuple else None

    @property
    def mapping(self) -> bool:
        """Whether it maps names to numbers."""
        return typing.get_origin(self.kind) is Mapping

    @property
    def parse(self) -> Callable[[str], Any] | None:
        """How a class of ours reads its own text."""
        return getattr(self.kind, "parse", None)

    def parameter(self, *, overriding: bool = False) -> inspect.Parameter:
        """The parameter that typer turns into the option; `overriding`: None unless it is typed."""
        names = SPELLINGS.get(self.field.name, (self.flag,))
        if self.kind is bool:
            default = None if overriding else self.field.default
            names = (f"{self.flag}/--no-{self.flag[2:]}",) if default or overriding else names
            annotation: Any = bool | None if overriding else bool
        elif self.item is not None or self.mapping:
            default = None
            annotation = list[str] | None
        elif self.parse is not None:
            default = None
            annotation = str | None
        else:
            default = None if overriding or self.field.default is dataclasses.MISSING else self.field.default
            annotation = self.kind | None if self.optional or overriding else self.kind
        shown: str | bool = True
        if overriding or self.item is not None or self.parse is not None:
            shown = _shown(self.field)
        option = typer.Option(*names, help=self.help, show_default=shown, metavar=_metavar(self))
        return inspect.Parameter(
            self.field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, option]
        )

    def value(self, given: Any) -> Any:
        """The field's value out of what was typed.

        Raises:
            UsageError: an empty list, or a number that is none.
        """
        if self.item is not None:
            if given is None:
                return _default(self.field)
            parts = [part.strip() for text in given for part in text.split(",") if part.strip()]
            if not parts:
                raise UsageError(f"{self.flag} is empty. Name at least one, or leave the option out.")
            return tuple(_entry(self, part) for part in parts)
        if self.mapping:
            return _default(self.field) if given is None else dict(_pair(self, text) for text in given)
        if self.parse is not None:
            return _default(self.field) if given is None else self.parse(given)
        return given


def options_of(kind: type) -> tuple[OptionOf, ...]:
    """The options of a dataclass, in the order of its fields; fields without a `Doc` are no options.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Cut:
    ...     side: Annotated[int, Doc("Side in pixels.")] = 64
    >>> [(option.flag, option.help) for option in options_of(Cut)]
    [('--side', 'Side in pixels.')]
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    found = []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        docs = [extra.documentation for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Doc)]
        if not docs:
            continue
        bare = typing.get_args(hint)[0]
        union = typing.get_origin(bare) in (types.UnionType, typing.Union)
        members = [member for member in typing.get_args(bare) if member is not type(None)] if union else [bare]
        found.append(OptionOf(field, members[0], docs[0], union and type(None) in typing.get_args(bare)))
    return tuple(found)


def filled(kind: type, given: Mapping[str, Any]) -> Any:
    """The dataclass out of what was typed for its options.

    Raises:
        UsageError: a value that means nothing.
    """
    return kind(**{option.field.name: option.value(given[option.field.name]) for option in options_of(kind)})


def typed(which: Overriding, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were typed, with their values.

    Raises:
        UsageError: a value that means nothing.
    """
    return {
        option.field.name: option.value(given[option.field.name])
        for option in which.options()
        if given[option.field.name] is not None
    }


def _entry(option: OptionOf, text: str) -> Any:
    if option.item is int:
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise UsageError(f"{option.flag}: {printable(text)!r} is not a whole number.")
        return int(text)
    return text


def _pair(option: OptionOf, text: str) -> tuple[str, float]:
    """NAME=NUMBER."""
    name, equals, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        flag = SPELLINGS.get(option.field.name, (option.flag,))[0]
        raise UsageError(
            f"{flag} {printable(text)!r}: expected NAME=NUMBER, for example {flag} mce=0.5."
            if equals
            else f"{flag} {printable(text)!r} has no number: write {flag} {printable(name)}=0.5."
        ) from None


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _shown(field: dataclasses.Field[Any]) -> str | bool:
    """The default of a list as it is typed; where a function makes it, what the function says of it."""
    if field.default_factory is not dataclasses.MISSING:
        words = (getattr(field.default_factory, "__doc__", None) or "").partition("\n")[0].rstrip(".")
        return words if inspect.isfunction(field.default_factory) and words else False
    default = field.default
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or False
    return str(default) if isinstance(default, str | int | float) and not isinstance(default, bool) else False


def _metavar(option: OptionOf) -> str | None:
    if option.mapping:
        return "NAME=NUMBER"
    if option.item is not None:
        return "LIST"
    if typing.get_origin(option.kind) is Literal:
        return None
    return getattr(option.kind, "METAVAR", None)
