"""From an item to its folder: train what has no weights, evaluate what has no run, render. All of it goes on where it
stopped, and independent jobs share the trainings and evaluations.

    OUT/SCALE/trainings/STUDY/NETWORK/seedN    trainings, shared by all items that have the study
    OUT/SCALE/runs/STUDY/NETWORK-seedN         runs, likewise; STUDY-limitN where a part of the test images is shown
    OUT/SCALE/ITEM                             page, tables, figures
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_lift.errors import DataError, RobustbenchError, UsageError
from robustbench_lift.evaluation.progress import Progress
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.files import read_json
from robustbench_lift.paper.item import Item
from robustbench_lift.paper.output import RECORD, write_item
from robustbench_lift.paper.places import evaluation_spec, missing, training_arguments
from robustbench_lift.paper.results import Drawing, Results, StudyNetwork
from robustbench_lift.paper.study import Scale, Study
from robustbench_lift.protocols.request import Request
from robustbench_lift.shares import EVERYTHING, Share

if TYPE_CHECKING:
    from robustbench_lift.training import Recipe, TrainingOutcome
    from robustbench_lift.training.data import TrainingData
    from robustbench_lift.training.network import Network

Train = Callable[["Network", "Recipe", "TrainingData", Path, int], "TrainingOutcome"]
"""Trains a network with a seed into a folder, or goes on."""
Say = Callable[[str], None]
Follow = Callable[[str], AbstractContextManager[Callable[[Progress], None] | None]]
"""Called with a title before an evaluation; gives what is called after each batch."""
SEED = "seed"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An item at a scale, and where and from what it is made."""

    item: Item
    scale: Scale
    out: Path
    """Folder of all items, trainings and runs."""
    places: Mapping[str, str]
    """Data specs by name of data set."""
    checkpoints: tuple[str, ...] = ()
    """Folders of weights, or model specs: what is taken instead of trainings."""
    drawing: Drawing = field(default_factory=Drawing)

    @property
    def root(self) -> Path:
        """Folder of this scale."""
        return self.out / self.scale

    @property
    def folder(self) -> Path:
        """Folder of the item."""
        return self.root / self.item.name

    def lacking(self) -> list[str]:
        """What the user still has to name, one entry a data set."""
        found = [
            missing(study.data, self.places)
            for study in self.item.at(self.scale)
            if (study.protocols or not self.checkpoints) and not self.drawing.models
        ]
        return list(dict.fromkeys(text for text in found if text))

    def absent(self) -> list[str]:
        """Trainings that the studies have and the given checkpoints have not, a few words a study."""
        if not self.checkpoints or self.drawing.models:
            return []
        found, words = self.members(), []
        for study in self.item.at(self.scale):
            if study.recipe is None or (missing(study.data, self.places) and study.protocols):
                continue
            there = {(m.network, m.seed) for m in found if m.study == study}
            count = len(study.networks) * len(study.seeds) - len(there)
            if count > 0:
                asked = ",".join(map(str, study.seeds))
                words.append(
                    f"{count} more checkpoints for {study.name} ({len(study.networks)} networks, seeds {asked})"
                )
        return words

    def no_match(self) -> str:
        """Why none of the given checkpoints belongs to the item: what was found, and what was looked for."""
        found = [f"{one.spec}, {one.recipe.get('name', 'recipe unknown')}" for one in checkpoints_of(self.checkpoints)]
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        wanted = [
            f"{', '.join(study.networks)} by {study.recipe}" for study in self.item.at(self.scale) if study.recipe
        ]
        return (
            f"--checkpoints: none is of a network of {self.item.name} --scale {self.scale}. Found: "
            f"{'; '.join(found[:5])}{more}. Wanted: {'; '.join(wanted)}."
        )

    def members(self) -> list[StudyNetwork]:
        """Every training of the item whose data are named, normalisers first."""
        if self.drawing.models:
            return []
        given = list(checkpoints_of(self.checkpoints))
        found: list[StudyNetwork] = []
        for study in self.item.at(self.scale):
            if missing(study.data, self.places) and (study.protocols or not self.checkpoints):
                continue
            if isinstance(study.normaliser, Study):
                own = self._members(study.normaliser, given)
                found += [replace(one, is_normaliser=True) for one in own]
            elif study.normaliser is not None and Study.ships(study.normaliser):
                found.append(self._shipped(study, study.normaliser, is_normaliser=True))
            found += self._members(study, given)
        order = {(m.run, m.model): m for m in reversed(found)}
        return list(reversed(order.values()))

    def _members(self, study: Study, given: Sequence[Checkpoint]) -> list[StudyNetwork]:
        if study.recipe is None:
            return [self._shipped(study, network) for network in study.networks]
        if self.checkpoints:
            return [m for network in study.networks for m in self._taken(study, network, given)]
        from robustbench_lift.training.network import Network

        members = []
        for seed in study.seeds:
            for text in study.networks:
                network = Network.parse(text)
                folder = self.root / "trainings" / study.name / network.slug / f"{SEED}{seed}"
                members.append(
                    StudyNetwork(
                        study=study,
                        network=network.spec,
                        seed=seed,
                        folder=folder,
                        model=f"{network.spec}@{folder / 'final.safetensors'}",
                        run=self._run(study, f"{network.slug}-{SEED}{seed}"),
                    )
                )
        return members

    def _shipped(self, study: Study, name: str, *, is_normaliser: bool = False) -> StudyNetwork:
        run = self._run(study, name.replace("/", "-"))
        return StudyNetwork(study=study, network=name, seed=None, model=name, run=run, is_normaliser=is_normaliser)

    def _taken(self, study: Study, network: str, given: Sequence[Checkpoint]) -> Iterator[StudyNetwork]:
        from robustbench_lift.training.network import Network

        wanted = Network.parse(network)
        for one in given:
            if one.network is not None and _same_training(study, wanted, one.network, one.recipe):
                seed = "" if one.seed is None else f"-{SEED}{one.seed}"
                run = self._run(study, f"{wanted.slug}{seed}-{one.sha256[:8]}")
                yield StudyNetwork(
                    study=study,
                    network=wanted.spec,
                    seed=one.seed,
                    model=one.spec,
                    run=run,
                    otherwise=_otherwise(study, one.recipe),
                )

    def _run(self, study: Study, name: str) -> Path | None:
        safe = "".join(c if c.isalnum() or c in "-_.=" else "-" for c in name)
        return self.root / "runs" / study.images_name / safe if study.protocols else None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights that a user has."""

    spec: str
    """Model spec."""
    network: Network | None
    """The network that they are of; None for one that is no network of ours, torchvision's or timm's."""
    seed: int | None
    recipe: Mapping[str, object]
    """Settings of the recipe, empty where they are not known."""
    sha256: str


def checkpoints_of(places: Sequence[str]) -> Iterator[Checkpoint]:
    """The weights in folders (all .safetensors below them that have a card), and those that model specs name.

    Raises:
        UsageError, CheckpointError: a folder without any, or a spec that cannot be loaded.
    """
    from robustbench_lift.training.network import Network
    from robustbench_lift.weights import ModelSpec, load_model

    for place in places:
        folder = Path(place).expanduser()
        finals = sorted(folder.rglob("final.safetensors")) if folder.is_dir() else []
        files = finals or (sorted(folder.rglob("*.safetensors")) if folder.is_dir() else [])
        if folder.is_dir() and not files:
            raise UsageError(f"--checkpoints {place}: there is no .safetensors below this folder.")
        for spec in [f"@{file}" for file in files] or [place]:
            model = load_model(spec)
            card = model.card
            network = None
            if card.get("architecture") and card.get("pooling"):
                options = json.loads(card.get("options") or "{}")
                network = Network(card["architecture"], card["pooling"], _placement(card), options)
            elif ModelSpec.parse(spec).source in ("zoo", "torchvision", "timm"):
                network = Network.parse(str(ModelSpec.parse(spec).network))
            seed = card.get("seed", "")
            yield Checkpoint(
                spec=spec if network is None or not spec.startswith("@") else f"{network.spec}{spec}",
                network=network,
                seed=int(seed) if seed.lstrip("-").isdigit() else None,
                recipe=json.loads(card.get("recipe_settings") or "{}"),
                sha256=model.weights_sha256,
            )


def _placement(card: Mapping[str, str]) -> str | None:
    from robustbench_lift.networks.registry import find_backbone

    placed = card.get("placement") or None
    return None if placed == find_backbone(card["architecture"]).placements[0] else placed


def _same_training(study: Study, wanted: Network, network: Network, recipe: Mapping[str, object]) -> bool:
    """Whether weights are those of a study's network: the same recipe, pooling, and losses that count.

    Lift without constraints and lift whose constraints weigh nothing are the same training. Weights that do not say
    their recipe are taken for a study without a label.
    """
    from robustbench_lift.training import override, recipe_named

    assert study.recipe is not None
    asked = override(recipe_named(study.recipe), study.changes)
    weights = dict(asked.auxiliary)
    theirs: Mapping[str, float] = weights
    if recipe:
        if recipe.get("name") != asked.name:
            return False
        stated = recipe.get("auxiliary")
        theirs = stated if isinstance(stated, Mapping) else {}
    elif study.label:
        return False
    return _losses_apart(wanted, weights) == _losses_apart(network, theirs)


def _otherwise(study: Study, stated: Mapping[str, object]) -> str:
    """The settings that weights were trained with where the study has others, and what the study has."""
    from robustbench_lift.training import override, recipe_named

    assert study.recipe is not None
    if not stated:
        return "its recipe is not known"
    asked = json.loads(json.dumps(asdict(override(recipe_named(study.recipe), study.changes))))
    told = {"name", "source", "auxiliary"}  # the same, words, and what sets networks apart
    differing = [key for key in asked if key in stated and key not in told and stated[key] != asked[key]]
    return ", ".join(f"{key} {stated[key]} ({asked[key]})" for key in differing)


def _losses_apart(network: Network, weights: Mapping[str, float]) -> tuple[object, ...]:
    """A network and the weights of the losses that it has."""
    from robustbench_lift.networks.registry import poolings_of
    from robustbench_lift.pooling.registry import changed

    entry = poolings_of(network.arch).get(network.pooling)
    known = {} if entry is None else entry.options
    options = changed(network.options, known)
    values = {key: option.default for key, option in known.items()} | options
    losses = entry is not None and bool(entry.loss_names) and values.get("constraint", "") is not None
    counted = {name: weight for name, weight in weights.items() if weight} if losses else {}
    if not counted:
        options = {key: value for key, value in options.items() if key not in ("constraint", "gradient")}
    return network.arch, network.pooling, network.placement, options, counted


def make(
    experiment: Experiment,
    *,
    command: str,
    train: Train,
    settings: Settings,
    workers: int = 0,
    share: Share = EVERYTHING,
    say: Say = lambda text: None,
    progress: Follow = lambda title: nullcontext(None),
) -> tuple[Results, list[Path]]:
    """Make an item, or this job's share of it.

    Args:
        experiment: what is made.
        command: the command that makes it, for the page.
        train: trains a network; returns an unfinished outcome when it was stopped.
        settings: of the evaluations.
        workers: processes that read training images.
        share: of the trainings and evaluations; the page is made by the job that finds all complete.
        say: called with what begins.
        progress: shows how far an evaluation is.

    Returns:
        the results, and the files that were written: none when other shares are not done, or a training was stopped.

    Raises:
        UsageError: no data set of the item is named.
        RobustbenchError: whatever a training, an evaluation or a renderer cannot do.
    """
    lacking = experiment.lacking()
    members = experiment.members()
    if lacking and not members:
        raise UsageError(f"{experiment.item.name} --scale {experiment.scale} needs {'; '.join(lacking)}.")
    if experiment.checkpoints and not any(not member.is_normaliser for member in members):
        raise UsageError(experiment.no_match())
    mine = share.of(members)
    finished = True
    for member in mine:
        if not member.trained and finished:
            say(f"{member.label}, seed {member.seed} ({mine.index(member) + 1} of {len(mine)}): {member.folder}")
            finished = _train(experiment, member, train, workers)
    shown = [m for m in mine if m.trained and not m.evaluated] if finished else []  # who stops a training wants an end
    for study, waiting in _by_study(shown):
        _evaluate(experiment, study, waiting, settings, say, progress)
    open_ = tuple(m for m in members if not (m.trained and m.evaluated))
    results = Results(
        name=experiment.item.name,
        scale=experiment.scale,
        studies=experiment.item.at(experiment.scale),
        members=tuple(m for m in members if m not in open_),
        open=open_,
        lacking=(*lacking, *experiment.absent()),
        drawing=experiment.drawing,
        places=experiment.places,
    )
    if open_ and (share.count > 1 or not finished):
        return results, []
    made = experiment.item.render(results)
    return results, write_item(experiment.item, results, made, experiment.folder, command=command)


def _train(experiment: Experiment, member: StudyNetwork, train: Train, workers: int) -> bool:
    from robustbench_lift.training import override, recipe_named
    from robustbench_lift.training.data import open_data
    from robustbench_lift.training.network import Network

    study = member.study
    assert study.recipe is not None
    assert member.folder is not None
    assert member.seed is not None
    recipe = override(recipe_named(study.recipe), study.changes)
    arguments = training_arguments(study.data, experiment.places, study.training_options)
    data = open_data(recipe, **arguments, limit=study.training_images, workers=workers)  # type: ignore[arg-type]
    return train(Network.parse(member.network), recipe, data, member.folder, member.seed).finished


def _evaluate(
    experiment: Experiment,
    study: Study,
    members: Sequence[StudyNetwork],
    settings: Settings,
    say: Say,
    progress: Follow,
) -> None:
    from robustbench_lift.evaluation.engine import evaluate

    request = Request(
        data=evaluation_spec(study.data, experiment.places, study.geometry),
        protocols=study.protocols,
        **dict(study.options),
    )
    folders = [member.run for member in members]
    assert all(folder is not None for folder in folders)
    divisor = _normaliser(experiment, study, request)
    say(f"evaluating {len(members)} networks on {request.data}: {', '.join(study.protocols)}")
    with progress(f"{len(members)} networks") as follow:
        evaluate(
            [member.model for member in members],
            request,
            run=folders,  # type: ignore[arg-type]
            settings=settings,
            normaliser=divisor,
            progress=follow,
        )


def _normaliser(experiment: Experiment, study: Study, request: Request) -> str | None:
    """What runs of a study name as their normaliser: `alexnet`, a folder relative to theirs, or nothing."""
    if isinstance(study.normaliser, Study):
        (only,) = [m for m in experiment.members() if m.is_normaliser and m.study == study.normaliser]
        assert only.run is not None
        return os.path.relpath(only.run, experiment.root / "runs" / study.images_name / "any")
    if study.normaliser is None:
        return None
    if Study.ships(study.normaliser):
        return "../" + study.normaliser.replace("/", "-")
    return request.normaliser(study.normaliser)


def _by_study(members: Sequence[StudyNetwork]) -> list[tuple[Study, list[StudyNetwork]]]:
    found: list[tuple[Study, list[StudyNetwork]]] = []
    for member in members:
        if found and found[-1][0] == member.study:
            found[-1][1].append(member)
        else:
            found.append((member.study, [member]))
    return found


def record_of(out: Path, scale: str, name: str) -> dict[str, object] | None:
    """The record of an item that was made, None where there is none or it is damaged."""
    try:
        found = read_json(out / scale / name / RECORD)
    except (OSError, DataError):
        return None
    return found if isinstance(found, dict) else None


def state_of(experiment: Experiment) -> str:
    """How far an item is, in a few words: `done`, `2 of 6`, or nothing."""
    made = record_of(experiment.out, experiment.scale, experiment.item.name)
    if made is not None and made.get("complete"):
        return "done"
    try:
        members = experiment.members()
    except RobustbenchError:
        members = []
    done = sum(member.trained and member.evaluated and member.study.recipe is not None for member in members)
    if done:
        return f"{done} of {len(members)}"
    return "partly" if made is not None else ""
