"""LAION-C: six distortions of web images, scored by 16 super-classes of ImageNet's classes.

<distortion>/<severity>/<super-class>/<image>      a severity is 1 to 5, or a name that ends in its number

The score of a super-class is the mean probability of its classes. Source: FanfeiLi/LAION-C, laionc/config.py,
laionc/evaluation.py and laionc/mappings/category_mapping.json.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from robustbench_lift.data.base import Outputs
from robustbench_lift.data.classes import wnids
from robustbench_lift.data.suites import SUITES
from robustbench_lift.data.tree import FileTree
from robustbench_lift.errors import DataError, IncompleteError
from robustbench_lift.text import listed


@functools.cache
def super_classes() -> dict[str, tuple[int, ...]]:
    """Super-class -> class indices, in the order of their names.

    >>> len(super_classes()), len(super_classes()["primate"])
    (16, 18)
    """
    index = {name: k for k, name in enumerate(wnids())}
    text = resources.files("robustbench_lift.data").joinpath("laion_c_classes.tsv").read_text(encoding="ascii")
    lines = dict(line.split("\t") for line in text.splitlines())
    return {name: tuple(index[wnid] for wnid in lines[name].split()) for name in sorted(lines)}


def laion_labels(folders: Sequence[str], *, where: str) -> dict[str, int]:
    """Class index of each of the 16 folders.

    Raises:
        DataError: a folder that is no super-class.
        IncompleteError: some are missing.
    """
    names = list(super_classes())
    other = sorted(set(folders) - set(names))
    if other:
        raise DataError(
            f"{where} has folders that are no super-classes of LAION-C: {listed(other)}. Known: {listed(names)}."
        )
    missing = sorted(set(names) - set(folders))
    if missing:
        raise IncompleteError(f"{where} lacks super-classes of LAION-C: {listed(missing)}. Extract the rest.")
    return {name: k for k, name in enumerate(names)}


def open_laion(path: Path, *, limit: int | None) -> FileTree:
    """The tree of LAION-C.

    Raises:
        DataError, IncompleteError: a layout that is not understood.
    """
    groups = super_classes()
    return FileTree(
        root=path,
        name="laion-c",
        files="laion-c-jpeg",
        known=SUITES["laion-c"].conditions,
        label=lambda folders, where, loose: laion_labels(folders, where=where),
        class_names=tuple(groups),
        size=224,
        limit=limit,
        level_of=lambda condition, folder: int(folder[-1]) if re.fullmatch(r"(.*\D)?[1-5]", folder) else None,
        stem_of=lambda name: re.sub(r"_[a-z_]+_[1-5]$", "", name),
        outputs=Outputs(len(wnids()), tuple(groups.values()), "mean"),
    )
