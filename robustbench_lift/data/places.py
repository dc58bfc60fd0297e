"""Where the conditions of an official tree lie: in folders, below groups, or in the published archives.

<root>/<corruption>/<severity>/<wnid>/<name>.JPEG          ImageNet-C, Tiny-ImageNet-C
<root>/<group>/<corruption>/<severity>/...                 each archive in a folder of its own
<root>/<perturbation>[_2|_3]/<wnid>/<name>.mp4             ImageNet-P; harder noise in _2 and _3
<root>/*.tar                                               the archives themselves, read in place
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from corruptions.sequences import NOISE
from robustbench_lift.data.classes import WNID
from robustbench_lift.data.stores import FolderStore, Store, TarStore, join, open_store
from robustbench_lift.errors import DataError, IncompleteError
from robustbench_lift.text import printable, some

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
    return f"{condition}_{difficulty}" if condition in NOISE and difficulty > 1 else condition


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
    hint = f"it holds {some(below)}" if below else "it holds no folders and no archive with any"
    more = ""
    if any(WNID.fullmatch(name) for name in below):
        more = (
            " These are class folders: name the folder above the conditions, not one of its cells. If they are clean "
            f"images, say imagenet:{store.location}."
        )
    elif below and set(below) <= set(SEVERITIES):
        more = f" These are severities of one corruption: name the folder above, {printable(path.resolve().parent)}."
    return IncompleteError(
        f"{store.location} has none of the folders {some(list(known), most=4)}: {hint}.{more} Expected "
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
                f"{place.shown} holds the folders {some(below)}: severities of ImageNet-C, where ImageNet-P has class "
                "folders. Say imagenet-c: instead of imagenet-p:."
            )
        if not sequences and any(WNID.fullmatch(name) for name in below):
            raise DataError(
                f"{place.shown} holds class folders ({some(below, most=2)}), where ImageNet-C has the severities 1 to "
                "5. If these are sequences, say imagenet-p:; if one severity was extracted without its folder, put it "
                "back."
            )
