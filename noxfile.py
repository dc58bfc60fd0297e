"""The environments that are supported: `pip install nox && nox`; one of them: `nox -s tests-3.13` or `nox -s floors`.

With CUDA-free wheels: `PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu nox`.

Run for 0.1.0 on Linux (x86-64, two cores), each in an environment of its own:

- Python 3.11 with the newest dependencies (PyTorch 2.14): all quick tests, every time.
- Python 3.12 and 3.14 with the same: the tests of metrics, runs, regression, weights, commands and training.
- Python 3.13 with the same: the tests of commands, runs, training, reading processes, trees and killed commands.
- Python 3.11 with the lowest (PyTorch 2.6, torchvision 0.21, numpy 1.26, scipy 1.12, pandas 2.2): the tests of metrics,
  corruptions, networks, pooling, commands, runs, scores, regression and weights, with the newest of the extras.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import nox

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
EXTRAS = ("video", "models", "wavelets", "slurm")
"""What users may install beside the core; the rest is for developers."""
nox.options.sessions = ["tests", "floors"]
nox.options.error_on_missing_interpreters = False


def lowest(requirements: list[str]) -> list[str]:
    """Each `name>=X` as `name==X.*`: the oldest release that pyproject.toml says is enough.

    >>> lowest(["torch>=2.6", "imagecorruptions==1.1.2"])
    ['torch==2.6.*']
    """
    found = (re.fullmatch(r"([\w.-]+)>=([\d.]+)", one) for one in requirements)
    return [f"{match[1]}=={match[2]}.*" for match in found if match]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The quick tests with the newest dependencies."""
    session.install(".[dev]")
    session.run("pytest", "-q", "-n", "auto", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(python=PYTHONS[0])
def floors(session: nox.Session) -> None:
    """The quick tests with the lowest dependencies of the package that pyproject.toml allows, extras included."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for name in EXTRAS for one in project["optional-dependencies"][name]]
    pins = lowest([*project["dependencies"], *extras])
    session.install(".[all]", *pins)  # apart from the tools, among whose releases pip would search for minutes
    session.install(".[dev]")
    session.install(*pins)  # where a tool has lifted one
    quiet = ("-W", "ignore::DeprecationWarning")  # of old releases that meet newer ones of what they depend on
    session.run("pytest", "-q", "-n", "auto", *quiet, *session.posargs, env={"OMP_NUM_THREADS": "1"})
