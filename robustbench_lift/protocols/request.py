"""What a user asks to evaluate on, as one frozen request; its data, opened once; and the protocols over them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_origin, get_type_hints

from typing_extensions import Doc

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.kinds import Kind, Views, kind_of, open_images, open_tree, parse_specs
from robustbench_lift.data.spec import DataSpec
from robustbench_lift.data.suites import SUITES, conditions_of, expand, limits
from robustbench_lift.errors import IncompleteError, UsageError, unknown
from robustbench_lift.protocols.base import PROTOCOLS, DataIdentity, EvaluationProtocol
from robustbench_lift.typed import take_types

if TYPE_CHECKING:
    from robustbench_lift.data.tree import Tree


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Data, protocols and their settings, as the command line or a program gives them.

    Raises:
        UsageError: a name or number that does not exist, or is given twice.

    >>> [protocol.name for protocol in Request(protocols=("shift", "clean")).build()]
    ['shift', 'clean']
    """

    data: Annotated[str, Doc("Data spec: `photos`, `imagenet:/data/imagenet/val`, `imagenet-c:/data/c`, ...")] = (
        "photos"
    )
    protocols: Annotated[
        tuple[str, ...],
        Doc(
            "Which protocols, in printed order: clean, corruption, perturbation, shift, ...; by default those that the "
            "data are for: all four over clean images, over a tree its own, over a natural shift clean."
        ),
    ] = ()
    corruptions: Annotated[
        tuple[str, ...],
        Doc("Corruptions: names, suites, or `all`; the suite of the data by default (ImageNet-C's 15)."),
    ] = ()
    severities: Annotated[tuple[int, ...], Doc("Severities of corruptions, 1 to 5.")] = (1, 2, 3, 4, 5)
    perturbations: Annotated[
        tuple[str, ...],
        Doc("Perturbations: names, suites, or `all`; the suite of the data by default (ImageNet-P's 10)."),
    ] = ()
    difficulty: Annotated[int, Doc("Difficulty of perturbations, 1 to 3.")] = 1
    variant: Annotated[
        Literal["imagenet-c", "imagecorruptions"],
        Doc("Corruptions as ImageNet-C was made, or as the package imagecorruptions makes them."),
    ] = "imagenet-c"
    storage: Annotated[
        Literal["official", "none"] | None,
        Doc("Of generated frames: `official` (JPEG q85, H.264) or `none`; by default that of the data's benchmark."),
    ] = None
    shift_mode: Annotated[
        Literal["crop", "parity", "diagonal", "circular"], Doc("How the windows of shift consistency are drawn.")
    ] = "crop"
    draws: Annotated[int, Doc("Pairs of windows an image in shift consistency.")] = 5
    limit: Annotated[int | None, Doc("A fixed, class-balanced subset of so many images.")] = None
    seed: Annotated[int, Doc("Seed of everything that is drawn.")] = 0

    def __post_init__(self) -> None:
        take_types(self)
        for name in self.protocols:
            if name not in PROTOCOLS:
                raise unknown("protocol", name, PROTOCOLS)
        if not self.protocols:
            object.__setattr__(self, "protocols", _default_protocols(self.data))
        if not self.severities:
            raise UsageError("no severity given: any of 1, 2, 3, 4 and 5.")
        for what in ("protocols", "corruptions", "severities", "perturbations"):
            named = getattr(self, what)
            for name in named:
                if named.count(name) > 1:
                    raise UsageError(f"{what} names {name} more than once.")
        for field, hint in get_type_hints(Request).items():
            choices = [v for part in (hint, *get_args(hint)) if get_origin(part) is Literal for v in get_args(part)]
            value = getattr(self, field)
            if choices and value is not None and value not in choices:
                raise unknown(field.replace("_", " "), value, choices)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are evaluated when none is named: those that ship for the data."""
        return tuple(dict.fromkeys(model for spec in parse_specs(self.data) for model in kind_of(spec).models))

    @property
    def default_normaliser(self) -> str | None:
        """What CE and FR are divided by when nothing is named.

        `alexnet` for ImageNet, the shipped AlexNet for the photographs, None where no standard exists.
        """
        found = {kind_of(spec).normaliser(spec) for spec in parse_specs(self.data)}
        normaliser = found.pop() if len(found) == 1 else None
        return None if normaliser == "alexnet" and self._other_frames else normaliser

    @property
    def _other_frames(self) -> bool:
        """Whether the frames are not those of a suite that published errors were measured on."""
        suites = {name for spec in parse_specs(self.data) for name in kind_of(spec).suites.items()}
        published = all(
            SUITES[suite].normaliser == "alexnet" for protocol, suite in suites if protocol in self.protocols
        )
        return not published or (self.variant != "imagenet-c" and "corruption" in self.protocols)

    def normaliser(self, name: str | None) -> str | None:
        """What CE and FR are divided by: a model spec, `alexnet`, or None.

        Args:
            name: what a user names, `none` for nothing; None takes the default.

        Raises:
            UsageError: AlexNet's published errors were not measured on such data.

        >>> Request().normaliser(None), Request().normaliser("none")
        ('photos/alexnet', None)
        """
        if name == "alexnet" and self.default_normaliser != "alexnet":
            what = self.data if self.variant == "imagenet-c" else f"--variant {self.variant}"
            raise UsageError(
                "--normaliser alexnet is AlexNet's published error on ImageNet with all 1,000 classes; it does not "
                f"apply to {what}. Name a model to be measured on the same images, or none."
            )
        return None if name == "none" else name or self.default_normaliser

    def build(self) -> list[EvaluationProtocol]:
        """The protocols over the data, in the order in which they are named; reading images starts later.

        Raises:
            UsageError: a data spec that means nothing, or a protocol that these data cannot serve.
            DataError, IncompleteError: what lies there is not what was expected.
        """
        opened = OpenedData(self)
        return [PROTOCOLS[name].build(self, opened) for name in self.protocols]


ALL = ("clean", "corruption", "perturbation", "shift")
"""Protocols over clean images when none is named."""


def _default_protocols(data: str) -> tuple[str, ...]:
    """The protocols that data are for: those of the kind of the clean images, and those of the trees."""
    specs = parse_specs(data)
    kinds = [kind_of(spec) for spec in specs]
    clean = next((kind.protocols or ALL for kind in kinds if kind.serves == "images"), ())
    return tuple(dict.fromkeys((*clean, *(kind.serves for kind in kinds if kind.serves != "images"))))


class OpenedData:
    """Clean images and trees of one data set; a part is opened when a protocol first needs it.

    imagenet:/val                     clean images: every protocol, frames generated
    imagenet-c:/c                     the stored cells of one protocol
    imagenet:/val,imagenet-c:/c       both: stored cells where there are some
    """

    def __init__(self, request: Request) -> None:
        """Take a request.

        Raises:
            UsageError: parts of its data spec that do not go together.
        """
        self.request = request
        self.specs = parse_specs(request.data)
        self._trees: dict[str, Tree] = {}
        self.clean_spec: DataSpec | None = None
        self.tree_specs: dict[str, DataSpec] = {}
        for spec in self.specs:
            serves = kind_of(spec).serves
            if self.clean_spec is not None if serves == "images" else serves in self.tree_specs:
                raise UsageError(f"{spec.kind}: a run takes one set of clean images, one -c and one -p tree.")
            if serves == "images":
                self.clean_spec = spec
            else:
                self.tree_specs[serves] = spec
        families = sorted({kind_of(spec).family for spec in self.specs})
        if len(families) > 1:
            raise UsageError(f"a run is over one data set, not over {' and '.join(families)}. Start one run for each.")
        self.family = families[0]
        rules = {spec.options.get("classes") for spec in self.specs}
        for rule in ("partial", "subset"):
            if rule in rules and len(rules) > 1:
                raise UsageError(f"give ?classes={rule} to every part of the data spec, or to none.")
        if self.tree_specs and self.clean_spec is not None and "hold_out" in self.clean_spec.options:
            raise UsageError(
                "?hold_out names a part of clean images; official trees have no such part. Leave them out."
            )

    @property
    def kind(self) -> Kind:
        """The kind of the clean images, or of the first tree when there are none."""
        return kind_of(self.clean_spec or self.specs[0])

    @functools.cached_property
    def _whole(self) -> ImageSet | None:
        return None if self.clean_spec is None else open_images(self.clean_spec)

    @functools.cached_property
    def _images(self) -> ImageSet | None:
        return None if self._whole is None else self.kind.limited(self._whole, self.request.limit)

    def clean(self, protocol: str) -> tuple[ImageSet, Views]:
        """The clean images, and how a model sees them.

        Raises:
            UsageError: there are none; the message says how to name some.
        """
        if self._images is None:
            there = ",".join(sorted(self.tree_specs))
            raise UsageError(
                f"protocol {protocol} cannot be evaluated on {self.request.data}; it needs clean images. "
                f"Name them too, {self.family}:PATH,{self.request.data}, or say --protocols {there}."
            )
        assert self.clean_spec is not None
        if self.kind.views is None:
            raise UsageError(f"data of kind {self.kind.name} have no geometry: its entry needs views=.")
        return self._images, self.kind.views(self.clean_spec)

    def tree(self, protocol: str) -> Tree | None:
        """The stored cells of a protocol; None where there are none.

        Raises:
            UsageError: the request asks for what only generated frames have.
            DataError, IncompleteError: what lies there is not what was expected.
        """
        if protocol not in self.tree_specs:
            return None
        if self.request.storage == "none":
            raise UsageError("--storage none is for generated frames; official files are as they were stored.")
        variant = self.request.variant
        if variant != "imagenet-c":
            raise UsageError(f"--variant {variant} is for generated frames; official files are imagenet-c's.")
        return self._tree(protocol)

    def _tree(self, protocol: str) -> Tree:
        if protocol not in self._trees:
            spec = self.tree_specs[protocol]
            self._trees[protocol] = open_tree(spec, limit=self.request.limit, clean=self._whole)
        return self._trees[protocol]

    @property
    def stored(self) -> bool:
        """Whether generated frames pass through the benchmark's storage; by default as the kind says."""
        return self.kind.storage if self.request.storage is None else self.request.storage == "official"

    def conditions(self, protocol: str) -> tuple[str, ...]:
        """The conditions that the request names, or those of the suite that this kind of data has by default."""
        spec = self.tree_specs.get(protocol)
        suite = (self.kind if spec is None else kind_of(spec)).suites[protocol]
        names = {"corruption": self.request.corruptions, "perturbation": self.request.perturbations}
        return expand(protocol, names[protocol], suite)

    def limits(self, protocol: str, conditions: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Which conditions have fewer severities than the request, since the suite that is asked for has fewer."""
        if protocol in self.tree_specs:
            return {}
        found = limits(protocol, self.request.corruptions, self.kind.suites[protocol])
        return {name: levels for name, levels in found.items() if name in conditions}

    def table(self, protocol: str, *, needed: bool = True) -> int | str | None:
        """The severity table that the data spec names; None is that of the image size.

        Raises:
            UsageError: there is none for this size.
        """
        from corruptions.registry import SIZES

        _, views = self.clean(protocol)
        assert self.clean_spec is not None
        named = self.clean_spec.options.get("table")
        table = named if named == "nearest" else self.clean_spec.pixels("table", self.kind.table if needed else None)
        if needed and table is None and views.geometry.side not in SIZES:
            sizes = ", ".join(map(str, SIZES))
            raise UsageError(
                f"{protocol}s have severity tables for images of {sizes} pixels, not of {views.geometry.side}. "
                "Say which to take in the data spec, ?table=nearest or a size; the signature names it."
            )
        return table

    @functools.cached_property
    def identity(self) -> DataIdentity:
        """The identity of the data set: of the clean images, else of those that a tree shows.

        Ids and labels make it, so that it is one for clean images and the trees of them; pixels count for a kind that
        says so.
        """
        if self._images is not None:
            return DataIdentity.of(self._images, content=self.kind.content)
        protocol = min(self.tree_specs)
        tree = self._tree(protocol)
        levels = {"corruption": self.request.severities, "perturbation": (self.request.difficulty,)}[protocol]
        asked = ((condition, level) for condition in self.conditions(protocol) for level in levels)
        others = ((condition, level) for condition in conditions_of(protocol) for level in (1, 2, 3, 4, 5))
        cell = next((cell for cell in (*asked, *others) if tree.holds(*cell)), None)
        if cell is None:
            raise IncompleteError(f"{tree.root} holds no cell: none of {', '.join(conditions_of(protocol))}.")
        return DataIdentity.of(tree.images(*cell), content=False)
