"""The report document: one JSON value from which every table, figure and page is rendered.

    runs -> build.document(runs) -> Document -> tables, figures, page

A document holds numbers only (fractions), never text that depends on a renderer, so that a table can be rendered
anew, years later, without the predictions. `SCHEMA` is raised when a field changes its meaning.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustbench_lift.errors import DataError
from robustbench_lift.tables.table import Value

SCHEMA = 2
"""Version of the layout of `document.json`."""


@dataclass(frozen=True, slots=True)
class CorruptionResult:
    """One corruption of one model."""

    errors: tuple[float | None, ...]
    """Top-1 error at severities 1..5; None where the cell is missing."""
    calibration: tuple[float | None, ...]
    """Expected calibration error at severities 1..5; None where the cell is missing."""
    mean_error: Value
    """Mean of the five errors; unknown when one is missing."""
    ce: Value
    """Corruption error: the five errors over the normaliser's five; unknown without a normaliser."""


@dataclass(frozen=True, slots=True)
class PerturbationResult:
    """One perturbation of one model."""

    flip_probability: Value
    """Fraction of compared frame pairs whose top-1 class differs."""
    fr: Value
    """Flip rate: the flip probability over the normaliser's; unknown without a normaliser."""
    top5_distance: Value
    """Mean top-5 distance of compared frame pairs, unnormalised, in ranks."""


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability diagram."""

    count: int
    """Predictions in the bin."""
    confidence: float | None
    """Their mean confidence."""
    accuracy: float | None
    """The fraction of them that is right."""


@dataclass(frozen=True, slots=True)
class Model:
    """One run: the model, what it was shown, and every number."""

    label: str
    """Short label, unique in the document: the pooling where that says enough."""
    name: str
    """The model's name."""
    spec: str
    """The model spec that re-loads it."""
    arch: str
    """Backbone."""
    pooling: str
    """Pooling, empty when the model has none by name."""
    placement: str
    """Where the pooling sits, empty when unknown."""
    parameters: int
    """Number of parameters."""
    weights_sha256: str
    """Hash of the weights."""
    training: dict[str, str]
    """Settings of the recipe that made the weights, from their card; empty when unknown."""
    preprocessing: str
    """Resize, crop and normalisation in words."""
    group: str
    """Key of the `Group` of comparable runs that it belongs to."""
    is_normaliser: bool
    """Whether other runs of the document are divided by it; such a run is shown, but takes no part in best marks."""
    counts: dict[str, int]
    """Images of each protocol."""
    cells: int
    """Cells that a complete run has."""
    missing: tuple[str, ...]
    """Keys of the cells that are not there."""
    headline: dict[str, Value]
    """The headline numbers of `scores.numbers.NUMBERS`."""
    corruptions: dict[str, CorruptionResult]
    """By corruption, in benchmark order."""
    perturbations: dict[str, PerturbationResult]
    """By perturbation, in benchmark order."""
    reliability: dict[str, tuple[Bin, ...]]
    """`clean` and `severity 1`..`severity 5` (all corruptions together), bins of equal width."""
    provenance: dict[str, str]
    """Versions, device, git revision, command of the evaluation."""


@dataclass(frozen=True, slots=True)
class Group:
    """Runs whose numbers may stand in one column."""

    key: str
    """`a`, `b`, ... in the order of appearance; printed as a mark when there are several."""
    signature: str
    """The line that fixes the protocol."""
    fields: dict[str, dict[str, str]]
    """The same by protocol and field."""
    normaliser: str
    """What CE and FR are divided by, empty when nothing fits."""
    problem: str
    """Why a normaliser that the runs name cannot be used, empty when it can."""
    counts: dict[str, int]
    """Images of each protocol."""
    differs: tuple[str, ...]
    """Fields in which it differs from the first group."""


@dataclass(frozen=True, slots=True)
class Flips:
    """One sequence as the models of one group saw it."""

    perturbation: str
    """Name of the perturbation."""
    difficulty: int
    """1..3."""
    image: str
    """Id of the image."""
    label: int
    """Its class index."""
    group: str
    """Key of the group of the models."""
    predictions: dict[str, tuple[int, ...]]
    """Top-1 class of every frame, by model label."""
    confidence: dict[str, tuple[float, ...]]
    """Softmax probability of that class, by model label."""


@dataclass(frozen=True, slots=True)
class Document:
    """Everything that a report says."""

    title: str
    """Heading."""
    data: str
    """Name of the data set of the first run."""
    models: tuple[Model, ...]
    """In the order in which they are printed."""
    groups: tuple[Group, ...]
    """Which models may be compared."""
    ties: dict[str, tuple[tuple[str, str], ...]]
    """For a metric (`mce`, `ce/fog`, `fr/tilt`, ...): pairs of labels whose paired difference has an interval that
    holds zero."""
    tie_rule: str
    """How ties were found, in words; empty when they were not looked for."""
    flips: tuple[Flips, ...] = ()
    """Sequences in which models change their mind."""
    class_names: tuple[str, ...] = ()
    """Names of the classes, empty when they are not known."""
    command: str = ""
    """The command that makes this report again."""
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    """Versions of the software that made the report."""
    confidence: float = 0.95
    """Level of all intervals."""
    schema: int = SCHEMA
    """Version of this layout."""

    def model(self, label: str) -> Model:
        """The model with a label."""
        return next(model for model in self.models if model.label == label)

    def group(self, key: str) -> Group:
        """The group with a key."""
        return next(group for group in self.groups if group.key == key)

    def to_json(self) -> str:
        """The document as JSON text; floats keep every digit, so that reading it back gives an equal document."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Document:
        """Read a document back.

        Raises:
            DataError: the text is not a report document, or is of another layout.
        """
        try:
            raw = json.loads(text)
            found = raw["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"this is not a report document ({error}): expected the document.json of a report."
            ) from None
        if found != SCHEMA:
            raise DataError(f"this report document has layout {found}; this version reads {SCHEMA}. Make it anew.")
        try:
            document = _read(cls, raw)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"this report document is damaged ({error}). Make it anew from the runs.") from None
        assert isinstance(document, Document)
        return document


def _read(kind: Any, raw: Any) -> Any:
    """A value of an annotated type out of plain JSON."""
    origin = typing.get_origin(kind)
    if origin is types.UnionType:  # float | None
        return None if raw is None else _read(typing.get_args(kind)[0], raw)
    if origin is tuple:
        inner = typing.get_args(kind)
        if inner[-1] is Ellipsis:
            return tuple(_read(inner[0], item) for item in raw)
        return tuple(_read(one, item) for one, item in zip(inner, raw, strict=True))
    if origin is dict:
        value = typing.get_args(kind)[1]
        return {str(key): _read(value, item) for key, item in raw.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if not isinstance(raw, Mapping) or set(raw) != set(hints):
            raise ValueError(f"{kind.__name__} has other fields")
        return kind(**{name: _read(hint, raw[name]) for name, hint in hints.items()})
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, kind):
        raise ValueError(f"{raw!r} is not a {kind.__name__}")
    return raw
