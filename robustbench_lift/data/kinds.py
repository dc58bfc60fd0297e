"""The kinds of data, one entry each: everything that is particular to a kind is said in its entry and nowhere else.

photos                                    the embedded photographs
imagenet:/data/imagenet/val               1,000 class folders, or a tar of them
imagenet-c:/data/imagenet-c               ImageNet-C, folders or tars
imagenet-p:/data/imagenet-p               ImageNet-P
imagenet:/data/val,imagenet-c:/data/c     clean images and official corruptions of one run

A kind serves clean images, or the stored cells of a protocol. `register_kind` adds one, from a plug-in too.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import CenterCrop
from robustbench_lift.data.kind import KINDS, Expected, Kind, KindOption, Opener, Views, register_kind
from robustbench_lift.data.photos import REGION, SEQUENCES, SIZE, PhotoTest
from robustbench_lift.data.spec import DataSpec, parse, split
from robustbench_lift.data.subset import held_out_part
from robustbench_lift.data.suites import SUITES
from robustbench_lift.data.views import (
    CLASSES,
    EMPTY,
    FRAME_SIZE,
    GEOMETRY,
    PART,
    alexnet,
    allows_empty,
    resized,
    stored,
)
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.text import printable

if TYPE_CHECKING:
    from robustbench_lift.data.tree import Tree

__all__ = [
    "KINDS",
    "Expected",
    "Kind",
    "KindOption",
    "Views",
    "kind_of",
    "open_images",
    "open_tree",
    "parse_spec",
    "parse_specs",
    "register_kind",
]


def kind_of(spec: DataSpec) -> Kind:
    """The entry of a spec's kind.

    Raises:
        UsageError: there is none.
    """
    if spec.kind not in KINDS:
        raise unknown("kind of data", printable(spec.kind), KINDS)
    return KINDS[spec.kind]


def parse_spec(text: str) -> DataSpec:
    """One part of a data spec, of a kind that there is, with options that this kind takes.

    Raises:
        UsageError: no kind, no path, an unknown option, or a value that means nothing.

    >>> parse_spec("imagenet:/d/val?resize=232&interpolation=bicubic").options["resize"]
    '232'
    """
    spec = parse(text, KINDS, without_path=[name for name, kind in KINDS.items() if not kind.takes_path])
    known = {option.name: option for option in kind_of(spec).options}
    for key, value in spec.options.items():
        if key not in known:
            raise unknown(f"option of {spec.kind}", printable(key), known or ("none",))
        if known[key].choices and value not in known[key].choices:
            raise unknown(key, printable(value), known[key].choices)
    if ("part" in spec.options) != ("hold_out" in spec.options):
        raise UsageError(f"{printable(text)!r}: ?part=test and ?hold_out=0.25 belong together; give both or none.")
    return spec


def parse_specs(text: str) -> tuple[DataSpec, ...]:
    """All parts of a data spec.

    >>> [spec.kind for spec in parse_specs("imagenet:/a,b/val,imagenet-c:/c")]
    ['imagenet', 'imagenet-c']
    """
    return tuple(parse_spec(part) for part in split(text, KINDS))


def open_images(spec: str | DataSpec, *, limit: int | None = None) -> ImageSet:
    """The images of a data spec of clean images.

    Args:
        spec: of a kind that serves images: `photos`, `imagenet:PATH`, `folder:PATH`, `cifar10:PATH`, ...
        limit: a fixed, class-balanced subset of so many images.

    Raises:
        UsageError: a spec that means nothing, or one of a tree (`open_tree` opens those).
        DataError: what lies there is something else; the message says what to do.
        IncompleteError: something is missing.

    >>> len(open_images("photos", limit=30).ids)
    30
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    kind = kind_of(spec)
    if kind.images is None:
        raise UsageError(
            f"{spec.kind}: is a tree of many cells, not one set of images. Clean images: "
            f"{', '.join(name for name, other in KINDS.items() if other.images is not None)}."
        )
    images = kind.images(spec)
    if "hold_out" in spec.options:
        images = held_out_part(images, spec.options["hold_out"], spec.options["part"])
    return kind.limited(images, limit)


def open_tree(spec: str | DataSpec, *, limit: int | None = None, clean: ImageSet | None = None) -> Tree:
    """The tree of a data spec such as `imagenet-c:PATH`.

    Args:
        spec: of a kind that stores the cells of a protocol: imagenet-c, imagenet-p, cifar10-c, ...
        limit: a fixed, class-balanced subset of so many images, the same in every cell.
        clean: the clean images of the same run, whole; ImageNet-C and -P must show the same ones.

    Raises:
        UsageError: the spec is not one of a tree.
        DataError: what lies there is something else.
        IncompleteError: something is missing.
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    kind = kind_of(spec)
    if kind.tree is None:
        raise UsageError(f"{spec.kind}: is one set of images, not a tree of cells; open_images opens it.")
    return kind.tree(spec, limit, clean)


# The embedded photographs.

register_kind(
    Kind(
        name="photos",
        title="The embedded photographs, cut into 64-pixel patches.",
        takes_path=False,
        images=lambda spec: PhotoTest(),
        views=lambda spec: Views(geometry=CenterCrop(SIZE), shift=CenterCrop(REGION), window=SIZE),
        limited=lambda images, limit: images if limit is None else PhotoTest.of(limit),
        sequences=lambda images: PhotoTest.of(min(len(images.ids), SEQUENCES)),
        storage=False,
        content=True,
        normaliser=lambda spec: "photos/alexnet",
        models=(
            "photos/alexnet",
            "photos/resnet-max",
            "photos/resnet-average",
            "photos/resnet-skip",
            "photos/resnet-blur",
            "photos/resnet-lift",
            "photos/resnet-lift-constrained",
        ),
    )
)

# ImageNet and folders like it.


def _open_imagenet(spec: DataSpec) -> ImageSet:
    from robustbench_lift.data.folders import open_imagenet
    from robustbench_lift.data.shifts import of_classes

    images = open_imagenet(spec.path, classes=spec.options.get("classes", "wnid"), allow_empty=allows_empty(spec))
    like = spec.options.get("like")
    return images if like is None else of_classes(images, Path(like).expanduser())


def _open_imagenet_tree(
    spec: DataSpec, limit: int | None, clean: ImageSet | None, *, sequences: bool, suite: str | None = None
) -> Tree:
    """A tree of ImageNet's images; its conditions are those of a suite, else all that can be generated."""
    from robustbench_lift.data.classes import imagenet_labels, wnids
    from robustbench_lift.data.folders import imagenet_name
    from robustbench_lift.data.tree import FileTree, level_by_number, level_by_strength

    rule = spec.options.get("classes", "wnid")
    return FileTree(
        root=spec.path,
        name=imagenet_name(rule),
        files=f"{spec.kind}-{'h264' if sequences else 'jpeg'}",
        known=_conditions(sequences) if suite is None else SUITES[suite].conditions,
        level_of=level_by_number if suite is None else level_by_strength(SUITES[suite].strengths),
        label=lambda folders, where, loose: imagenet_labels(folders, where=where, rule=rule, loose=loose),
        class_names=None if rule == "subset" else wnids(),
        size=int(spec.options.get("size", "224")),
        sequences=sequences,
        limit=limit,
        allow_empty=allows_empty(spec),
        reference=None if clean is None else ("the clean images", clean),
    )


def _conditions(sequences: bool) -> tuple[str, ...]:
    import corruptions

    if sequences:
        return tuple(corruptions.SEQUENCES)
    return tuple(corruptions.CORRUPTIONS)


def _open_folder_tree(spec: DataSpec, limit: int | None, clean: ImageSet | None) -> Tree:
    """A tree of a data set of the user's own, as `corrupt` writes it."""
    from robustbench_lift.data.classes import sorted_labels
    from robustbench_lift.data.tree import FileTree
    from robustbench_lift.text import file_name

    own = spec.options.get("name") or spec.path.resolve().name
    rule = spec.options.get("classes", "sorted")
    return FileTree(
        root=spec.path,
        name=clean.name if clean is not None else file_name(own, limit=64) or "folder",
        files="folder-c-jpeg",
        known=_conditions(sequences=False),
        label=lambda folders, where, loose: sorted_labels(folders, where=where, rule=rule, loose=loose),
        class_names=None,
        size=spec.pixels("size", 224) or 224,
        limit=limit,
        allow_empty=allows_empty(spec),
        reference=None if clean is None else ("the clean images", clean),
    )


def _open_folder(spec: DataSpec) -> ImageSet:
    from robustbench_lift.data.folders import open_folder

    return open_folder(
        spec.path,
        name=spec.options.get("name"),
        classes=spec.options.get("classes", "sorted"),
        allow_empty=allows_empty(spec),
    )


register_kind(
    Kind(
        name="imagenet",
        title="ImageNet's train or val: 1,000 class folders named by WNID, or a tar of them.",
        images=_open_imagenet,
        options=(
            CLASSES,
            EMPTY,
            KindOption("like", "A folder such as ImageNet-R's: only its classes, scored among themselves."),
            *GEOMETRY,
            *PART,
        ),
        views=resized,
        normaliser=alexnet,
        expected=Expected(original=True, each=50, parts={"val": 50_000, "train": 1_281_167}),
    )
)
register_kind(
    Kind(
        name="folder",
        title="One folder a class, or a tar of them.",
        images=_open_folder,
        options=(
            KindOption(
                "classes",
                "Class indices: names sorted, sorted as numbers, or numbers.",
                ("sorted", "natural", "numeric"),
            ),
            EMPTY,
            KindOption("name", "Name of the data set in the signature; the folder's by default."),
            *GEOMETRY,
            *PART,
        ),
        views=resized,
    )
)
register_kind(
    Kind(
        name="folder-c",
        title="Corrupted images of one's own classes: <corruption>/<severity>/<class>/*, as `corrupt` writes them.",
        family="folder",
        tree=_open_folder_tree,
        serves="corruption",
        options=(
            KindOption("classes", "As for `folder`.", ("sorted", "natural", "numeric")),
            EMPTY,
            KindOption("name", "Name of the data set in the signature; that of the clean images, or the folder's."),
            KindOption("size", "Side of the images in pixels; 224 by default."),
        ),
    )
)
register_kind(
    Kind(
        name="imagenet-c",
        title="ImageNet-C: <corruption>/<severity>/<wnid>/*.JPEG, in groups or in the published archives.",
        family="imagenet",
        tree=partial(_open_imagenet_tree, sequences=False),
        serves="corruption",
        options=(CLASSES, EMPTY, FRAME_SIZE),
        normaliser=alexnet,
        expected=Expected(cell=50_000),
    )
)
register_kind(
    Kind(
        name="imagenet-p",
        title="ImageNet-P: <perturbation>/<wnid>/*.mp4, in groups or in the published archives.",
        family="imagenet",
        tree=partial(_open_imagenet_tree, sequences=True),
        serves="perturbation",
        options=(CLASSES, EMPTY, FRAME_SIZE),
        normaliser=alexnet,
    )
)

for _suite, _title in (
    ("imagenet-c-bar", "ImageNet-C-bar: <corruption>/<severity>/<wnid>/*.JPEG, severities 1 to 5 or as strengths."),
    ("imagenet-3dcc", "ImageNet-3DCC: <corruption>/<severity>/<wnid>/*.JPEG, the published archives unpacked."),
):
    register_kind(
        Kind(
            name=_suite,
            title=_title,
            family="imagenet",
            tree=partial(_open_imagenet_tree, sequences=False, suite=_suite),
            serves="corruption",
            options=(CLASSES, EMPTY),
            suites={"corruption": _suite, "perturbation": "imagenet-p"},
            expected=Expected(cell=50_000),
        )
    )

# Tiny-ImageNet.


def _open_tiny(spec: DataSpec) -> ImageSet:
    from robustbench_lift.data.tiny import open_tiny

    return open_tiny(spec.path)


def _tiny_training(spec: DataSpec) -> tuple[Opener, Opener | None]:
    from robustbench_lift.data.tiny import open_tiny

    if not (spec.path / "train").is_dir():
        return (lambda: open_images(spec)), None
    return (lambda: open_tiny(spec.path / "train")), (lambda: open_tiny(spec.path))


def _open_tiny_tree(spec: DataSpec, limit: int | None, clean: ImageSet | None, *, sequences: bool) -> Tree:
    from robustbench_lift.data.tiny import SIDE, tiny_labels
    from robustbench_lift.data.tree import FileTree

    expected = None if clean is None else clean.class_names
    return FileTree(
        root=spec.path,
        name="tiny-imagenet",
        files=f"{spec.kind}-{'h264' if sequences else 'jpeg'}",
        known=_conditions(sequences),
        label=lambda folders, where, loose: tiny_labels(folders, where=where, loose=loose, expected=expected),
        class_names=None,
        size=SIDE,
        sequences=sequences,
        limit=limit,
    )


register_kind(
    Kind(
        name="tiny-imagenet",
        title="Tiny-ImageNet's val, as published or in class folders.",
        images=_open_tiny,
        options=PART,
        views=stored(64, 8),
        training=_tiny_training,
        expected=Expected(all_classes=True),
    )
)
register_kind(
    Kind(
        name="tiny-imagenet-c",
        title="Tiny-ImageNet-C: <corruption>/<severity>/<wnid>/*.JPEG.",
        family="tiny-imagenet",
        tree=partial(_open_tiny_tree, sequences=False),
        serves="corruption",
    )
)
register_kind(
    Kind(
        name="tiny-imagenet-p",
        title="Tiny-ImageNet-P: <perturbation>/<wnid>/*.mp4.",
        family="tiny-imagenet",
        tree=partial(_open_tiny_tree, sequences=True),
        serves="perturbation",
    )
)

# CIFAR-10 and CIFAR-100.


def _cifar(classes: int) -> None:
    """The three kinds of a CIFAR."""
    name = f"cifar{classes}"

    def images(spec: DataSpec) -> ImageSet:
        from robustbench_lift.data.cifar import open_cifar

        return open_cifar(spec.path, classes, rows=spec.options.get("rows"), mixed="hold_out" in spec.options)

    def training(spec: DataSpec) -> tuple[Opener, Opener | None]:
        from robustbench_lift.data.cifar import open_cifar

        if not spec.path.is_dir():
            return (lambda: open_images(spec)), None
        return (lambda: open_cifar(spec.path, classes, part="train")), (lambda: open_cifar(spec.path, classes))

    def tree(spec: DataSpec, limit: int | None, clean: ImageSet | None, *, sequences: bool) -> Tree:
        from robustbench_lift.data.arrays import ArrayTree

        return ArrayTree(
            root=spec.path,
            name=name,
            classes=classes,
            files=f"{spec.kind}-npy",
            sequences=sequences,
            limit=limit,
            clean=clean,
        )

    rows = KindOption("rows", "`a-b` takes rows a to b-1 of an .npz that holds more than the test images.")
    title = f"CIFAR-{classes}"
    suites = {"corruption": "imagenet-c", "perturbation": "cifar-p"}
    register_kind(
        Kind(
            name=name,
            title=f"{title}'s test images: the python version's folder, or an .npz.",
            images=images,
            options=(rows, *PART),
            views=stored(32, 4),
            storage=False,
            training=training,
            suites=suites,
            expected=Expected(all_classes=True),
        )
    )
    for letter, protocol, sequences in (("c", "corruption", False), ("p", "perturbation", True)):
        register_kind(
            Kind(
                name=f"{name}-{letter}",
                title=f"{title}-{letter.upper()}: <{protocol}>.npy and labels.npy.",
                family=name,
                tree=partial(tree, sequences=sequences),
                serves=protocol,
                suites=suites,
            )
        )
    if classes == 10:
        register_kind(
            Kind(
                name="cifar10-c-bar",
                title="CIFAR-10-C-bar: <corruption>.npy and labels.npy.",
                family=name,
                tree=partial(tree, sequences=False),
                serves="corruption",
                suites={**suites, "corruption": "cifar10-c-bar"},
            )
        )


_cifar(10)
_cifar(100)

from robustbench_lift.data import map_kinds, shift_kinds  # noqa: E402, F401 - register label maps and natural shifts
