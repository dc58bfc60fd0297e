"""The moving parts of one training: network, optimiser, counters, state.

Every random draw is a function of (seed, epoch, step or sample); the state on disk holds tensors and counters and no
generator. A training that is killed goes on from the last state and ends with the weights it would have had.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from robustbench_lift.data.base import ImageSet
from robustbench_lift.errors import RobustbenchError, UsageError
from robustbench_lift.models import save_checkpoint
from robustbench_lift.pooling import collect_losses
from robustbench_lift.training import distributed, draws, state
from robustbench_lift.training.card import card_of, write_result
from robustbench_lift.training.counters import Counters
from robustbench_lift.training.data import TrainingSource, batches_of, epoch_batches
from robustbench_lift.training.evaluation import Measured, TestImages, measure, normalise
from robustbench_lift.training.network import Builder, Network
from robustbench_lift.training.objective import (
    anneal,
    auxiliary_loss,
    cutmix,
    make_optimizer,
    task_loss,
    update_average,
)
from robustbench_lift.training.recipes import Recipe
from robustbench_lift.training.schedule import learning_rate
from robustbench_lift.training.settings import Settings

DIVERGED = 100.0
"""A loss beyond this multiple of log(classes), the loss of guessing, counts as diverged."""


class DivergedError(RobustbenchError):
    """The loss left the finite numbers; the last good state is kept."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training stands."""

    epoch: int
    """0-based epoch under way."""
    epochs: int
    """Epochs of the recipe."""
    step: int
    """Optimiser steps of this epoch that are done."""
    steps: int
    """Optimiser steps of an epoch."""
    loss: float
    """Mean task loss of this epoch so far."""
    images_per_second: float
    """Training images a second in this session, testing and storing included."""
    seconds_left: float
    """Estimate for the rest of the training."""
    finished: dict[str, Any] | None = None
    """The log line of an epoch that just ended."""

    @property
    def share(self) -> float:
        """Share of all steps that is done, 0..1."""
        return (self.epoch * self.steps + self.step) / (self.epochs * self.steps)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call of `train` left behind."""

    folder: Path
    """The training's folder."""
    finished: bool
    """Whether all epochs are done; otherwise the same call goes on."""
    epochs: int
    """Complete epochs."""
    result: dict[str, Any] | None
    """result.json of a finished training: clean_error, sha256, parameters, ..."""
    history: list[dict[str, Any]]
    """One log line an epoch."""


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
        self.out, self.settings, self.device = out, settings, device
        self.identity = identity
        self.rank, self.ranks = distributed.world()
        module = network.build(len(source.class_names), seed=seed, builder=builder)
        memory = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.module = module.to(device, memory_format=memory)  # type: ignore[call-overload]
        if settings.sync_batchnorm and self.ranks > 1:
            self.module = nn.SyncBatchNorm.convert_sync_batchnorm(self.module)  # type: ignore[no-untyped-call]
        self.optimizer = make_optimizer(self.module, recipe)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.average = (
            {name: value.detach().clone() for name, value in self.module.state_dict().items()}
            if recipe.ema_decay
            else None
        )
        self.position, self.history = state.Position(), list[dict[str, Any]]()
        self.tests = TestImages(images, recipe=recipe, workers=settings.workers)
        self.steps = len(self._batches(0))
        self._check_last_batch()
        self.check_every = settings.check_every or (20 if device.type == "cuda" else 1)
        self.started, self.session_steps = time.monotonic(), 0
        self.forward: nn.Module = self.module

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
        self._restore()
        if self.rank == 0:
            state.write_identity(self.out, self.identity)
        if self.ranks > 1:
            self.forward = DistributedDataParallel(
                self.module, device_ids=[self.device] if self.device.type == "cuda" else None
            )
        if self.settings.compile:
            self.forward = torch.compile(self.forward)  # type: ignore[assignment]
        before = self.position.seconds
        result = None
        while self.position.epoch < self.recipe.epochs:
            whole = self._epoch(stop, progress)
            self.position.seconds = before + time.monotonic() - self.started
            if not whole:
                self._check_weights()
                self._save()
                return self._outcome(finished=False, result=None)
            self._end_epoch(progress)
        if self.rank == 0:
            result = write_result(self)
        distributed.wait()
        return self._outcome(finished=True, result=result)

    def _outcome(self, *, finished: bool, result: dict[str, Any] | None) -> Outcome:
        if self.rank == 0 and self.history:
            from robustbench_lift.training.figure import draw_curves

            draw_curves({self.network.spec: self.history}, self.out / state.CURVES)
        return Outcome(self.out, finished, self.position.epoch, result, self.history)

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
        counters = Counters(self.device, limit=DIVERGED * math.log(max(2, len(self.source.class_names))))
        self.module.train()
        with contextlib.closing(stream):
            for step, (batch, part) in enumerate(zip(plan, pieces, strict=True), first):
                try:
                    self._step(step, [next(stream) for _ in part], images=len(batch), counters=counters)
                except torch.OutOfMemoryError:
                    raise self._out_of_memory(max(len(piece) for piece in part)) from None
                self.position.step = step + 1
                self.session_steps += 1
                last = step + 1 == self.steps
                if last or (step + 1) % self.check_every == 0:
                    self._look(counters)
                    progress(self._progress())
                    if not last and self._stopping(stop):
                        return False
        return True

    def _step(self, step: int, pieces: list[tuple[Tensor, Tensor]], *, images: int, counters: Counters) -> None:
        """One optimiser step from accumulated pieces; `images` is the whole batch over all processes."""
        recipe, epoch = self.recipe, self.position.epoch
        now = epoch * self.steps + step
        rate = learning_rate(recipe, step=now, steps_per_epoch=self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # dropout and stochastic pooling: a seed of their own for each step and process
        torch.manual_seed(draws.key(self.seed, epoch, step, self.rank, 3) >> 1)
        on = now >= recipe.auxiliary_start * recipe.epochs * self.steps
        for number, (batch, labels) in enumerate(pieces):
            accumulate = self.ranks > 1 and number + 1 < len(pieces)
            with self.forward.no_sync() if accumulate else contextlib.nullcontext():  # type: ignore[operator]
                share = len(labels) / images
                self._piece(batch, labels, share=share, on=on, parts=(epoch, step, number), counters=counters)
        counters.end_step(step)
        if recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.module.parameters(), recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            update_average(self.average, self.module, recipe.ema_decay)

    def _piece(
        self,
        batch: Tensor,
        labels: Tensor,
        *,
        share: float,
        on: bool,
        parts: tuple[int, int, int],
        counters: Counters,
    ) -> None:
        """Gradients of one forward pass, weighted by its share of the batch."""
        recipe = self.recipe
        inputs = normalise(batch, recipe, channels_last=self.settings.channels_last)
        others, own = labels, 1.0
        if recipe.cutmix:
            inputs, others, own = cutmix(inputs, labels, alpha=recipe.cutmix, parts=(self.seed, *parts, self.rank))
        with self.settings.autocast(self.device):
            logits = self.forward(inputs)
        losses = task_loss(logits, labels, recipe)
        if own < 1:
            losses = own * losses + (1 - own) * task_loss(logits, others, recipe)
        own_losses = collect_losses(self.module)
        extra = auxiliary_loss(own_losses, recipe)
        on = on and bool(own_losses)
        whole = losses.mean() * (recipe.task_weight if on else 1.0)
        if on:
            whole = whole + extra
        # DistributedDataParallel averages over processes; the recipe's gradient is a mean over the whole batch
        self.scaler.scale(whole * (share * self.ranks)).backward()  # type: ignore[no-untyped-call]
        counters.add(losses.sum(), extra, (logits.argmax(1) == labels).sum(), images=len(labels))

    def _look(self, counters: Counters) -> None:
        """Bring the counters to the host, and stop if a loss was not finite."""
        counted, p = counters.read(), self.position
        p.loss, p.auxiliary = p.loss + counted.loss, p.auxiliary + counted.auxiliary
        p.correct, p.images = p.correct + counted.correct, p.images + counted.images
        if counted.diverged:
            self._diverged(counted.bad_step, counted.bad_loss)

    def _diverged(self, step: int | None, loss: float) -> None:
        epoch = self.position.epoch
        when = f"epoch {epoch + 1}" + ("" if step is None else f", step {step + 1} of {self.steps}")
        rate = learning_rate(self.recipe, step=epoch * self.steps + (step or 0), steps_per_epoch=self.steps)
        kept = self.out / state.STATE
        good = f"The state after epoch {epoch} is kept in {kept}." if kept.exists() else "No state was stored yet."
        raise DivergedError(
            f"the training diverged: the loss was {loss:g} in {when} (learning rate {rate:g}). {good} Use a smaller "
            f"learning rate in a new --out, for example --set learning_rate={self.recipe.learning_rate / 3:.2g}"
            + (", or --precision bf16." if self.settings.precision == "fp16" else ".")
        )

    def _out_of_memory(self, images: int) -> UsageError:
        return UsageError(
            f"{self.device} has not enough memory for {images} images of {self.recipe.size} pixels in one pass. "
            f"Accumulate the batch from smaller parts: --micro-batch {max(1, images // 2)}."
        )

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

    def _end_epoch(self, progress: Callable[[TrainingProgress], None]) -> None:
        """Test, log, store."""
        p = self.position
        distributed.same_everywhere(list(self.module.buffers()))
        self._check_weights()
        measured = self.test()
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
        self.history.append(line)
        better = measured.error < p.best
        self.position = state.Position(epoch=p.epoch + 1, seconds=p.seconds, best=min(p.best, measured.error))
        if self.rank == 0 and better:
            with self.tested_weights():
                save_checkpoint(self.out / state.BEST, self.module, card_of(self, measured.error, p.epoch + 1))
        self._save()
        if self.rank == 0:
            state.write_log(self.out, self.history)
        progress(self._progress(line))

    def _check_weights(self) -> None:
        """The last step may spoil the weights after a loss that was still finite: such a state is not stored."""
        if not state.finite(self.module.state_dict()):
            self._diverged(self.position.step - 1, math.nan)

    def test(self) -> Measured:
        """Error on the test images, of the averaged weights where the recipe keeps an average."""
        with self.tested_weights():
            return measure(
                self.module,
                self.tests,
                recipe=self.recipe,
                device=self.device,
                autocast=self.settings.autocast(self.device),
                channels_last=self.settings.channels_last,
            )

    @contextlib.contextmanager
    def tested_weights(self) -> Iterator[None]:
        """The network holds the weights that are tested and handed over; the trained ones come back afterwards."""
        if self.average is None:
            yield
            return
        trained = {name: value.clone() for name, value in self.module.state_dict().items()}
        self.module.load_state_dict(self.average)
        try:
            yield
        finally:
            self.module.load_state_dict(trained)

    def _save(self) -> None:
        if self.rank == 0:
            state.write_state(
                self.out,
                identity=self.identity,
                position=self.position,
                history=self.history,
                tensors={
                    "module": self.module.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "average": self.average,
                },
            )
        distributed.wait()

    def _restore(self) -> None:
        found = state.read_state(self.out, identity=self.identity)
        if found is None:
            return
        self.position, self.history, tensors = found
        self.module.load_state_dict(tensors["module"])
        self.optimizer.load_state_dict(tensors["optimizer"])
        self.scaler.load_state_dict(tensors["scaler"])
        if self.average is not None:
            for name, value in tensors["average"].items():
                self.average[name].copy_(value)
        if self.rank == 0:
            state.write_log(self.out, self.history)
