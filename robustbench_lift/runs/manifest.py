"""run.json: what the cells of a run mean, and what must agree for two runs to be one or to compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """run.json: everything that fixes what the cells of a run mean."""

    model: dict[str, Any]
    """spec, name, arch, pooling, placement, weights_sha256, parameters, num_classes, preprocessing, card, notes."""
    data: dict[str, Any]
    """name, images (count), classes (count), sets (a protocol's count and sha256 of its ids, labels, pixels)."""
    signature: dict[str, dict[str, str]]
    """Fields that fix the protocol: `common` and one entry a protocol."""
    cells: tuple[str, ...]
    """Keys of all cells that a complete run has."""
    normaliser: str | None = None
    """What CE and FR are divided by: `alexnet` (the published ImageNet constants), a path of a run relative to
    this run's folder, or None when nothing fits."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """versions, git revision, device, command, time: told, never compared."""
    schema: int = SCHEMA
    """Version of this layout."""

    @property
    def sets(self) -> dict[str, Any]:
        """Of each protocol: number of images and sha256 of their ids, labels and pixels."""
        return dict(self.data.get("sets", {}))

    def joined(self, other: Manifest) -> Manifest:
        """This run with the cells, protocols and image sets of another one of the same identity."""
        sets = {**self.sets, **other.sets}
        return replace(
            self,
            data={**self.data, **({"sets": sets} if sets else {})},
            signature={**self.signature, **other.signature},
            cells=tuple(dict.fromkeys((*self.cells, *other.cells))),
            normaliser=self.normaliser or other.normaliser,
        )

    def identity(self, *, common_to: Manifest) -> dict[str, Any]:
        """What must equal the other manifest's for their cells to lie in one folder: of protocols, those of both."""
        both = [name for name in self.signature if name in common_to.signature]
        return {
            "weights": self.model.get("weights_sha256"),
            "model": {k: self.model.get(k) for k in ("arch", "pooling", "placement", "preprocessing")},
            "data": {**self.data, "sets": {name: self.sets[name] for name in both if name in self.sets}},
            "signature": {name: self.signature[name] for name in both},
        }


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
    parts = [f"rbl{SCHEMA}"] + [f"{k}:{v}" for k, v in signature.get("common", {}).items()]
    for protocol, fields in signature.items():
        if protocol != "common":
            inner = ",".join(f"{k}:{v}" for k, v in fields.items())
            parts.append(f"{protocol}({inner})" if inner else protocol)
    return "|".join(parts)
