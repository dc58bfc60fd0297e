"""One identity of a data set: protocols join a run in any order, and the signature does not depend on which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from robustbench_lift import LoadedModel, Request, Settings, evaluate
from robustbench_lift.data.geometry import CenterCrop
from robustbench_lift.data.photos import PhotoTest
from robustbench_lift.errors import IncomparableError
from robustbench_lift.protocols import Clean
from robustbench_lift.runs import Run

SETTINGS = Settings(device="cpu", allow_chance=True)


class Colours(nn.Module):
    """Answers by the mean colour."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(classes, 3, generator=torch.Generator().manual_seed(3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)) @ self.weight.T


def model(classes: int) -> LoadedModel:
    return LoadedModel.of(Colours(classes), name="colours", num_classes=classes)


def both(first: Request, second: Request, classes: int, folder: Path) -> Run:
    """A run to which the second request is added."""
    for request in (first, second):
        run = evaluate(model(classes), request.build(), run=folder, settings=SETTINGS)
    assert not run.missing()
    return run


def assert_same(one: Run, other: Run) -> None:
    assert one.manifest.signature == other.manifest.signature
    assert one.manifest.data == other.manifest.data
    assert set(one.manifest.cells) == set(other.manifest.cells)


def test_protocols_join_a_run_of_photographs_in_any_order(tmp_path: Path) -> None:
    clean = Request(protocols=("clean",))
    tilt = Request(protocols=("perturbation",), perturbations=("brightness",))
    one, other = both(clean, tilt, 15, tmp_path / "a"), both(tilt, clean, 15, tmp_path / "b")
    assert_same(one, other)
    assert one.manifest.signature["common"]["data"] == "photos@faa83961"
    assert one.manifest.signature["common"]["n"] == "480"
    assert one.manifest.sets["perturbation"]["images"] == 240


def test_protocols_join_a_run_of_cifar_in_any_order(families: Path, tmp_path: Path) -> None:
    clean = Request(data=f"cifar10:{families}/cifar/clean.npz", protocols=("clean", "shift"), draws=1)
    tree = Request(
        data=f"cifar10-c:{families}/cifar/c", protocols=("corruption",), corruptions=("fog",), severities=(2,)
    )
    one, other = both(clean, tree, 10, tmp_path / "a"), both(tree, clean, 10, tmp_path / "b")
    assert_same(one, other)
    together = Request(
        data=f"{clean.data},{tree.data}",
        protocols=("corruption", "shift", "clean"),
        corruptions=("fog",),
        severities=(2,),
        draws=1,
    )
    run = evaluate(model(10), together.build(), run=tmp_path / "c", settings=SETTINGS)
    assert_same(one, run)


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        ("photos", ("shift", "perturbation", "clean")),
        ("cifar10:@/cifar/clean.npz,cifar10-p:@/cifar/p", ("shift", "perturbation", "clean")),
        ("imagenet-c:@/c?classes=partial,imagenet-p:@/p?classes=partial", ("perturbation", "corruption")),
    ],
)
def test_the_identity_does_not_depend_on_the_protocols(data: str, asked: tuple[str, ...], families: Path) -> None:
    request = Request(
        data=data.replace("@", str(families)), corruptions=("fog",), severities=(3,), perturbations=("tilt",)
    )
    orders = (asked, asked[::-1], *((name,) for name in asked))
    assert len({replace(request, protocols=names).build()[0].data for names in orders}) == 1


def test_protocols_over_other_data_are_not_mixed(tmp_path: Path) -> None:
    two = [Clean(source=PhotoTest(n), geometry=CenterCrop(64)) for n in (1, 2)]
    with pytest.raises(IncomparableError, match=r"photos@.*\(15 images\).*photos@.*\(30 images\)"):
        evaluate(model(15), two, run=tmp_path / "run", settings=SETTINGS)
