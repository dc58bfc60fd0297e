"""Data specs: `<kind>:<path>?<option>=<value>`, several joined by commas, to image sets and trees.

photos                                    the embedded photographs
imagenet:/data/imagenet/val               1,000 class folders, or a tar of them
imagenet-c:/data/imagenet-c               ImageNet-C, folders or tars
imagenet-p:/data/imagenet-p               ImageNet-P
imagenet:/data/val,imagenet-c:/data/c     clean images and official corruptions of one run
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import corruptions
from robustbench_lift.data.arrays import ArrayTree
from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.cifar import open_cifar
from robustbench_lift.data.classes import imagenet_labels, wnids
from robustbench_lift.data.folders import imagenet_name, open_folder, open_imagenet
from robustbench_lift.data.geometry import INTERPOLATIONS
from robustbench_lift.data.subset import subset
from robustbench_lift.data.tiny import open_tiny, tiny_labels
from robustbench_lift.data.tree import FileTree, Tree
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.text import printable

_GEOMETRY = ("resize", "crop", "interpolation", "table")
OPTIONS: dict[str, tuple[str, ...]] = {
    "photos": (),
    "imagenet": ("classes", *_GEOMETRY),
    "folder": ("classes", "empty", "name", *_GEOMETRY),
    "tiny-imagenet": (),
    "cifar10": ("rows",),
    "cifar100": ("rows",),
    "imagenet-c": ("classes", "size"),
    "tiny-imagenet-c": (),
    "cifar10-c": (),
    "cifar100-c": (),
    "imagenet-p": ("classes", "size"),
    "cifar10-p": (),
    "cifar100-p": (),
}
"""Kind of data -> options that it takes."""
KINDS = tuple(OPTIONS)


@dataclass(frozen=True, slots=True)
class DataSpec:
    """One part of a data spec.

    Raises:
        UsageError: an unknown kind or option, or a value that means nothing.

    >>> parse_spec("imagenet:/d/val?resize=232&interpolation=bicubic").options["resize"]
    '232'
    """

    kind: str
    path: Path
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in OPTIONS:
            raise unknown("kind of data", printable(self.kind), KINDS)
        for key in self.options:
            if key not in OPTIONS[self.kind]:
                raise unknown(f"option of {self.kind}", printable(key), OPTIONS[self.kind] or ("none",))
        choices = {
            "classes": ("sorted", "natural", "numeric") if self.kind == "folder" else ("wnid", "partial", "numeric"),
            "empty": ("refuse", "allow"),
            "interpolation": tuple(INTERPOLATIONS),
            "size": ("224", "299"),
        }
        for key, known in choices.items():
            if self.options.get(key, known[0]) not in known:
                raise unknown(key, printable(self.options[key]), known)

    @property
    def family(self) -> str:
        """The data set whose images these are: `imagenet` for imagenet-c and imagenet-p."""
        return self.kind.removesuffix("-c").removesuffix("-p")

    def pixels(self, key: str, default: int | None) -> int | None:
        """An option that is a number of pixels, or `none`."""
        text = self.options.get(key)
        if text is None:
            return default
        if text == "none":
            return None
        if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
            raise UsageError(f"?{key}={printable(text)}: expected a number of pixels, or none.")
        return int(text)


def parse_spec(text: str) -> DataSpec:
    """One part of a data spec.

    Raises:
        UsageError: no kind, no path, or an option without a value.
    """
    kind, colon, rest = text.partition(":")
    if text == "photos":
        return DataSpec("photos", Path())
    if kind in KINDS and not rest:
        raise UsageError(f"{printable(text)!r} names no folder: write {kind}:PATH.")
    if not colon or not rest or "/" in kind:
        raise UsageError(
            f"{printable(text)!r} is no data spec. Say what it is: imagenet:{printable(text)}, folder:... "
            f"Kinds: {', '.join(KINDS)}."
        )
    match = re.fullmatch(r"(.*?)(?:\?([A-Za-z]+=[^?]*))?", rest, re.DOTALL)
    assert match is not None
    options: dict[str, str] = {}
    for part in (match[2] or "").split("&"):
        key, equals, value = part.partition("=")
        if part and (not equals or not value):
            raise UsageError(
                f"{printable(text)!r}: option {printable(part)!r} has no value; write ?{printable(key)}=..."
            )
        if part:
            options[key] = value
    return DataSpec(kind, Path(match[1]).expanduser(), options)


def parse_specs(text: str) -> tuple[DataSpec, ...]:
    """All parts of a data spec.

    >>> [spec.kind for spec in parse_specs("imagenet:/a,b/val,imagenet-c:/c")]
    ['imagenet', 'imagenet-c']
    """
    kinds = "|".join(map(re.escape, KINDS))
    return tuple(parse_spec(part) for part in re.split(rf",(?=(?:{kinds}):)", text))


def open_images(spec: str | DataSpec, *, limit: int | None = None, seed: int = 0) -> ImageSet:
    """The images of a data spec of clean images.

    Args:
        spec: `photos`, `imagenet:PATH`, `folder:PATH`, `tiny-imagenet:PATH`, `cifar10:PATH` or `cifar100:PATH`.
        limit: a fixed, class-balanced subset of so many images.
        seed: of the subset.

    Raises:
        UsageError: a spec that means nothing, or one of a tree (`open_tree` opens those).
        DataError: what lies there is something else; the message says what to do.
        IncompleteError: something is missing.

    >>> len(open_images("photos", limit=30).ids)
    30
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    return subset(_open(spec), limit, seed)


def _open(spec: DataSpec) -> ImageSet:
    if spec.kind == "photos":
        from robustbench_lift.data.photos import PhotoTest

        return PhotoTest()
    if spec.kind == "imagenet":
        return open_imagenet(spec.path, classes=spec.options.get("classes", "wnid"))
    if spec.kind == "folder":
        return open_folder(
            spec.path,
            name=spec.options.get("name"),
            classes=spec.options.get("classes", "sorted"),
            allow_empty=spec.options.get("empty") == "allow",
        )
    if spec.kind == "tiny-imagenet":
        return open_tiny(spec.path)
    if spec.kind in ("cifar10", "cifar100"):
        return open_cifar(spec.path, int(spec.kind.removeprefix("cifar")), rows=spec.options.get("rows"))
    raise UsageError(
        f"{spec.kind}: is a tree of many cells, not one set of images. Clean images: "
        f"{', '.join(kind for kind in KINDS if not kind.endswith(('-c', '-p')))}."
    )


def open_tree(spec: str | DataSpec, *, limit: int | None = None, clean: ImageSet | None = None) -> Tree:
    """The tree of a data spec such as `imagenet-c:PATH`.

    Args:
        spec: imagenet-c, imagenet-p, tiny-imagenet-c, cifar10-c, cifar10-p, cifar100-c or cifar100-p.
        limit: a fixed, class-balanced subset of so many images, the same in every cell.
        clean: the clean images of the same run, whole; ImageNet-C and -P must show the same ones.

    Raises:
        UsageError: the spec is not one of a tree.
        DataError: what lies there is something else.
        IncompleteError: something is missing.
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    sequences = spec.kind.endswith("-p")
    if not spec.kind.endswith(("-c", "-p")):
        raise UsageError(f"{spec.kind}: is one set of images, not a tree of cells; open_images opens it.")
    if spec.family.startswith("cifar"):
        return ArrayTree(
            root=spec.path,
            name=spec.family,
            classes=int(spec.family.removeprefix("cifar")),
            files=f"{spec.kind}-npy",
            sequences=sequences,
            limit=limit,
            class_names=None if clean is None else clean.class_names,
        )
    known = (
        (*corruptions.PERTURBATIONS, *corruptions.EXTRA_PERTURBATIONS)
        if sequences
        else (*corruptions.BENCHMARK, *corruptions.EXTRA)
    )
    files = f"{spec.kind}-{'h264' if sequences else 'jpeg'}"
    if spec.kind == "tiny-imagenet-c":
        return FileTree(
            root=spec.path,
            name="tiny-imagenet",
            files=files,
            known=known,
            label=lambda folders, where, loose: tiny_labels(
                folders, where=where, loose=loose, expected=None if clean is None else clean.class_names
            ),
            class_names=None,
            size=64,
            limit=limit,
        )
    rule = spec.options.get("classes", "wnid")
    return FileTree(
        root=spec.path,
        name=imagenet_name(rule),
        files=files,
        known=known,
        label=lambda folders, where, loose: imagenet_labels(folders, where=where, rule=rule, loose=loose),
        class_names=wnids(),
        size=int(spec.options.get("size", "224")),
        sequences=sequences,
        limit=limit,
        reference=None if clean is None else ("the clean images", clean),
    )
