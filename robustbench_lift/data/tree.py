"""Official trees of corrupted images and of perturbation sequences: where each cell lies, its images, what is missing.

<root>/<corruption>/<severity>/<wnid>/<name>.JPEG          ImageNet-C, Tiny-ImageNet-C
<root>/<group>/<corruption>/<severity>/...                 each archive in a folder of its own
<root>/<perturbation>[_2|_3]/<wnid>/<name>.mp4             ImageNet-P; harder noise in _2 and _3
<root>/*.tar                                               the archives themselves, read in place

All cells of a tree show the same images; a cell that lacks some is refused with their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from corruptions import frame_count, is_noise
from robustbench_lift.data.base import ImageSet, Outputs
from robustbench_lift.data.classes import WNID
from robustbench_lift.data.decode import SUFFIXES, require_video
from robustbench_lift.data.folders import VIDEO_SUFFIXES, StoredImages, class_images
from robustbench_lift.data.store import Blobs, FolderBlobs, FolderStore, Store, TarStore, join, open_store
from robustbench_lift.data.subset import Subset, limited_name, subset_rows
from robustbench_lift.data.suites import suite_with
from robustbench_lift.errors import DataError, IncompleteError
from robustbench_lift.files import read_json
from robustbench_lift.text import file_name, listed, printable

ARCHIVE_OF: dict[str, str] = {
    name: archive
    for archive, names in {
        "noise.tar": ("gaussian_noise", "shot_noise", "impulse_noise"),
        "blur.tar": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        "weather.tar": ("frost", "snow", "fog", "brightness"),
        "digital.tar": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
        "extra.tar": ("speckle_noise", "spatter", "gaussian_blur", "saturate"),
    }.items()
    for name in names
}
"""Corruption -> archive of ImageNet-C that holds it (Zenodo 2235448)."""
SEVERITIES = ("1", "2", "3", "4", "5")
"""Folders of a corruption."""
DEPTH = 3
"""How many folders a tree may lie below the place that was named: <tree>/<group>/<condition>."""


Label = Callable[[Sequence[str], str, int], Mapping[str, int]]
"""(class folders, place, images beside them) -> class index of each folder."""


LevelOf = Callable[[str, str], int | None]
"""(condition, folder below it) -> severity; None for a folder that is none."""


def level_by_number(condition: str, folder: str) -> int | None:
    """Severities are the folders 1 to 5.

    >>> level_by_number("fog", "3"), level_by_number("fog", "clean")
    (3, None)
    """
    return int(folder) if folder in SEVERITIES else None


def level_by_strength(strengths: Mapping[str, Sequence[float]]) -> LevelOf:
    """Severities are the folders 1 to 5, or the strengths that they stand for, with two digits.

    >>> level_by_strength({"sparkles": (1.0, 2.0, 3.0, 5.0, 6.0)})("sparkles", "5.00")
    4
    """

    def level_of(condition: str, folder: str) -> int | None:
        names = [f"{strength:.2f}" for strength in strengths.get(condition, ())]
        return names.index(folder) + 1 if folder in names else level_by_number(condition, folder)

    return level_of


class Place(NamedTuple):
    """A folder of a store."""

    store: Store
    path: str

    @property
    def shown(self) -> str:
        """The folder, printable."""
        return join(self.store.location, printable(self.path))


def folder_name(condition: str, difficulty: int) -> str:
    """Folder or file of a perturbation: difficulty is a folder for noise, a stride for everything else.

    >>> folder_name("shot_noise", 3), folder_name("tilt", 3)
    ('shot_noise_3', 'tilt')
    """
    return f"{condition}_{difficulty}" if difficulty > 1 and is_noise(condition) else condition


def find_conditions(path: Path, known: Sequence[str]) -> dict[str, Place]:
    """Where each condition lies in a folder, its groups and its archives; folders win over archives.

    Raises:
        DataError: nothing is there, or a condition lies in two folders.
    """
    found: dict[str, Place] = {}
    names = set(known)
    top = open_store(path)
    for place in _search(top, "", names, DEPTH):
        name = place.path.rpartition("/")[2]
        if name in found:
            raise DataError(
                f"{name} lies in two folders, {found[name].shown} and {place.shown}: an archive was extracted twice, "
                "or once with and once without its group folder. Remove the one that is not complete."
            )
        found[name] = place
    if isinstance(top, FolderStore):
        for file in top.files(""):
            if file.endswith(".tar"):
                for place in _search(TarStore(path / file), "", names, DEPTH):
                    found.setdefault(place.path.rpartition("/")[2], place)
    return {name: found[name] for name in known if name in found}


def _search(store: Store, path: str, names: set[str], depth: int) -> list[Place]:
    places = []
    for name in store.folders(path):
        inner = join(path, name)
        if name in names:
            places.append(Place(store, inner))
        elif depth > 1 and not WNID.fullmatch(name) and not name.isdigit():
            places += _search(store, inner, names, depth - 1)
    return places


def nothing_found(path: Path, known: Sequence[str], *, sequences: bool) -> IncompleteError:
    """The error for a place with none of the conditions: what is there, and what was probably meant."""
    store = open_store(path)
    below = store.folders("")
    other = suite_with(below, "perturbation" if sequences else "corruption")
    hint = f"it holds {listed(below)}" if below else "it holds no folders and no archive with any"
    more = ""
    if any(WNID.fullmatch(name) for name in below):
        more = (
            " These are class folders: name the folder above the conditions, not one of its cells. If they are clean "
            f"images, say imagenet:{store.location}."
        )
    elif other is not None:
        more = f" These are conditions of {other.title}: say {other.name}:{store.location}, or name another folder."
    elif below and set(below) <= set(SEVERITIES):
        more = f" These are severities of one corruption: name the folder above, {printable(path.resolve().parent)}."
    return IncompleteError(
        f"{store.location} has none of the folders {listed(list(known), most=4)}: {hint}.{more} Expected "
        f"{store.location}/{known[0]}/{'<class>/*.mp4' if sequences else '1/<class>/*.JPEG'}."
    )


def check_kind(places: dict[str, Place], *, sequences: bool) -> None:
    """Refuse images where sequences were expected, and the reverse: many conditions bear the same names.

    Raises:
        DataError: the folders are of the other kind of tree.
    """
    for place in places.values():
        below = place.store.folders(place.path)
        if sequences and below and set(below) <= set(SEVERITIES):
            raise DataError(
                f"{place.shown} holds the folders {listed(below)}: severities of ImageNet-C, where ImageNet-P has "
                "class folders. Say imagenet-c: instead of imagenet-p:."
            )
        if not sequences and any(WNID.fullmatch(name) for name in below):
            raise DataError(
                f"{place.shown} holds class folders ({listed(below, most=2)}), where ImageNet-C has the severities 1 "
                "to 5. If these are sequences, say imagenet-p:; if one severity was extracted without its folder, put "
                "it back."
            )


class Tree(Protocol):
    """What the protocols of official data read."""

    root: Path
    """Where it is."""

    files: str
    """What the files are, for the signature: `imagenet-c-jpeg`."""
    size: int
    """Side of the images in pixels."""

    def holds(self, condition: str, level: int) -> bool:
        """Whether a cell is there."""
        ...

    def frames(self, condition: str) -> int:
        """Frames of each image in the cells of a condition."""
        ...

    def require(self, conditions: Sequence[str], levels: Sequence[int]) -> None:
        """Raise IncompleteError, naming all that is missing, unless every cell is there."""
        ...

    def images(self, condition: str, level: int) -> ImageSet:
        """The images of a cell."""
        ...


def origin(root: Path) -> dict[str, str]:
    """Where the files of a tree come from, for the signature.

    A tree that `robustbench-lift corrupt` wrote says so in its manifest.json; its images are other draws than the
    published ones, so that scores on them do not stand beside official ones unmarked.
    """
    try:
        settings = read_json(root / "manifest.json")["settings"]
        given = {key: str(settings[key]) for key in ("variant", "seed") if key in settings}
        written = settings["layout"].startswith(("imagenet-", "cifar-"))
    except (OSError, DataError, KeyError, TypeError, AttributeError):
        written = False
    if not written:
        return {"source": "official"}
    return {"source": "written"} | {key: file_name(value, limit=40) for key, value in given.items()}


@dataclass(kw_only=True)
class FileTree:
    """A tree of files: ImageNet-C, ImageNet-P, Tiny-ImageNet-C.

    Raises:
        IncompleteError: none of the conditions is there.
        DataError: sequences where images were expected, or the reverse.
    """

    root: Path
    """A folder, or one archive."""
    name: str
    """Name of its image sets: `imagenet`."""
    files: str
    """What the files are, for the signature."""
    known: tuple[str, ...]
    """All conditions that such a tree can have."""
    label: Label
    """Class index of each folder."""
    class_names: tuple[str, ...] | None
    """All classes in index order; None: the folders, sorted."""
    size: int
    """Side of the images in pixels."""
    level_of: LevelOf = level_by_number
    """Severity of each folder of a corruption."""
    stem_of: Callable[[str], str] | None = None
    """Id of an image out of `<class>/<path without ending>`, where files of a cell carry its name."""
    outputs: Outputs | None = None
    """Which outputs of a network stand for the classes."""
    sequences: bool = False
    """Whether cells hold videos."""
    limit: int | None = None
    """A fixed, class-balanced subset of so many images."""
    allow_empty: bool | None = None
    """Whether a class folder without images keeps its index, as for `class_images`."""
    places: dict[str, Place] = field(init=False)
    """Where each condition that is there lies."""
    reference: tuple[str, ImageSet] | None = None
    """(what to call them, images) whose ids every cell must have; the first cell that is read unless given."""
    _cells: dict[tuple[str, int], ImageSet] = field(default_factory=dict, init=False, repr=False)
    _rows: list[int] | None = field(default=None, init=False, repr=False)
    _paths: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        folders = [folder_name(c, d) for c in self.known for d in ((1, 2, 3) if self.sequences else (1,))]
        self.places = find_conditions(self.root, tuple(dict.fromkeys(folders)))
        if not self.places:
            raise nothing_found(self.root, self.known, sequences=self.sequences)
        check_kind(self.places, sequences=self.sequences)

    def __getstate__(self) -> dict[str, Any]:
        # workers get the cell that they read; the others stay here
        return {
            **self.__dict__,
            "_cells": {},
            "places": {},
            "reference": None,
            "_rows": None,
            "_paths": (),
            "label": None,
            "level_of": None,
            "stem_of": None,
        }

    def holds(self, condition: str, level: int) -> bool:
        """Whether the folder of a cell is there."""
        place = self.places.get(folder_name(condition, level) if self.sequences else condition)
        return place is not None and (self.sequences or self._folder(place, condition, level) is not None)

    def _folder(self, place: Place, condition: str, level: int) -> str | None:
        """The folder of a severity, below that of its condition."""
        names = [name for name in place.store.folders(place.path) if self.level_of(condition, name) == level]
        if len(names) > 1:
            raise DataError(f"{place.shown} has two folders of severity {level}: {listed(names)}. Remove one.")
        return names[0] if names else None

    def frames(self, condition: str) -> int:
        """Frames of each image: those of the sequence, or one."""
        return frame_count(condition, self.size) if self.sequences else 1

    def require(self, conditions: Sequence[str], levels: Sequence[int]) -> None:
        """Raise IncompleteError, naming every folder that is missing; DataError when videos cannot be read."""
        if self.sequences:
            require_video()
        lacking = [(c, level) for c in conditions for level in levels if not self.holds(c, level)]
        missing = list(dict.fromkeys(self._shown(condition, level) for condition, level in lacking))
        if missing:
            archives = sorted({ARCHIVE_OF[m] for m in missing if m in ARCHIVE_OF}) if self.name == "imagenet" else []
            hint = f" They come in {', '.join(archives)}." if archives and not self.sequences else ""
            if any(m.endswith(("_2", "_3")) for m in missing):
                hint += " Difficulty 2 and 3 are folders for noise only; for everything else they are a stride."
            raise IncompleteError(
                f"{printable(self.root)} lacks {len(missing)} of the folders that were asked for: "
                f"{listed(missing, most=20)}.{hint} Extract the rest, or name what is there with "
                + ("--perturbations." if self.sequences else "--corruptions and --severities.")
            )

    def _shown(self, condition: str, level: int) -> str:
        """What to call a folder that is missing: the whole condition when there is nothing of it."""
        if self.sequences:
            return folder_name(condition, level)
        return f"{condition}/{level}" if condition in self.places else condition

    def images(self, condition: str, level: int) -> ImageSet:
        """The images of a cell, listed once.

        Raises:
            IncompleteError: the cell is missing, or lacks images that others have.
            DataError: a layout that is not understood, or images that others do not have.
        """
        key = (condition, level)
        if key not in self._cells:
            self._cells[key] = self._limited(self._cell(condition, level))
        return self._cells[key]

    def _cell(self, condition: str, level: int) -> StoredImages:
        self.require([condition], [level])
        place = self.places[folder_name(condition, level) if self.sequences else condition]
        store, folder = place
        top = folder if self.sequences else join(folder, self._folder(place, condition, level) or str(level))
        where = join(store.location, printable(top))
        found = class_images(
            store,
            top,
            name=self.name,
            label=lambda folders, loose: self.label(folders, where, loose),
            class_names=self.class_names,
            suffixes=VIDEO_SUFFIXES if self.sequences else SUFFIXES,
            side=self.size,
            frames=self.frames(condition) if self.sequences else None,
            allow_empty=self.allow_empty,
        )
        if self.stem_of is not None:
            found = _renamed(found, self.stem_of, where)
        found.outputs = self.outputs
        if self.reference is None:
            self.reference = (where, found)
        title, first = self.reference
        if found.ids != first.ids:
            raise _difference(where, found.ids, title, first.ids)
        return replace(
            found,
            ids=first.ids,
            labels=first.labels,
            class_names=first.class_names,
            blobs=self._shared(found.blobs, top),
        )

    def _shared(self, blobs: Blobs, top: str) -> Blobs:
        """The same files with names below the cell, one copy for all cells: 75 times 50,000 would fill the memory."""
        if not isinstance(blobs, FolderBlobs):
            return blobs
        paths = tuple(path.removeprefix(f"{top}/") for path in blobs.paths)
        if paths != self._paths:
            self._paths = paths
        return FolderBlobs(blobs.root, self._paths, top)

    def _limited(self, images: ImageSet) -> ImageSet:
        if self.limit is None:
            return images
        if self._rows is None:
            self._rows = subset_rows(images.ids, images.labels, self.limit)
        return Subset(images, self._rows, name=limited_name(images.name, self.limit))


def _renamed(images: StoredImages, stem_of: Callable[[str], str], where: str) -> StoredImages:
    """The same images by other ids, sorted by them."""
    ids = [stem_of(name) for name in images.ids]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    if len(set(ids)) < len(ids):
        raise DataError(f"{where} has two files for one image, once their endings are left out. Remove one.")
    return replace(
        images,
        ids=tuple(ids[row] for row in order),
        labels=images.labels[order],
        blobs=images.blobs.taken(order),
    )


def _difference(where: str, ids: Sequence[str], title: str, expected: Sequence[str]) -> IncompleteError | DataError:
    lacking = sorted(set(expected) - set(ids))
    beyond = sorted(set(ids) - set(expected))
    if lacking and len(lacking) < len(expected):
        also = f", and has {len(beyond):,} that are not there" if beyond else ""
        return IncompleteError(
            f"{where} lacks {len(lacking):,} of the {len(expected):,} images of {title}{also}: {listed(lacking)}. "
            "Extract that archive again."
        )
    if beyond and not lacking:  # the cell that was read first may be the one with a hole
        return IncompleteError(
            f"{where} has {len(beyond):,} of its {len(ids):,} images beyond those of {title}: {listed(beyond)}. All "
            f"cells of a run are the same images: if {title} should have them, extract that archive again; if not, "
            "remove these files."
        )
    return DataError(
        f"{where} shows other images than {title}: {listed(beyond)}. All cells of a run are the same images; name "
        "another folder, or extract both archives again."
    )
