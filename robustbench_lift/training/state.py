"""What a training keeps in its folder: plain data, written whole or not at all, read without unpickling code.

OUT/recipe.json          network, recipe, data, seed: what this training is
OUT/state.pt             everything that is needed to go on, replaced after each epoch
OUT/best.safetensors     weights of the epoch with the lowest test error so far, with card
OUT/log.jsonl            one line an epoch
OUT/curves.png           loss and error by epoch
OUT/final.safetensors    the result, with card; its presence says that the training is complete
OUT/result.json          what it scored

The first process alone reads and writes; the others learn from it what was read, and whether writing failed.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robustbench_lift.errors import CheckpointError, DataError, IncomparableError
from robustbench_lift.files import read_json, write_atomic
from robustbench_lift.networks import BACKBONES
from robustbench_lift.runs import differences
from robustbench_lift.training import distributed
from robustbench_lift.training.network import Network
from robustbench_lift.training.objective import Average
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.samples import TrainingSource
from robustbench_lift.weights import save_checkpoint
from robustbench_lift.weights.card import network_entries

SCHEMA = 1
STATE, IDENTITY, LOG, CURVES = "state.pt", "recipe.json", "log.jsonl", "curves.png"
BEST, FINAL, RESULT = "best.safetensors", "final.safetensors", "result.json"

_DAMAGE = (
    RuntimeError,  # RecursionError is one
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    EOFError,
    OSError,
    DataError,
    pickle.UnpicklingError,
)
"""What reading a damaged file raises."""


@dataclass(slots=True)
class Position:
    """How far a training is, and what it has counted of the current epoch."""

    epoch: int = 0
    """Epochs that are complete."""
    step: int = 0
    """Optimiser steps done in the current epoch."""
    loss: float = 0.0
    """Sum of the task loss over the images of this epoch so far."""
    auxiliary: float = 0.0
    """Sum of the weighted auxiliary loss over the images of this epoch so far."""
    correct: float = 0.0
    """Training images of this epoch that were classified correctly."""
    images: float = 0.0
    """Training images of this epoch so far."""
    seconds: float = 0.0
    """Seconds of training so far, over all sessions."""
    best: float = float("inf")
    """Lowest test error so far."""


def write_state(
    folder: Path,
    *,
    identity: dict[str, Any],
    position: Position,
    history: list[dict[str, Any]],
    tensors: dict[str, Any],
) -> None:
    """Replace the state; the old one stays whole until the new one is.

    Raises:
        StorageError: a full or read-only disk; the old state is kept.
    """
    words = {
        "identity": identity,
        "position": {k: getattr(position, k) for k in Position.__slots__},
        "history": history,
    }
    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, "words": json.dumps(words), **tensors}, buffer)
    write_atomic(folder / STATE, buffer.getvalue())


def read_state(
    folder: Path, *, identity: dict[str, Any]
) -> tuple[Position, list[dict[str, Any]], dict[str, Any]] | None:
    """The state to go on from, or None when there is none.

    Raises:
        IncomparableError: the state is of another network, recipe, data set or seed; each difference is named.
        CheckpointError: the state is damaged.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if stored["schema"] != SCHEMA:
            raise CheckpointError(
                f"{path} has layout {stored['schema']}, this version reads {SCHEMA}. Train in a new --out."
            )
        words = json.loads(stored.pop("words"))
        position, history = Position(**words["position"]), words["history"]
    except _DAMAGE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, pickle.UnpicklingError):  # torch's own words advise to run what the file holds
            reason = "it is no file of tensors and plain values"
        raise CheckpointError(
            f"{path} is damaged ({reason[:200]}). Restore it from a copy, or delete {folder} to start again."
        ) from None
    wrong = differences(words["identity"], identity)
    if wrong:
        raise IncomparableError(
            f"{folder} holds a training of something else (stored != asked):\n  "
            + "\n  ".join(wrong)
            + "\nNothing was changed. Choose another --out, or delete that folder if it is no longer needed."
        )
    return position, history, stored


def write_identity(folder: Path, identity: dict[str, Any]) -> None:
    """Say in recipe.json what the folder holds."""
    write_atomic(folder / IDENTITY, (json.dumps(identity, indent=1) + "\n").encode())


def write_log(folder: Path, history: list[dict[str, Any]]) -> None:
    """The log as JSON lines, one an epoch; written anew from the state, so it never tells of an epoch twice."""
    write_atomic(folder / LOG, "".join(json.dumps(line) + "\n" for line in history).encode())


def read_result(folder: Path, *, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a complete training, or None when it is not complete.

    Raises:
        IncomparableError: it is the result of something else.
    """
    path = folder / RESULT
    if not path.exists() or not (folder / FINAL).exists():
        return None
    try:
        result: dict[str, Any] = read_json(path)
        wrong = differences(result["identity"], identity)
    except _DAMAGE as error:
        raise CheckpointError(f"{path} is damaged ({error}). Delete {folder} to train again.") from None
    if wrong:
        raise IncomparableError(
            f"{folder} holds a complete training of something else (stored != asked):\n  "
            + "\n  ".join(wrong)
            + "\nNothing was changed. Choose another --out."
        )
    return result


def finite(tensors: dict[str, Tensor]) -> bool:
    """Whether all floating-point values are finite.

    >>> finite({"w": torch.ones(2)}), finite({"w": torch.tensor([1.0, float("nan")])})
    (True, False)
    """
    return all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())


Card = Callable[[float, int], dict[str, str]]
"""Called as card(clean_error, epoch)."""


class Trained(NamedTuple):
    """The moving parts that a state holds."""

    module: nn.Module
    """The network."""
    optimizer: torch.optim.Optimizer
    """With its momenta."""
    scaler: torch.amp.GradScaler
    """Loss scaling of fp16."""
    average: Average
    """Averaged weights."""


class TrainingRecord:
    """Position and history of a training, and its folder.

    Args:
        folder: where it lies.
        identity: what it is (`loop.identity_of`).
        trained: what is stored.
        card: makes the card of the weights.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        trained: Trained,
        *,
        card: Card,
    ) -> None:
        self.folder, self.identity = folder, identity
        self.trained = trained
        self.position, self.history = Position(), list[dict[str, Any]]()
        self._card = card
        self._stored: tuple[int, int] | None = None

    def restore(self) -> None:
        """Go on from the stored state, where there is one, and say in recipe.json what the folder holds."""
        found = distributed.from_first(lambda: read_state(self.folder, identity=self.identity))
        if found is not None:
            self.position, self.history, tensors = found
            try:
                self.trained.module.load_state_dict(tensors["module"])
                self.trained.optimizer.load_state_dict(tensors["optimizer"])
                self.trained.scaler.load_state_dict(tensors["scaler"])
                self.trained.average.restore(tensors["average"])
            except (RuntimeError, ValueError, KeyError) as error:
                raise CheckpointError(
                    f"{self.folder / STATE} does not fit the network as this version builds it "
                    f"({str(error).splitlines()[0][:200]}). Go on with the version that wrote it, or train in a new "
                    "--out."
                ) from None
            self._stored = self.position.epoch, self.position.step
        distributed.from_first(self._begin)

    def _begin(self) -> None:
        write_identity(self.folder, self.identity)
        if self.history:  # a kill between state and log leaves the log behind
            write_log(self.folder, self.history)

    def save(self) -> None:
        """Replace the stored state by the present one.

        Raises:
            StorageError: the disk is full or read-only; the state before is kept.
        """
        distributed.from_first(self._write_state)
        self._stored = self.position.epoch, self.position.step

    def _write_state(self) -> None:
        write_state(
            self.folder,
            identity=self.identity,
            position=self.position,
            history=self.history,
            tensors={
                "module": self.trained.module.state_dict(),
                "optimizer": self.trained.optimizer.state_dict(),
                "scaler": self.trained.scaler.state_dict(),
                "average": self.trained.average.tensors,
            },
        )

    def end_epoch(self, line: dict[str, Any]) -> None:
        """Store a complete epoch: its weights where they are the best so far, the state, the log.

        Args:
            line: the epoch's line of the log, with `test_error` and `epoch` (from 1).
        """
        p, error = self.position, float(line["test_error"])
        self.history.append(line)
        self.position = Position(epoch=p.epoch + 1, seconds=p.seconds, best=min(p.best, error))
        if error < p.best:
            distributed.from_first(lambda: self._write_weights(BEST, error, p.epoch + 1))
        self.save()
        distributed.from_first(lambda: write_log(self.folder, self.history))

    def _write_weights(self, name: str, error: float, epoch: int) -> str:
        with self.trained.average.in_place():
            return save_checkpoint(self.folder / name, self.trained.module, self._card(error, epoch))

    def kept(self) -> str:
        """A sentence that says which state is stored."""
        if self._stored is None:
            return "No state was stored yet."
        epoch, step = self._stored
        within = f" and {step} steps of the next" if step else ""
        return f"The state after epoch {epoch}{within} is kept in {self.folder / STATE}."

    def finish(self, keep: str) -> dict[str, Any] | None:
        """Store the weights that are handed over, and result.json.

        Args:
            keep: `last` or `best`.

        Returns:
            result.json.
        """
        return distributed.from_first(lambda: self._write_result(keep))

    def _write_result(self, keep: str) -> dict[str, Any]:
        history = self.history
        chosen = min(history, key=lambda line: line["test_error"]) if keep == "best" else history[-1]
        if keep == "best":
            sha256 = self._copy_best()
        else:
            sha256 = self._write_weights(FINAL, chosen["test_error"], chosen["epoch"])
        result = {
            "clean_error": chosen["test_error"],
            "best_error": min(line["test_error"] for line in history),
            "epochs": chosen["epoch"],
            "test_images": chosen["test_images"],
            "parameters": sum(p.numel() for p in self.trained.module.parameters()),
            "seconds": self.position.seconds,
            "sha256": sha256,
            "identity": self.identity,
            "history": history,
        }
        write_atomic(self.folder / RESULT, (json.dumps(result, indent=1) + "\n").encode())
        return result

    def _copy_best(self) -> str:
        best = self.folder / BEST
        try:
            content = best.read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"{best} cannot be read ({error.strerror}), and the recipe hands over the best weights. Delete "
                f"{self.folder} to train again."
            ) from None
        write_atomic(self.folder / FINAL, content)
        return hashlib.sha256(content).hexdigest()


def training_card(
    network: Network,
    recipe: Recipe,
    source: TrainingSource,
    *,
    seed: int,
    precision: str,
    clean_error: float,
    epoch: int,
) -> dict[str, str]:
    """The card of the weights after an epoch; values are strings, as safetensors' header wants them.

    >>> from robustbench_lift.training import RECIPES, PhotoSource
    >>> photos = RECIPES["photos"]
    >>> card = training_card(Network("resnet8", "lift"), photos, PhotoSource(recipe=photos), seed=0, precision="fp32",
    ...                clean_error=0.25, epoch=30)
    >>> card["pooling"], card["recipe"], card["clean_error"]
    ('lift', 'photos', '0.250000')
    """
    from robustbench_lift import __version__

    known = BACKBONES.get(network.arch)
    placement = network.placement or (known.placements[0] if known else None)
    return {
        **network_entries(replace(network.model, placement=placement)),
        "num_classes": str(len(source.class_names)),
        "class_names": json.dumps(list(source.class_names)),
        "recipe": recipe.name,
        "recipe_settings": json.dumps(recipe.settings()),
        "data": source.name,
        "data_fingerprint": source.fingerprint,
        "seed": str(seed),
        "epochs": str(epoch),
        "clean_error": f"{clean_error:.6f}",
        "mean": json.dumps(list(recipe.mean)),
        "std": json.dumps(list(recipe.std)),
        "resize": "" if recipe.resize is None else str(recipe.resize),
        "crop": "" if known and known.task == "segmentation" else str(recipe.size),
        "interpolation": "bilinear",
        "antialias": "true",
        "precision": precision,
        "made_by": f"robustbench-lift {__version__} train",
    }


def draw_curves(
    trainings: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, *, error: str = "top-1 error"
) -> None:
    """Draw training and test loss, and training and test error, of one or several trainings.

    Args:
        trainings: log lines of each training by name.
        path: .png or .svg, written whole or not at all.
        error: what the errors are.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    for number, (name, lines) in enumerate(trainings.items()):
        epochs = [line["epoch"] for line in lines]
        marker = "o" if len(epochs) == 1 else ""
        for panel, kind, scale in zip(panels, ("loss", "error"), (1, 100), strict=True):
            for part, style in (("test", "-"), ("train", ":")):
                values = [scale * line[f"{part}_{kind}"] for line in lines]
                panel.plot(epochs, values, style, marker=marker, color=f"C{number % 10}", label=f"{name}, {part}")
    for panel, label in zip(panels, ("cross-entropy (nats)", f"{error} (%)"), strict=True):
        panel.set_xlabel("epoch")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
    panels[1].set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.removeprefix("."), dpi=120)
    write_atomic(path, buffer.getvalue())
