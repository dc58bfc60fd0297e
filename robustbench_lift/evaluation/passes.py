"""Forward passes: how many frames each takes, how many go side by side, and what is kept of the answers."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from robustbench_lift.data.base import Outputs, outputs_of
from robustbench_lift.device import autocast, no_memory, out_of_memory, tensor_float_32
from robustbench_lift.errors import DataError
from robustbench_lift.evaluation.answers import check_logits
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.evaluation.work import Shown
from robustbench_lift.protocols.base import stored_by
from robustbench_lift.runs import Predictions, Record
from robustbench_lift.weights import LoadedModel

CPU_PIXELS = 64 * 64 * 64
"""Pixels in one forward pass on a CPU: beyond, activations leave the caches and small networks run 3 times slower."""
GPU_PIXELS = 1 << 22
"""The same on an accelerator, of images of more than `LARGE` pixels."""
LARGE = 512 * 512
"""Pixels beyond which an image makes a pass of its own worth while: passes are not filled up, nor side by side."""
LEAST_PASS = 8
"""Frames of the smallest pass; fewer are filled up, since libraries compute one to three images by other kernels, whose
rounding would make stored probabilities depend on how images were split."""
THREADS_OF_THREADS = torch.backends.openmp.is_available()  # type: ignore[no-untyped-call]
"""Whether each thread has a number of its own of threads that share its operations."""
STATELESS = "torch.nn.", "torchvision.", "robustbench_lift.networks.", "robustbench_lift.pooling."
"""Packages whose modules keep nothing of a call that another call reads, in eval mode."""

Answers = dict[str, npt.NDArray[Any]]
"""What is stored of a model's answers to some images: arrays [n, T, ...], without T where the record has none."""


class Passes:
    """Shows frames to models, in passes that fit the memory.

    On a CPU passes go side by side, each on a core of its own: most operations of a network take less than a
    millisecond, too little to be divided among cores, and the last of several cores to finish holds the others up.
    A network that may keep something from call to call, because a module of it is not torch's or ours or has a hook,
    is shown one pass at a time, on all cores.
    """

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.batch_size = settings.batch_size or 256
        self.launching: contextlib.AbstractContextManager[Any] = (
            threading.Lock() if settings.precision == "tf32" else contextlib.nullcontext()
        )
        """Held during passes in TF32, which is a setting of the process: on for them, never while frames are made."""
        self._notes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def notes(self) -> Iterator[str]:
        """What is to be said since the last call: smaller batches."""
        while not self._notes.empty():
            yield self._notes.get()

    def back_off(self, tried: int, images: Tensor, *, frames: int = 1) -> None:
        """Halve the batch after running out of memory over `tried` images of so many frames.

        Raises:
            DataError: there is no room for a single image.
        """
        if tried == 1:
            raise no_memory(images)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.batch_size = min(self.batch_size, (tried + 1) // 2 * frames)
        self._notes.put(f"out of memory: the batch size is now {self.batch_size}")

    def size(self, height: int, width: int) -> int:
        """Frames of a size in one pass."""
        pixels = height * width
        if self.settings.batch_size is not None or (self.device.type != "cpu" and pixels <= LARGE):
            return self.batch_size
        return max(1, min(self.batch_size, (CPU_PIXELS if self.device.type == "cpu" else GPU_PIXELS) // pixels))

    def threads(self, height: int, width: int) -> int:
        """Passes of frames of a size that may go side by side."""
        alone = self.device.type != "cpu" or self.settings.compile or height * width > LARGE or not THREADS_OF_THREADS
        return 1 if alone else torch.get_num_threads()

    def answers(self, models: Sequence[LoadedModel], shown: Shown) -> list[Answers]:
        """What is stored of the answers of some models to a batch that has frames."""
        assert shown.frames is not None
        return self.predict(
            models,
            shown.frames,
            shown.targets,
            record=stored_by(shown.work.protocol),
            outputs=outputs_of(shown.work.images),
            combine=shown.combining(),
        )

    def predict(
        self,
        models: Sequence[LoadedModel],
        frames: Tensor,
        targets: Tensor,
        *,
        record: type[Record] = Predictions,
        outputs: Outputs | None = None,
        combine: Callable[[dict[str, Tensor]], Answers] | None = None,
    ) -> list[Answers]:
        """What is stored of the answers of each model.

        Args:
            models: on the device.
            frames: uint8 [n, T, 3, h, w].
            targets: [n, ...], a target an image.
            record: what is stored of logits.
            outputs: which outputs stand for the classes of the data; None: output k is class k.
            combine: makes what is stored out of what was measured of all frames of each image, [n, T, ...]; what was
                measured is stored as it is when there is none.
        """
        n, count = frames.shape[:2]
        flat, wanted = frames.flatten(0, 1), targets.repeat_interleave(count, dim=0)

        @torch.inference_mode()
        def one_pass(model: LoadedModel, start: int, size: int) -> dict[str, Tensor]:
            piece = flat[start : start + size]
            least = LEAST_PASS if piece.shape[-1] * piece.shape[-2] <= LARGE else 1
            logits = self._logits(model, _filled(piece, min(size, least)))[: len(piece)]
            check_logits(logits, model, record)
            logits = logits if outputs is None else outputs(logits)
            return {k: v.cpu() for k, v in record.measure(logits, wanted[start : start + len(piece)]).items()}

        found = self._side_by_side(models, flat, one_pass)
        stored = []
        for number, model in enumerate(models):
            pieces = found.get(number) or self._in_turn(model, flat, one_pass)
            whole = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
            if combine is not None:
                stored.append(combine({name: v.view(n, count, *v.shape[1:]) for name, v in whole.items()}))
            else:
                stored.append({k: _by_image(v, n, count, record.ARRAYS[k][1]) for k, v in whole.items()})
        return stored

    def _in_turn(self, model: LoadedModel, flat: Tensor, one_pass: OnePass) -> list[dict[str, Tensor]]:
        """One pass after the other, smaller ones when memory runs out."""
        pieces: list[dict[str, Tensor]] = []
        start = 0
        while start < len(flat):
            size = self.size(flat.shape[-2], flat.shape[-1])
            measured = None
            try:
                measured = one_pass(model, start, size)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            if measured is None:  # outside the except block, whose exception would keep the activations
                self.back_off(min(size, len(flat) - start), flat)
            else:
                pieces.append(measured)
                start += size
        return pieces

    def _side_by_side(
        self, models: Sequence[LoadedModel], flat: Tensor, one_pass: OnePass
    ) -> dict[int, list[dict[str, Tensor]]]:
        """The pieces of those models that allow it; none when one pass at a time is better, or memory runs out."""
        height, width = flat.shape[-2:]
        threads, size = self.threads(height, width), self.size(height, width)
        starts = range(0, len(flat), size)
        chosen = [k for k, model in enumerate(models) if threads > 1 and is_stateless(model.module)]
        together = min(threads, len(chosen) * len(starts))
        if together < 2:
            return {}
        if self._pool is None:
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="forward-pass")

        def on_its_cores(model: LoadedModel, start: int) -> dict[str, Tensor]:
            torch.set_num_threads(threads // together)  # of this thread
            return one_pass(model, start, size)

        futures = [self._pool.submit(on_its_cores, models[k], start) for k in chosen for start in starts]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
            wait(futures)
            torch.set_num_threads(threads)  # which threads to come begin with, too
        try:
            pieces = iter([future.result() for future in futures if not future.cancelled()])
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return {}
        return {k: [next(pieces) for _ in starts] for k in chosen}

    def _logits(self, model: LoadedModel, images: Tensor) -> Tensor:
        precision = self.settings.precision
        with self.launching, autocast(self.device, precision), tensor_float_32(precision == "tf32"):
            return model.logits(images).float()


OnePass = Callable[[LoadedModel, int, int], dict[str, Tensor]]
"""What is measured of a model's answers to the frames from `start`, a pass of so many; the last has fewer."""


def is_stateless(network: nn.Module) -> bool:
    """Whether several threads may call a network in eval mode at once.

    >>> is_stateless(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
    True
    """
    hooked = nn.modules.module._has_any_global_hook()  # type: ignore[no-untyped-call]
    return not hooked and all(
        f"{type(part).__module__}.".startswith(STATELESS)
        and "forward" not in vars(part)
        and not part._forward_hooks
        and not part._forward_pre_hooks
        for part in network.modules()
    )


def _filled(images: Tensor, least: int) -> Tensor:
    """At least so many images, filled up with copies of the last."""
    if len(images) >= least:
        return images
    return torch.cat([images, images[-1:].expand(least - len(images), *images.shape[1:])])


def _by_image(values: Tensor, n: int, count: int, shape: Sequence[int | str]) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = values.numpy()
    if "T" in shape:
        return array.reshape(n, count, *array.shape[1:])
    if count != 1:
        raise DataError(f"a record without an axis for frames takes one frame an image, not {count}.")
    return array
