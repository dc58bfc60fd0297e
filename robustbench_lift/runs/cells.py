"""One cell of a run: which it is, and what a model answered in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt

from robustbench_lift.errors import DataError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_lift.data.base import ImageSet

PART = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.=-]{0,99}")
"""What a protocol or condition may be called: it becomes a folder's name."""
TOP = 5
"""Classes that are stored of each answer."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One (protocol, condition, severity) of a run.

    >>> Cell("corruption", "fog", 3).key
    'corruption/fog/3'
    """

    protocol: str
    """clean, corruption, perturbation, shift, or the name of another registered protocol."""
    condition: str
    """Name of the corruption, perturbation or kind of shift; `clean` for the clean protocol."""
    severity: int
    """1..5 for a corruption, difficulty 1..3 for a perturbation, 0 where there is none."""

    @property
    def key(self) -> str:
        """The cell as a path inside a run."""
        return f"{self.protocol}/{self.condition}/{self.severity}"

    @classmethod
    def parse(cls, key: str) -> Cell:
        """The cell of a key.

        Raises:
            ValueError: it is no key; a key never leads out of the run's folder.

        >>> Cell.parse("clean/clean/0")
        Cell(protocol='clean', condition='clean', severity=0)
        """
        protocol, slash, rest = key.partition("/")
        condition, slash, severity = rest.partition("/")
        if not (
            slash and PART.fullmatch(protocol) and PART.fullmatch(condition) and re.fullmatch("[0-9]{1,3}", severity)
        ):
            raise ValueError(f"{key[:100]!r} is no cell: <protocol>/<condition>/<severity> was expected")
        return cls(protocol, condition, int(severity))


Shape = tuple[int | str, ...]
"""Sizes of an array after its first axis, the images; a letter is a size that a record has once, such as frames."""


@dataclass(frozen=True)
class Record:
    """What a cell stores: arrays with a row an image, sorted by id, so that order never matters.

    A subclass names its arrays (`ARRAYS`), says how they follow from a network's output (`measure`) and which values
    they may have (`check`); evaluating, storing, sharing out and merging are the same for all.
    """

    ids: npt.NDArray[np.str_]
    """[n] stable image ids, unique, sorted."""

    KIND: ClassVar[str]
    """The name under which it is registered; every stored cell carries it."""
    ARRAYS: ClassVar[Mapping[str, tuple[str, Shape]]]
    """Type and shape of each array beside the ids."""
    ADDED: ClassVar[frozenset[str]] = frozenset()
    """Arrays that a cell may lack, as those of layout 1 do: None there."""
    TASK: ClassVar[str] = "classification"
    """What a network must do to be stored so."""
    READ: ClassVar[int] = 256
    """Most images that are read and rendered together, where no batch size is given."""

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, array in self.arrays().items():
            shape: Shape = ("n",) if name == "ids" else ("n", *self.ARRAYS[name][1])
            wanted = tuple(
                sizes.setdefault(size, have) if isinstance(size, str) else size
                for size, have in zip(shape, array.shape, strict=False)
            )
            if array.ndim != len(shape) or array.shape != wanted:
                expected = ", ".join(map(str, shape))
                raise DataError(
                    f"the arrays of a cell do not fit together: {name} has the shape {list(array.shape)}, expected "
                    f"[{expected}]" + "".join(f", {size} = {value}" for size, value in sizes.items()) + "."
                )
        if len(self.ids) > 1 and not bool(np.all(self.ids[:-1] < self.ids[1:])):
            raise DataError(f"ids must be unique and sorted; use {type(self).__name__}.from_rows(...).")

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, ids first."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in found.items() if array is not None}

    @classmethod
    def from_rows(cls, ids: Sequence[str] | npt.NDArray[np.str_], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """A record of rows in any order."""
        names = np.asarray(ids, dtype=np.str_)
        order = np.argsort(names)
        typed = {name: np.asarray(array, dtype=cls.ARRAYS[name][0])[order] for name, array in arrays.items()}
        return cls(names[order], **typed)

    @classmethod
    def joined(cls, shares: Sequence[Self]) -> Self:
        """One record of the rows of several; shares without rows are left out."""
        filled = [share.arrays() for share in shares if len(share.ids)] or [shares[0].arrays()]
        common = [name for name in filled[0] if all(name in share for share in filled)]
        whole = {name: np.concatenate([share[name] for share in filled]) for name in common}
        return cls.from_rows(whole.pop("ids"), whole)

    @classmethod
    def none(cls) -> Self:
        """A record of no image: the share of a job that got none."""
        return cls.from_rows(
            [],
            {
                name: np.zeros((0, *(1 if isinstance(size, str) else size for size in shape)))
                for name, (_, shape) in cls.ARRAYS.items()
            },
        )

    @classmethod
    def known(cls, images: ImageSet, rows: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """The arrays that need no network, of some images of a set."""
        return {}

    @classmethod
    def measure(cls, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The other arrays of m frames, each [m, ...], from their logits [m, K, ...] and targets [m, ...]."""
        raise NotImplementedError

    def check(self, classes: int) -> None:
        """Refuse values that no network gives.

        Args:
            classes: number of classes of the data.

        Raises:
            DataError: the array, what was found and what was expected.
        """
        raise NotImplementedError


R = TypeVar("R", bound=Record)
RECORDS: dict[str, type[Record]] = {}
"""Kinds of records by name."""


def record(name: str) -> Callable[[type[R]], type[R]]:
    """Register a kind of record: a decorator of its class."""

    def register(cls: type[R]) -> type[R]:
        if name in RECORDS:
            raise ValueError(f"record {name!r} of {cls.__module__} is already registered by {RECORDS[name].__module__}")
        cls.KIND = name
        RECORDS[name] = cls
        return cls

    return register


def record_kind(name: str) -> type[Record]:
    """The registered kind of a name."""
    if name not in RECORDS:
        raise unknown("kind of record", name, RECORDS)
    return RECORDS[name]


@record("classification")
@dataclass(frozen=True)
class Predictions(Record):
    """What a classifier answered in one cell.

    Each image is shown as T frames: one in clean and corruption cells, the frames of the sequence in
    perturbation cells, 2 * draws in shift cells (first and second window of each draw).
    """

    labels: npt.NDArray[np.int64]
    """[n] class indices, or -1 where the class is unknown, which only numbers that need no label can be made of."""
    top5: npt.NDArray[np.int16]
    """[n, T, 5] classes by descending logit, ties by class index; -1 where a model has fewer than five."""
    confidence: npt.NDArray[np.float32]
    """[n, T] softmax probability of the top-1 class, 0..1."""
    label_probability: npt.NDArray[np.float32] | None = None
    """[n, T] softmax probability p_y of the label, 0..1 (its -log is the negative log-likelihood), 0 where the label is
    unknown; None in cells of layout 1."""
    squared_probability: npt.NDArray[np.float32] | None = None
    """[n, T] sum over classes of p_k^2, 0..1 (the Brier score is this - 2 p_y + 1); None in cells of layout 1."""

    ARRAYS: ClassVar[Mapping[str, tuple[str, Shape]]] = {
        "labels": ("<i8", ()),
        "top5": ("<i2", ("T", TOP)),
        "confidence": ("<f4", ("T",)),
        "label_probability": ("<f4", ("T",)),
        "squared_probability": ("<f4", ("T",)),
    }
    ADDED: ClassVar[frozenset[str]] = frozenset({"label_probability", "squared_probability"})

    @classmethod
    def sorted(
        cls,
        ids: Sequence[str] | npt.NDArray[np.str_],
        labels: npt.NDArray[Any],
        top5: npt.NDArray[Any],
        confidence: npt.NDArray[Any],
        **probabilities: npt.NDArray[Any],
    ) -> Predictions:
        """Predictions from rows in any order."""
        return cls.from_rows(ids, {"labels": labels, "top5": top5, "confidence": confidence, **probabilities})

    @classmethod
    def known(cls, images: ImageSet, rows: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """The labels."""
        return {"labels": images.labels[list(rows)]}

    @classmethod
    def measure(cls, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Top-5 classes and probabilities of logits [m, K] and labels [m]; equal logits rank by class index.

        >>> import torch
        >>> found = Predictions.measure(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
        >>> found["top5"].tolist(), round(float(found["label_probability"]), 4)
        ([[1, 0, -1, -1, -1]], 0.2689)
        """
        import torch

        order = logits.sort(dim=1, descending=True, stable=True).indices[:, :TOP]
        if order.shape[1] < TOP:
            order = torch.nn.functional.pad(order, (0, TOP - order.shape[1]), value=-1)
        probabilities = logits.softmax(dim=1)
        return {
            "top5": order.to(torch.int16),
            "confidence": probabilities.amax(dim=1),
            "label_probability": probabilities.gather(1, targets[:, None].clamp(min=0))[:, 0] * (targets >= 0),
            "squared_probability": probabilities.square().sum(dim=1),
        }

    def check(self, classes: int) -> None:
        """Classes from 0 to classes - 1, or -1 where there is none, probabilities from 0 to 1."""
        for name, array in self.arrays().items():
            if name == "ids" or not array.size:
                continue
            low, high = (
                (-1 if name in ("top5", "labels") else 0),
                (classes - 1 if array.dtype.kind == "i" else 1 + 1e-5),
            )
            least, most = array.min(), array.max()
            if not (low <= least and most <= high):  # false for NaN as well
                raise DataError(f"{name} goes from {least} to {most}, expected {low} to {round(high)}")

    @property
    def top1(self) -> npt.NDArray[np.int64]:
        """[n, T] predicted classes."""
        return self.top5[:, :, 0].astype(np.int64)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """[n, T] whether the top-1 class is the label."""
        return np.asarray(self.top1 == self.labels[:, None])
