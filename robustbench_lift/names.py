"""The packages beside this one, `metrics`, `corruptions` and `checkpoints`, are found whatever else bears their names.

A user's own `metrics.py` in the working folder must not break us, and a user's `mynet.py` there must be found. So the
three names are looked up beside this package before `sys.path` is asked, and the command line puts the working folder
last. Who is hidden by that is named: by a warning in a program, by a line in a command.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

NAMES = ("metrics", "corruptions", "checkpoints")
MARK = "_robustbench_lift"
"""A file in each of our packages, by which they are told from others of the name."""
ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds this package and the three beside it."""


class NameClashError(ImportError):
    """Another package has taken one of our top-level names."""

    exit_code = 2


class _Beside(MetaPathFinder):
    """Finds the three packages beside this one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of one of the three; None for every other module."""
        if fullname not in NAMES:
            return None
        other = hidden(fullname)
        if other is not None:
            warnings.warn(
                f"`import {fullname}` gives the package of robustbench_lift, not {other}. Rename that one, or import "
                f"robustbench_lift.{fullname} and keep yours under another name.",
                stacklevel=2,
            )
        folder = ROOT / fullname
        return importlib.util.spec_from_file_location(
            fullname, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


def hidden(name: str) -> str | None:
    """The file of another module of this name on the module path, None where there is none."""
    for entry in sys.path:
        spec = PathFinder.find_spec(name, [entry or os.curdir])
        # a plain folder without __init__.py has no origin, and hides nothing
        if spec is not None and spec.origin is not None and not (Path(spec.origin).parent / MARK).is_file():
            return spec.origin
    return None


def claim() -> None:
    """Make the three names ours for imports to come; called once, by the package's `__init__`.

    Raises:
        NameClashError: another module of the name is imported already, or lies where ours should.
    """
    for name in NAMES:
        taken = sys.modules.get(name)
        file = getattr(taken, "__file__", None)
        if taken is not None and (file is None or Path(file).resolve().parent != ROOT / name):
            raise NameClashError(
                f"a module {name!r} from {file or 'elsewhere'} is imported already, and robustbench_lift has a package "
                f"of that name. Import robustbench_lift first, or rename yours."
            )
        if not (ROOT / name / MARK).is_file():
            raise NameClashError(
                f"{ROOT / name} is not the package {name!r} of robustbench_lift: another package of that name has "
                "overwritten it. Uninstall that one, then reinstall robustbench-lift "
                "(pip install --force-reinstall --no-deps robustbench-lift)."
            )
    if not any(isinstance(finder, _Beside) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Beside())


def working_folder_last() -> None:
    """Let a user's own modules in the working folder be found, after everything that is installed.

    `python -m` and a script put a folder first on the path, the console script puts none there; all three end alike.
    """
    here = str(Path.cwd().resolve())
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != here]
    sys.path.append(here)
