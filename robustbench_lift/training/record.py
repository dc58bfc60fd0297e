"""What one training keeps: position, history, and the files from which it goes on and which it hands over.

The first process alone reads and writes; the others learn from it what was read, and whether writing failed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustbench_lift.errors import CheckpointError
from robustbench_lift.files import write_atomic
from robustbench_lift.training import distributed, state
from robustbench_lift.training.steps import Stepper
from robustbench_lift.weights import save_checkpoint

Card = Callable[[float, int], dict[str, str]]
"""Called as card(clean_error, epoch)."""


class Record:
    """Position and history of a training, and its folder.

    Args:
        folder: where it lies.
        identity: what it is (`loop.identity_of`).
        stepper: holds what is stored: network, optimiser, loss scaling, average.
        card: makes the card of the weights.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        stepper: Stepper,
        *,
        card: Card,
    ) -> None:
        self.folder, self.identity = folder, identity
        self.stepper = stepper
        self.position, self.history = state.Position(), list[dict[str, Any]]()
        self._card = card
        self._stored: tuple[int, int] | None = None

    def restore(self) -> None:
        """Go on from the stored state, where there is one, and say in recipe.json what the folder holds."""
        found = distributed.from_first(lambda: state.read_state(self.folder, identity=self.identity))
        if found is not None:
            self.position, self.history, tensors = found
            try:
                self.stepper.module.load_state_dict(tensors["module"])
                self.stepper.optimizer.load_state_dict(tensors["optimizer"])
                self.stepper.scaler.load_state_dict(tensors["scaler"])
                self.stepper.average.restore(tensors["average"])
            except (RuntimeError, ValueError, KeyError) as error:
                raise CheckpointError(
                    f"{self.folder / state.STATE} does not fit the network as this version builds it "
                    f"({str(error).splitlines()[0][:200]}). Go on with the version that wrote it, or train in a new "
                    "--out."
                ) from None
            self._stored = self.position.epoch, self.position.step
        distributed.from_first(self._begin)

    def _begin(self) -> None:
        state.remove_leftovers(self.folder)
        state.write_identity(self.folder, self.identity)
        if self.history:  # a kill between state and log leaves the log behind
            state.write_log(self.folder, self.history)

    def save(self) -> None:
        """Replace the stored state by the present one.

        Raises:
            StorageError: the disk is full or read-only; the state before is kept.
        """
        distributed.from_first(self._write_state)
        self._stored = self.position.epoch, self.position.step

    def _write_state(self) -> None:
        state.write_state(
            self.folder,
            identity=self.identity,
            position=self.position,
            history=self.history,
            tensors={
                "module": self.stepper.module.state_dict(),
                "optimizer": self.stepper.optimizer.state_dict(),
                "scaler": self.stepper.scaler.state_dict(),
                "average": self.stepper.average.tensors,
            },
        )

    def end_epoch(self, line: dict[str, Any]) -> None:
        """Store a complete epoch: its weights where they are the best so far, the state, the log.

        Args:
            line: the epoch's line of the log, with `test_error` and `epoch` (from 1).
        """
        p, error = self.position, float(line["test_error"])
        self.history.append(line)
        self.position = state.Position(epoch=p.epoch + 1, seconds=p.seconds, best=min(p.best, error))
        if error < p.best:
            distributed.from_first(lambda: self._write_weights(state.BEST, error, p.epoch + 1))
        self.save()
        distributed.from_first(lambda: state.write_log(self.folder, self.history))

    def _write_weights(self, name: str, error: float, epoch: int) -> str:
        with self.stepper.average.in_place():
            return save_checkpoint(self.folder / name, self.stepper.module, self._card(error, epoch))

    def kept(self) -> str:
        """A sentence that says which state is stored."""
        if self._stored is None:
            return "No state was stored yet."
        epoch, step = self._stored
        within = f" and {step} steps of the next" if step else ""
        return f"The state after epoch {epoch}{within} is kept in {self.folder / state.STATE}."

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
            sha256 = self._write_weights(state.FINAL, chosen["test_error"], chosen["epoch"])
        result = {
            "clean_error": chosen["test_error"],
            "best_error": min(line["test_error"] for line in history),
            "epochs": chosen["epoch"],
            "test_images": chosen["test_images"],
            "parameters": sum(p.numel() for p in self.stepper.module.parameters()),
            "seconds": self.position.seconds,
            "sha256": sha256,
            "identity": self.identity,
            "history": history,
        }
        write_atomic(self.folder / state.RESULT, (json.dumps(result, indent=1) + "\n").encode())
        return result

    def _copy_best(self) -> str:
        best = self.folder / state.BEST
        try:
            content = best.read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"{best} cannot be read ({error.strerror}), and the recipe hands over the best weights. Delete "
                f"{self.folder} to train again."
            ) from None
        write_atomic(self.folder / state.FINAL, content)
        return hashlib.sha256(content).hexdigest()
