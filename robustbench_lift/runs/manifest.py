"""run.json: what the cells of a run mean, and what must agree for two runs to be one or to compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from robustbench_lift.errors import DataError
from robustbench_lift.files import read_json
from robustbench_lift.runs.cells import Cell

SCHEMA = 2
"""Layout of a run that is written; 1 is read."""
SIGNATURE = 1
"""Version of the signature line."""
MOST = 10**9
"""No count in a run is larger."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """run.json: everything that fixes what the cells of a run mean."""

    model: dict[str, Any]
    """spec, name, arch, pooling, placement, weights_sha256, parameters, num_classes, preprocessing, card, notes."""
    data: dict[str, Any]
    """name, images (count), classes (count), sets (of each protocol: count, sha256 of its ids and labels, and of the
    sizes and a sample of its files)."""
    signature: dict[str, dict[str, str]]
    """Fields that fix the protocol: `common` and one entry a protocol."""
    cells: tuple[str, ...]
    """Keys of all cells that a complete run has."""
    normaliser: str | None = None
    """What CE and FR are divided by: `alexnet` (the published ImageNet constants), a path of a run relative to
    this run's folder, or None when nothing fits."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """versions, git revision, device that was used, command, time, and how many files beside the images were left out,
    by protocol and reason: printed, never compared."""
    schema: int = SCHEMA
    """Version of this layout."""

    @classmethod
    def read(cls, file: Path) -> Manifest:
        """The manifest in a file.

        Raises:
            OSError: it cannot be read.
            DataError: it is damaged, or of a newer layout; the message names the field.
        """
        try:
            raw = read_json(file)
            if isinstance(raw, dict) and _count(raw.get("schema")) and raw["schema"] > SCHEMA:
                raise DataError(
                    f"{file.parent} has run layout {raw['schema']}; this version reads {SCHEMA}. Update it."
                )
            return cls._checked(raw)
        except _FieldError as error:
            raise DataError(
                f"{file} is damaged ({error}). Restore it from a copy, or delete the whole folder."
            ) from None
        except DataError as error:
            if "run layout" in str(error):
                raise
            raise DataError(
                f"{file} is damaged ({error}). Restore it from a copy, or delete the whole folder."
            ) from None

    @classmethod
    def _checked(cls, raw: Any) -> Manifest:
        _expect(raw, "run.json", _OBJECT)
        for name, kind in FIELDS.items():
            where, _, key = name.rpartition(".")
            holder = raw
            for step in where.split(".") if where else ():
                holder = holder.get(step, {})
            if key in holder:
                _expect(holder[key], name, kind)
            elif name in NEEDED:
                raise _FieldError(f"{name} is missing")
        for name, entry in raw["data"].get("sets", {}).items():
            _expect(entry.get("images"), f"data.sets.{name}.images", _COUNT)
            _expect(entry.get("fingerprint"), f"data.sets.{name}.fingerprint", _OPTIONAL)
            _expect(entry.get("files"), f"data.sets.{name}.files", _OPTIONAL)
        for key in raw["cells"]:
            try:
                Cell.parse(key)
            except ValueError as error:
                raise _FieldError(f"cells: {error}") from None
        left = set(raw) - {f for f in FIELDS if "." not in f}
        if left:
            raise _FieldError(f"unknown fields: {', '.join(sorted(left))[:100]}")
        return cls(**{**raw, "cells": tuple(raw["cells"])})

    def text(self) -> bytes:
        """The bytes of run.json."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @property
    def sets(self) -> dict[str, Any]:
        """Of each protocol: number of images and sha256 of their ids, labels and pixels."""
        return dict(self.data.get("sets", {}))

    def images(self, protocol: str) -> int:
        """How many images the cells of a protocol have."""
        return int(self.sets.get(protocol, self.data)["images"])

    def joined(self, other: Manifest) -> Manifest:
        """This run with the cells, protocols and image sets of another one of the same identity."""
        sets = {**self.sets, **other.sets}
        left_out = {**other.provenance.get("left_out", {}), **self.provenance.get("left_out", {})}
        return replace(
            self,
            data={**self.data, **({"sets": sets} if sets else {})},
            signature={**self.signature, **other.signature},
            cells=tuple(dict.fromkeys((*self.cells, *other.cells))),
            normaliser=self.normaliser or other.normaliser,
            provenance={**self.provenance, **({"left_out": left_out} if left_out else {})},
        )

    def identity(self, *, common_to: Manifest) -> dict[str, Any]:
        """What must equal the other manifest's for their cells to lie in one folder: of protocols, those of both."""
        both = [name for name in self.signature if name in common_to.signature]
        sets = {}
        for name in both:
            if name in self.sets:
                # a run of an earlier version knows fewer marks of its images
                other = common_to.sets.get(name, self.sets[name])
                sets[name] = {key: value for key, value in self.sets[name].items() if key in other}
        return {
            "weights": self.model.get("weights_sha256"),
            "model": {k: self.model.get(k) for k in ("arch", "pooling", "placement", "preprocessing")},
            "data": {**self.data, "sets": sets},
            "signature": {name: self.signature[name] for name in both},
        }

    def cell_identity(self, protocol: str) -> str:
        """What every cell of a protocol carries: a sha256 over the weights and all that fixes the protocol."""
        fixed = {
            "weights": self.model.get("weights_sha256"),
            "model": {k: self.model.get(k) for k in ("arch", "pooling", "placement", "preprocessing")},
            "signature": [self.signature.get("common"), self.signature.get(protocol)],
            "images": self.sets.get(protocol, self.data).get("fingerprint"),
        }
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


# ---------------------------------------------------------------- what the fields of run.json must be


class _FieldError(DataError):
    """A field that is not what it must be."""


Kind = tuple[str, Callable[[Any], bool]]


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


_TEXT: Kind = ("text", lambda value: isinstance(value, str))
_NAME: Kind = ("text that is not empty", lambda value: isinstance(value, str) and value != "")
_OPTIONAL: Kind = ("text or null", lambda value: value is None or isinstance(value, str))
_COUNT: Kind = (f"a whole number from 0 to {MOST}", _count)
_OBJECT: Kind = ("an object", lambda value: isinstance(value, dict))
_OBJECTS: Kind = (
    "an object of objects",
    lambda value: isinstance(value, dict) and all(isinstance(v, dict) for v in value.values()),
)
_TEXTS: Kind = ("an object of texts", _texts)
_FIELDS: Kind = ("objects of texts", lambda value: isinstance(value, dict) and all(map(_texts, value.values())))
_LIST: Kind = ("a list of texts", lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value))

FIELDS: Mapping[str, Kind] = {
    "model": _OBJECT,
    "model.name": _NAME,
    "model.spec": _TEXT,
    "model.arch": _TEXT,
    "model.pooling": _OPTIONAL,
    "model.placement": _OPTIONAL,
    "model.weights_sha256": _TEXT,
    "model.parameters": _COUNT,
    "model.num_classes": _COUNT,
    "model.preprocessing": _OBJECT,
    "model.card": _TEXTS,
    "model.notes": _LIST,
    "data": _OBJECT,
    "data.name": _TEXT,
    "data.images": _COUNT,
    "data.classes": _COUNT,
    "data.sets": _OBJECTS,
    "signature": _FIELDS,
    "cells": _LIST,
    "normaliser": _OPTIONAL,
    "provenance": _OBJECT,
    "provenance.versions": _OBJECT,
    "provenance.git": _OPTIONAL,
    "provenance.device": _TEXT,
    "provenance.machine": _TEXT,
    "provenance.command": _TEXT,
    "provenance.time": _TEXT,
    "provenance.left_out": _OBJECTS,
    "schema": _COUNT,
}
NEEDED = frozenset({"model", "model.name", "data", "data.images", "signature", "cells", "schema"})


def _expect(value: Any, name: str, kind: Kind) -> None:
    words, fits = kind
    if not fits(value):
        raise _FieldError(f"{name} is {str(value)[:60]!r}, expected {words}")


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Leaves in which two nested mappings differ, as `field: a != b`.

    >>> differences({"x": {"seed": "0"}}, {"x": {"seed": "1"}})
    ['x.seed: 0 != 1']
    """
    found: list[str] = []
    for key in sorted(set(a) | set(b)):
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append(f"{prefix}{key}: {left} != {right}")
    return found


def signature_line(signature: Mapping[str, Mapping[str, str]]) -> str:
    """The protocol in one line, made to be pasted beside a score.

    >>> signature_line({"common": {"data": "photos", "seed": "0"}, "corruption": {"variant": "imagenet-c"}})
    'rbl1|data:photos|seed:0|corruption(variant:imagenet-c)'
    """
    parts = [f"rbl{SIGNATURE}"] + [f"{k}:{v}" for k, v in signature.get("common", {}).items()]
    for protocol, fields in signature.items():
        if protocol != "common":
            inner = ",".join(f"{k}:{v}" for k, v in fields.items())
            parts.append(f"{protocol}({inner})" if inner else protocol)
    return "|".join(parts)
