"""Folders as people have them, through the commands: a subset of ImageNet's classes, an empty class, a folder too high.

Each message's advice is followed as it stands, and must work.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from robustbench_lift.cli import app
from robustbench_lift.data.classes import wnids
from robustbench_lift.runs import Cell, Run

NAMES = (wnids()[0], wnids()[10], wnids()[600], wnids()[999])
CELL = Cell("corruption", "fog", 3)
CONDITION = ("--corruptions", "fog", "--severities", "3")
NETWORK = "resnet8/max?num_classes={}@random"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")


def call(*arguments: str, code: int) -> str:
    """What a command prints."""
    found = CliRunner().invoke(app, list(arguments))
    assert found.exit_code == code, found.output
    assert "Traceback" not in found.output
    return found.output


def evaluate(data: str, *, classes: int, code: int, protocols: str = "clean") -> str:
    """What `run` prints of an untrained network of so many classes."""
    options = ("--normaliser", "none", "--no-report", "--allow-chance", "--device", "cpu", "--out", "out")
    condition = CONDITION if "corruption" in protocols else ()
    network = NETWORK.format(classes)
    return call("run", network, "--data", data, "--protocols", protocols, *condition, *options, code=code)


def stored(cell: Cell = CELL) -> dict[str, int]:
    """Id -> label of the cell of the one run."""
    (folder,) = {path.parent for path in Path("out").rglob("run.json")}
    found = Run.open(folder).read(cell)
    return dict(zip(found.ids.tolist(), found.labels.tolist(), strict=True))


def test_a_subset_of_imagenet_and_its_generated_corruptions(make: SimpleNamespace) -> None:
    make.write(Path("in4"), make.validation(NAMES))
    said = evaluate("imagenet:in4", classes=4, code=3)
    assert "4 of the 1,000 class folders" in said
    assert "?classes=partial for networks of all 1,000 classes" in said
    assert "?classes=subset for networks that were trained on these classes alone" in said

    call("corrupt", "in4", "in4-c", *CONDITION, "--workers", "1", code=0)
    assert "?classes=subset" in evaluate("imagenet-c:in4-c", classes=4, code=3, protocols="corruption")
    both = "imagenet:in4?classes=subset,imagenet-c:in4-c"
    said = evaluate(both, classes=4, code=2, protocols="clean,corruption")
    assert "give ?classes=subset to every part of the data spec" in said
    evaluate(f"{both}?classes=subset", classes=4, code=0, protocols="clean,corruption")
    expected = {name[:-5]: NAMES.index(name.partition("/")[0]) for name in make.validation(NAMES)}
    assert stored() == expected
    assert stored(Cell("clean", "clean", 0)) == expected


def test_the_corruptions_of_a_subset_alone(make: SimpleNamespace) -> None:
    make.write(Path("in4"), make.validation(NAMES))
    call("corrupt", "in4", "in4-c", *CONDITION, "--workers", "1", code=0)
    evaluate("imagenet-c:in4-c?classes=subset", classes=4, code=0, protocols="corruption")
    assert sorted(set(stored().values())) == [0, 1, 2, 3]


def test_all_thousand_classes_compete_on_a_part(make: SimpleNamespace) -> None:
    make.write(Path("in4"), make.validation(NAMES))
    said = evaluate("imagenet:in4?classes=subset", classes=1000, code=2)
    assert "1000 outputs" in said
    assert "?classes=partial" in said
    said = evaluate("imagenet:in4?classes=partial", classes=4, code=2)
    assert "4 outputs" in said
    assert "?classes=subset" in said
    evaluate("imagenet:in4?classes=partial", classes=1000, code=0)
    assert sorted(set(stored(Cell("clean", "clean", 0)).values())) == [0, 10, 600, 999]


@pytest.mark.parametrize(
    ("kind", "names", "empty", "options"),
    [
        ("folder", ("ant", "bee", "cow"), "bat", ""),
        ("imagenet", (NAMES[0], NAMES[2], NAMES[3]), NAMES[1], "?classes=subset"),
        ("imagenet", (NAMES[0], NAMES[2], NAMES[3]), NAMES[1], "?classes=partial"),
    ],
)
def test_an_empty_class_keeps_its_number_when_the_advice_is_followed(
    make: SimpleNamespace, kind: str, names: tuple[str, ...], empty: str, options: str
) -> None:
    make.write(Path("d"), make.validation(names))
    (Path("d") / empty).mkdir()
    said = call("check", f"{kind}:d{options}", code=3)
    assert f"class folders without images (.bmp, .jpeg, .jpg, .png, .ppm, .tif, .tiff, .webp): {empty}." in said
    assert "remove" not in said.casefold()
    advice = re.search(r"say \?(\S+=\S+) in the data spec", said)
    assert advice is not None, said
    classes = 1000 if "partial" in options else 4
    evaluate(f"{kind}:d{options}{'&' if options else '?'}{advice[1]}", classes=classes, code=0)
    numbers = [0, 600, 999] if "partial" in options else [0, 2, 3]
    assert sorted(set(stored(Cell("clean", "clean", 0)).values())) == numbers


def test_where_no_option_allows_an_empty_class_none_is_named(make: SimpleNamespace) -> None:
    make.write(Path("d"), make.validation(wnids()[:199], each=1))
    (Path("d") / wnids()[199]).mkdir()
    said = call("check", "tiny-imagenet:d", code=3)
    assert f".tiff, .webp): {wnids()[199]}. Extract the rest.\n" in said
    assert "empty=allow" not in said


@pytest.mark.parametrize("kind", ["imagenet", "folder"])
@pytest.mark.parametrize("above", ["val", "imagenet/val", "ILSVRC/Data/CLS-LOC/val"])
def test_folders_above_the_class_folders_lead_to_them(make: SimpleNamespace, kind: str, above: str) -> None:
    make.write(Path("top") / above, make.validation(NAMES))
    make.write(Path("top") / above.removesuffix("val") / "train", make.validation(NAMES))
    place, steps = "top", 0
    while place != f"top/{above}":
        said = call("check", f"{kind}:{place}", code=3)
        advice = re.search(r"Name it: (\S+)\.$", said, re.M)
        assert advice is not None, said
        place, steps = advice[1], steps + 1
        assert steps < 6, place
    assert steps == 1 or kind == "folder"
    if kind == "folder":
        assert "8 images in 4 classes" in call("check", f"folder:{place}", code=0)
    else:
        assert "4 of the 1,000 class folders" in call("check", f"imagenet:{place}", code=3)


def test_corrupt_takes_a_path_and_says_which_was_meant(make: SimpleNamespace) -> None:
    make.write(Path("in4"), make.validation(NAMES))
    said = call("corrupt", "imagenet:in4", "in4-c", code=2)
    assert "imagenet:in4 is not a folder. A path is meant here, no kind of data: in4." in said
