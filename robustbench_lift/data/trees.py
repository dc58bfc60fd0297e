"""Official trees of corrupted images and of perturbation sequences: the images of each cell, and what is missing.

All cells of a tree show the same images; a cell that lacks some is refused with their names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from corruptions.sequences import TABLES
from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.decode import SUFFIXES
from robustbench_lift.data.places import ARCHIVE_OF, Place, check_kind, find_conditions, folder_name, nothing_found
from robustbench_lift.data.stored import VIDEO_SUFFIXES, StoredImages, class_images
from robustbench_lift.data.stores import Blobs, FolderBlobs, join
from robustbench_lift.data.subset import Subset, limited_name, subset_rows
from robustbench_lift.errors import DataError, IncompleteError
from robustbench_lift.text import printable, some

Label = Callable[[Sequence[str], str, int], Mapping[str, int]]
"""(class folders, place, images beside them) -> class index of each folder."""


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
        settings = json.loads((root / "manifest.json").read_bytes())["settings"]
        given = {key: str(settings[key]) for key in ("variant", "seed") if key in settings}
        written = settings["layout"].startswith(("imagenet-", "cifar-"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        written = False
    if not written:
        return {"source": "official"}
    return {"source": "written"} | {k: "".join(c for c in v if c.isalnum() or c == "-")[:40] for k, v in given.items()}


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
    sequences: bool = False
    """Whether cells hold videos."""
    limit: int | None = None
    """A fixed, class-balanced subset of so many images."""
    places: dict[str, Place] = field(init=False)
    """Where each condition that is there lies."""
    reference: tuple[str, ImageSet] | None = None
    """(words, images) whose ids every cell must have; the first cell that is read unless given."""
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
        }

    def holds(self, condition: str, level: int) -> bool:
        """Whether the folder of a cell is there."""
        place = self.places.get(folder_name(condition, level) if self.sequences else condition)
        return place is not None and (self.sequences or str(level) in place.store.folders(place.path))

    def require(self, conditions: Sequence[str], levels: Sequence[int]) -> None:
        """Raise IncompleteError, naming every folder that is missing."""
        lacking = [(c, level) for c in conditions for level in levels if not self.holds(c, level)]
        missing = list(dict.fromkeys(self._shown(condition, level) for condition, level in lacking))
        if missing:
            archives = sorted({ARCHIVE_OF[m] for m in missing if m in ARCHIVE_OF}) if self.name == "imagenet" else []
            hint = f" They come in {', '.join(archives)}." if archives and not self.sequences else ""
            if any(m.endswith(("_2", "_3")) for m in missing):
                hint += " Difficulty 2 and 3 are folders for noise only; for everything else they are a stride."
            raise IncompleteError(
                f"{printable(self.root)} lacks {len(missing)} of the folders that were asked for: "
                f"{some(missing, most=20)}.{hint} Extract the rest, or ask for what is there."
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
        store, folder = self.places[folder_name(condition, level) if self.sequences else condition]
        top = folder if self.sequences else join(folder, str(level))
        where = join(store.location, printable(top))
        found = class_images(
            store,
            top,
            name=self.name,
            label=lambda folders, loose: self.label(folders, where, loose),
            class_names=self.class_names,
            suffixes=VIDEO_SUFFIXES if self.sequences else SUFFIXES,
            side=self.size,
            frames=TABLES[self.size].count(condition) if self.sequences else None,
        )
        if self.reference is None:
            self.reference = (where, found)
        words, first = self.reference
        if found.ids != first.ids:
            raise _difference(where, found.ids, words, first.ids)
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


def _difference(where: str, ids: Sequence[str], words: str, expected: Sequence[str]) -> IncompleteError | DataError:
    lacking = sorted(set(expected) - set(ids))
    beyond = sorted(set(ids) - set(expected))
    if lacking and len(lacking) < len(expected):
        also = f", and has {len(beyond):,} that are not there" if beyond else ""
        return IncompleteError(
            f"{where} lacks {len(lacking):,} of the {len(expected):,} images of {words}{also}: {some(lacking)}. "
            "Extract that archive again."
        )
    return DataError(
        f"{where} shows other images than {words}: {some(beyond)}. All cells of a run are the same images; remove "
        "these files, or name another folder."
    )
