"""Which class a folder is: the 1,000 WNIDs of ImageNet, and the mistakes that folders are known for."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib import resources

from robustbench_lift.errors import DataError, IncompleteError
from robustbench_lift.text import listed, printable

WNID = re.compile(r"n\d{8}")


@functools.cache
def condition_folders() -> frozenset[str]:
    """Folders of ImageNet-C and -P."""
    import corruptions  # which imports torch

    return frozenset(
        {
            *corruptions.BENCHMARK,
            *corruptions.EXTRA,
            *corruptions.PERTURBATIONS,
            *corruptions.EXTRA_PERTURBATIONS,
        }
    )


@functools.cache
def wnids() -> tuple[str, ...]:
    """The 1,000 WNIDs of ILSVRC2012; sorted order is the class index that every ImageNet model has.

    >>> wnids()[0], len(wnids()), wnids() == tuple(sorted(wnids()))
    ('n01440764', 1000, True)
    """
    return tuple(line[0] for line in _table())


@functools.cache
def class_titles() -> dict[str, str]:
    """WNID -> short English name.

    >>> class_titles()["n01440764"]
    'tench'
    """
    return {line[0]: line[1] for line in _table()}


@functools.cache
def _table() -> list[list[str]]:
    text = resources.files("robustbench_lift.data").joinpath("imagenet_wnids.tsv").read_text(encoding="ascii")
    return [line.split("\t") for line in text.splitlines()]


def imagenet_labels(
    folders: Sequence[str], *, where: str, rule: str = "wnid", loose: int = 0, parts: Sequence[str] = ()
) -> dict[str, int]:
    """Class index of each folder of an ImageNet-like tree.

    Args:
        folders: names of the folders.
        where: what to call the place in a message.
        rule: `wnid` asks for the 1,000 WNIDs, `partial` for any of them, which keep their index, `subset` for any of
            them, numbered from 0 in sorted order, `numeric` says that folder k is class k.
        loose: images that lie beside the folders.
        parts: paths below the place of folders that hold class folders, such as `val` or `ILSVRC/val`.

    Raises:
        DataError: flat folder, numeric names, other names; the message says what to do.
        IncompleteError: WNIDs without a folder.
    """
    known = set(wnids())
    if not folders:
        if loose:
            raise DataError(
                f"{where} is a flat folder: {loose:,} images lie directly in it, none in a class folder, so that their "
                "classes are unknown. Sort them into one folder a WNID (the usual script is valprep.sh; it moves each "
                "file of ILSVRC2012_img_val into nXXXXXXXX/), then name the folder of the 1,000 folders."
            )
        raise DataError(f"{where} holds no class folders. Expected 1,000 folders named n01440764 ... n15075141.")
    conditions = [name for name in folders if name in condition_folders()]
    if conditions:
        raise DataError(
            f"{where} holds the folders {listed(conditions)}: corruptions or perturbations, no classes. Say "
            f"imagenet-c:{where} or imagenet-p:{where}, or name the folder of the clean images."
        )
    if parts:
        best = next((path for path in parts if path.rpartition("/")[2] in ("val", "validation")), parts[0])
        depth = best.count("/") + 1
        raise DataError(
            f"{where} holds the folders {listed(list(folders))}, no class folders; they lie "
            f"{'one folder' if depth == 1 else f'{depth} folders'} below. Name it: "
            f"{where.rstrip('/')}/{printable(best)}."
        )
    if rule == "numeric":
        return _all_numbers(folders, where=where)
    other = [name for name in folders if name not in known]
    if len(other) == len(folders) and all(name.isdigit() for name in folders):
        raise DataError(
            f"{where} has folders named by numbers ({listed(sorted(folders))}). Read as strings they sort 0, 1, 10, "
            "100, which gives labels that no model has. If folder k is class k in WNID order, say so: "
            "?classes=numeric. Otherwise rename each folder to its WNID."
        )
    if other:
        raise DataError(_unknown_folders(other, where))
    missing = [name for name in wnids() if name not in set(folders)]
    if rule == "subset":
        return {name: k for k, name in enumerate(sorted(folders))}
    if missing and rule != "partial":
        titles = [f"{name} ({class_titles()[name]})" for name in missing]
        raise IncompleteError(
            f"{where} has {len(folders):,} of the 1,000 class folders; missing: {listed(titles)}. Extract the rest. "
            "To score a part of the classes on purpose, add ?classes=partial for networks of all 1,000 classes, or "
            "?classes=subset for networks that were trained on these classes alone; the signature then says so."
        )
    index = {name: k for k, name in enumerate(wnids())}
    return {name: index[name] for name in folders}


def _all_numbers(folders: Sequence[str], *, where: str) -> dict[str, int]:
    """Folder `k` is class `k` of ImageNet; all of them must be there."""
    labels = numeric_labels(folders, where=where, classes=len(wnids()))
    missing = sorted(set(range(len(wnids()))) - set(labels.values()))
    if missing:
        raise IncompleteError(
            f"{where} has {len(folders):,} of the 1,000 class folders; missing: {listed([str(k) for k in missing])}. "
            "Extract the rest."
        )
    return labels


def _unknown_folders(names: list[str], where: str) -> str:
    message = f"{where} has folders that are not among ImageNet's 1,000 classes: {listed(sorted(names))}."
    if all(WNID.fullmatch(name) for name in names):
        return f"{message} They are WNIDs of other ImageNet releases; remove them, or use folder:PATH for your classes."
    titles: dict[str, list[str]] = {}
    for name, title in class_titles().items():
        titles.setdefault(title, []).append(name)  # a crane is a bird and a machine
    hit = next((name for name in names if name.replace("_", " ") in titles), None)
    if hit is not None:
        return (
            f"{message} {printable(hit)!r} is a class name; its folder must be named "
            f"{' or '.join(titles[hit.replace('_', ' ')])}, because names sort in another order than classes."
        )
    return (
        f"{message} Folders must be named by WNID; for classes of your own use folder:PATH of the clean images, which "
        "run corrupts itself."
    )


def numeric_labels(folders: Sequence[str], *, where: str, classes: int | None = None) -> dict[str, int]:
    """Folder `k` is class `k`, compared as numbers.

    Raises:
        DataError: a name that is not a number, a number twice, or one beyond the classes.
    """
    wrong = [name for name in folders if not re.fullmatch(r"[0-9]{1,6}", name)]
    if wrong:
        raise DataError(f"{where}: ?classes=numeric takes folders named by numbers; found {listed(sorted(wrong))}.")
    labels = {name: int(name) for name in folders}
    count = max(labels.values()) + 1 if classes is None else classes
    if len(set(labels.values())) < len(labels) or max(labels.values()) >= count:
        raise DataError(f"{where}: the numbers of the folders must be 0 to {count - 1}, each once.")
    return labels


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """What natural order sorts by: case-blind, runs of digits as numbers (timm's reader of folders numbers so).

    >>> sorted(["b10", "B2", "a"], key=natural_key)
    ['a', 'B2', 'b10']
    """
    parts = re.split(r"([0-9]+)", name.lower())
    return [(1, int(part), part) if part[:1].isdigit() else (0, 0, part) for part in parts]


def order_note(class_names: Sequence[str]) -> str | None:
    """What to know about classes in string order where other loaders number them in natural order; None: no matter.

    >>> order_note(("cat", "dog")) is None, "class2" in (order_note(("class1", "class10", "class2")) or "")
    (True, True)
    """
    natural = sorted(class_names, key=natural_key)
    first = next((k for k, (a, b) in enumerate(zip(class_names, natural, strict=True)) if a != b), None)
    if first is None:
        return None
    ours, theirs = list(class_names[first : first + 2]), natural[first : first + 2]
    return (
        f"classes are in string order ({listed(ours)} from index {first}), as torchvision's ImageFolder has them; timm "
        f"numbers them in natural, case-blind order ({listed(theirs)}). For a network trained with that order add "
        "?classes=natural."
    )


def sorted_labels(folders: Sequence[str], *, where: str, rule: str = "sorted", loose: int = 0) -> dict[str, int]:
    """Class index of each folder of a data set of the user's.

    Args:
        folders: names of the folders.
        where: what to call the place in a message.
        rule: `sorted` by string (torchvision), `natural` (timm), or `numeric`: folder k is class k.
        loose: images that lie beside the folders.

    Raises:
        DataError: no folders, or numbers whose order as strings differs from their order as numbers.
    """
    if not folders:
        hint = f"{loose:,} images lie directly in it; put each class in a folder" if loose else "it is empty"
        raise DataError(f"{where} has no class folders: {hint}. Expected {where}/<class>/<image>.")
    if rule == "numeric":
        return numeric_labels(folders, where=where)
    names = sorted(folders)
    if rule == "natural":
        return {name: k for k, name in enumerate(sorted(names, key=natural_key))}
    if all(re.fullmatch(r"[0-9]+", name) for name in names) and names != sorted(names, key=int):
        raise DataError(
            f"{where} has folders named by numbers whose order as strings ({listed(names, most=3)}) is not their order "
            "as numbers; loaders disagree on which is which class. If folder k is class k, add ?classes=numeric; if "
            "they are classes in the order of their numbers, ?classes=natural; otherwise pad the names with zeros in "
            "the order in which the model was trained."
        )
    return {name: k for k, name in enumerate(names)}
