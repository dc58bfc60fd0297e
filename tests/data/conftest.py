"""Small trees that look like the official ones, written in a moment: few classes, few images, every layout."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from robustbench_lift.data.classes import wnids

FEW = wnids()[:3]
"""Classes of the small trees."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices of archives go to a folder of the test."""
    monkeypatch.setenv("ROBUSTBENCH_LIFT_CACHE", str(tmp_path / "cache"))


def picture(key: int, height: int = 24, width: int = 24) -> np.ndarray:
    """A picture that no other key has, smooth enough for JPEG."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [(rows * (key % 7 + 1) + columns * (key % 5 + 1) + 40 * k + 31 * key) % 256 for k in range(3)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def jpeg(image: np.ndarray, form: str = "JPEG") -> bytes:
    """The file of a picture."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, quality=85)
    return buffer.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    """Files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def pack(path: Path, files: dict[str, bytes], *, form: int = tarfile.PAX_FORMAT, prefix: str = "./") -> Path:
    """The same files as a tar."""
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def validation(classes: Iterable[str] = FEW, each: int = 2, side: int = 24) -> dict[str, bytes]:
    """Class folders of clean images."""
    files = {}
    for k, wnid in enumerate(classes):
        for n in range(each):
            files[f"{wnid}/ILSVRC2012_val_{k * each + n + 1:08d}.JPEG"] = jpeg(picture(k * each + n, side, side + 8))
    return files


def corrupted(
    conditions: Iterable[str] = ("fog", "snow"),
    severities: Iterable[int] = (1, 2, 3, 4, 5),
    *,
    classes: Iterable[str] = FEW,
    each: int = 2,
    side: int = 224,
) -> dict[str, bytes]:
    """Files of an ImageNet-C tree, `<corruption>/<severity>/<wnid>/<name>.JPEG`."""
    files = {}
    for c, condition in enumerate(conditions):
        for severity in severities:
            for k, wnid in enumerate(classes):
                for n in range(each):
                    image = picture(1000 * c + 100 * severity + k * each + n, side, side)
                    files[f"{condition}/{severity}/{wnid}/ILSVRC2012_val_{k * each + n + 1:08d}.JPEG"] = jpeg(image)
    return files


def clips(
    folders: Iterable[str] = ("tilt",), *, frames: int = 31, side: int = 224, noise: bool = False
) -> dict[str, bytes]:
    """Files of an ImageNet-P tree, `<perturbation>/<wnid>/<name>.mp4`: one image each of two classes."""
    from corruptions.storage import encode_video

    files = {}
    for f, folder in enumerate(folders):
        for k, wnid in enumerate(FEW[:2]):
            sequence = np.stack([picture(10 * f + k, side, side) + np.uint8(t) for t in range(frames)])
            files[f"{folder}/{wnid}/ILSVRC2012_val_{k + 1:08d}.mp4"] = encode_video(sequence, noise=noise)
    return files


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """What writes the trees."""
    return SimpleNamespace(
        FEW=FEW,
        picture=picture,
        jpeg=jpeg,
        write=write,
        pack=pack,
        validation=validation,
        corrupted=corrupted,
        clips=clips,
    )
