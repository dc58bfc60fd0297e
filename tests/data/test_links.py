"""Links in data sets: followed, unless they lead back; and names that look like one."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest

from robustbench_lift.data.kinds import open_images
from robustbench_lift.errors import DataError


def test_links_to_other_folders_are_followed(make: SimpleNamespace, tmp_path: Path) -> None:
    files = make.validation(["a"], each=2)
    make.write(tmp_path / "disk", files)
    (tmp_path / "d" / "b").mkdir(parents=True)
    (tmp_path / "d" / "a").symlink_to(tmp_path / "disk" / "a")
    (tmp_path / "d" / "b" / "more").symlink_to(tmp_path / "disk" / "a")
    (tmp_path / "d" / "b" / "again").symlink_to(tmp_path / "disk" / "a")
    images = open_images(f"folder:{tmp_path / 'd'}")
    assert [name.rpartition("/")[0] for name in images.ids] == ["a", "a", "b/again", "b/again", "b/more", "b/more"]
    assert images.labels.tolist() == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("links", [{"a/up": ".."}, {"a/one": "..", "a/two": "..", "b/one": ".."}, {"a/x": "."}])
def test_links_that_lead_back_are_named(make: SimpleNamespace, tmp_path: Path, links: dict[str, str]) -> None:
    root = make.write(tmp_path / "d", make.validation(["a", "b"]))
    for name, target in links.items():
        (root / name).symlink_to(target)
    with pytest.raises(DataError, match=r"/d/a/.* is a folder above it again: a link leads back.*Remove the link"):
        open_images(f"folder:{root}")


def test_links_between_two_classes_that_lead_back_are_named(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "d", make.validation(["a", "b"]))
    (root / "a" / "x").symlink_to("../b")
    (root / "b" / "y").symlink_to("../a")
    with pytest.raises(DataError, match="d/a/x/y is a folder above it again"):
        open_images(f"folder:{root}")


def test_two_files_whose_names_look_alike_are_told_apart(make: SimpleNamespace, tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "a/\u00e9.png") for form in ("NFC", "NFD")]
    root = make.write(tmp_path / "d", dict.fromkeys(forms, b"x"))
    if len(list((root / "a").iterdir())) < 2:
        pytest.skip("this file system has one name for both")
    with pytest.raises(DataError, match=r"two files for one image.* differ in their Unicode form alone; remove one"):
        open_images(f"folder:{root}")
