"""One optimiser step: forward passes, gradients accumulated and averaged over processes, the update."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from robustbench_lift.device import autocast
from robustbench_lift.pooling import collect_losses
from robustbench_lift.training import distributed, draws
from robustbench_lift.training.average import Average
from robustbench_lift.training.counters import Counters
from robustbench_lift.training.evaluation import normalise
from robustbench_lift.training.objective import auxiliary_loss, cutmix, make_optimizer, task_loss
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.training.schedule import learning_rate
from robustbench_lift.training.settings import Settings


class Stepper:
    """A network with its optimiser, loss scaling and average; `step` changes the weights, nothing else does.

    Args:
        module: the network, on the device.
        recipe: how it is trained.
        settings: precision, memory format, compilation.
        device: where it is.
        seed: seed of the training.
        steps: optimiser steps of an epoch.
    """

    def __init__(
        self, module: nn.Module, recipe: Recipe, settings: Settings, *, device: torch.device, seed: int, steps: int
    ) -> None:
        self.module, self.recipe, self.settings, self.device = module, recipe, settings, device
        self.seed, self.steps = seed, steps
        self.rank, self.ranks = distributed.world()
        self.optimizer = make_optimizer(module, recipe)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.average = Average(module, recipe.ema_decay)
        self.forward: nn.Module = module

    def wrap(self) -> None:
        """Share gradients between processes, and compile, once the weights are those to begin with."""
        if self.ranks > 1:
            self.forward = DistributedDataParallel(
                self.module, device_ids=[self.device] if self.device.type == "cuda" else None
            )
        if self.settings.compile:
            self.forward = torch.compile(self.forward)  # type: ignore[assignment]

    def step(
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
        recipe = self.recipe
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
        self.average.update()

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
        with autocast(self.device, self.settings.precision):
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
