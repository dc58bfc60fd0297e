"""What a gate tolerates: a frozen policy, from a TOML file and from options."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from typing_extensions import Doc

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.files import TEXT_LIMIT, read_bytes

Mode = Literal["auto", "identity", "candidate", "recipe"]
MODES = get_args(Mode)
Correction = Literal["bh", "by", "holm", "none"]
CORRECTIONS = get_args(Correction)
MARGINS = {
    "clean_error": 1.0,
    "mean_error": 1.0,
    "mce": 2.0,
    "relative_mce": 3.0,
    "mean_flip_probability": 0.5,
    "mfr": 5.0,
    "consistency": 1.0,
}
"""Tolerated loss of a number that no margin is named for, percentage points: no more than what another seed of the same
small training moves it (docs/gate.md, choosing margins). Other numbers and single cells: none."""


MOST_REPLICATES = 100_000
"""Bootstrap samples that fit into memory; 2,000 give an interval to a twentieth of its width."""


def _gated() -> tuple[str, ...]:
    """Those that `list numbers` marks as gated."""
    from robustbench_lift.scores.numbers import gated  # loads NumPy, which `--help` need not wait for

    return gated()


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Rules of a gate; every field may stand in the TOML file under its name.

    >>> Policy(alpha=0.01).correction
    'bh'

    Raises:
        UsageError: a value outside its range, an unknown name.
    """

    mode: Annotated[
        Mode,
        Doc(
            "identity (same weights: labels must not change), candidate (other weights, same images), recipe (several "
            "seeds of each side); auto takes identity for equal weights, recipe for several runs a side, candidate "
            "otherwise. identity looks at the protocols of `metrics` alone where a policy names some."
        ),
    ] = "auto"
    metrics: Annotated[
        tuple[str, ...], Doc("Headline numbers that can fail the gate; those that both sides have are tested.")
    ] = field(default_factory=_gated)
    cells: Annotated[bool, Doc("Let single cells fail it too; they are shown in any case.")] = False
    margins: Annotated[
        Mapping[str, float],
        Doc(
            "Tolerated loss by number, percentage points as printed; `cells` is the one of all cells. A number that is "
            "not named has its default margin in `gate` (docs/gate.md), 0 in `compare`."
        ),
    ] = field(default_factory=dict)
    alpha: Annotated[float, Doc("Level of the one-sided tests, after correction.")] = 0.05
    correction: Annotated[Correction, Doc("Correction over the numbers that can fail the gate.")] = "bh"
    flip_budget: Annotated[
        float, Doc("identity: tolerated share of changed labels in a cell, percent (0.02 is usual between devices).")
    ] = 0.0
    on_missing: Annotated[
        Literal["fail", "warn"], Doc("What a number that the gate tests and one side lacks leads to.")
    ] = "fail"
    on_improved: Annotated[
        Literal["pass", "fail"], Doc("What an improvement leads to; fail so that it is accepted at once.")
    ] = "pass"
    require_power: Annotated[
        float | None,
        Doc("Inconclusive when a loss of so many percentage points beyond the margin could go unseen (80 % power)."),
    ] = None
    confidence: Annotated[float, Doc("Level of the intervals.")] = 0.95
    replicates: Annotated[int, Doc("Bootstrap samples.")] = 2000
    seed: Annotated[int, Doc("Seed of the bootstrap.")] = 0

    def __post_init__(self) -> None:
        from robustbench_lift.scores.numbers import headlines

        _one_of("mode", self.mode, MODES)
        _one_of("correction", self.correction, CORRECTIONS)
        _one_of("on_missing", self.on_missing, ("fail", "warn"))
        _one_of("on_improved", self.on_improved, ("pass", "fail"))
        if not isinstance(self.metrics, list | tuple):
            raise UsageError(f"policy field metrics is a list of names, not {self.metrics!r}.")
        if not isinstance(self.margins, Mapping):
            raise UsageError(f"policy field margins gives each number a margin, not {self.margins!r}.")
        for name in self.metrics:
            _one_of("metrics", name, headlines())
        if not self.metrics:
            raise UsageError("policy field metrics is empty: nothing could ever fail. Name at least one.")
        for name, margin in self.margins.items():
            _one_of("margins", name, (*headlines(), "cells"))
            check_number(f"policy field margins.{name}", margin, 0, 100)
        check_number("policy field alpha", self.alpha, 0, 1, open_ends=True)
        check_number("policy field confidence", self.confidence, 0, 1, open_ends=True)
        check_number("policy field flip_budget", self.flip_budget, 0, 100)
        if self.require_power is not None:
            check_number("policy field require_power", self.require_power, 0, 100, open_ends=True)
        if not isinstance(self.cells, bool):
            raise UsageError(f"policy field cells must be true or false, not {self.cells!r}.")
        check_whole("policy field replicates", self.replicates, 100)
        if self.replicates > MOST_REPLICATES:
            raise UsageError(f"policy field replicates is at most {MOST_REPLICATES:,}, not {self.replicates:,}.")
        check_whole("policy field seed", self.seed, 0)

    def fractions(self) -> dict[str, float]:
        """Margins as fractions, those by default included.

        >>> Policy(margins={"mce": 0.5}).fractions()["mce"], Policy().fractions()["clean_error"]
        (0.005, 0.01)
        """
        return {name: margin / 100 for name, margin in (MARGINS | dict(self.margins)).items()}


def read_policy(path: Path | None, **changes: Any) -> Policy:
    """A policy from a TOML file, overridden by what was given as options.

    Raises:
        UsageError: the file is absent or not TOML, or has an unknown key.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(read_bytes(path, limit=TEXT_LIMIT).decode())
        except OSError as error:
            raise UsageError(f"the policy {path} cannot be read: {error.strerror}.") from None
        except RecursionError:
            raise UsageError(f"the policy {path} is nested too deeply to be read.") from None
        except ValueError as error:  # not TOML, not UTF-8, or a number of thousands of digits
            raise UsageError(f"the policy {path} is not TOML: {error}.") from None
    known = [one.name for one in fields(Policy)]
    for name in values:
        if name not in known:
            raise unknown(f"field in the policy {path}:", name, known)
    for name in changes:
        if name not in known:
            raise unknown("policy field", name, known)
    margins = values.get("margins", {})
    if not isinstance(margins, dict):
        raise UsageError("policy field margins is a table: [margins] with lines such as mce = 0.5.")
    if "metrics" in values:
        if not isinstance(values["metrics"], list):
            raise UsageError('policy field metrics is a list, such as metrics = ["mce", "consistency"].')
        values["metrics"] = tuple(values["metrics"])
    given = {name: value for name, value in changes.items() if value is not None and name != "margins"}
    if "metrics" in given:
        given["metrics"] = tuple(given["metrics"])
    return Policy(**{**values, **given, "margins": {**margins, **(changes.get("margins") or {})}})


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise unknown(f"value of policy field {name}:", value, known)


def check_whole(what: str, value: object, low: int) -> None:
    """Refuse what is no whole number of at least `low`.

    Raises:
        UsageError: what it is called, and what was found.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UsageError(f"{what} must be a whole number of at least {low}, not {value!r}.")


def check_number(what: str, value: object, low: float, high: float, *, open_ends: bool = False) -> None:
    """Refuse what is no number between two others, which it may be unless `open_ends`.

    Raises:
        UsageError: what it is called, and what was found.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{what} must be a number, not {value!r}.")
    inside = low < value < high if open_ends else low <= value <= high
    if not inside:
        raise UsageError(f"{what} is {value}: it must lie between {low:g} and {high:g}.")
