"""The report document: one JSON value from which every table, figure and page is rendered.

    runs -> build.document(runs) -> Document -> tables, figures, page

A document holds numbers only (fractions), never text that depends on a renderer, so that a table can be rendered
anew, years later, without the predictions. `SCHEMA` is raised when a field changes its meaning.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustbench_lift.errors import DataError
from robustbench_lift.tables.table import Value
from robustbench_lift.text import printable

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
    others: dict[str, Value] = dataclasses.field(default_factory=dict)
    """Numbers of one condition that have no field of their own, by name (`mine/fog`): those of plug-ins."""

    def value(self, name: str) -> Value:
        """A number by name, as `scores.numbers` calls it: `mce`, `ce/fog`; unknown where the run does not have it."""
        family, slash, condition = name.partition("/")
        if not slash:
            return self.headline.get(name, Value())
        if family not in FAMILIES:
            return self.others.get(name, Value())
        part, attribute = FAMILIES[family]
        found = getattr(getattr(self, part).get(condition), attribute, None)
        return found if isinstance(found, Value) else Value()

    def numbers(self) -> dict[str, Value]:
        """Every number, by name."""
        parts = (f"{key}/{name}" for key, (part, _) in FAMILIES.items() for name in getattr(self, part))
        return {**self.headline, **{name: self.value(name) for name in parts}, **self.others}


FAMILIES = {
    "ce": ("corruptions", "ce"),
    "error": ("corruptions", "mean_error"),
    "fr": ("perturbations", "fr"),
    "fp": ("perturbations", "flip_probability"),
    "top5_distance": ("perturbations", "top5_distance"),
}
"""Where a model keeps the numbers of one condition: family -> (part, field)."""


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
    few_flips: dict[str, int] = dataclasses.field(default_factory=dict)
    """Perturbations on which the normaliser flips too seldom for a sharp FR, and on how many frame pairs."""


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
            raw = json.loads(text, parse_constant=_no_number)
            found = raw["schema"]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise DataError(
                f"this is not a report document ({_reason(error)}): expected the document.json of a report."
            ) from None
        if found != SCHEMA:
            raise DataError(
                f"this report document has layout {found!s:.20}; this version reads {SCHEMA}. Make it anew."
            )
        try:
            document = _read(cls, raw)
            assert isinstance(document, Document)
            document.check()
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(
                f"this report document is damaged ({_reason(error)}). Make it anew from the runs."
            ) from None
        return document

    def check(self) -> None:
        """Refuse what no report says: marks of unknown groups, labels that are not unique, lists that do not fit.

        Raises:
            ValueError: what is wrong.
        """
        keys, labels = [g.key for g in self.groups], [m.label for m in self.models]
        if not self.models or not self.groups:
            raise ValueError("it has no models or no groups")
        for what, names in (("groups", keys), ("models", labels)):
            if len(set(names)) < len(names):
                raise ValueError(f"two {what} have one name")
        for model in self.models:
            if model.group not in keys:
                raise ValueError(f"{model.label!s:.60} is in no group")
            if any(len(c.errors) != 5 or len(c.calibration) != 5 for c in model.corruptions.values()):
                raise ValueError(f"{model.label!s:.60} has corruptions without five severities")
        for flips in self.flips:
            lengths = {len(row) for row in (*flips.predictions.values(), *flips.confidence.values())}
            if set(flips.predictions) != set(flips.confidence) or len(lengths) != 1 or 0 in lengths:
                raise ValueError(f"the frames of {flips.image!s:.60} do not fit together")
        if not 0 < self.confidence < 1:
            raise ValueError(f"a confidence level of {self.confidence}")


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _reason(error: Exception) -> str:
    return printable(str(error) if not isinstance(error, RecursionError) else "it is nested too deeply")


def _read(kind: Any, raw: Any) -> Any:
    """A value of an annotated type out of plain JSON."""
    origin = typing.get_origin(kind)
    if origin is types.UnionType:  # float | None
        return None if raw is None else _read(typing.get_args(kind)[0], raw)
    if origin is tuple:
        if not isinstance(raw, list):
            raise ValueError(f"{raw!r:.60} is not a list")
        inner = typing.get_args(kind)
        if inner[-1] is Ellipsis:
            return tuple(_read(inner[0], item) for item in raw)
        return tuple(_read(one, item) for one, item in zip(inner, raw, strict=True))
    if origin is dict:
        value = typing.get_args(kind)[1]
        return {_text(key): _read(value, item) for key, item in raw.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints, added = typing.get_type_hints(kind), {f.name for f in dataclasses.fields(kind) if _optional(f)}
        if not isinstance(raw, Mapping) or not set(hints) - added <= set(raw) <= set(hints):
            raise ValueError(f"{kind.__name__} has other fields")
        return kind(**{name: _read(hint, raw[name]) for name, hint in hints.items() if name in raw})
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise ValueError(f"{raw!r:.60} is not a {kind.__name__}")
    if isinstance(raw, float) and not math.isfinite(raw):
        raise ValueError(f"{raw} is not a finite number")
    return _text(raw) if isinstance(raw, str) else raw


def _text(text: str) -> str:
    """Text without halves of surrogate pairs, which JSON can say and no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _optional(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
