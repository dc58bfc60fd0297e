"""Suites of conditions: which corruptions or perturbations a benchmark has, in what order, and what belongs to them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import metrics
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.registry import add


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The conditions of a benchmark.

    Raises:
        UsageError: no condition, one that is named twice, or categories that do not hold each condition once.
    """

    name: str
    """As `--corruptions` and `--perturbations` take it."""
    title: str
    """As printed."""
    protocol: str
    """The protocol whose conditions these are: `corruption` or `perturbation`."""
    conditions: tuple[str, ...]
    """In the benchmark's order."""
    severities: tuple[int, ...]
    """Severities of a corruption, difficulties of a perturbation."""
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Category -> its conditions, each in one."""
    normaliser: str | None = None
    """Published errors that CE and FR are divided by: `alexnet`, or None."""
    source: str
    """Publication."""
    label: str | None = None
    """What the signature says for all of it; None: the names."""

    def __post_init__(self) -> None:
        grouped = [name for names in self.categories.values() for name in names]
        if not self.conditions or len(set(self.conditions)) < len(self.conditions):
            raise UsageError(f"suite {self.name}: expected names of conditions, each once, not {self.conditions}.")
        if grouped and sorted(grouped) != sorted(self.conditions):
            wrong = sorted(
                {n for n in (*grouped, *self.conditions) if grouped.count(n) != 1 or n not in self.conditions}
            )
            raise UsageError(
                f"suite {self.name}: categories must hold each condition once; not so: {', '.join(wrong)}."
            )

    def category(self, condition: str) -> str:
        """The category of a condition, empty where there is none.

        >>> SUITES["imagenet-c"].category("fog")
        'Weather'
        """
        return next((name for name, names in self.categories.items() if condition in names), "")


SUITES: dict[str, Suite] = {}
"""Name -> suite."""


def register_suite(suite: Suite) -> Suite:
    """Add a suite; `--corruptions NAME` or `--perturbations NAME` then takes it.

    Raises:
        UsageError: the name is taken.
    """
    return add(SUITES, "suite", suite.name, suite, module=sys._getframe(1).f_globals["__name__"])


_SOURCE = (
    'Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", '
    "ICLR 2019"
)

register_suite(
    Suite(
        name="imagenet-c",
        title="ImageNet-C",
        protocol="corruption",
        conditions=metrics.CORRUPTIONS,
        severities=(1, 2, 3, 4, 5),
        categories={
            "Noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
            "Blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
            "Weather": ("snow", "frost", "fog", "brightness"),
            "Digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
        },
        normaliser="alexnet",
        source=f"{_SOURCE}, section 4.1",
        label="benchmark15",
    )
)
register_suite(
    Suite(
        name="imagenet-c-extra",
        title="ImageNet-C, validation",
        protocol="corruption",
        conditions=("speckle_noise", "gaussian_blur", "spatter", "saturate"),
        severities=(1, 2, 3, 4, 5),
        categories={
            "Noise": ("speckle_noise",),
            "Blur": ("gaussian_blur",),
            "Weather": ("spatter",),
            "Digital": ("saturate",),
        },
        source=f"{_SOURCE}, section 4.1: for validation, in no headline number",
    )
)
register_suite(
    Suite(
        name="imagenet-p",
        title="ImageNet-P",
        protocol="perturbation",
        conditions=metrics.PERTURBATIONS,
        severities=(1, 2, 3),
        categories={
            "Noise": ("gaussian_noise", "shot_noise"),
            "Blur": ("motion_blur", "zoom_blur"),
            "Weather": ("snow", "brightness"),
            "Geometric": ("translate", "rotate", "tilt", "scale"),
        },
        normaliser="alexnet",
        source=f"{_SOURCE}, section 4.2",
        label="benchmark10",
    )
)
register_suite(
    Suite(
        name="imagenet-p-extra",
        title="ImageNet-P, validation",
        protocol="perturbation",
        conditions=("speckle_noise", "gaussian_blur", "spatter", "shear"),
        severities=(1, 2, 3),
        categories={
            "Noise": ("speckle_noise",),
            "Blur": ("gaussian_blur",),
            "Weather": ("spatter",),
            "Geometric": ("shear",),
        },
        source=f"{_SOURCE}, section 4.2: for validation, in no headline number",
    )
)

_ALIASES = {"all19": ("imagenet-c", "imagenet-c-extra"), "all14": ("imagenet-p", "imagenet-p-extra")}
"""Older names of several suites together."""


def category(condition: str) -> str:
    """The category of a condition in the first suite that has it, empty for one that no suite has.

    >>> category("saturate"), category("tilt")
    ('Digital', 'Geometric')
    """
    return next((suite.category(condition) for suite in SUITES.values() if condition in suite.conditions), "")


def generated(protocol: str) -> tuple[str, ...]:
    """All conditions of a protocol that frames can be generated for, those of plug-ins too, in benchmark order."""
    from corruptions import CORRUPTIONS, SEQUENCES

    return tuple(CORRUPTIONS if protocol == "corruption" else SEQUENCES)


def conditions_of(protocol: str) -> tuple[str, ...]:
    """All conditions of a protocol: generated ones, and those of any suite."""
    suites = [name for suite in SUITES.values() if suite.protocol == protocol for name in suite.conditions]
    return tuple(dict.fromkeys((*generated(protocol), *suites)))


def expand(protocol: str, names: tuple[str, ...], default: str) -> tuple[str, ...]:
    """The conditions that names stand for: of conditions, of suites, or `all` that can be generated.

    Args:
        protocol: `corruption` or `perturbation`.
        names: as a user gives them; none: the default suite.
        default: name of that suite.

    Raises:
        UsageError: an unknown name.

    >>> expand("corruption", ("imagenet-c-extra", "fog"), "imagenet-c")
    ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate', 'fog')
    """
    if not names:
        return SUITES[default].conditions
    suites = {name: suite.conditions for name, suite in SUITES.items() if suite.protocol == protocol}
    found: list[str] = []
    for name in names:
        for part in _ALIASES.get(name, (name,)):
            if part == "all":
                found += generated(protocol)
            elif part in suites:
                found += suites[part]
            elif part in conditions_of(protocol):
                found.append(part)
            else:
                raise unknown(protocol, part, (*conditions_of(protocol), *suites, "all"))
    return tuple(dict.fromkeys(found))


def label(protocol: str, conditions: tuple[str, ...]) -> str:
    """What the signature says of conditions: the label of a suite that is these, else the names, sorted.

    Their order changes no number, so that it is no part.

    >>> label("corruption", ("snow", "fog")), label("perturbation", metrics.PERTURBATIONS)
    ('fog+snow', 'benchmark10')
    """
    for suite in SUITES.values():
        if suite.protocol == protocol and suite.label is not None and set(suite.conditions) == set(conditions):
            return suite.label
    return "+".join(sorted(conditions))
