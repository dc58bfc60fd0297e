"""A study: networks x seeds, by one recipe, on one data set, seen through some protocols; and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from robustbench_lift.errors import UsageError

Scale = Literal["paper", "small", "embedded"]
SCALES: tuple[Scale, ...] = get_args(Scale)
GPU_RATE, CORE_RATE = 4e13, 4e10
"""Operations a second that estimates assume, a multiply-add being two: an H100 in bf16, a CPU core.

An epoch of VGG13 at a quarter of its width on 10,000 images was measured at 12 to 26 core-seconds, which is 7e10 to
3.5e10 a second.
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
