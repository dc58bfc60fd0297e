"""Options come out of the dataclass that they fill, each field once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner
from typing_extensions import Doc

from robustbench_lift.cli import app
from robustbench_lift.commands.fields import expanded
from robustbench_lift.commands.options import Overriding, filled, options_of
from robustbench_lift.errors import UsageError
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.protocols.request import Request
from robustbench_lift.regression.policy import Policy
from robustbench_lift.shares import Share


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
    """Everything that a field can be."""

    side: Annotated[int, Doc("Side in pixels.")] = 64
    names: Annotated[tuple[str, ...], Doc("Names.")] = ("a", "b")
    levels: Annotated[tuple[int, ...], Doc("Levels.")] = (1, 2)
    mode: Annotated[Literal["fast", "slow"] | None, Doc("Mode.")] = None
    part: Annotated[Share, Doc("Share.")] = dataclasses.field(default_factory=Share)
    margins: Annotated[Mapping[str, float], Doc("Margins.")] = dataclasses.field(default_factory=dict)
    fold: Annotated[bool, Doc("Fold.")] = False
    keep: Annotated[bool, Doc("Keep.")] = True
    inner: int = 0


def run(*arguments: str, overriding: bool = False) -> Any:
    """What a command gets of these arguments."""
    given: list[Any] = []
    made = typer.Typer()
    if overriding:

        @made.command()
        @expanded
        def command(cut: Annotated[Mapping[str, Any], Overriding(Cut)]) -> None:
            given.append(cut)

    else:

        @made.command()
        @expanded
        def command(cut: Cut) -> None:
            given.append(cut)

    done = CliRunner().invoke(made, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return given[0]


def test_without_options_it_is_the_dataclass() -> None:
    assert run() == Cut()


def test_every_kind_of_field() -> None:
    made = run(
        *("--side", "3", "--names", "x, y", "--names", "z", "--levels", "5,4", "--mode", "slow", "--part", "2/3"),
        *("--margins", "mce=0.5", "--margins", "ece=1", "--fold", "--no-keep"),
    )
    assert made == Cut(
        side=3, names=("x", "y", "z"), levels=(5, 4), mode="slow", part=Share(1, 3), margins={"mce": 0.5, "ece": 1.0},
        fold=True, keep=False,
    )  # fmt: skip


def test_only_what_is_typed_overrides() -> None:
    assert run(overriding=True) == {}
    assert run("--side", "64", "--no-fold", overriding=True) == {"side": 64, "fold": False}


@pytest.mark.parametrize("arguments", [("--names", ","), ("--levels", "x"), ("--levels", "9" * 5000), ("--part", "4")])
def test_values_that_mean_nothing_are_usage_errors(arguments: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=arguments[0] if arguments[0] != "--part" else "i/n"):
        run(*arguments)


@pytest.mark.parametrize("text", ["mce", "mce=", "mce=x"])
def test_margins_are_pairs(text: str) -> None:
    with pytest.raises(UsageError, match=r"mce=0\.5"):
        run("--margins", text)


@pytest.mark.parametrize(
    ("command", "kinds"), [("run", (Request, Settings)), ("plan", (Request, Settings)), ("gate", (Policy,))]
)
def test_commands_have_an_option_a_field(command: str, kinds: tuple[type, ...]) -> None:
    (made,) = [one for one in typer.main.get_group(app).commands.items() if one[0] == command]
    names = {parameter.name for parameter in made[1].params}
    for kind in kinds:
        assert {option.field.name for option in options_of(kind)} == {field.name for field in dataclasses.fields(kind)}
        assert {field.name for field in dataclasses.fields(kind)} <= names


def test_defaults_are_the_fields_own() -> None:
    nothing = {field.name: None for field in dataclasses.fields(Request)}
    given = nothing | {field.name: field.default for field in dataclasses.fields(Request) if field.name != "protocols"}
    lists = {"corruptions": None, "severities": None, "perturbations": None}
    assert filled(Request, given | lists) == Request()
