"""Requests: suites and their names, the held-out part, normalisers, and how little is listed before a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import corruptions
from robustbench_lift import LoadedModel, Request, Settings, evaluate
from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import CenterCrop
from robustbench_lift.data.kinds import KINDS, Kind, open_images
from robustbench_lift.data.photos import PhotoTest
from robustbench_lift.data.suites import expand
from robustbench_lift.data.tree import FileTree
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.protocols import SUITES, Corruption, Suite
from robustbench_lift.protocols.corruption import GeneratedCorruptions
from robustbench_lift.runs import Cell


def test_the_built_in_suites_are_the_benchmarks() -> None:
    assert SUITES["imagenet-c"].conditions == corruptions.BENCHMARK
    assert SUITES["imagenet-c-extra"].conditions == corruptions.EXTRA
    assert SUITES["imagenet-p"].conditions == corruptions.PERTURBATIONS
    assert SUITES["imagenet-p-extra"].conditions == corruptions.EXTRA_PERTURBATIONS
    for name in ("imagenet-c", "imagenet-c-extra", "imagenet-p", "imagenet-p-extra", "cifar-p", "imagenet-3dcc"):
        assert all(SUITES[name].category(condition) for condition in SUITES[name].conditions)


def test_noise_sequences_are_the_same_everywhere() -> None:
    from metrics.perturbation import is_noise

    names = (*corruptions.PERTURBATIONS, *corruptions.EXTRA_PERTURBATIONS)
    assert [is_noise(name) for name in names] == [corruptions.is_noise(name) for name in names]
    assert sum(map(is_noise, names)) == 3


def test_names_suites_and_all(monkeypatch: pytest.MonkeyPatch) -> None:
    nineteen = (*corruptions.BENCHMARK, *corruptions.EXTRA)
    assert expand("corruption", ("all19",), "imagenet-c") == nineteen
    assert expand("corruption", ("all",), "imagenet-c")[:19] == nineteen
    assert expand("corruption", ("fog", "imagenet-c"), "imagenet-c")[0] == "fog"
    assert expand("perturbation", ("imagenet-p-extra",), "imagenet-p") == corruptions.EXTRA_PERTURBATIONS
    with pytest.raises(UsageError, match="Did you mean 'imagenet-c-extra'"):
        expand("corruption", ("imagenet-c-extras",), "imagenet-c")
    monkeypatch.setitem(corruptions.CORRUPTIONS, "mine", corruptions.CORRUPTIONS["fog"])
    assert "mine" in expand("corruption", ("all",), "imagenet-c")
    assert expand("corruption", ("all19",), "imagenet-c") == nineteen, "a name with a number keeps its number"
    assert Request(corruptions=("mine",), protocols=("corruption",)).build()[0].fields()["set"] == "mine"


def test_a_suite_holds_each_condition_once() -> None:
    with pytest.raises(UsageError, match="fog"):
        Suite(
            name="bad",
            title="bad",
            protocol="corruption",
            conditions=("fog", "snow"),
            severities=(1,),
            categories={"Weather": ("snow",)},
            source="",
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "imagenet"}, "unknown variant 'imagenet'. Did you mean 'imagenet-c'"),
        ({"shift_mode": "diag"}, "unknown shift mode 'diag'"),
        ({"storage": "png"}, "unknown storage"),
        ({"corruptions": ("fog", "fog")}, "more than once"),
        ({"protocols": "clean"}, r"protocols must be a tuple of text, not 'clean'; write \('clean',\)"),
        ({"severities": 3}, r"severities must be a tuple of whole numbers, not 3; write \(3,\)"),
        ({"severities": (True,)}, "a tuple of whole numbers"),
        ({"limit": True}, "limit must be a whole number or None, not True"),
        ({"seed": 1.5}, "seed must be a whole number, not 1.5"),
        ({"shift_mode": None}, "shift_mode must be 'crop' or 'parity' or"),
    ],
)
def test_what_a_request_cannot_mean_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Request(**arguments)  # type: ignore[arg-type]


def test_a_request_of_lists_and_numpy_integers_is_one_of_tuples() -> None:
    asked = Request(protocols=["clean"], severities=[np.int64(1)], limit=np.int64(3))  # type: ignore[arg-type]
    assert asked == Request(protocols=("clean",), severities=(1,), limit=3)
    assert type(asked.limit) is int, "it is written into names and signatures"


@pytest.mark.parametrize("draws", [0, 10**12])
def test_draws_that_there_cannot_be_are_refused(draws: int) -> None:
    with pytest.raises(UsageError, match="at least one draw, and 1,000 at most"):
        Request(protocols=("shift",), draws=draws).build()


def test_what_training_holds_out_is_what_run_evaluates(families: Path) -> None:
    from robustbench_lift.training import RECIPES
    from robustbench_lift.training.data import open_data

    recipe = next(recipe for recipe in RECIPES.values() if recipe.data == "folders")
    place = f"folder:{families}/val"
    trained = open_data(recipe, data=place, hold_out=0.5)
    (clean,) = Request(data=f"{place}?part=test&hold_out=0.5", protocols=("clean",)).build()
    assert clean.images(clean.cells()[0]).ids == trained.images.ids
    assert clean.data.name == trained.images.name == "val-held-out"
    train = open_images(f"{place}?part=train&hold_out=0.5")
    everything = open_images(place)
    assert sorted((*train.ids, *trained.images.ids)) == list(everything.ids)
    assert not set(train.ids) & set(trained.images.ids)
    assert np.bincount(trained.images.labels).tolist() == [1, 1, 1]


def test_a_held_out_part_is_named_whole_and_alone(families: Path) -> None:
    place = f"cifar10:{families}/cifar/clean.npz"
    for text in (
        "part=test",
        "hold_out=0.25",
        "part=other&hold_out=0.25",
        "part=test&hold_out=2",
        "part=test&hold_out=x",
    ):
        with pytest.raises(UsageError, match=r"hold_out|part|fraction"):
            open_images(f"{place}?{text}")
    with pytest.raises(UsageError, match="hold_out"):
        Request(data=f"{place}?part=test&hold_out=0.5,cifar10-c:{families}/cifar/c").build()


@pytest.mark.parametrize(
    "data", ["imagenet:/v?classes=partial", "imagenet-c:/c?classes=partial", "folder:/v", "photos"]
)
def test_alexnets_constants_are_for_all_of_imagenet(data: str) -> None:
    with pytest.raises(UsageError, match=r"alexnet .*1,000 classes; it does not apply to"):
        Request(data=data).normaliser("alexnet")
    assert Request(data=data).normaliser(None) != "alexnet"


def test_alexnets_constants_are_for_imagenet_c_as_it_was_made() -> None:
    other = Request(data="imagenet:/v", variant="imagecorruptions")
    with pytest.raises(UsageError, match="imagecorruptions"):
        other.normaliser("alexnet")
    assert other.normaliser(None) is None
    assert other.normaliser("resnet18/max@w.pt") == "resnet18/max@w.pt"
    assert Request(data="imagenet:/v", variant="imagecorruptions", protocols=("perturbation",)).normaliser(None)
    assert Request(variant="imagecorruptions").normaliser(None) == "photos/alexnet", "measured on the same frames"
    assert Request(data="imagenet:/v,imagenet-c:/c").normaliser(None) == "alexnet"
    assert Request(data="imagenet:/v,imagenet-c:/c").normaliser("alexnet") == "alexnet"


def test_a_run_that_is_complete_lists_one_cell(families: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[tuple[str, int]] = []
    original = FileTree._cell

    def counted(tree: FileTree, condition: str, level: int) -> object:
        listed.append((condition, level))
        return original(tree, condition, level)

    monkeypatch.setattr(FileTree, "_cell", counted)
    request = Request(
        data=f"imagenet-c:{families}/c?classes=partial",
        protocols=("corruption",),
        corruptions=("fog", "snow"),
        severities=(1, 3),
    )
    network = LoadedModel.of(lambda x: x.mean((2, 3)).repeat(1, 334)[:, :1000], name="grey", num_classes=1000)
    for cells in ([("fog", 1), ("fog", 3), ("snow", 1), ("snow", 3)], [("fog", 1)]):
        protocols = request.build()
        assert protocols[0].count() == 6
        assert listed == [("fog", 1)]
        evaluate(network, protocols, run=tmp_path / "run", settings=Settings(device="cpu", allow_chance=True))
        assert listed == cells
        listed.clear()


class Uneven(GeneratedCorruptions):
    """A source whose cells show different images."""

    def images(self, cell: Cell) -> ImageSet:
        return PhotoTest(cell.severity)


def test_a_cell_of_other_images_is_refused_by_name() -> None:
    source = Uneven(clean=PhotoTest(1), geometry=CenterCrop(64))
    protocol = Corruption(source=source, conditions=("fog",), severities=(1, 2))
    first, second = protocol.cells()
    assert protocol.count() == len(protocol.images(first).ids) == 15
    with pytest.raises(DataError, match=r"corruption/fog/2 has 30 images"):
        protocol.images(second)


def test_every_kind_describes_itself() -> None:
    for name, kind in KINDS.items():
        assert isinstance(kind, Kind)
        assert kind.title.endswith(".")
        assert all(option.help.endswith(".") for option in kind.options), name
