"""Synthetic runs: models of a chosen quality on imaginary images, written as real run folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from robustbench_lift.report import Document, document, open_runs
from robustbench_lift.runs import Cell, Manifest, Predictions, Run

CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
PERTURBATIONS = (
    "gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "snow", "brightness", "translate", "rotate", "tilt",
    "scale",
)  # fmt: skip
CLASSES = 15
CELLS = (
    Cell("clean", "clean", 0),
    *(Cell("corruption", name, severity) for name in CORRUPTIONS for severity in range(1, 6)),
    *(Cell("perturbation", name, 1) for name in PERTURBATIONS),
    Cell("shift", "crop", 0),
)


def predictions(cell: Cell, *, ids: Sequence[str], quality: float, seed: int) -> Predictions:
    """Answers of a model that is right the more often the higher its quality and the lower the severity.

    What makes an image hard is drawn from the cell alone, so that models err on the same images, as real ones do.
    """
    key = int(hashlib.sha256(cell.key.encode()).hexdigest()[:8], 16)
    shared, own = np.random.default_rng([key, 7]), np.random.default_rng([key, seed])
    frames = {"perturbation": 31, "shift": 10}.get(cell.protocol, 1)
    images = len(ids)
    labels = np.arange(images) % CLASSES
    trouble = 0.3 + (0.35 * cell.severity + shared.uniform(0, 0.6) if cell.protocol == "corruption" else 0.2)
    hardness = shared.normal(size=(images, 1)) + 0.4 * shared.normal(size=(images, frames))
    margin = quality - trouble - hardness + 0.25 * own.normal(size=(images, frames))
    rival = (labels + 1 + shared.integers(0, CLASSES - 1, images)) % CLASSES
    first = np.where(margin > 0, labels[:, None], rival[:, None])
    ranks = (first[:, :, None] + np.arange(5)) % CLASSES
    confidence = 1 / (1 + np.exp(-1.5 * np.abs(margin)))
    return Predictions.sorted(ids, labels, ranks, confidence)


def write_run(
    folder: Path,
    *,
    pooling: str | None,
    quality: float,
    arch: str = "resnet8",
    name: str | None = None,
    images: int = 40,
    ids: Sequence[str] | None = None,
    seed: int = 1,
    data: str = "photos",
    protocol_seed: str = "0",
    normaliser: str | None = None,
    cells: Sequence[Cell] = CELLS,
    skip: Callable[[Cell], bool] = lambda cell: False,
    recipe: dict[str, object] | None = None,
) -> Run:
    """A run folder; `skip` leaves cells out, as an interrupted evaluation does."""
    names = list(ids) if ids is not None else [f"class{k % CLASSES:02d}/{k:03d}" for k in range(images)]
    images = len(names)
    protocols = tuple(dict.fromkeys(cell.protocol for cell in cells))
    manifest = Manifest(
        model={
            "spec": f"{arch}/{pooling}@weights.safetensors",
            "name": name or f"{data}/{arch}-{pooling}",
            "arch": arch,
            "pooling": pooling,
            "placement": "stage",
            "weights_sha256": hashlib.sha256(f"{name}{arch}{pooling}{quality}".encode()).hexdigest(),
            "parameters": 175_000 + 12 * len(pooling or ""),
            "num_classes": CLASSES,
            "preprocessing": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "resize": None, "crop": 64},
            "card": {"recipe_settings": json.dumps(recipe)} if recipe else {},
        },
        data={
            "name": data,
            "images": images,
            "classes": CLASSES,
            "sets": {protocol: {"images": images, "fingerprint": "f" * 64} for protocol in protocols},
        },
        signature={
            "common": {"data": f"{data}@ffffffff", "n": str(images), "precision": "fp32"},
            **{protocol: {"geometry": "crop64", "seed": protocol_seed} for protocol in protocols},
        },
        cells=tuple(cell.key for cell in cells),
        normaliser=normaliser,
        provenance={"versions": {"torch": "2.14.1", "numpy": "2.4"}, "device": "cpu", "command": "run --out runs"},
    )
    run = Run.prepare(folder, manifest)
    for cell in cells:
        if not skip(cell):
            run.write(cell, predictions(cell, ids=names, quality=quality, seed=seed))
    return run


@pytest.fixture(scope="session")
def run_writer() -> Callable[..., Run]:
    """`write_run`, for tests that need a run of their own."""
    return write_run


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four complete runs: a normaliser and three poolings measured on the same images."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "alexnet", pooling=None, arch="alexnet-small", quality=1.1, seed=9)
    for seed, (pooling, quality) in enumerate({"max": 1.5, "blur": 1.75, "lift": 1.8}.items()):
        write_run(folder / pooling, pooling=pooling, quality=quality, seed=seed, normaliser="../alexnet")
    return folder


@pytest.fixture(scope="session")
def made(runs_folder: Path) -> Document:
    """The document of `runs_folder`, with intervals and ties."""
    return document(open_runs([runs_folder]), command="robustbench-lift report runs", replicates=60)
