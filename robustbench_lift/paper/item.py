"""An item of the paper: what it shows, which trainings and evaluations it needs at each scale, and how it is drawn.

    Study   networks x seeds, by one recipe, on one data set, seen through some protocols
    Item    a table or figure: its studies at each scale, its renderer, and what the paper says about it in words
    ITEMS   all of them; each module of this package that is named after an item registers one

An item that only draws has studies without protocols: it needs weights and a picture.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.registry import add
from robustbench_lift.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from robustbench_lift.paper.results import Results

Scale = Literal["paper", "small", "embedded"]
SCALES: tuple[Scale, ...] = get_args(Scale)
GPU_RATE, CORE_RATE = 4e13, 4e10
"""Operations a second that estimates assume, a multiply-add being two: an H100 in bf16, a CPU core.

An epoch of VGG13 at a quarter of its width on 10,000 images was measured at about 14 core-seconds with max and 26 with
lift, which is 6e10 and 3.5e10 a second.
"""
FORWARDS = {"clean": 1, "corruption": 75, "perturbation": 310, "shift": 10}
"""Forward passes an image of a protocol with its standard conditions; perturbation sequences count 31 frames each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Trainings of one recipe on one data set, and what their networks are shown.

    Raises:
        UsageError: weights that ship are to be trained, or networks without weights have no recipe.
    """

    name: str
    """Folder of its trainings and runs; studies of several items share them by sharing the value."""
    networks: tuple[str, ...]
    """Model specs: `vgg13-cifar/lift` to be trained, `photos/resnet-lift` where weights ship."""
    data: str = "photos"
    """Which data set: a name of `data.PLACES`."""
    recipe: str | None = None
    """Recipe of the trainings; None where the weights ship."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the recipe, as `--set` takes them."""
    label: str = ""
    """What sets this study apart from others of the item: `c_u alone`."""
    seeds: tuple[int, ...] = (0,)
    """One training each."""
    training_images: int | None = None
    """A fixed, class-balanced part of the training images; None takes all."""
    protocols: tuple[str, ...] = ("clean",)
    """What the networks are shown; none where weights alone are needed."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of `Request`."""
    training_options: str = ""
    """Options of the training images' data spec, such as `split=trainaug`."""
    geometry: str = ""
    """Options of the test images' data spec, such as `resize=73&crop=64`."""
    normaliser: Study | str | None = None
    """What CE and FR are divided by: `alexnet`, a shipped network, a study of one network that is trained too; None."""
    gmacs: float = 0.0
    """Multiply-adds of one forward pass of one image, 1e9, roughly the mean over the networks."""
    images: tuple[int, int] = (0, 0)
    """Training images an epoch, and test images, for the estimate."""
    measured: float | None = None
    """Core-hours of the whole study as measured on a CPU; None where they are estimated."""

    def __post_init__(self) -> None:
        if (self.recipe is None) != all(self.ships(network) for network in self.networks):
            raise UsageError(f"study {self.name}: a recipe is for networks without weights, and only for them.")

    @staticmethod
    def ships(network: str) -> bool:
        """Whether the package has weights of this name.

        >>> Study.ships("photos/resnet-lift"), Study.ships("resnet8/lift")
        (True, False)
        """
        from robustbench_lift.weights.ours import shipped

        return network in shipped()

    @property
    def images_name(self) -> str:
        """Folder of its runs: its name, and which part of the test images they are on."""
        limit = self.options.get("limit")
        return f"{self.name}-limit{limit}" if limit else self.name

    @property
    def epochs(self) -> int:
        """Epochs of a training; 0 where nothing is trained."""
        if self.recipe is None:
            return 0
        from robustbench_lift.training import override, recipe_named

        return override(recipe_named(self.recipe), self.changes).epochs

    @property
    def operations(self) -> tuple[float, float]:
        """Operations of all trainings and of all evaluations."""
        each, (train, test) = 2e9 * self.gmacs, self.images
        trained = 3 * each * train * self.epochs * len(self.networks) * len(self.seeds)
        shown = each * test * sum(FORWARDS.get(p, 1) for p in self.protocols) * len(self.networks) * len(self.seeds)
        return trained, shown

    def hours(self) -> tuple[float, float]:
        """Hours on one H100, and core-hours on a CPU; the second is what was measured where something was.

        >>> one = Study(name="s", networks=("photos/resnet-lift",), gmacs=0.01, images=(0, 240))
        >>> [round(3600 * hours, 2) for hours in one.hours()]
        [0.0, 0.12]
        """
        total = sum(self.operations)
        return total / GPU_RATE / 3600, total / CORE_RATE / 3600 if self.measured is None else self.measured


@dataclass(frozen=True, slots=True)
class Rendering:
    """What an item's renderer made."""

    tables: tuple[Table, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """By file name."""
    notes: tuple[str, ...] = ()
    """Sentences for the page: what was chosen, what is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A table or figure, re-made by one command."""

    name: str
    """`table-1`, `figure-9`, ..."""
    title: str
    """One line."""
    shows: str
    """What it shows and how it is made here."""
    words: str
    """What the paper says about it, in words: no cell of its tables is known here, and none is printed."""
    studies: Mapping[Scale, tuple[Study, ...]]
    """By scale; a scale that an item does not have is absent."""
    render: Callable[[Results], Rendering]
    draws: bool = False
    """Whether it draws feature maps and so takes --model, --image, --layer and --channels."""
    in_paper: bool = True
    """Whether it is an item of the paper; others ask what the paper leaves open."""

    def at(self, scale: Scale) -> tuple[Study, ...]:
        """The studies at a scale.

        Raises:
            UsageError: the item has none there.
        """
        if scale not in self.studies:
            raise UsageError(f"{self.name} has no --scale {scale}; it has {', '.join(self.studies)}.")
        return self.studies[scale]


ITEMS: dict[str, Item] = {}
"""Name -> item, in the order of the paper."""


def register_item(item: Item) -> Item:
    """Add an item; `robustbench-lift paper NAME` then makes it.

    Raises:
        UsageError: the name is taken.
    """
    return add(ITEMS, "item of the paper", item.name, item, module=sys._getframe(1).f_globals["__name__"])


def item_named(name: str) -> Item:
    """An item by name.

    Raises:
        UsageError: there is no such item.
    """
    if name not in ITEMS:
        raise unknown("item of the paper", name, ITEMS)
    return ITEMS[name]
