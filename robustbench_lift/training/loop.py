"""The training loop, to be read from top to bottom: `train`, its epochs, its steps.

Every random draw is a function of (seed, epoch, step or sample); the state on disk holds tensors and counters and no
generator. A training that is killed goes on from the last state and ends with the weights that it would have had.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from robustbench_lift.data.base import ImageSet, fingerprint, has_maps
from robustbench_lift.device import autocast, pick_device, tensor_float_32
from robustbench_lift.pooling import collect_losses
from robustbench_lift.training import distributed, draws, state
from robustbench_lift.training.checks import check_classes, check_fit, check_last_batch, check_task
from robustbench_lift.training.counters import Counters
from robustbench_lift.training.failures import DivergedError, explained, smaller_rate
from robustbench_lift.training.maps import (
    MapSource,
    MapTestImages,
    map_accuracy,
    map_loss,
)
from robustbench_lift.training.measure import measure
from robustbench_lift.training.network import Builder, Network
from robustbench_lift.training.objective import (
    Average,
    anneal,
    auxiliary_loss,
    cutmix,
    make_optimizer,
    task_loss,
)
from robustbench_lift.training.recipe import Recipe, learning_rate
from robustbench_lift.training.samples import (
    TestImages,
    TrainingSource,
    batches_of,
    epoch_batches,
    normalise,
)
from robustbench_lift.training.settings import TrainingSettings

DIVERGED = 100.0
"""A loss beyond this multiple of log(classes), the loss of guessing, counts as diverged."""


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
    note: str = ""
    """What is to be said once: the weights that it begins from."""

    @property
    def share(self) -> float:
        """Share of all steps that is done, 0..1."""
        return (self.epoch * self.steps + self.step) / (self.epochs * self.steps)


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
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


def train(
    network: Network,
    recipe: Recipe,
    source: TrainingSource,
    images: ImageSet,
    *,
    out: Path,
    seed: int = 0,
    settings: TrainingSettings | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
    builder: Builder | None = None,
) -> TrainingOutcome:
    """Train a network, or go on with the training that `out` holds.

    Args:
        network: architecture and pooling.
        recipe: how to train.
        source: training samples.
        images: test images; every one counts once in the error of each epoch.
        out: folder of this one training (`state` lists its files).
        seed: first weights, order, augmentation, dropout.
        settings: device, precision, memory, time limit.
        stop: asked now and then; when it answers True the state is stored and the call returns.
        progress: called at the same moments and after each epoch.
        builder: makes the network; `networks.build_model` by default.

    Returns:
        What was reached; `finished` is False when time or `stop` ended it.

    Raises:
        UsageError: recipe, data and settings do not fit together.
        IncomparableError: `out` holds a training of something else.
        DivergedError: the loss is no longer finite; the last good state is kept.
        StorageError: `out` cannot be written; the last state is kept.
        OtherProcessError: another process of the training stopped; that one says why.
    """
    settings = settings or TrainingSettings()
    check_fit(recipe, source)
    check_classes(source, images)
    check_task(network, recipe, images)
    device = pick_device(settings.device)
    distributed.join(device)
    with _numerics(settings, device):
        identity = identity_of(network, recipe, source, images, seed=seed, precision=settings.precision)
        done = distributed.from_first(lambda: state.read_result(out, identity=identity))
        if done is not None:
            return TrainingOutcome(out, True, recipe.epochs, done, done["history"])
        try:
            trainer = Trainer(
                network,
                recipe,
                source,
                images,
                identity=identity,
                out=out,
                seed=seed,
                settings=settings,
                device=device,
                builder=builder,
            )
            return trainer.run(stop or (lambda: False), progress or (lambda _: None))
        except Exception as error:
            better = explained(error, device=device, recipe=recipe, settings=settings, out=out)
            if better is None:
                raise
            raise better from None


def identity_of(
    network: Network, recipe: Recipe, source: TrainingSource, images: ImageSet, *, seed: int, precision: str
) -> dict[str, Any]:
    """What two sessions must share to be one training."""
    return {
        "network": network.record(),
        "recipe": recipe.settings(),
        "data": {
            "train": source.name,
            "train_images": len(source),
            "train_fingerprint": source.fingerprint,
            "test": images.name,
            "test_images": len(images.ids),
            "test_fingerprint": fingerprint(images.ids, images.labels),
        },
        "seed": seed,
        "precision": precision,
    }


@contextlib.contextmanager
def _numerics(settings: TrainingSettings, device: torch.device) -> Iterator[None]:
    """A place in which seeds and numeric switches may be set; the caller finds its own again afterwards."""
    deterministic, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), tensor_float_32(settings.precision != "fp32"):
        try:
            if device.type == "cuda":
                torch.backends.cudnn.benchmark = not settings.deterministic
            if settings.deterministic:
                torch.use_deterministic_algorithms(True)
            yield
        finally:
            torch.backends.cudnn.benchmark = benchmark
            torch.use_deterministic_algorithms(deterministic)


# ---------------------------------------------------------------- epochs


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
        settings: TrainingSettings,
        device: torch.device,
        builder: Builder | None = None,
    ) -> None:
        """Build the network, its optimiser and the plan of an epoch."""
        self.network, self.recipe, self.source, self.seed = network, recipe, source, seed
        self.settings, self.device = settings, device
        self.rank, self.ranks = distributed.world()
        module = network.build(len(source.class_names), seed=seed, builder=builder)
        self.start = network.begin(module)
        memory = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.module = module.to(device, memory_format=memory)  # type: ignore[call-overload]
        if settings.sync_batchnorm and self.ranks > 1:
            self.module = nn.SyncBatchNorm.convert_sync_batchnorm(self.module)  # type: ignore[no-untyped-call]
        self.forward: nn.Module = self.module
        self.optimizer = make_optimizer(self.module, recipe)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.average = Average(self.module, recipe.ema_decay)
        self.steps = len(self._batches(0))
        check_last_batch(recipe, source, self.ranks)
        self.record = state.TrainingRecord(
            out,
            identity,
            state.Trained(self.module, self.optimizer, self.scaler, self.average),
            card=lambda error, epoch: (
                state.training_card(
                    network, recipe, source, seed=seed, precision=settings.precision, clean_error=error, epoch=epoch
                )
                | ({} if self.start is None else {"start": str(self.start)})
            ),
        )
        weights = source.class_weights(recipe.class_weights) if isinstance(source, MapSource) else []
        self.class_weights = torch.tensor(weights, dtype=torch.float32, device=device) if weights else None
        test_batch = min(250, settings.micro_batch or 250)
        self.tests: TestImages | MapTestImages = (
            MapTestImages(images, recipe=recipe, workers=settings.workers, batch_size=test_batch)
            if has_maps(images)
            else TestImages(images, recipe=recipe, workers=settings.workers, batch_size=test_batch)
        )
        self.check_every = settings.check_every or (20 if device.type == "cuda" else 1)
        self.started, self.session_steps = time.monotonic(), 0

    def _batches(self, epoch: int) -> list[Tensor]:
        recipe = self.recipe
        return epoch_batches(
            len(self.source), batch_size=recipe.batch_size, epoch=epoch, seed=self.seed, drop_last=recipe.drop_last
        )

    def run(self, stop: Callable[[], bool], progress: Callable[[TrainingProgress], None]) -> TrainingOutcome:
        """Train to the end or until stopped."""
        self.record.restore()
        self._wrap()
        if self.start is not None:
            progress(dataclasses.replace(self._progress(), note=str(self.start)))
        before = self.record.position.seconds
        while self.record.position.epoch < self.recipe.epochs:
            whole = self._epoch(stop, progress) and self._end_epoch(stop, progress, before=before)
            if not whole:
                self.record.position.seconds = before + time.monotonic() - self.started
                self._check_weights()
                self.record.save()
                return self._outcome(finished=False, result=None)
        return self._outcome(finished=True, result=self.record.finish(self.recipe.keep))

    def _wrap(self) -> None:
        """Share gradients between processes, and compile, once the weights are those to begin with."""
        if self.ranks > 1:
            devices = [self.device] if self.device.type == "cuda" else None
            self.forward = DistributedDataParallel(self.module, device_ids=devices)
        if self.settings.compile:
            self.forward = torch.compile(self.forward)  # type: ignore[assignment]

    def _outcome(self, *, finished: bool, result: dict[str, Any] | None) -> TrainingOutcome:
        folder, history = self.record.folder, self.record.history
        if history:
            own, test = self.recipe.error_names
            error = "top-1 error" if own == test else f"{own}, {test}"
            curves = {self.network.spec: history}
            distributed.from_first(lambda: state.draw_curves(curves, folder / state.CURVES, error=error))
        return TrainingOutcome(folder, finished, self.record.position.epoch, result, history)

    def _epoch(self, stop: Callable[[], bool], progress: Callable[[TrainingProgress], None]) -> bool:
        """The rest of the current epoch; False when it was stopped."""
        position = self.record.position
        epoch, first = position.epoch, position.step
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
                self._step([next(stream) for _ in part], epoch=epoch, step=step, images=len(batch), counters=counters)
                position.step = step + 1
                self.session_steps += 1
                last = step + 1 == self.steps
                if last or (step + 1) % self.check_every == 0:
                    self._count(counters)
                    progress(self._progress())
                    if not last and self._stopping(stop):
                        return False
        return True

    def _end_epoch(
        self, stop: Callable[[], bool], progress: Callable[[TrainingProgress], None], *, before: float
    ) -> bool:
        """Test, log, store; False when it was stopped during the test."""
        position = self.record.position
        # BatchNorm's statistics are each process's own; those of the first are tested, stored and handed over
        distributed.same_everywhere([*self.module.buffers(), *(self.average.tensors or {}).values()])
        self._check_weights()
        with self.average.in_place():
            measured = measure(
                self.module,
                self.tests,
                recipe=self.recipe,
                device=self.device,
                precision=self.settings.precision,
                channels_last=self.settings.channels_last,
                # processes that hold different numbers of batches cannot agree between two of them
                stop=functools.partial(self._stopping, stop) if self.ranks == 1 else None,
            )
        if measured is None:
            return False
        position.seconds = before + time.monotonic() - self.started
        last = (position.epoch + 1) * self.steps - 1
        line = {
            "epoch": position.epoch + 1,
            "learning_rate": learning_rate(self.recipe, step=last, steps_per_epoch=self.steps),
            "train_loss": position.loss / position.images,
            "auxiliary_loss": position.auxiliary / position.images,
            "train_error": 1 - position.correct / position.images,
            "train_images": int(position.images),
            "test_loss": measured.loss,
            "test_error": measured.error,
            "test_images": measured.images,
            "seconds": round(position.seconds, 3),
        }
        self.record.end_epoch(line)
        progress(self._progress(line))
        return True

    def _stopping(self, stop: Callable[[], bool]) -> bool:
        late = self.settings.stop_after is not None and time.monotonic() - self.started >= self.settings.stop_after
        if self.ranks == 1:
            return late or stop()
        return bool(distributed.total(torch.tensor(float(late or stop()), device=self.device)) > 0)

    def _progress(self, finished: dict[str, Any] | None = None) -> TrainingProgress:
        p, elapsed = self.record.position, time.monotonic() - self.started
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

    # ------------------------------------------------------------ steps

    def _step(
        self, pieces: Sequence[tuple[Tensor, Tensor]], *, epoch: int, step: int, images: int, counters: Counters
    ) -> None:
        """One optimiser step from accumulated pieces.

        Args:
            pieces: this process's images uint8 [n, 3, H, W] and labels int64 [n].
            epoch: 0-based epoch.
            step: 0-based step of the epoch.
            images: images of the whole batch, over all processes.
            counters: what the epoch counts.
        """
        recipe, now = self.recipe, epoch * self.steps + step
        for group in self.optimizer.param_groups:
            group["lr"] = group.get("rate", 1.0) * learning_rate(recipe, step=now, steps_per_epoch=self.steps)
        # dropout and stochastic pooling: a seed of their own for each step and process
        torch.manual_seed(draws.key(self.seed, epoch, step, self.rank, 3) >> 1)
        with_auxiliary = now >= recipe.auxiliary_start * recipe.epochs * self.steps
        for number, (batch, labels) in enumerate(pieces):
            accumulate = self.ranks > 1 and number + 1 < len(pieces)
            with self.forward.no_sync() if accumulate else contextlib.nullcontext():  # type: ignore[operator]
                loss, auxiliary, correct = self._losses(batch, labels, (epoch, step, number))
                whole = loss.mean() if auxiliary is None or not with_auxiliary else loss.mean() * recipe.task_weight
                if auxiliary is not None and with_auxiliary:
                    whole = whole + auxiliary
                # DistributedDataParallel averages over processes; the recipe's gradient is a mean over the whole batch
                weight = len(labels) / images * self.ranks
                self.scaler.scale(whole * weight).backward()  # type: ignore[no-untyped-call]
                counters.add(loss.sum(), 0.0 if auxiliary is None else auxiliary, correct, images=len(labels))
        counters.end_step(step)
        if recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.module.parameters(), recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update()

    def _losses(
        self, batch: Tensor, labels: Tensor, parts: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor | float | None, Tensor]:
        """Forward pass: task loss [n], the poolings' own weighted loss (None: there is none), images that are right."""
        recipe = self.recipe
        inputs = normalise(batch, recipe, channels_last=self.settings.channels_last)
        others, own = labels, 1.0
        if recipe.cutmix:
            inputs, others, own = cutmix(inputs, labels, alpha=recipe.cutmix, parts=(self.seed, *parts, self.rank))
        with autocast(self.device, self.settings.precision):
            logits = self.forward(inputs)
        losses = collect_losses(self.module)
        auxiliary = auxiliary_loss(losses, recipe) if losses else None
        if labels.dim() == 3:  # a class for every pixel
            loss = map_loss(logits, labels, weights=self.class_weights, label_smoothing=recipe.label_smoothing)
            return loss, auxiliary, map_accuracy(logits, labels).sum()
        loss = task_loss(logits, labels, recipe)
        if own < 1:
            loss = own * loss + (1 - own) * task_loss(logits, others, recipe)
        return loss, auxiliary, (logits.argmax(1) == labels).sum()

    def _count(self, counters: Counters) -> None:
        """Bring the counters to the host, and stop if a loss was not finite."""
        counted, p = counters.read(), self.record.position
        p.loss, p.auxiliary = p.loss + counted.loss, p.auxiliary + counted.auxiliary
        p.correct, p.images = p.correct + counted.correct, p.images + counted.images
        if counted.diverged:
            found = distributed.of_all((counted.bad_step, counted.bad_loss))
            raise self._diverged(*min((step, loss) for step, loss in found if step is not None))

    def _check_weights(self) -> None:
        """The last step may spoil the weights after a loss that was still finite: such a state is not stored."""
        if not state.finite(self.module.state_dict()):
            raise self._diverged(self.record.position.step - 1, math.nan)

    def _diverged(self, step: int, loss: float) -> DivergedError:
        """The error for a loss that left all bounds in a step (0-based) of the current epoch."""
        recipe, epoch = self.recipe, self.record.position.epoch
        rate = learning_rate(recipe, step=epoch * self.steps + step, steps_per_epoch=self.steps)
        return DivergedError(
            f"the training diverged: the loss was {loss:g} in epoch {epoch + 1}, step {step + 1} of {self.steps} "
            f"(learning rate {rate:g}). {self.record.kept()} Use a smaller learning rate in a new --out, for example "
            f"--set learning_rate={smaller_rate(recipe):.2g}"
            + (", or --precision bf16." if self.settings.precision == "fp16" else ".")
        )
