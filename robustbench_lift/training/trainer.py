"""The loop: epochs of steps, each followed by a test and a stored state.

Every random draw is a function of (seed, epoch, step or sample); the state on disk holds tensors and counters and no
generator. A training that is killed goes on from the last state and ends with the weights it would have had.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_lift.data.base import ImageSet
from robustbench_lift.device import autocast
from robustbench_lift.errors import UsageError
from robustbench_lift.training import distributed, faults, state
from robustbench_lift.training.card import card_of
from robustbench_lift.training.counters import Counters
from robustbench_lift.training.data import TrainingSource, batches_of, epoch_batches
from robustbench_lift.training.evaluation import TestImages, measure
from robustbench_lift.training.network import Builder, Network
from robustbench_lift.training.objective import anneal
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.record import Record
from robustbench_lift.training.reports import Outcome, TrainingProgress
from robustbench_lift.training.schedule import learning_rate
from robustbench_lift.training.settings import Settings
from robustbench_lift.training.steps import Stepper


class Trainer:
    """The moving parts of one training; `train` is the way in."""

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        source: TrainingSource,
        images: ImageSet,
        *,
        identity: dict[str, Any],
        out: Path,
        seed: int,
        settings: Settings,
        device: torch.device,
        builder: Builder | None = None,
    ) -> None:
        """Build the network, its optimiser and the plan of an epoch."""
        self.network, self.recipe, self.source, self.seed = network, recipe, source, seed
        self.settings, self.device = settings, device
        self.rank, self.ranks = distributed.world()
        module = network.build(len(source.class_names), seed=seed, builder=builder)
        memory = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.module = module.to(device, memory_format=memory)  # type: ignore[call-overload]
        if settings.sync_batchnorm and self.ranks > 1:
            self.module = nn.SyncBatchNorm.convert_sync_batchnorm(self.module)  # type: ignore[no-untyped-call]
        self.steps = len(self._batches(0))
        self._check_last_batch()
        self.stepper = Stepper(self.module, recipe, settings, device=device, seed=seed, steps=self.steps)
        self.record = Record(
            out,
            identity,
            self.stepper,
            card=lambda error, epoch: card_of(
                network, recipe, source, seed=seed, precision=settings.precision, clean_error=error, epoch=epoch
            ),
        )
        self.tests = TestImages(
            images, recipe=recipe, workers=settings.workers, batch_size=min(250, settings.micro_batch or 250)
        )
        self.check_every = settings.check_every or (20 if device.type == "cuda" else 1)
        self.started, self.session_steps = time.monotonic(), 0

    @property
    def position(self) -> state.Position:
        """How far the training is."""
        return self.record.position

    def _batches(self, epoch: int) -> list[Tensor]:
        recipe = self.recipe
        return epoch_batches(
            len(self.source), batch_size=recipe.batch_size, epoch=epoch, seed=self.seed, drop_last=recipe.drop_last
        )

    def _check_last_batch(self) -> None:
        rest = len(self.source) % self.recipe.batch_size
        if rest and not self.recipe.drop_last and rest < 2 * self.ranks:
            raise UsageError(
                f"the last batch of an epoch has {rest} of {self.recipe.batch_size} images for {self.ranks} "
                "process(es), and BatchNorm needs two in each. Leave it out: --set drop_last=true."
            )
        if self.recipe.batch_size < 2 * self.ranks:
            raise UsageError(f"a batch of {self.recipe.batch_size} is too small for {self.ranks} process(es).")

    def run(self, stop: Callable[[], bool], progress: Callable[[TrainingProgress], None]) -> Outcome:
        """Train to the end or until stopped."""
        self.record.restore()
        self.stepper.wrap()
        before = self.position.seconds
        while self.position.epoch < self.recipe.epochs:
            whole = self._epoch(stop, progress) and self._end_epoch(stop, progress, before=before)
            if not whole:
                self.position.seconds = before + time.monotonic() - self.started
                self._check_weights()
                self.record.save()
                return self._outcome(finished=False, result=None)
        return self._outcome(finished=True, result=self.record.finish(self.recipe.keep))

    def _outcome(self, *, finished: bool, result: dict[str, Any] | None) -> Outcome:
        folder, history = self.record.folder, self.record.history
        if history:
            from robustbench_lift.training.figure import draw_curves

            distributed.from_first(lambda: draw_curves({self.network.spec: history}, folder / state.CURVES))
        return Outcome(folder, finished, self.position.epoch, result, history)

    def _epoch(self, stop: Callable[[], bool], progress: Callable[[TrainingProgress], None]) -> bool:
        """The rest of the current epoch; False when it was stopped."""
        epoch, first = self.position.epoch, self.position.step
        anneal(self.module, epoch / self.recipe.epochs, self.recipe)
        plan = self._batches(epoch)[first:]
        # each process takes every n-th sample of a batch; nothing is padded, nothing is seen twice
        parts = [batch[self.rank :: self.ranks] for batch in plan]
        micro = self.settings.micro_batch or self.recipe.batch_size
        pieces = [part.tensor_split(math.ceil(len(part) / micro)) for part in parts]
        stream = batches_of(
            self.source, [p for part in pieces for p in part], epoch=epoch, seed=self.seed, device=self.device
        )
        limit = faults.DIVERGED * math.log(max(2, len(self.source.class_names)))
        counters = Counters(self.device, limit=limit)
        self.module.train()
        with contextlib.closing(stream):
            for step, (batch, part) in enumerate(zip(plan, pieces, strict=True), first):
                self.stepper.step(
                    [next(stream) for _ in part], epoch=epoch, step=step, images=len(batch), counters=counters
                )
                self.position.step = step + 1
                self.session_steps += 1
                last = step + 1 == self.steps
                if last or (step + 1) % self.check_every == 0:
                    self._look(counters)
                    progress(self._progress())
                    if not last and self._stopping(stop):
                        return False
        return True

    def _look(self, counters: Counters) -> None:
        """Bring the counters to the host, and stop if a loss was not finite."""
        counted, p = counters.read(), self.position
        p.loss, p.auxiliary = p.loss + counted.loss, p.auxiliary + counted.auxiliary
        p.correct, p.images = p.correct + counted.correct, p.images + counted.images
        if counted.diverged:
            found = [(step, loss) for step, loss in distributed.of_all((counted.bad_step, counted.bad_loss))]
            raise self._diverged(*min((step, loss) for step, loss in found if step is not None))

    def _diverged(self, step: int, loss: float) -> faults.DivergedError:
        return faults.diverged(
            self.recipe,
            epoch=self.position.epoch,
            step=step,
            steps=self.steps,
            loss=loss,
            precision=self.settings.precision,
            kept=self.record.kept(),
        )

    def _check_weights(self) -> None:
        """The last step may spoil the weights after a loss that was still finite: such a state is not stored."""
        if not state.finite(self.module.state_dict()):
            raise self._diverged(self.position.step - 1, math.nan)

    def _stopping(self, stop: Callable[[], bool]) -> bool:
        late = self.settings.stop_after is not None and time.monotonic() - self.started >= self.settings.stop_after
        if self.ranks == 1:
            return late or stop()
        return bool(distributed.total(torch.tensor(float(late or stop()), device=self.device)) > 0)

    def _progress(self, finished: dict[str, Any] | None = None) -> TrainingProgress:
        p, elapsed = self.position, time.monotonic() - self.started
        left = self.recipe.epochs * self.steps - p.epoch * self.steps - p.step
        return TrainingProgress(
            epoch=p.epoch,
            epochs=self.recipe.epochs,
            step=p.step,
            steps=self.steps,
            loss=p.loss / p.images if p.images else math.nan,
            images_per_second=self.session_steps * self.recipe.batch_size / elapsed,
            seconds_left=left * elapsed / self.session_steps if self.session_steps else math.nan,
            finished=finished,
        )

    def _end_epoch(
        self, stop: Callable[[], bool], progress: Callable[[TrainingProgress], None], *, before: float
    ) -> bool:
        """Test, log, store; False when it was stopped during the test."""
        p = self.position
        # BatchNorm's statistics are each process's own; those of the first are tested, stored and handed over
        distributed.same_everywhere([*self.module.buffers(), *(self.stepper.average.tensors or {}).values()])
        self._check_weights()
        with self.stepper.average.in_place():
            measured = measure(
                self.module,
                self.tests,
                recipe=self.recipe,
                device=self.device,
                autocast=autocast(self.device, self.settings.precision),
                channels_last=self.settings.channels_last,
                # processes that hold different numbers of batches cannot agree between two of them
                stop=functools.partial(self._stopping, stop) if self.ranks == 1 else None,
            )
        if measured is None:
            return False
        p.seconds = before + time.monotonic() - self.started
        line = {
            "epoch": p.epoch + 1,
            "learning_rate": learning_rate(
                self.recipe, step=(p.epoch + 1) * self.steps - 1, steps_per_epoch=self.steps
            ),
            "train_loss": p.loss / p.images,
            "auxiliary_loss": p.auxiliary / p.images,
            "train_error": 1 - p.correct / p.images,
            "train_images": int(p.images),
            "test_loss": measured.loss,
            "test_error": measured.error,
            "test_images": measured.images,
            "seconds": round(p.seconds, 3),
        }
        self.record.end_epoch(line)
        progress(self._progress(line))
        return True
