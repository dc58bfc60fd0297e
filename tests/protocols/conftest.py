"""Small data of every family, written once: class folders, official trees, arrays."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WNIDS = ("n01440764", "n01443537", "n01484850")


def jpeg(key: int, height: int, width: int) -> bytes:
    """A picture that no other key has."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [(rows * (key % 7 + 1) + columns * (key % 5 + 1) + 40 * k + 31 * key) % 256 for k in range(3)]
    buffer = io.BytesIO()
    Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def class_folders(root: Path, side: int, *, classes: tuple[str, ...] = WNIDS, each: int = 2, key: int = 0) -> Path:
    """`<root>/<class>/ILSVRC2012_val_00000001.JPEG`, a wide image each."""
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for n in range(each):
            number = k * each + n
            file = root / name / f"ILSVRC2012_val_{number + 1:08d}.JPEG"
            file.write_bytes(jpeg(key + number, side, side + 8 if key == 0 else side))
    return root


def clips(root: Path, names: tuple[str, ...]) -> Path:
    """`<root>/<perturbation>/<class>/<name>.mp4`, the first image of each class."""
    from corruptions.storage import encode_video

    frames = np.stack([np.full((224, 224, 3), 40 + t, np.uint8) for t in range(31)])
    video = encode_video(frames, noise=False)
    for name in names:
        for k, wnid in enumerate(WNIDS):
            folder = root / name / wnid
            folder.mkdir(parents=True)
            (folder / f"ILSVRC2012_val_{2 * k + 1:08d}.mp4").write_bytes(video)
    return root


def arrays(root: Path, count: int, corruptions: tuple[str, ...], perturbations: tuple[str, ...]) -> Path:
    """CIFAR-10 and -100 in one folder: `clean.npz`, `c/<corruption>.npy`, `p/<perturbation>.npy`, `labels.npy`."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 10
    for folder in ("c", "p"):
        (root / folder).mkdir(parents=True)
        np.save(root / folder / "labels.npy", labels if folder == "p" else np.tile(labels, 5))
    np.savez(root / "clean.npz", x=rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), y=labels)
    for name in corruptions:
        np.save(root / "c" / f"{name}.npy", rng.integers(0, 256, (5 * count, 32, 32, 3), dtype=np.uint8))
    for name in perturbations:
        np.save(root / "p" / f"{name}.npy", rng.integers(0, 256, (count, 31, 32, 32, 3), dtype=np.uint8))
    return root


def write_families(root: Path) -> Path:
    """All of it below one folder."""
    class_folders(root / "val", 260)
    for severity in (1, 3):
        for key, name in enumerate(("fog", "snow"), 1):
            class_folders(root / "c" / name / str(severity), 224, key=1000 * key + 100 * severity)
    clips(root / "p", ("tilt", "brightness"))
    tiny = tuple(f"n{k:08d}" for k in range(200))
    class_folders(root / "tiny", 64, classes=tiny, each=1, key=5)
    class_folders(root / "tiny-c" / "fog" / "2", 64, classes=tiny, each=1, key=7)
    arrays(root / "cifar", 20, ("fog", "contrast"), ("tilt", "brightness"))
    return root


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `write_families`."""
    return write_families(tmp_path_factory.mktemp("families"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices of archives go to a folder of the test."""
    monkeypatch.setenv("ROBUSTBENCH_LIFT_CACHE", str(tmp_path / "cache"))
