"""`--config run.toml`: the options of a command as a file, and the file that repeats a command.

    models = ["resnet50/lift@weights.safetensors"]
    data = "imagenet:/data/val,imagenet-c:/data/c"
    severities = [1, 3, 5]
    precision = "bf16"

A key is the name of an option, `-` and `_` alike. What stands on the command line too must say the same.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_lift.errors import DataError, UsageError, unknown
from robustbench_lift.files import read_bytes, write_atomic
from robustbench_lift.text import printable

if TYPE_CHECKING:
    import inspect

    from robustbench_lift.commands.options import OptionOf
    from robustbench_lift.evaluation.settings import Settings
    from robustbench_lift.protocols.request import Request

OF_RUN = ("models", "out", "normaliser", "report", "json_file", "quiet")
"""Options of `run` that other commands read over in a file."""
MOST = 2**20
"""Bytes of a file that is read."""


def configured(
    file: Path,
    given: Mapping[str, Any],
    typed: Collection[str],
    options: Sequence[OptionOf],
    plain: Sequence[inspect.Parameter],
) -> dict[str, Any]:
    """What was typed, filled up with what a file says.

    Args:
        file: TOML.
        given: values of all options by name, defaults among them.
        typed: names of those that stand on the command line.
        options: options that are fields of dataclasses.
        plain: the other parameters.

    Raises:
        UsageError: the file cannot be read, or has an unknown option, one that the command line contradicts, or a value
            of another kind.
    """
    fields = {option.field.name: option for option in options}
    known = {*fields, *(parameter.name for parameter in plain)}
    found = dict(given)
    for key, value in _read(file).items():
        name = key.replace("-", "_")
        if name == "json":
            name = "json_file"
        if name not in known:
            if name in OF_RUN:
                continue
            raise unknown(f"option in {printable(file)}", printable(key), sorted(known))
        converted = _converted(file, key, value, fields.get(name), plain)
        if name in typed and _plain(found[name]) != _plain(converted):
            raise UsageError(
                f"{printable(file)} says {printable(key)} = {printable(str(value))}, the command line "
                f"{printable(str(found[name]))}. Leave one of them out."
            )
        found[name] = converted
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_bytes(file, limit=MOST).decode())
    except DataError:
        raise UsageError(f"{printable(file)} is larger than {MOST:,} bytes: no file of options.") from None
    except OSError as error:
        raise UsageError(f"--config {printable(file)} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"--config {printable(file)} is no TOML: {printable(str(error))}.") from None


def _converted(file: Path, key: str, value: Any, option: OptionOf | None, plain: Sequence[inspect.Parameter]) -> Any:
    """A value of TOML as the command line would give it."""
    if option is not None and option.item is not None:
        items = value if isinstance(value, list) else [value]
        if items and all(type(item) in (str, option.item) for item in items):
            return [str(item) for item in items]
        raise _wrong(file, key, value, f"a list of {'numbers' if option.item is int else 'names'}")
    if option is None:
        return _plain_value(
            file, key, value, next(p for p in plain if p.name == key.replace("-", "_") or p.name == f"{key}_file")
        )
    kind = str if option.parse is not None or typing.get_origin(option.kind) is typing.Literal else option.kind
    if type(value) is not kind:
        raise _wrong(file, key, value, {int: "a whole number", bool: "true or false"}.get(kind, "a text"))
    return value


def _plain_value(file: Path, key: str, value: Any, parameter: inspect.Parameter) -> Any:
    """A value of an option that is no field."""
    hint = str(parameter.annotation)
    if "list[str]" in hint:
        items = value if isinstance(value, list) else [value]
        if items and all(isinstance(item, str) for item in items):
            return items
        raise _wrong(file, key, value, "a list of texts")
    if isinstance(parameter.default, bool):
        if isinstance(value, bool):
            return value
        raise _wrong(file, key, value, "true or false")
    if not isinstance(value, str):
        raise _wrong(file, key, value, "a text")
    return Path(value) if "Path" in hint else value


def _wrong(file: Path, key: str, value: Any, expected: str) -> UsageError:
    return UsageError(f"{printable(file)}: {printable(key)} = {printable(str(value))}, expected {expected}.")


def _plain(value: Any) -> Any:
    """A value as it is compared: lists by their parts, everything else as text."""
    if isinstance(value, list | tuple):
        return [part.strip() for item in value for part in str(item).split(",") if part.strip()]
    return str(value)


def write_config(
    file: Path, request: Request, settings: Settings, *, models: Sequence[str], normaliser: str | None, out: Path
) -> None:
    """Write the file with which `run --config` repeats a command: what differs from the defaults.

    Raises:
        StorageError: it cannot be written.
    """
    lines = ["# robustbench-lift run --config run.toml evaluates the same again", f"models = {_toml(list(models))}"]
    for value in (request, settings):
        for field in dataclasses.fields(value):
            found = getattr(value, field.name)
            plain = field.default is not dataclasses.MISSING and found == field.default
            if field.name != "shard" and not plain and found is not None:
                lines.append(f"{field.name} = {_toml(found)}")
    if normaliser is not None:
        lines.append(f"normaliser = {_toml(normaliser)}")
    lines.append(f"out = {_toml(str(out))}")
    write_atomic(file, ("\n".join(lines) + "\n").encode("utf-8", "replace"))


def _toml(value: Any) -> str:
    """A text, number, truth value, or a list of them, as TOML.

    >>> _toml(("fog", 3)), _toml(True)
    ('["fog", 3]', 'true')
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else str(value)
