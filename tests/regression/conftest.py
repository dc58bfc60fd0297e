"""Imaginary runs: in memory for statistics, as run folders for files and commands."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings

import metrics
from robustbench_lift.runs import Cell, Manifest, Predictions, Run

settings.register_profile("no deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadline")

CLASSES = 8
CELLS = (
    Cell("clean", "clean", 0),
    *(Cell("corruption", name, severity) for name in metrics.CORRUPTIONS for severity in range(1, 6)),
    *(Cell("perturbation", name, 1) for name in metrics.PERTURBATIONS),
    Cell("shift", "crop", 0),
)


class MemoryRun(Run):
    """A run whose cells are arrays."""

    def __init__(self, manifest: Manifest, cells: dict[Cell, Predictions]) -> None:
        super().__init__(Path(str(manifest.model["name"])), manifest)
        self.arrays = cells

    def has(self, cell: Cell) -> bool:
        return cell in self.arrays

    def read(self, cell: Cell) -> Predictions:
        return self.arrays[cell]


def make_manifest(
    name: str,
    *,
    images: int,
    cells: Sequence[Cell] = CELLS,
    weights: str | None = None,
    normaliser: str | None = "alexnet",
    signature: dict[str, str] | None = None,
    data: dict[str, Any] | None = None,
) -> Manifest:
    protocols = dict.fromkeys(cell.protocol for cell in cells)
    fields = {"seed": "0"} | (signature or {})
    return Manifest(
        model={
            "spec": name,
            "name": name,
            "arch": "resnet8",
            "pooling": "lift",
            "parameters": 7,
            "weights_sha256": weights or hashlib.sha256(name.encode()).hexdigest(),
        },
        data={
            "name": "imaginary",
            "images": images,
            "classes": CLASSES,
            "sets": {protocol: {"images": images, "fingerprint": "f" * 8} for protocol in protocols},
            **(data or {}),
        },
        signature={"common": {"data": "imaginary"}, **{protocol: dict(fields) for protocol in protocols}},
        cells=tuple(cell.key for cell in cells),
        normaliser=normaliser,
        provenance={"git": "0123456789ab"},
    )


def answers(cell: Cell, *, images: int, quality: float, world: int, model: int, shared: float = 0.9) -> Predictions:
    """Answers of a model to one cell. What is hard depends on the image first, so cells of an image are correlated, and
    two models err on the same images."""
    key = int(hashlib.sha256(cell.key.encode()).hexdigest()[:8], 16)
    image = np.random.default_rng([world, 1]).normal(size=(images, 1))
    this = np.random.default_rng([world, key]).normal(size=(images, 1))
    own = np.random.default_rng([world, key, model + 2])
    frames = {"perturbation": 4, "shift": 4}.get(cell.protocol, 1)
    labels = np.arange(images) % CLASSES
    trouble = 0.25 * cell.severity if cell.protocol == "corruption" else 0.0
    noise = own.normal(size=(images, frames))
    hard = shared * (0.8 * image + 0.6 * this) + np.sqrt(1 - shared**2) * noise
    right = quality - trouble > hard
    rival = (labels[:, None] + own.integers(1, CLASSES, (images, frames))) % CLASSES
    first = np.where(right, labels[:, None], rival)
    ranks = (first[:, :, None] + np.arange(5)) % CLASSES
    ids = [f"{i:05d}" for i in range(images)]
    return Predictions.sorted(ids, labels, ranks, np.full((images, frames), 0.5))


def memory_run(
    name: str = "candidate",
    *,
    quality: float = 1.0,
    images: int = 60,
    world: int = 0,
    model: int | None = None,
    cells: Sequence[Cell] = CELLS,
    shared: float = 0.9,
    **manifest: Any,
) -> MemoryRun:
    """A run of a model of some quality; equal `world` and `model` give equal answers."""
    number = model if model is not None else int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)
    found = {
        cell: answers(cell, images=images, quality=quality, world=world, model=number, shared=shared) for cell in cells
    }
    return MemoryRun(make_manifest(name, images=images, cells=cells, **manifest), found)


def write_run(folder: Path, run: MemoryRun) -> Run:
    """The same run as a folder."""
    stored = Run.prepare(folder, run.manifest)
    for cell, predictions in run.arrays.items():
        stored.write(cell, predictions)
    return stored


def top1_changed(predictions: Predictions, rows: npt.NDArray[np.int64]) -> Predictions:
    """The same predictions with another class in the first frame of some images."""
    top5 = predictions.top5.copy()
    top5[rows, 0, 0] = (top5[rows, 0, 0] + 1) % CLASSES
    return Predictions(predictions.ids, predictions.labels, top5, predictions.confidence)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., MemoryRun]:
    """`memory_run`."""
    return memory_run


@pytest.fixture(scope="session")
def store() -> Callable[[Path, MemoryRun], Run]:
    """`write_run`."""
    return write_run


@pytest.fixture(scope="session")
def change_top1() -> Callable[[Predictions, npt.NDArray[np.int64]], Predictions]:
    """`top1_changed`."""
    return top1_changed


@pytest.fixture(scope="session")
def stored_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`good`, `bad` and `same` (the weights and answers of good) as run folders."""
    folder = tmp_path_factory.mktemp("regression-runs")
    write_run(folder / "good", memory_run("good", quality=1.4))
    write_run(folder / "bad", memory_run("bad", quality=0.6))
    write_run(folder / "same", memory_run("good", quality=1.4))
    return folder
