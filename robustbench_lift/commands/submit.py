"""`submit`: any command that takes shares, as a job array through submitit."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from robustbench_lift.commands.console import console, doing
from robustbench_lift.errors import UsageError
from robustbench_lift.shares import MOST_SHARES, Share
from robustbench_lift.text import printable

if TYPE_CHECKING:
    from types import ModuleType

Cluster = Literal["slurm", "local"]
GRACE = 60.0
"""Seconds that a share has to store what is complete when its job's time ends."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    whole = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command("submit", context_settings=whole)(submit)


@dataclass
class ShareJob:
    """One share of a command, as submitit calls it; when the job's time ends, it is queued again and goes on."""

    arguments: tuple[str, ...]
    """Of robustbench-lift, without --shard."""
    share: str
    """`2/8`."""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __call__(self) -> None:
        """Run the share to its end.

        Raises:
            RuntimeError: it ended with another code than 0; its own words are in the log above.
        """
        command = [sys.executable, "-m", "robustbench_lift", *self.arguments, "--shard", self.share]
        self._process = subprocess.Popen(command)
        code = self._process.wait()
        if code:
            raise RuntimeError(f"share {self.share} ended with {code}.")

    def checkpoint(self) -> object:
        """End the process, which stores what is complete, and ask for the same job again."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(GRACE)
        return _submitit().helpers.DelayedSubmission(ShareJob(self.arguments, self.share))


def submit(
    context: typer.Context,
    command: Annotated[str, typer.Argument(help="A command that takes --shard, and after it its own arguments.")],
    shares: Annotated[int, typer.Option(min=1, max=MOST_SHARES, help="Jobs of the array, one share of the work each.")],
    cluster: Annotated[Cluster, typer.Option(help="Where: Slurm, or processes of this machine, waited for.")] = "slurm",
    hours: Annotated[
        float, typer.Option(min=0.01, max=8760, help="Time limit of a job; what is unfinished is queued again.")
    ] = 4,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs a job.")] = 0,
    cpus: Annotated[int, typer.Option(min=1, help="CPU cores a job.")] = 8,
    at_once: Annotated[int, typer.Option(min=1, help="Jobs of the array that run at the same time (Slurm).")] = 256,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A parameter of submitit, such as slurm_partition=gpu; repeatable."
        ),
    ] = None,
    logs: Annotated[Path, typer.Option(help="Folder of submitit's job files and logs.")] = Path("jobs"),
) -> None:
    """Submit a command as a job array through submitit, a share of its work a job.

    The command is checked before anything is queued. All jobs see the folder of its --out, and the one that ends last
    merges; `status` says how far they are. A job whose time ends is queued again and goes on where it stopped.

    Example: `robustbench-lift submit --shares 8 --gpus 1 run torchvision:resnet50@w.pth --data imagenet-c:/data/c`
    """
    arguments = (command, *context.args)
    _check(context, command, list(context.args))
    parent = context.parent
    plugins = parent.params.get("plugin") or () if parent is not None else ()
    whole = (*(part for plugin in plugins for part in ("--plugin", plugin)), *arguments)
    settings = {
        "name": f"robustbench-lift-{command}",
        "timeout_min": max(1, round(60 * hours)),
        "gpus_per_node": gpus,
        "cpus_per_task": cpus,
        **({"slurm_array_parallelism": at_once} if cluster == "slurm" else {}),
        **_parameters(parameter or []),
    }
    submitit = _submitit()
    if cluster == "slurm" and shutil.which("srun") is None:
        raise UsageError("there is no Slurm here (no srun): submit from a login node, or say --cluster local.")
    try:
        executor = submitit.AutoExecutor(folder=str(logs), cluster=cluster)
        executor.update_parameters(**settings)
    except (NameError, TypeError, ValueError) as error:
        raise UsageError(f"--set: submitit says {printable(str(error).splitlines()[0])}") from None
    try:
        with executor.batch():  # an array; map_array would hide each job's checkpoint
            jobs = [executor.submit(ShareJob(whole, str(Share(k, shares)))) for k in range(shares)]
    except submitit.core.utils.FailedJobError as error:
        raise UsageError(f"sbatch refused the array: {printable(str(error).strip())}") from None
    console.print(f"submitted {shares} shares of `{command}`: {jobs[0].job_id} to {jobs[-1].job_id}; logs in {logs}")
    if cluster == "local":
        try:
            with doing(f"waiting for {shares} processes"):
                failed = [job for job in jobs if job.exception() is not None]
        except KeyboardInterrupt:
            for job in jobs:
                job.cancel()
            raise
        if failed:
            raise UsageError(
                f"{len(failed)} of {shares} shares failed. The first says:\n{_last_words(failed[0].stderr())}\n"
                "The same command goes on where they stopped."
            )


def _check(context: typer.Context, name: str, arguments: list[str]) -> None:
    """Read the command's own arguments, so that what it refuses is refused before it waits in a queue."""
    parent = context.parent
    assert parent is not None
    commands: dict[str, Any] = parent.command.commands  # type: ignore[attr-defined]
    shared = [other for other, one in commands.items() if {"shard", "out"} <= {p.name for p in one.params}]
    if name not in shared:
        raise UsageError(f"submit {printable(name)}: it takes no shares; {', '.join(shared)} do.")
    found = commands[name].make_context(name, list(arguments), parent=parent)
    if found.params.get("shard"):
        raise UsageError(
            "--shard is what submit adds to each job: leave it out, and say --shares N before the command."
        )


def _parameters(texts: list[str]) -> dict[str, object]:
    """NAME=VALUE as submitit takes them: whole numbers as such.

    >>> _parameters(["slurm_partition=gpu", "mem_gb=32"])
    {'slurm_partition': 'gpu', 'mem_gb': 32}
    """
    found: dict[str, object] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not re.fullmatch(r"[a-z]\w*", name):
            raise UsageError(f"--set {printable(text)}: write NAME=VALUE, for example --set slurm_partition=gpu.")
        found[name] = int(value) if re.fullmatch(r"\d{1,9}", value) else value
    return found


def _last_words(log: str | None) -> str:
    lines = [line for line in (log or "").splitlines() if "error" in line.lower() and "RuntimeError" not in line]
    return printable(lines[0]) if lines else "nothing; read its log."


def _submitit() -> ModuleType:
    try:
        import submitit
        import submitit.helpers
    except ImportError:
        raise UsageError(
            "submit needs submitit: pip install 'robustbench-lift[slurm]' (or `pip install submitit`). Without it, "
            "docs/slurm.md has the same as an sbatch file."
        ) from None
    module: ModuleType = submitit
    return module
