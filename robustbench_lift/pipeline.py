"""The engine of an evaluation: images are read, rendered and shown to the networks, all at the same time.

    worker processes         a thread                 the caller
    read, resize, crop  ->   to device, render   ->   forward passes of every model

Each arrow is a queue of a few batches, so memory is bounded by the batch and does not grow with the number of images.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from robustbench_lift.data.base import ImageSet
from robustbench_lift.errors import DataError
from robustbench_lift.protocols.base import EvaluationProtocol
from robustbench_lift.runs import Cell

if TYPE_CHECKING:
    from robustbench_lift.evaluate import Settings
    from robustbench_lift.models import LoadedModel

T = TypeVar("T")

AHEAD = 2
"""Rendered batches that may wait for the networks."""
CPU_PIXELS = 64 * 64 * 64
"""Pixels in one forward pass on a CPU: beyond, activations leave the caches and small networks run 3 times slower."""


class _Prepared(Dataset[Tensor]):
    """Images of one cell, read and prepared one at a time, for the DataLoader's workers."""

    def __init__(self, images: ImageSet, protocol: EvaluationProtocol, rows: list[int]) -> None:
        self.images, self.protocol, self.rows = images, protocol, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Tensor:
        image = self.protocol.prepare(self.images.read(self.rows[position]))
        return torch.from_numpy(np.ascontiguousarray(image.swapaxes(-1, -2).swapaxes(-2, -3)))  # [..., 3, h, w]


class Engine:
    """Streams frames and predicts; holds the device, the precision and the batch size that fits."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device = pick_device(settings.device)
        self.batch_size = settings.batch_size or 256
        self.tell: Callable[[str], None] = lambda note: None

    def stream(
        self, protocol: EvaluationProtocol, cell: Cell, images: ImageSet, rows: list[int]
    ) -> Iterator[tuple[list[int], Tensor]]:
        """(rows, uint8 frames [n, T, 3, h, w] on the device) of a cell, rendered ahead of the caller."""
        per_image = protocol.frames(cell) or 32  # sequences tell their length with the first batch
        step = max(1, self.batch_size // per_image)
        workers = min(self.settings.workers, (len(rows) + step - 1) // step)
        loader = DataLoader(
            _Prepared(images, protocol, rows),
            batch_size=step,
            shuffle=False,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            collate_fn=_collate,
            multiprocessing_context=_start_method() if workers else None,
        )

        def produce() -> Iterator[tuple[list[int], Tensor]]:
            start = 0
            for batch in loader:
                here = rows[start : start + len(batch)]
                start += len(batch)
                moved = batch.to(self.device, non_blocking=True)
                yield here, protocol.render(cell, moved, [images.ids[i] for i in here])

        return ahead(produce(), AHEAD)

    @torch.inference_mode()
    def predict(self, model: LoadedModel, frames: Tensor) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float32]]:
        """top-5 classes [n, T, 5] and top-1 confidence [n, T] of uint8 frames [n, T, 3, h, w]."""
        n, count = frames.shape[:2]
        flat = frames.flatten(0, 1)
        tops, confidences = [], []
        start = 0
        while start < len(flat):
            piece = flat[start : start + self._pass(flat)]
            try:
                logits = self._logits(model, piece)
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise DataError(
                        f"{self.device} has not enough memory for a single image of {tuple(piece.shape[-2:])} pixels."
                    ) from None
                torch.cuda.empty_cache()
                self.batch_size = max(1, self.batch_size // 2)
                self.tell(f"out of memory: the batch size is now {self.batch_size}")
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
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        cast = torch.autocast(self.device.type, dtype=dtype) if dtype else contextlib.nullcontext()
        with cast, tensor_float_32(precision == "tf32"):
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


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA when there is one (the rank's own under torchrun), the CPU otherwise.

    Raises:
        DataError: CUDA is asked for and absent.
    """
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DataError(f"unknown device {name!r}: cpu, cuda, cuda:1, ... or auto.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DataError("--device cuda: this PyTorch sees no CUDA device. Use --device cpu, or check the driver.")
    return device


@contextlib.contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """TF32 on or off inside the block only: it flips labels, so it is never on by accident."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
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


def _start_method() -> BaseContext:
    """How workers start: from a server that has imported torch once, since every cell starts its own workers."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["robustbench_lift.pipeline"])
    return context


def _collate(images: list[Tensor]) -> Tensor:
    sizes = {tuple(image.shape) for image in images}
    if len(sizes) > 1:
        raise DataError(
            f"images of one batch have different sizes after preparation: {', '.join(map(str, sorted(sizes)[:4]))}. "
            "Use a geometry that crops to one size."
        )
    return torch.stack(images)
