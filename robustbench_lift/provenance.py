"""Where a result comes from: versions, git revision, machine. Told with every run, never compared."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

PACKAGES = ("robustbench-lift", "torch", "torchvision", "numpy", "scipy", "pillow", "opencv-python", "scikit-image")


def environment(device: str = "cpu") -> dict[str, object]:
    """Versions of what computes, the git revision when there is one, device, command and time (UTC)."""
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "git": git_revision(),
        "device": device,
        "machine": platform.machine(),
        "command": " ".join(["robustbench-lift", *sys.argv[1:]]),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def version(package: str) -> str | None:
    """The installed version of a package, None when it is absent."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_revision(folder: Path | None = None) -> str | None:
    """The revision of the checkout that this code runs from, with `-dirty` when files differ; None outside git.

    Nothing is written: `git describe --dirty` would lock the user's index, and a kill would leave the lock behind.
    """
    where = folder or Path(__file__).parent
    revision = git(where, "describe", "--always", "--abbrev=12", "--exclude=*")
    changed = git(where, "status", "--porcelain", "--untracked-files=no")
    if not revision or changed is None:
        return None
    return revision.strip() + ("-dirty" if changed else "")


def git(where: Path, *words: str) -> str | None:
    """What git prints when it is asked in a folder, without touching the user's index; None where it cannot answer."""
    try:
        found = subprocess.run(
            ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *words],
            cwd=where,
            capture_output=True,
            text=True,
            errors="replace",  # names of files are bytes
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout if found.returncode == 0 else None
