"""The command line: `robustbench-lift COMMAND`, and without a command the embedded benchmark.

Commands live in `commands/`, one module each. An error that a user can mend ends in one message and the exit code it
carries (2 usage, 3 not comparable or incomplete); anything else is a bug of ours and ends with 70.
"""

from __future__ import annotations

import errno
import math
import os
import re
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
import typer.core

from robustbench_lift import __version__, names, plugins
from robustbench_lift.commands import (
    check,
    compare,
    convert,
    corrupt,
    effective,
    listing,
    paper,
    plan,
    report,
    run,
    status,
    submit,
    train,
)
from robustbench_lift.commands.console import bounded, console, print_error, print_note
from robustbench_lift.errors import INTERNAL, INTERRUPTED, StorageError
from robustbench_lift.text import printable, printed

OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT, errno.EBADF})
"""What writing to standard output fails with; files are written by functions that name them."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM or SIGHUP: it ends as by Ctrl-C, with everything complete stored."""


class Guarded(typer.core.TyperGroup):
    """Turns errors of ours into one message and an exit code; usage errors stay typer's, with names made safe."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read the options of the program itself."""
        try:
            return super().make_context(*args, **options)
        except OSError as error:  # of --version and --help
            _ended_by_output(error)
            raise
        except Exception as error:
            self._name_commands(error)
            _make_printable(error)
            raise

    def _name_commands(self, error: Exception) -> None:
        """Where an option needs a command before it, say which commands have it."""
        option = getattr(error, "option_name", None)
        having = [name for name, one in self.commands.items() if any(option in p.opts for p in one.params)]
        if having:
            first = "run" if "run" in having else having[0]
            others = f" ({', '.join(having)} have it)" if len(having) > 1 else ""
            error.message = (  # type: ignore[attr-defined]
                f"{option} belongs to a command{others}: robustbench-lift {first} {option} ..."
            )

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command."""
        try:
            try:
                found = super().invoke(ctx)
            except typer.Exit:
                sys.stdout.flush()
                raise
            sys.stdout.flush()  # what cannot be written is told while there is somebody to tell it
            return found
        except KeyboardInterrupt:
            print_error("stopped. What is complete is stored; the same command goes on from there.")
            sys.exit(INTERRUPTED)
        except Exception as error:
            if isinstance(error, OSError):
                _ended_by_output(error)
            if type(error).__module__.partition(".")[0] in {"typer", "click"}:
                _show_example(error)
                _make_printable(error)
                raise
            code = getattr(error, "exit_code", None)
            if isinstance(error, OSError) and error.filename is not None:
                print_error(f"{printable(os.fspath(error.filename))}: {error.strerror or error}.")
                sys.exit(StorageError.exit_code)
            if isinstance(code, int):
                if ctx.params.get("show_traceback"):
                    traceback.print_exc()
                print_error(str(error))
                sys.exit(code)
            traceback.print_exc()
            print_error("this is a bug of robustbench-lift; please report it with the lines above.")
            sys.exit(INTERNAL)


app = typer.Typer(
    name="robustbench-lift",
    cls=Guarded,
    help="Robustness of image classifiers, and what pooling does to it: ImageNet-C, ImageNet-P, shift consistency.\n\n"
    "Without a command: the embedded benchmark (no data, no network).",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (run, submit, status, report, compare, effective, corrupt, train, paper, check, convert, plan, listing):
    module.register(app)


def _version(asked: bool) -> None:
    if asked:
        console.print(f"robustbench-lift {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    plugin: Annotated[
        list[str] | None,
        typer.Option(help="A module or .py file of yours that adds poolings, backbones, corruptions, ...; repeatable."),
    ] = None,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Before the message of an error, where in the code it came from.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Run the embedded benchmark when no command is named."""
    plugins.load_all(tuple(plugin or ()))
    if context.invoked_subcommand is None:
        run.embedded()


def main() -> None:
    """Entry point of `robustbench-lift`, `python -m robustbench_lift` and `run_benchmark.py`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller (`>&-`), who wants none of it
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end
    names.working_folder_last()
    warnings.showwarning = _show_warning
    end = Ending()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, end)
    for name in names.NAMES:
        other = names.hidden(name)
        if other is not None:
            print_note(
                f"{other} is not what `import {name}` gives here: robustbench_lift has a package of that name. "
                "Rename yours if your own modules import it."
            )
    app()


def _ended_by_output(error: OSError) -> None:
    """End where standard output takes nothing more: in silence where its reader went away (`| head`)."""
    if not isinstance(error, BrokenPipeError):
        if error.filename is not None or error.errno not in OUTPUT_ERRORS:
            return
        print_error(
            f"standard output cannot be written: {error.strerror}. Send it somewhere with room; what is already stored "
            "is kept, and the same command goes on from there."
        )
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no message from the interpreter's last flush
    sys.exit(0 if isinstance(error, BrokenPipeError) else StorageError.exit_code)


def _show_example(error: Exception) -> None:
    """Where a command was given too little, show what its help shows."""
    command = getattr(getattr(error, "ctx", None), "command", None)
    found = re.search(r"Example: `([^`]+)`", getattr(command, "help", None) or "")
    if found and type(error).__name__ == "MissingParameter":
        error.message = f"For example: {found[1]}"  # type: ignore[attr-defined]


def _make_printable(error: Exception) -> None:
    """Make a usage error's message safe, which quotes what was typed."""
    message = getattr(error, "message", None)
    if isinstance(message, str):
        error.message = printed(bounded(message))  # type: ignore[attr-defined]


class Ending:
    """Handler of the signals that ask a process to end.

    A second signal must not interrupt the tidying up after the first; but Python drops an exception that falls into a
    destructor, so one that comes later is heard again.
    """

    patience = 20.0
    """Seconds that the tidying up is left alone."""

    def __init__(self) -> None:
        self._asked = -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """End as by Ctrl-C.

        Raises:
            Terminated: at the first signal, and at one that comes after the patience.
        """
        now = time.monotonic()
        if now - self._asked >= self.patience:
            self._asked = now
            raise Terminated


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """A warning of a library as one line, without the source line that raised it."""
    print_note(f"{category.__name__}: {message}")
