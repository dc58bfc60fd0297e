"""Frozen dataclasses that programs fill: each field has the type that it declares, or one message says which has not.

The command line converts text before it fills such a class; a program may pass anything.
"""

from __future__ import annotations

import operator
import reprlib
import types
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from robustbench_lift.errors import UsageError
from robustbench_lift.text import printable

WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    type(None): "None",
}
"""Types in messages."""


def take_types(instance: object) -> None:
    """Bring every field of a frozen dataclass to its type: a list to a tuple, NumPy's integers to Python's.

    Raises:
        UsageError: a value of another type, such as text for a tuple of names, a fraction or True for a whole number.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Wish:
    ...     limit: int | None = None
    ...     names: tuple[str, ...] = ()
    ...     def __post_init__(self) -> None:
    ...         take_types(self)
    >>> Wish(names=["fog"])
    Wish(limit=None, names=('fog',))
    >>> Wish(limit=True)
    Traceback (most recent call last):
    robustbench_lift.errors.UsageError: limit must be a whole number or None, not True.
    >>> Wish(names="fog")
    Traceback (most recent call last):
    robustbench_lift.errors.UsageError: names must be a tuple of text, not 'fog'; write ('fog',).
    """
    for name, hint in get_type_hints(type(instance)).items():
        if get_origin(hint) is not ClassVar and hint is not ClassVar:
            object.__setattr__(instance, name, _taken(name, getattr(instance, name), hint))


def _taken(name: str, value: Any, hint: Any) -> Any:
    try:
        return _as(value, hint)
    except TypeError:
        single = get_origin(hint) is tuple and isinstance(value, get_args(hint)[0])
        example = f"; write ({reprlib.repr(value)},)" if single else ""
        raise UsageError(
            f"{name} must be {_words(hint)}, not {printable(reprlib.repr(value))}{printable(example)}."
        ) from None


def _as(value: Any, hint: Any) -> Any:
    """The value as the type, or TypeError."""
    if get_origin(hint) in (Union, types.UnionType):
        for one in get_args(hint):
            try:
                return _as(value, one)
            except TypeError:
                continue
        raise TypeError
    if get_origin(hint) is Literal and value is not None:
        return value  # the class names its choices
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        return tuple(_as(item, get_args(hint)[0]) for item in value)
    if hint is int and not isinstance(value, bool):
        return operator.index(value)
    if get_origin(hint) is Literal or not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise TypeError
    return value


def _words(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_words(one) for one in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"a tuple of {_words(get_args(hint)[0]).removeprefix('a ')}{'s' * (get_args(hint)[0] is int)}"
    return WORDS.get(hint) or f"a {getattr(hint, '__name__', hint)}"
