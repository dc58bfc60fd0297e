"""What a tree says about itself.

    <root>/manifest.json              settings, versions, classes, cells with their digest
    <root>/.checksums/<cell>.sha256   one line a file, as sha256sum writes them: `sha256sum -c .checksums/*` checks
    <root>/.partial/                  files that are being written; renamed into place when whole

A checksum line is appended after its file is in place, so a file without a line is written again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from corruptions.errors import CorruptionError
from corruptions.tree.source import SourceFolder
from corruptions.tree.spec import TreeCell, TreeSpec

MANIFEST = "manifest.json"
CHECKSUMS = ".checksums"
PARTIAL = ".partial"
LOCK = ".lock"
FORMAT = 1


def versions(sequences: bool) -> dict[str, str]:
    """Versions of everything that can change a byte."""
    packages = ["robustbench-lift", "torch", "numpy", "scipy", "opencv-python", "pillow"]
    found = {"python": platform.python_version()}
    for package in [*packages, "av"] if sequences else packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


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
    except (OSError, ValueError) as error:
        raise CorruptionError(f"{path} cannot be read ({error}). Delete the tree and write it again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CorruptionError(f"{path} is of another format. Write into an empty folder.")
    return manifest


def open_tree(root: Path, spec: TreeSpec, source: SourceFolder) -> dict[str, Any]:
    """The manifest to go on with: a new one for a new or empty folder, the existing one when it fits.

    Raises:
        CorruptionError: the folder cannot be written, holds other files, or a tree of other settings or images.
    """
    if root.resolve().is_relative_to(source.root.resolve()):
        raise CorruptionError(f"{root} lies inside the source folder {source.root}. Choose a folder outside of it.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        taken = any(root.iterdir())
        if not taken or (root / MANIFEST).exists():
            (root / CHECKSUMS).mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(root, error) from None
    images = {"count": len(source.images), "digest": source.digest}
    if not taken:
        made = {"settings": spec.settings, "images": images, "classes": list(source.classes)}
        return {"format": FORMAT, **made, "versions": [], "cells": {}, "failed": []}
    if not (root / MANIFEST).exists():
        raise CorruptionError(f"{root} holds files but no {MANIFEST}. Choose an empty folder; nothing was changed.")
    manifest = load(root)
    if manifest["settings"] != spec.settings:
        raise CorruptionError(
            f"{root} was written with {_words(manifest['settings'])}; asked for now: {_words(spec.settings)}. "
            "Choose another folder or the same settings."
        )
    if manifest["images"] != images:
        raise CorruptionError(
            f"{root} was written from another set of {manifest['images']['count']} images; {source.root} has "
            f"{images['count']}. Choose another folder."
        )
    return manifest


@contextlib.contextmanager
def only_writer(root: Path) -> Iterator[None]:
    """Hold the tree; the lock ends with the process, however it ends.

    Raises:
        CorruptionError: another process is writing into it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    with (root / CHECKSUMS / LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CorruptionError(f"another process is writing into {root}. Wait for it, or stop it.") from None
        yield


def save(root: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, whole or not at all."""
    write_whole(root, MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())


def write_whole(root: Path, relative: str, content: bytes) -> str:
    """Write a file below the root under a temporary name and rename it; its sha256.

    Raises:
        CorruptionError: the disk is full or read-only.
    """
    target = root / relative
    part = root / PARTIAL / f"{os.getpid()}-{hashlib.blake2b(relative.encode(), digest_size=8).hexdigest()}"
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


def clear_partial(root: Path) -> None:
    """Remove what an interrupted writer left."""
    shutil.rmtree(root / PARTIAL, ignore_errors=True)


def fresh_partial(root: Path) -> None:
    """An empty folder for files under way."""
    clear_partial(root)
    try:
        (root / PARTIAL).mkdir()
    except OSError as error:
        raise unwritable(root / PARTIAL, error) from None


def checksum_file(root: Path, cell: TreeCell | str) -> Path:
    """Where the checksums of a cell are."""
    return root / CHECKSUMS / f"{cell if isinstance(cell, str) else cell.key}.sha256"


def read_checksums(path: Path) -> dict[str, str]:
    """Path -> sha256; a torn last line is left out, a later line replaces an earlier one."""
    if not path.exists():
        return {}
    lines = path.read_text().split("\n")[:-1]  # what follows the last newline was cut off
    return {line[66:]: line[:64] for line in lines if len(line) > 66}


def drop_torn_lines(root: Path) -> None:
    """Cut off last lines that were not written to their end, so that what is appended starts a line."""
    for path in (root / CHECKSUMS).glob("*.sha256"):
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            write_whole(root, f"{CHECKSUMS}/{path.name}", content[: content.rfind(b"\n") + 1])


def append_checksums(path: Path, lines: Iterable[tuple[str, str]]) -> None:
    """Note files that are in place: (path, sha256)."""
    try:
        with path.open("a") as stream:
            stream.write("".join(f"{digest}  {name}\n" for name, digest in lines))
    except OSError as error:
        raise unwritable(path, error) from None


def settle(root: Path, cell: str) -> dict[str, object]:
    """Sort a cell's checksums, each file once; its entry for the manifest."""
    path = checksum_file(root, cell)
    known = read_checksums(path)
    text = "".join(f"{known[name]}  {name}\n" for name in sorted(known)).encode()
    digest = write_whole(root, f"{CHECKSUMS}/{path.name}", text)
    return {"files": len(known), "digest": digest}


def _words(settings: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
