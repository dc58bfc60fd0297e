"""What a tree says about itself, and who may write into it.

    <root>/manifest.json                  settings, versions, classes, cells with their digest
    <root>/.checksums/<cell>.sha256       one line a file, as sha256sum writes them: `sha256sum -c .checksums/*` checks
    <root>/.checksums/<cell>.1-of-4.part  the same while a share of the work is being written
    <root>/.partial/1-of-4/               files that are being written; renamed into place when whole

A checksum line is appended after its file is in place, so a file without a line is written again. A share appends to
its own lists alone and joins them with the cell's at its end, under a lock; jobs of several shares work side by side.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock

from corruptions.errors import CorruptionError
from corruptions.tree.source import SourceFolder
from corruptions.tree.spec import TreeCell, TreeSpec

MANIFEST = "manifest.json"
CHECKSUMS = ".checksums"
PARTIAL = ".partial"
FORMAT = 1


def load(root: Path) -> dict[str, Any]:
    """The manifest of a tree.

    Raises:
        CorruptionError: there is none, or it is not one of ours.
    """
    path = root / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise CorruptionError(f"{root} holds no {MANIFEST}: it is not a tree written by `corrupt`.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptionError(f"{path} cannot be read ({error}). Delete the tree and write it again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CorruptionError(f"{path} is of another format. Write into an empty folder.")
    return manifest


class TreeRecord:
    """The manifest and the checksums of a tree while one share of the work, i of n, is being written.

    Made by `open_record`, which holds the share's lock.
    """

    def __init__(self, root: Path, share: tuple[int, int]) -> None:
        self.root = root
        self.tag = f"{share[0]}-of-{share[1]}"
        self.partial = root / PARTIAL / self.tag
        """Folder of files under way."""

    def begin(self, spec: TreeSpec, source: SourceFolder) -> None:
        """Start the manifest of a new tree, or check that the one that is there fits.

        Raises:
            CorruptionError: the tree has other settings or was made from other images, or cannot be written.
        """
        images = {"count": len(source.images), "digest": source.digest}
        with self._manifest() as manifest:
            if not manifest:
                made = {"settings": spec.settings, "images": images, "classes": list(source.classes)}
                manifest.update({"format": FORMAT, **made, "versions": [], "cells": {}, "failed": []})
            if manifest["settings"] != spec.settings:
                raise CorruptionError(
                    f"{self.root} was written with {_words(manifest['settings'])}; asked for now: "
                    f"{_words(spec.settings)}. Choose another folder or the same settings."
                )
            if manifest["images"] != images:
                raise CorruptionError(
                    f"{self.root} was written from another set of {manifest['images']['count']} images; {source.root} "
                    f"has {images['count']}. Choose another folder."
                )
            used = _versions(spec.sequences)
            if used not in manifest["versions"]:
                manifest["versions"].append(used)
        for path in (self.root / CHECKSUMS).glob(f"*.{self.tag}.part"):
            content = path.read_bytes()
            if not content.endswith(b"\n"):  # torn: what is appended must start a line
                path.write_bytes(content[: content.rfind(b"\n") + 1])

    def finish(self, cells: Sequence[str], tried: Iterable[str], failed: Iterable[tuple[str, str]]) -> None:
        """Join this share's lists with the cells' and bring the manifest up to date.

        Args:
            cells: names of the cells, or of arrays.
            tried: source images of this share.
            failed: (source image, reason) of those that could not be used.
        """
        now = set(tried)
        tags = {path.name.rsplit(".", 2)[1] for path in (self.root / CHECKSUMS).glob("*.part")}
        with self._manifest() as manifest, contextlib.ExitStack() as held:
            ended = {self.tag}
            for tag in tags - ended:  # a share that was killed and is not under way leaves its lists to us
                with contextlib.suppress(filelock.Timeout):
                    held.enter_context(_lock(self.root, tag, timeout=0))
                    ended.add(tag)
            for name in cells:
                manifest["cells"][name] = self._join(name.replace("/", "-"), ended)
            others = [entry for entry in manifest["failed"] if entry[0] not in now]
            manifest["failed"] = sorted([*others, *map(list, failed)])

    def _join(self, key: str, tags: set[str]) -> dict[str, object]:
        """Write a cell's list, sorted, each file once; its entry for the manifest."""
        folder = self.root / CHECKSUMS
        parts = [path for tag in tags if (path := folder / f"{key}.{tag}.part").exists()]
        known = _read(folder / f"{key}.sha256")
        for part in parts:
            known |= _read(part)
        text = "".join(f"{known[name]}  {name}\n" for name in sorted(known)).encode("utf-8", "surrogateescape")
        digest = self.write(f"{CHECKSUMS}/{key}.sha256", text)
        for part in parts:
            part.unlink(missing_ok=True)
        return {"files": len(known), "digest": digest}

    def append(self, cell: TreeCell | str, lines: Iterable[tuple[str, str]]) -> None:
        """Note files that are in place: (path, sha256)."""
        path = self.root / CHECKSUMS / f"{_key(cell)}.{self.tag}.part"
        try:
            with path.open("a", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write("".join(f"{digest}  {name}\n" for name, digest in lines))
        except OSError as error:
            raise unwritable(path, error) from None

    def write(self, relative: str, content: bytes) -> str:
        """Write a file below the root under a temporary name and rename it; its sha256."""
        return write_whole(self.root, self.partial, relative, content)

    @contextlib.contextmanager
    def _manifest(self) -> Iterator[dict[str, Any]]:
        """The manifest, empty when there is none, to be changed: read and written under a lock."""
        with _lock(self.root, "", timeout=-1):
            manifest = load(self.root) if (self.root / MANIFEST).exists() else {}
            yield manifest
            self.write(MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())


@contextlib.contextmanager
def open_record(root: Path, source: Path, share: tuple[int, int]) -> Iterator[TreeRecord]:
    """Hold a share of a tree; the lock ends with the process, however it ends.

    Raises:
        CorruptionError: the folder cannot be written or holds other files, or another process writes this share.
    """
    if root.resolve().is_relative_to(source.resolve()):
        raise CorruptionError(f"{root} lies inside the source folder {source}. Choose a folder outside of it.")
    record = TreeRecord(root, share)
    with contextlib.ExitStack() as held:
        try:
            root.mkdir(parents=True, exist_ok=True)
            if not (root / MANIFEST).exists() and _is_foreign(root):
                raise CorruptionError(
                    f"{root} holds files but no {MANIFEST}. Choose an empty folder; nothing was changed."
                )
            (root / CHECKSUMS).mkdir(exist_ok=True)
            held.enter_context(_lock(root, record.tag, timeout=0))
            _clear(record)
            record.partial.mkdir(parents=True)
        except filelock.Timeout:
            which = "" if share == (1, 1) else f"share {share[0]}/{share[1]} of "
            raise CorruptionError(f"another process is writing into {which}{root}. Wait for it, or stop it.") from None
        except OSError as error:
            raise unwritable(root, error) from None
        held.callback(_clear, record)
        yield record


def _is_foreign(root: Path) -> bool:
    """Whether a folder without a manifest holds anything but what a writer makes before its first manifest."""
    beside = any(entry.name not in (CHECKSUMS, PARTIAL) for entry in root.iterdir())
    return beside or any(not entry.name.startswith(".lock") for entry in (root / CHECKSUMS).glob("*"))


def _clear(record: TreeRecord) -> None:
    """Remove what this share, or an interrupted writer of it, left."""
    shutil.rmtree(record.partial, ignore_errors=True)
    with contextlib.suppress(OSError):  # other shares are under way
        record.partial.parent.rmdir()


def _lock(root: Path, tag: str, timeout: float) -> filelock.BaseFileLock:
    """The lock of a share, or of the manifest (no tag)."""
    return filelock.FileLock(root / CHECKSUMS / (f".lock-{tag}" if tag else ".lock"), timeout=timeout)


def write_whole(root: Path, partial: Path, relative: str, content: bytes) -> str:
    """Write a file below the root under a temporary name and rename it; its sha256.

    Raises:
        CorruptionError: the disk is full or read-only.
    """
    target = root / relative
    part = partial / f"{os.getpid()}-{hashlib.blake2b(os.fsencode(relative), digest_size=8).hexdigest()}"
    try:
        part.write_bytes(content)
        try:
            part.replace(target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable(target, error) from None
    return hashlib.sha256(content).hexdigest()


def unwritable(path: Path, error: OSError) -> CorruptionError:
    """One message for a disk that is full, read-only or gone."""
    return CorruptionError(
        f"{path} cannot be written ({error.strerror or error}). "
        "What is complete stays; the same command goes on from there."
    )


def read_checksums(root: Path, cell: TreeCell | str) -> dict[str, str]:
    """Path -> sha256 of the files of a cell that are in place, whoever wrote them."""
    folder = root / CHECKSUMS
    known = _read(folder / f"{_key(cell)}.sha256")
    for part in folder.glob(f"{glob.escape(_key(cell))}.*.part"):
        known |= _read(part)
    return known


def list_digest(root: Path, cell: str) -> str | None:
    """sha256 of a cell's list of checksums, None when there is none."""
    try:
        return hashlib.sha256((root / CHECKSUMS / f"{_key(cell)}.sha256").read_bytes()).hexdigest()
    except OSError:
        return None


def _key(cell: TreeCell | str) -> str:
    return (cell if isinstance(cell, str) else cell.folder).replace("/", "-")


def _read(path: Path) -> dict[str, str]:
    """The lines of a list; a torn last line is left out, a later line replaces an earlier one."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return {}
    lines = text.split("\n")[:-1]  # what follows the last newline was cut off
    return {line[66:]: line[:64] for line in lines if len(line) > 66}


def _versions(sequences: bool) -> dict[str, str]:
    """Versions of everything that can change a byte."""
    packages = ["robustbench-lift", "torch", "numpy", "scipy", "opencv-python", "pillow"]
    found = {"python": platform.python_version()}
    for package in [*packages, "av"] if sequences else packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def _words(settings: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
