"""What an item's studies left behind: networks with their weights and runs, as its renderer sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_lift.errors import IncompleteError
from robustbench_lift.paper.study import Scale, Study

if TYPE_CHECKING:
    from robustbench_lift.runs import Run
    from robustbench_lift.weights import LoadedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """What a figure of feature maps shows."""

    models: tuple[str, ...] = ()
    """Model specs; those of the item's studies where none is named."""
    image: str | None = None
    """An embedded photograph by name, or a picture file; a photograph, or an image of the data, where none is named."""
    layer: str | None = None
    """Name of the layer; the first pooling of the network where none is named."""
    channels: tuple[int, ...] = ()
    """Which channels; those that vary most where none is named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyNetwork:
    """One training of a study."""

    study: Study
    network: str
    """Model spec without weights, or the name of weights that ship."""
    seed: int | None
    """Of the training; None where it is not known."""
    folder: Path | None = None
    """Of its training; None where its weights were there before."""
    model: str = ""
    """Model spec with weights."""
    run: Path | None = None
    """Its run folder; None where no protocol is asked for."""
    is_normaliser: bool = False
    """Whether it is only there for others to be divided by."""
    otherwise: str = ""
    """How the training of given weights differs from the study's: `epochs 1 (45)`; empty where nothing does."""

    @property
    def label(self) -> str:
        """The network as tables call it."""
        return f"{self.network} ({self.study.label})" if self.study.label else self.network

    @property
    def trained(self) -> bool:
        """Whether its weights are there."""
        from robustbench_lift.training.state import FINAL, RESULT

        return self.folder is None or all((self.folder / name).exists() for name in (RESULT, FINAL))

    @property
    def evaluated(self) -> bool:
        """Whether all cells of its protocols are there."""
        from robustbench_lift.runs import Run

        if self.run is None:
            return True
        if not (self.run / "run.json").exists():
            return False
        run = Run.open(self.run)  # another item may have shown it fewer protocols
        return not run.missing() and {cell.protocol for cell in run.expected} >= set(self.study.protocols)


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """All members of an item at a scale that are complete, and what was asked of its drawings."""

    name: str
    """Of the item."""
    scale: Scale
    studies: tuple[Study, ...]
    """Of the item at that scale."""
    members: tuple[StudyNetwork, ...]
    open: tuple[StudyNetwork, ...] = ()
    """Members that are not complete."""
    lacking: tuple[str, ...] = ()
    """Data that were not named, in words; their studies have no members."""
    drawing: Drawing = field(default_factory=Drawing)
    places: Mapping[str, str] = field(default_factory=dict)
    """Data specs by name of data set."""

    def of_study(self, study: Study) -> Results:
        """The part of a study."""
        return replace(
            self,
            members=tuple(m for m in self.members if m.study == study),
            open=tuple(m for m in self.open if m.study == study),
        )

    def runs(self) -> list[Run]:
        """The runs, in the order of the studies.

        Raises:
            IncompleteError: there is none yet.
        """
        from robustbench_lift.runs import Run

        found = [m.run for m in self.members if m.run is not None]
        if not found:
            raise IncompleteError(f"{self.name} has no complete run yet at --scale {self.scale}.")
        return [Run.open(path) for path in dict.fromkeys(found)]

    def by_network(self) -> dict[str, dict[int, Run]]:
        """Runs by label and seed, the normaliser left out; a training whose seed is not known has its number."""
        from robustbench_lift.runs import Run

        found: dict[str, dict[int, Run]] = {}
        for member in _once(self.members):
            if member.run is not None and not member.is_normaliser:
                seeds = found.setdefault(member.label, {})
                seeds[len(seeds) if member.seed is None else member.seed] = Run.open(member.run)
        return found

    def models(self) -> list[LoadedModel]:
        """The networks of a drawing: those that were named, or the first training of each of the item's.

        Raises:
            IncompleteError: none is named, and none of the item's is trained.
        """
        from robustbench_lift.weights import load_model

        first = {member.label: member.model for member in reversed(self.members)}
        specs = self.drawing.models or tuple(reversed(first.values()))
        if not specs:
            raise IncompleteError(
                f"{self.name} at --scale {self.scale} has no network yet: name one (--model), or train it (--data)."
            )
        return [load_model(spec) for spec in specs]


def _once(members: Iterable[StudyNetwork]) -> list[StudyNetwork]:
    return list({(member.label, member.seed, member.run): member for member in members}.values())
