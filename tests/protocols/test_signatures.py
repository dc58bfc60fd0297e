"""Signature lines are frozen: scores stand beside each other by them, so that no line may change unnoticed.

signatures.json has the lines, cells and frames of every protocol over every family of data. To add a request, write it
into `REQUESTS`, then `python tests/protocols/test_signatures.py`; a line that is there already must not change.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).with_name("signatures.json")

PART = "?classes=partial"
FEW: dict[str, Any] = {"corruptions": ("fog", "snow"), "severities": (1, 3), "perturbations": ("tilt", "brightness")}
CIFAR: dict[str, Any] = {"corruptions": ("fog", "contrast"), "perturbations": ("tilt", "brightness")}
REQUESTS: dict[str, dict[str, Any]] = {
    "photos": {"data": "photos"},
    "photos, stored": {"data": "photos", "storage": "official", "seed": 3, "difficulty": 2},
    "photos, parts": {"data": "photos", "limit": 30, "severities": (5, 1), "corruptions": ("snow", "fog")},
    "photos, everything": {"data": "photos", "corruptions": ("all19",), "perturbations": ("all14",)},
    "photos, diagonal": {"data": "photos", "protocols": ("shift",), "shift_mode": "diagonal"},
    "photos, parity": {"data": "photos", "protocols": ("shift", "clean"), "shift_mode": "parity", "draws": 2},
    "photos, imagecorruptions": {"data": "photos", "protocols": ("corruption",), "variant": "imagecorruptions"},
    "imagenet": {"data": f"imagenet:@/val{PART}"},
    "imagenet, parts": {"data": f"imagenet:@/val{PART}", **FEW, "storage": "none", "limit": 4, "difficulty": 3},
    "imagenet, a model's geometry": {
        "data": f"imagenet:@/val{PART}&resize=232&crop=128&interpolation=bicubic&table=nearest",
    },
    "imagenet, 299": {"data": f"imagenet:@/val{PART}&resize=342&crop=299", "protocols": ("clean", "corruption")},
    "imagenet, imagecorruptions": {
        "data": f"imagenet:@/val{PART}&crop=160",
        "protocols": ("corruption", "shift"),
        "variant": "imagecorruptions",
    },
    "imagenet, official corruptions": {"data": f"imagenet:@/val{PART},imagenet-c:@/c{PART}", **FEW},
    "imagenet-c": {"data": f"imagenet-c:@/c{PART}", "protocols": ("corruption",), **FEW},
    "imagenet-c, parts": {"data": f"imagenet-c:@/c{PART}", "protocols": ("corruption",), **FEW, "limit": 3},
    "imagenet-p": {"data": f"imagenet-p:@/p{PART}", "protocols": ("perturbation",), **FEW, "difficulty": 2},
    "folder": {"data": "folder:@/val", "draws": 3},
    "folder, named": {"data": "folder:@/val?name=mine&table=nearest&crop=96", "limit": 5},
    "tiny-imagenet": {"data": "tiny-imagenet:@/tiny"},
    "tiny-imagenet, official corruptions": {
        "data": "tiny-imagenet:@/tiny,tiny-imagenet-c:@/tiny-c",
        "corruptions": ("fog",),
        "severities": (2,),
    },
    "tiny-imagenet-c": {
        "data": "tiny-imagenet-c:@/tiny-c",
        "protocols": ("corruption",),
        "corruptions": ("fog",),
        "severities": (2,),
    },
    "cifar10": {"data": "cifar10:@/cifar/clean.npz"},
    "cifar100, parts": {"data": "cifar100:@/cifar/clean.npz?rows=3-15", "limit": 7},
    "cifar10, official": {"data": "cifar10:@/cifar/clean.npz,cifar10-c:@/cifar/c,cifar10-p:@/cifar/p", **CIFAR},
    "cifar10-c": {"data": "cifar10-c:@/cifar/c", "protocols": ("corruption",), **CIFAR},
    "cifar10-p": {"data": "cifar10-p:@/cifar/p", "protocols": ("perturbation",), **CIFAR},
    "cifar100-c": {"data": "cifar100-c:@/cifar/c", "protocols": ("corruption",), **CIFAR, "limit": 11},
    "cifar100-p": {"data": "cifar100-p:@/cifar/p", "protocols": ("perturbation",), **CIFAR},
}
"""Name -> arguments of a Request; `@` is the folder of the families."""


def described(protocols: Iterable[Any], common: dict[str, str], line: Any) -> dict[str, Any]:
    """What is frozen of the protocols of a request: the line, and of every cell its frames."""
    made = list(protocols)
    fields = {protocol.name: protocol.fields() for protocol in made}
    cells = {cell.key: protocol.frames(cell) for protocol in made for cell in protocol.cells()}
    counts = {protocol.name: len(protocol.images(protocol.cells()[0]).ids) for protocol in made}
    return {"line": line({"common": common, **fields}), "images": counts, "cells": cells}


def request(name: str, families: Path) -> dict[str, Any]:
    """The arguments of a request over the families in a folder."""
    arguments = REQUESTS[name]
    return {**arguments, "data": arguments["data"].replace("@", str(families))}


def found(name: str, families: Path) -> dict[str, Any]:
    """What a request gives now."""
    from robustbench_lift.protocols import Request
    from robustbench_lift.runs import signature_line

    protocols = Request(**request(name, families)).build()
    identity = protocols[0].data
    common = {"data": f"{identity.name}@{identity.fingerprint[:8]}", "n": str(identity.images)}
    return described(protocols, common, signature_line)


@pytest.mark.parametrize("name", REQUESTS)
def test_signatures_are_frozen(name: str, families: Path) -> None:
    frozen = json.loads(FILE.read_text(encoding="ascii"))
    assert found(name, families) == frozen[name]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import write_families

    with tempfile.TemporaryDirectory() as folder:
        root = write_families(Path(folder))
        lines = {name: found(name, root) for name in REQUESTS}
    FILE.write_text(json.dumps(lines, indent=1) + "\n", encoding="ascii")
