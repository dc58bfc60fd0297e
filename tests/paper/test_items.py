"""Every item can be planned at every scale: its networks can be built, its recipe, data and hours are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from robustbench_lift.cli import app
from robustbench_lift.paper import ITEMS, SCALES, Study
from robustbench_lift.paper.places import PLACES
from robustbench_lift.paper.runner import Experiment

AT = [(item, scale) for item in ITEMS.values() for scale in SCALES if scale in item.studies]
EVERYWHERE = {name: f"{name}:/nowhere" for name, place in PLACES.items() if not place.embedded and not place.beside}


def test_the_paper_is_there() -> None:
    tables = {f"table-{k}" for k in range(1, 8)}
    figures = {f"figure-{k}" for k in (1, *range(3, 11))}
    assert tables | figures <= {item.name for item in ITEMS.values() if item.in_paper}


@pytest.mark.parametrize(("item", "scale"), AT, ids=lambda part: getattr(part, "name", part))
def test_every_item_can_be_planned(item: object, scale: object, tmp_path: Path) -> None:
    from robustbench_lift.training import override, recipe_named
    from robustbench_lift.training.checks import check_use
    from robustbench_lift.training.network import Network

    for study in item.at(scale):  # type: ignore[attr-defined]
        gpu, cores = study.hours()
        assert gpu >= 0
        assert cores >= 0
        assert study.data in PLACES
        if study.recipe is not None:
            networks = [Network.parse(name) for name in study.networks]
            for network in networks:
                network.check()
            check_use(override(recipe_named(study.recipe), study.changes), networks)
            assert cores > 0
    experiment = Experiment(item=item, scale=scale, out=tmp_path, places=EVERYWHERE)  # type: ignore[arg-type]
    members = experiment.members()
    folders = [member.folder for member in members if member.folder is not None]
    assert len(set(folders)) == len(folders)
    names = {name for study in item.at(scale) for name in study.networks}  # type: ignore[attr-defined]
    assert len({member.network for member in members if not member.is_normaliser}) == len(names)
    arguments = [part for name, spec in EVERYWHERE.items() for part in ("--data", f"{name}={spec}")]
    shown = CliRunner().invoke(
        app,
        ["paper", item.name, "--scale", scale, "--plan", "--out", str(tmp_path / "o"), *arguments],  # type: ignore[attr-defined]
    )
    assert shown.exit_code == 0, shown.output
    assert all(member.label in shown.output for member in members)
    assert not (tmp_path / "o").exists()


def test_alone_the_command_prints_the_map(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["paper", "--out", str(tmp_path)])
    assert shown.exit_code == 0
    for item in ITEMS.values():
        assert item.name in shown.output


def test_one_recipe_of_one_study_one_folder() -> None:
    """Studies that share a folder of trainings must train alike, or a training would be refused half way."""
    found: dict[tuple[str, str], Study] = {}
    for item, scale in AT:
        for study in item.at(scale):
            one = found.setdefault((scale, study.name), study)
            assert (one.recipe, one.changes, one.training_images, one.data) == (
                study.recipe,
                study.changes,
                study.training_images,
                study.data,
            ), (item.name, study.name)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["table-9"], "table-"),
        (["table-1"], "small"),
        (["table-1", "--scale", "small"], "cifar100"),
        (["table-5", "--image", "chelsea"], "--image"),
        (["figure-3", "--data", "imagenett=folder:/d"], "imagenette"),
        (["figure-3", "--data", "folder:/d"], "NAME=SPEC"),
        (["figure-3", "--image", "nowhere.jpg"], "astronaut"),
        (["figure-3", "--channels", "a"], "--channels"),
        (["figure-3", "--channels", "99"], "0 to 15"),
        (["figure-3", "--model", "photos/resnet-max"], "LiftDownPool"),
        (["figure-3", "--layer", "stem"], "stem_pool"),
        (["figure-7", "--model", "imagenette64/resnet8-skip"], "--layer"),
    ],
)
def test_a_mistake_ends_in_one_message(arguments: list[str], named: str, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["paper", *arguments, "--out", str(tmp_path)])
    assert shown.exit_code in (2, 3), shown.output
    assert named in shown.output + shown.stderr
    assert "Traceback" not in shown.output
