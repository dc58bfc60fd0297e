"""The revision that is stored with a run: what it says, and that asking for it leaves the checkout alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from robustbench_lift.provenance import git_revision

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    done = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("a")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_the_revision_says_whether_files_differ(checkout: Path) -> None:
    revision = git(checkout, "rev-parse", "HEAD")[:12]
    assert git_revision(checkout) == revision
    (checkout / "own.txt").write_text("a file that git does not track")
    git(checkout, "tag", "v1")
    assert git_revision(checkout) == revision
    (checkout / "a.txt").write_text("b")
    assert git_revision(checkout) == f"{revision}-dirty"


def test_a_folder_outside_git_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_revision(tmp_path) is None


def test_the_index_is_not_locked_or_written(checkout: Path) -> None:
    """Who is killed while the lock is there leaves it behind, and git refuses the user's next commit."""
    os.utime(checkout / "a.txt", (1, 1))  # git would like to note that the file is the same as ever
    index = checkout / ".git/index"
    before = index.read_bytes(), index.stat().st_mtime_ns
    assert git_revision(checkout) is not None
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before
