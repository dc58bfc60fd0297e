"""The engine of an evaluation: images are read, rendered and shown to the networks, all at the same time.

    worker processes         a thread                 the caller
    read, resize, crop  ->   to device, render   ->   forward passes of every model

Each arrow is a queue of a few batches, so memory is bounded by the batch and does not grow with the number of images.
The queues run on from one cell to the next: while the last images of a cell are shown, those of the next are read.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustbench_lift.device import autocast, out_of_memory, pick_device, tensor_float_32
from robustbench_lift.errors import DataError
from robustbench_lift.workers import Batch, Work, read_batches

if TYPE_CHECKING:
    from robustbench_lift.evaluation.evaluate import Settings
    from robustbench_lift.weights import LoadedModel

T = TypeVar("T")

AHEAD = 2
"""Rendered batches that may wait for the networks."""
CPU_PIXELS = 64 * 64 * 64
"""Pixels in one forward pass on a CPU: beyond, activations leave the caches and small networks run 3 times slower."""


class Engine:
    """Streams frames and predicts; holds the device, the precision and the batch size that fits."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device = pick_device(settings.device)
        self.batch_size = settings.batch_size or 256
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()

    def stream(self, work: Iterable[Work]) -> Generator[Batch]:
        """(work, rows, uint8 frames [n, T, 3, h, w] on the device) of cells, read and rendered ahead of the caller."""
        return ahead(self._frames(work), AHEAD)

    def _frames(self, work: Iterable[Work]) -> Iterator[Batch]:
        batches = read_batches(
            work, size=self._images, workers=self.settings.workers, pin_memory=self.device.type == "cuda"
        )
        with contextlib.closing(batches):  # ends the reading processes at once
            for one, rows, batch in batches:
                yield from self._rendered(one, rows, batch.to(self.device, non_blocking=True))

    def _images(self, one: Work) -> int:
        """Images of a cell that are read and rendered together."""
        return max(1, self.batch_size // one.protocol.frames(one.cell))

    def _rendered(self, one: Work, rows: list[int], batch: Tensor) -> Iterator[Batch]:
        """The frames of a batch; in halves when memory runs out, which changes no frame."""
        try:
            frames = one.protocol.render(one.cell, batch, [one.images.ids[row] for row in rows])
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            frames = None
        if frames is not None:
            yield one, rows, frames
            return
        # outside the except block, whose exception would keep what it could not finish
        self._back_off(len(rows), batch, frames=one.protocol.frames(one.cell))
        half = (len(rows) + 1) // 2
        yield from self._rendered(one, rows[:half], batch[:half])
        yield from self._rendered(one, rows[half:], batch[half:])

    def _back_off(self, tried: int, images: Tensor, *, frames: int = 1) -> None:
        """Halve the batch after running out of memory over `tried` images of so many frames."""
        if tried == 1:
            raise DataError(
                f"{self.device} has not enough memory for a single image of {tuple(images.shape[-2:])} pixels. "
                "Use another --device, or end what else uses its memory."
            )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.batch_size = min(self.batch_size, (tried + 1) // 2 * frames)
        self._news.put(f"out of memory: the batch size is now {self.batch_size}")

    def news(self) -> Iterator[str]:
        """What has happened since it was last asked, in words: smaller batches."""
        while not self._news.empty():
            yield self._news.get()

    @torch.inference_mode()
    def predict(self, model: LoadedModel, frames: Tensor) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float32]]:
        """top-5 classes [n, T, 5] and top-1 confidence [n, T] of uint8 frames [n, T, 3, h, w]."""
        n, count = frames.shape[:2]
        flat = frames.flatten(0, 1)
        tops, confidences = [], []
        start = 0
        while start < len(flat):
            piece = flat[start : start + self._pass(flat)]
            logits = None
            try:
                logits = self._logits(model, piece)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            if logits is None:  # outside the except block, whose exception would keep the activations
                self._back_off(len(piece), piece)
                continue
            start += len(piece)
            top, confidence = rank(logits, model.name)
            tops.append(top.to("cpu", torch.int16))
            confidences.append(confidence.cpu())
        return torch.cat(tops).view(n, count, 5).numpy(), torch.cat(confidences).view(n, count).numpy()

    def _pass(self, images: Tensor) -> int:
        """Frames in one forward pass."""
        if self.settings.batch_size is None and self.device.type == "cpu":
            return max(1, min(self.batch_size, CPU_PIXELS // (images.shape[-1] * images.shape[-2])))
        return self.batch_size

    def compiled(self, model: LoadedModel) -> LoadedModel:
        """The same model with its network compiled."""
        return replace(model, module=cast(torch.nn.Module, torch.compile(model.module)))

    def _logits(self, model: LoadedModel, images: Tensor) -> Tensor:
        precision = self.settings.precision
        with autocast(self.device, precision), tensor_float_32(precision == "tf32"):
            return model.logits(images).float()


def rank(logits: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """(top-5 classes, probability of the first) of logits [n, K]; equal logits rank by class index.

    Raises:
        DataError: a logit is not a number.
    """
    if not bool(torch.isfinite(logits).all()):
        raise DataError(
            f"{name} answers with NaN or infinity. Check the checkpoint (`robustbench-lift check`), the normalisation "
            "and, with --precision fp16, the range."
        )
    order = logits.sort(dim=1, descending=True, stable=True).indices[:, :5]
    if order.shape[1] < 5:
        order = torch.nn.functional.pad(order, (0, 5 - order.shape[1]), value=-1)
    return order, logits.softmax(dim=1).amax(dim=1)


def ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items, made by a thread that is at most `depth` ahead; its errors are raised here."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: tuple[T | None, BaseException | None]) -> bool:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:  # told to the caller's thread, which raises it
            put((None, error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, daemon=True, name="render-ahead")
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None
            yield item
    finally:
        stop.set()
        thread.join()
