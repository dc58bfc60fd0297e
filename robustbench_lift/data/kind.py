"""What a kind of data is: the entry that says everything that is particular to it. `data.kinds` has ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import Geometry
from robustbench_lift.data.spec import DataSpec
from robustbench_lift.data.subset import subset
from robustbench_lift.registry import add

if TYPE_CHECKING:
    from robustbench_lift.data.tree import Tree

Opener = Callable[[], ImageSet]

IMAGENET_SUITES = {"corruption": "imagenet-c", "perturbation": "imagenet-p"}
"""Protocol -> suite of its conditions, for kinds that name no other."""


@dataclass(frozen=True, slots=True)
class KindOption:
    """An option of a kind: `?name=value`."""

    name: str
    help: str
    """One sentence."""
    choices: tuple[str, ...] = ()
    """What it may be, the default first; empty: free text that the kind reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """How clean images of a kind become what a model sees."""

    geometry: Geometry
    """Of clean and corrupted images and of perturbation sequences."""
    shift: Geometry | None
    """Of the square that windows of shift consistency are cut from; None: it leaves no margin."""
    window: int
    """Side of these windows in pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What `check` counts in data of a kind."""

    all_classes: bool = False
    """Whether every class must have images."""
    original: bool = False
    """Whether images should be of many sizes, as they were published."""
    each: int | None = None
    """Images a class of the test part, when all classes are there."""
    parts: Mapping[str, int] = field(default_factory=dict)
    """Parts of the data set and the images that each has."""
    images: int | None = None
    """Images of the whole set."""
    cell: int | None = None
    """Images a cell of a tree."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of data. Exactly one of `images` and `tree` says how it opens.

    Raises:
        ValueError: both, or none.
    """

    name: str
    """As data specs begin: `imagenet-c`."""
    title: str
    """One sentence: what lies there."""
    family: str = ""
    """The data set whose images these are, `imagenet` for imagenet-c; a run is over one. The name by default."""
    images: Callable[[DataSpec], ImageSet] | None = None
    """Opens clean images, all of them."""
    tree: Callable[[DataSpec, int | None, ImageSet | None], Tree] | None = None
    """Opens stored cells: (spec, limit, clean images of the same run or None) -> tree."""
    serves: str = "images"
    """`images`, or the protocol whose cells a tree stores: `corruption`."""
    options: tuple[KindOption, ...] = ()
    """What may stand behind `?`."""
    takes_path: bool = True
    """Whether a path follows the name."""
    views: Callable[[DataSpec], Views] | None = None
    """Geometry of clean images."""
    limited: Callable[[ImageSet, int | None], ImageSet] = subset
    """A fixed, class-balanced part of so many images."""
    sequences: Callable[[ImageSet], ImageSet] = lambda images: images
    """The images of which perturbation sequences are made: all unless that is too many."""
    storage: bool = True
    """Whether generated frames pass through JPEG and H.264 by default, as the benchmark's files did."""
    content: bool = False
    """Whether the data set's identity hashes pixels (else ids and labels, which its trees share)."""
    normaliser: Callable[[DataSpec], str | None] = lambda spec: None
    """What CE and FR are divided by: `alexnet` where the published constants apply, a shipped network, or None."""
    protocols: tuple[str, ...] = ()
    """Protocols that are evaluated when none is named; by default all four over clean images, over a tree its own."""
    models: tuple[str, ...] = ()
    """Model specs that are evaluated when none is named."""
    table: int | None = None
    """Severity table of corruptions where images have no size of their own and none is named."""
    margin: int = 32
    """Pixels by which views of label maps are shifted, at most."""
    suites: Mapping[str, str] = field(default_factory=lambda: dict(IMAGENET_SUITES))
    """Protocol -> the suite of its conditions when none is named."""
    training: Callable[[DataSpec], tuple[Opener, Opener | None]] | None = None
    """Opens training images and, where they lie beside them, test images; None: by the folders train and val."""
    expected: Expected = Expected()
    """What `check` counts."""

    def __post_init__(self) -> None:
        if (self.images is None) == (self.tree is None):
            raise ValueError(f"kind of data {self.name!r}: give images=, or tree= and serves=, one of the two.")
        object.__setattr__(self, "family", self.family or self.name)


KINDS: dict[str, Kind] = {}
"""Name -> kind of data."""


def register_kind(kind: Kind) -> Kind:
    """Add a kind of data; `run`, `plan`, `check`, `train` and `list` then take it.

    Raises:
        UsageError: the name is taken.

    Example:
        >>> from robustbench_lift.data.kinds import Kind, register_kind
        >>> register_kind(Kind(name="mine", title="my images", images=open_mine, views=my_views))  # doctest: +SKIP
    """
    return add(KINDS, "kind of data", kind.name, kind, module=sys._getframe(1).f_globals["__name__"])
