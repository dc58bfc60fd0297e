"""An item from end to end: train, evaluate, render; again; in shares; from weights that exist."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustbench_lift.data.folders import TEST_FOLDERS
from robustbench_lift.errors import UsageError
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.paper import Item, Rendering, Study
from robustbench_lift.paper.places import evaluation_spec, parse_places, training_arguments
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.runner import Experiment, make
from robustbench_lift.paper.summary import differences_table, means_table
from robustbench_lift.scores import ScoredRun
from robustbench_lift.shares import Share
from robustbench_lift.training import train

SETTINGS = Settings(allow_chance=True, device="cpu")
NETWORKS = ("vgg13-cifar-quarter/max", "vgg13-cifar-quarter/lift", "vgg13-cifar-quarter/lift?constraint=mse")


def render(results: Results) -> Rendering:
    labels = list(results.by_network())
    pairs = [(labels[0], other) for other in labels[1:]]
    return Rendering(
        tables=(means_table(results, "means", "Means"), differences_table(results, "differences", "Pairs", pairs))
    )


ITEM = Item(
    name="table-0",
    title="Table 0",
    shows="nothing",
    words="nothing",
    studies={
        "small": (
            Study(
                name="tiny",
                networks=NETWORKS,
                data="cifar100",
                recipe="cifar100-vgg13",
                changes={"epochs": 1, "batch_size": 50},
                seeds=(0, 1),
                training_images=100,
                gmacs=0.01,
                images=(100, 100),
            ),
        )
    },
    render=render,
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Noise in a hundred classes: two images each to train on, one to test on."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("images")
    for name, count in (("train", 200), ("test", 100)):
        x = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", x=x, y=np.arange(count) % 100)
    return {"cifar100": f"cifar100:{folder / 'train.npz'}", "cifar100-test": f"cifar100:{folder / 'test.npz'}"}


def trainer(calls: list[str]) -> Any:
    def run(network: Any, recipe: Any, data: Any, folder: Path, seed: int) -> Any:
        calls.append(f"{network.spec} {seed} {len(data.source)}")
        return train(network, recipe, data.source, data.images, out=folder, seed=seed)

    return run


def test_from_nothing_to_a_page_and_again(places: dict[str, str], tmp_path: Path) -> None:
    calls: list[str] = []
    experiment = Experiment(item=ITEM, scale="small", out=tmp_path, places=places)
    results, files = make(experiment, command="the command", train=trainer(calls), settings=SETTINGS)
    assert len(calls) == 6
    assert all(call.endswith(" 100") for call in calls), "the limit of training images counts"
    assert not results.open
    assert files[0] == tmp_path / "small" / "table-0" / "README.md"
    page = files[0].read_text()
    assert "the command" in page
    assert "seeds 0,1" in page
    assert {file.suffix for file in files} >= {".md", ".csv", ".tex", ".json"}
    record = json.loads((experiment.folder / "item.json").read_text())
    assert record["complete"]
    assert len(record["members"]) == 6

    by_network = results.by_network()
    (means, differences) = render(results).tables
    for row in means.rows:
        label = str(row.entries[0].value)
        errors = [ScoredRun.open(run.path).scores()["clean_error"] for run in by_network[label].values()]
        assert row.entries[2].value == pytest.approx(np.mean(errors))
        assert (row.entries[2].low, row.entries[2].high) == (pytest.approx(min(errors)), pytest.approx(max(errors)))
        assert row.entries[3].value == pytest.approx(np.std(errors, ddof=1))
    for row in differences.rows:
        a, b = (means.rows[[str(r.entries[0].value) for r in means.rows].index(str(e.value))] for e in row.entries[:2])
        assert row.entries[3].value == pytest.approx(float(a.entries[2].value) - float(b.entries[2].value))  # type: ignore[arg-type]
        assert row.entries[3].low <= row.entries[3].value <= row.entries[3].high  # type: ignore[operator]

    alone = dataclasses.replace(results, members=tuple(m for m in results.members if m.seed == 0))
    one, pair = render(alone).tables
    assert "One training each" in one.notes[0]
    assert all(row.entries[2].low is None for row in one.rows), "one training has no spread"
    assert "one seed each" in pair.notes[0]

    before = files[0].read_bytes()
    make(experiment, command="the command", train=trainer(calls), settings=SETTINGS)
    assert len(calls) == 6, "nothing is trained twice"
    assert files[0].read_bytes() == before

    taken = Experiment(
        item=ITEM,
        scale="small",
        out=tmp_path / "taken",
        places=places,
        checkpoints=(str(tmp_path / "small/trainings"),),
    )
    found = taken.members()
    assert sorted((m.network, m.seed) for m in found) == sorted((m.network, m.seed) for m in experiment.members())
    again, _ = make(taken, command="c", train=trainer(calls), settings=SETTINGS)
    assert len(calls) == 6
    assert not again.open
    assert {m.otherwise for m in again.members} == {""}
    longer = dataclasses.replace(study_of(ITEM), changes={**study_of(ITEM).changes, "epochs": 77})
    item = dataclasses.replace(ITEM, studies={"small": (longer,)})
    other = dataclasses.replace(taken, item=item, out=tmp_path / "other")
    _, written = make(other, command="c", train=trainer(calls), settings=SETTINGS)
    page = next(path for path in written if path.name == "README.md").read_text()
    epochs = study_of(ITEM).epochs
    assert f"was not trained as said below: epochs {epochs} (77)" in page
    elsewhere = dataclasses.replace(ITEM, studies={"small": (dataclasses.replace(longer, networks=("resnet8/skip",)),)})
    with pytest.raises(UsageError, match=r"none is of a network of.*Wanted: .*resnet8/skip by"):
        make(dataclasses.replace(other, item=elsewhere), command="c", train=trainer(calls), settings=SETTINGS)
    first, second = render(results).tables[0], render(again).tables[0]
    assert {r.entries[0].value: r.entries[2].value for r in first.rows} == {
        r.entries[0].value: r.entries[2].value for r in second.rows
    }


def study_of(item: Item) -> Study:
    """The one study of the test's item."""
    (study,) = item.at("small")
    return study


def test_shares_make_the_page_together(places: dict[str, str], tmp_path: Path) -> None:
    calls: list[str] = []
    (study,) = ITEM.at("small")
    one_seed = dataclasses.replace(ITEM, studies={"small": (dataclasses.replace(study, seeds=(0,)),)})
    experiment = Experiment(item=one_seed, scale="small", out=tmp_path, places=places)
    keywords: dict[str, Any] = {"command": "c", "train": trainer(calls), "settings": SETTINGS}
    first, files = make(experiment, share=Share(0, 2), **keywords)
    assert not files
    assert len(first.open) == 1
    second, files = make(experiment, share=Share(1, 2), **keywords)
    assert not second.open
    assert files
    assert len(calls) == len(set(calls)) == 3


def test_a_stopped_training_leaves_no_page(places: dict[str, str], tmp_path: Path) -> None:
    def stopped(network: Any, recipe: Any, data: Any, folder: Path, seed: int) -> Any:
        return train(network, recipe, data.source, data.images, out=folder, seed=seed, stop=lambda: True)

    experiment = Experiment(item=ITEM, scale="small", out=tmp_path, places=places)
    results, files = make(experiment, command="c", train=stopped, settings=SETTINGS)
    assert len(results.open) == 6
    assert not files

    def second(network: Any, recipe: Any, data: Any, folder: Path, seed: int) -> Any:
        return (stopped if calls else trainer(calls))(network, recipe, data, folder, seed)

    calls: list[str] = []
    begun: list[str] = []
    make(experiment, command="c", train=second, settings=SETTINGS, say=begun.append)
    assert len(calls) == 1
    assert len(begun) == 2, "what is trained is not evaluated by a command that was stopped"


def test_data_that_is_not_named_is_asked_for(tmp_path: Path) -> None:
    experiment = Experiment(item=ITEM, scale="small", out=tmp_path, places={})
    with pytest.raises(UsageError, match="--data cifar100="):
        make(experiment, command="c", train=trainer([]), settings=SETTINGS)


def test_checkpoints_of_other_losses_are_another_network(places: dict[str, str], tmp_path: Path) -> None:
    from robustbench_lift.paper.runner import _same_training
    from robustbench_lift.training.network import Network

    (study,) = ITEM.at("small")
    plain, lift = (Network.parse(name) for name in NETWORKS[1:])
    recipe = {"name": "cifar100-vgg13", "auxiliary": {"c_u": 0.01, "c_p": 0.1}}
    assert _same_training(study, lift, lift, recipe)
    assert not _same_training(study, lift, plain, recipe)
    without = {**recipe, "auxiliary": {"c_u": 0.0, "c_p": 0.0}}
    assert _same_training(study, plain, lift, without), "weights of zero are no constraint"
    assert not _same_training(study, lift, lift, without)
    assert not _same_training(study, lift, lift, {**recipe, "name": "photos"})


def test_places(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    places = parse_places([f"imagenette=folder:{tmp_path}", "imagenet=imagenet:/in", "imagenet-p=imagenet-p:/p"])
    assert evaluation_spec("imagenette", places, "resize=73&crop=64") == f"folder:{tmp_path}/val?resize=73&crop=64"
    assert evaluation_spec("imagenet", places) == "imagenet:/in,imagenet-p:/p"
    assert evaluation_spec("photos", places) == "photos"
    one = parse_places(["cifar100=/d/x.npz"])
    assert "part=test" in evaluation_spec("cifar100", one)
    assert training_arguments("cifar100", one)["hold_out"] == pytest.approx(1 / 6)
    with pytest.raises(UsageError, match="twice"):
        parse_places(["cifar100=a", "cifar100=b"])


def test_a_run_that_another_item_made_is_shown_what_it_lacks(tmp_path: Path) -> None:
    def shown(*protocols: str) -> Experiment:
        study = Study(name="photos", networks=("photos/resnet-max",), protocols=protocols, options={"limit": 15})
        item = dataclasses.replace(ITEM, studies={"embedded": (study,)}, render=lambda results: Rendering())
        return Experiment(item=item, scale="embedded", out=tmp_path, places={})

    for protocols in (("clean",), ("clean", "shift"), ("clean",)):
        results, _ = make(shown(*protocols), command="c", train=trainer([]), settings=SETTINGS)
        (run,) = results.runs()
        assert set(protocols) <= {cell.protocol for cell in run.expected}
        assert not results.open


@pytest.mark.parametrize("name", TEST_FOLDERS)
def test_a_study_is_tested_on_the_folder_that_its_training_takes_for_tests(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert evaluation_spec("imagenette", {"imagenette": f"folder:{tmp_path}"}) == f"folder:{tmp_path / name}"
