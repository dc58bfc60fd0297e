"""What a run will cost, measured on a few images of every condition before it starts."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import torch

from robustbench_lift.evaluation.engine import Engine, by_size
from robustbench_lift.evaluation.passes import LEAST_PASS
from robustbench_lift.evaluation.prepared import KeptImages, PreparedImages
from robustbench_lift.evaluation.work import Shown, Work
from robustbench_lift.protocols.base import EvaluationProtocol, stored_by
from robustbench_lift.runs import Cell
from robustbench_lift.weights import LoadedModel

R = TypeVar("R")
TYPICAL = 3
"""The severity that stands for the others of its condition."""


@dataclass(frozen=True)
class Sizes:
    """What a run reads and stores."""

    images: int = 0
    """Images that are read, once for each cell."""
    cells: int = 0
    """Files, over all models."""
    bytes: int = 0
    """Of all cells, before compression, without the ids."""

    def __add__(self, other: Sizes) -> Sizes:
        return Sizes(self.images + other.images, self.cells + other.cells, self.bytes + other.bytes)


def sizes_of(protocol: EvaluationProtocol, frames: int, models: int) -> Sizes:
    """The sizes of one protocol.

    Args:
        protocol: its cells are counted.
        frames: of all of them.
        models: networks that answer.
    """
    cells, images = len(protocol.cells()), protocol.count() * len(protocol.cells())
    stored = 0
    for kind, shape in stored_by(protocol).ARRAYS.values():
        # letters: T the frames of an image, P the pairs of them, K the classes
        items = math.prod(size for size in shape if isinstance(size, int))
        items *= frames if "T" in shape else frames // 2 if "P" in shape else images
        stored += np.dtype(kind).itemsize * items * (len(protocol.data.class_names) if "K" in shape else 1)
    return Sizes(images, cells * models, stored * models)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a protocol or a part of it, for all models together: seconds of each stage by itself, and of processors.

    >>> 2 * Cost(frames=1, reading=3.0) + Cost(networks=4.0)
    Cost(frames=2, reading=6.0, rendering=0.0, networks=4.0, processors=0.0)
    """

    frames: int = 0
    reading: float = 0.0
    """In one process; several divide it."""
    rendering: float = 0.0
    networks: float = 0.0
    processors: float = 0.0
    """All stages, summed over the cores that they keep busy."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)})

    def __rmul__(self, times: int) -> Cost:
        return Cost(**{f.name: times * getattr(self, f.name) for f in fields(Cost)})

    def seconds(self, workers: int, cores: int) -> float:
        """How long the stages take side by side.

        Reading and rendering are one thread where no process reads. The longest stage counts, or all of them where they
        need more cores than there are.

        >>> Cost(reading=1, rendering=2, networks=4, processors=11).seconds(workers=0, cores=2)
        5.5
        """
        stages = (self.reading / workers, self.rendering) if workers else (self.reading + self.rendering,)
        return max(*stages, self.networks, self.processors / cores)


@dataclass(frozen=True)
class Estimate:
    """What one protocol of a run will cost."""

    protocol: EvaluationProtocol
    cost: Cost
    sizes: Sizes
    kept: int | None
    """Bytes of the file that keeps prepared images, where they are decoded once and this protocol is the first."""

    def seconds(self, workers: int) -> float:
        """How long it takes, without what a run begins and ends with."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.cost.seconds(workers, cores)


def estimates(
    engine: Engine, protocols: Sequence[EvaluationProtocol], models: Sequence[LoadedModel]
) -> Iterator[Estimate]:
    """The cost of each protocol, measured when it is asked for."""
    settings = engine.settings
    kept = KeptImages([one for one in protocols for _ in one.cells()] if settings.keep else [], settings.shard)
    decoded: set[tuple[int, str]] = set()
    for protocol in protocols:
        cost, cells, room = _cost(engine, protocol, models), len(protocol.cells()), None
        if (key := kept.shared(protocol)) is not None:
            once = 0.0 if key in decoded else cost.reading / cells
            cost = replace(cost, reading=once, processors=cost.processors - cost.reading + once)
            room = kept.size(protocol) if key not in decoded else None
            decoded.add(key)
        yield Estimate(protocol, cost, sizes_of(protocol, cost.frames, len(models)), room)


def _cost(engine: Engine, protocol: EvaluationProtocol, models: Sequence[LoadedModel]) -> Cost:
    """What a protocol costs: that of a typical cell of each condition, as often as there are cells."""
    conditions: dict[str, list[Cell]] = {}
    for cell in protocol.cells():
        conditions.setdefault(cell.condition, []).append(cell)
    known: dict[tuple[int, ...], Cost] = {}
    cost = Cost()
    for cells in conditions.values():
        typical = min(cells, key=lambda cell: abs(cell.severity - TYPICAL))
        cost += protocol.count() * len(cells) * _measured(engine, protocol, typical, models, known)
    return cost


def _measured(
    engine: Engine,
    protocol: EvaluationProtocol,
    cell: Cell,
    models: Sequence[LoadedModel],
    known: dict[tuple[int, ...], Cost],
) -> Cost:
    """What one image of a cell costs; `known` is the cost of the networks for an image, by its frames' shape."""
    images = protocol.images(cell)
    prepared = PreparedImages(protocol, images)
    pixels, _ = prepared[0]
    # as many frames as a forward pass of the run has: a few cost more each
    frames = max(LEAST_PASS, engine.passes.size(pixels.shape[-2], pixels.shape[-1]))
    count = min(max(1, frames // protocol.frames(cell)), len(images.ids))
    reading, groups = _timed(lambda: by_size([prepared[row] for row in range(count)]), engine.device)
    places, batch, targets = max(groups, key=lambda group: len(group[0]))  # of the size that most of them have
    work = Work(protocol=protocol, cell=cell, images=images, rows=places)
    batch, targets = batch.to(engine.device), targets.to(engine.device)
    ids = [images.ids[row] for row in places]
    rendering, shown = _timed(lambda: protocol.render(cell, batch, ids), engine.device)
    shape = tuple(shown.shape[1:])
    if shape not in known:  # what networks cost does not depend on what the images show
        # as many passes as go side by side
        many = max(1, min(engine.passes.threads(*shape[-2:]), engine.passes.batch_size // frames))
        seen = Shown(work, places * many, shown.repeat(many, *[1] * len(shape)), torch.cat([targets] * many))
        (seconds, processors), _ = _timed(lambda: engine.passes.answers(models, seen), engine.device)
        known[shape] = Cost(networks=seconds / len(seen.rows), processors=processors / len(seen.rows))
    return known[shape] + Cost(
        frames=shown.shape[1],
        reading=reading[0] / count,
        rendering=rendering[0] / len(places),
        processors=reading[1] / count + rendering[1] / len(places),
    )


def _timed(work: Callable[[], R], device: torch.device) -> tuple[tuple[float, float], R]:
    """Seconds of the second call by the clock and of all cores: the first one warms up."""

    def finished() -> R:
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # its work is only queued until then
        return result

    finished()
    clock, cores = time.perf_counter(), time.process_time()
    result = finished()
    return (time.perf_counter() - clock, time.process_time() - cores), result
