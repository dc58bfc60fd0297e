"""Suites of conditions: which corruptions or perturbations a benchmark has, in what order, and what belongs to them."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
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
    limits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Condition -> its severities, where it has fewer than the others."""
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Category -> its conditions, each in one."""
    normaliser: str | None = None
    """Published errors that CE and FR are divided by: `alexnet`, or None."""
    source: str
    """Publication."""
    label: str | None = None
    """What the signature says for all of it; None: the names."""
    headline: bool = True
    """Whether headline numbers (mCE, mFR, mean errors) may be means over it; conditions for validation are in none."""
    strengths: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Condition -> what its severities stand for, where the suite's authors publish it."""

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
        headline=False,
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
        headline=False,
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

_CIFAR_P = {
    "Noise": ("gaussian_noise", "shot_noise"),
    "Blur": ("motion_blur", "zoom_blur"),
    "Weather": ("spatter", "brightness"),
    "Geometric": ("translate", "rotate", "tilt", "scale"),
}
register_suite(
    Suite(
        name="cifar-p",
        title="CIFAR-10-P",
        protocol="perturbation",
        conditions=tuple(name for names in _CIFAR_P.values() for name in names),
        severities=(1, 2, 3),
        categories=_CIFAR_P,
        source="hendrycks/robustness, ImageNet-P/cifar-p-eval.py: spatter in the place of ImageNet-P's snow",
        label="cifar-p10",
    )
)
register_suite(
    Suite(
        name="cifar-p-extra",
        title="CIFAR-10-P, validation",
        protocol="perturbation",
        conditions=("speckle_noise", "gaussian_blur", "snow", "shear"),
        severities=(1, 2, 3),
        categories={
            "Noise": ("speckle_noise",),
            "Blur": ("gaussian_blur",),
            "Weather": ("snow",),
            "Geometric": ("shear",),
        },
        source="hendrycks/robustness, ImageNet-P/cifar-p-eval.py: in no headline number",
        headline=False,
    )
)

_C_BAR_SOURCE = (
    'Mintun, Kirillov and Xie, "On Interaction Between Augmentations and Corruptions in Natural Corruption '
    'Robustness", NeurIPS 2021; facebookresearch/augmentation-corruption, imagenet_c_bar'
)
_IMAGENET_C_BAR = {
    "blue_noise_sample": (0.8, 1.6, 2.4, 4.0, 5.6),
    "brownish_noise": (1.0, 2.0, 3.0, 4.0, 5.0),
    "caustic_refraction": (2.35, 3.2, 4.9, 6.6, 9.15),
    "checkerboard_cutout": (2.0, 3.0, 4.0, 5.0, 6.0),
    "cocentric_sine_waves": (3.0, 5.0, 8.0, 9.0, 10.0),
    "inverse_sparkles": (1.0, 2.0, 4.0, 9.0, 10.0),
    "perlin_noise": (4.6, 5.2, 5.8, 7.6, 8.8),
    "plasma_noise": (4.75, 7.0, 8.5, 9.25, 10.0),
    "single_frequency_greyscale": (1.0, 1.5, 2.0, 4.5, 5.0),
    "sparkles": (1.0, 2.0, 3.0, 5.0, 6.0),
}
_CIFAR_C_BAR = {
    "blue_noise_sample": (0.7, 1.4, 2.1, 3.5, 4.2),
    "brownish_noise": (2.5, 4.0, 5.5, 6.5, 7.0),
    "checkerboard_cutout": (1.0, 2.0, 3.0, 4.0, 5.0),
    "circular_motion_blur": (2.8, 3.6, 4.4, 5.2, 6.0),
    "inverse_sparkles": (1.0, 1.5, 2.5, 4.5, 5.0),
    "lines": (0.5, 1.0, 1.5, 2.0, 2.5),
    "pinch_and_twirl": (5.5, 6.0, 6.5, 8.5, 10.0),
    "ripple": (5.5, 6.0, 6.5, 7.5, 8.0),
    "sparkles": (0.7, 3.5, 5.6, 6.3, 7.0),
    "transverse_chromatic_abberation": (1.0, 2.0, 5.0, 9.0, 10.0),
}
for _name, _title, _strengths in (
    ("imagenet-c-bar", "ImageNet-C-bar", _IMAGENET_C_BAR),
    ("cifar10-c-bar", "CIFAR-10-C-bar", _CIFAR_C_BAR),
):
    register_suite(
        Suite(
            name=_name,
            title=_title,
            protocol="corruption",
            conditions=tuple(_strengths),
            severities=(1, 2, 3, 4, 5),
            source=_C_BAR_SOURCE,
            label=_name,
            strengths=_strengths,
        )
    )

_3DCC = {
    "Depth of field": ("near_focus", "far_focus"),
    "Camera motion": ("xy_motion_blur", "z_motion_blur"),
    "Lighting": ("flash",),
    "Video": ("h265_crf", "h265_abr", "bit_error"),
    "Weather": ("fog_3d",),
    "Noise": ("iso_noise", "color_quant", "low_light"),
}
register_suite(
    Suite(
        name="imagenet-3dcc",
        title="ImageNet-3DCC",
        protocol="corruption",
        conditions=tuple(name for names in _3DCC.values() for name in names),
        severities=(1, 2, 3, 4, 5),
        categories=_3DCC,
        source='Kar, Yeo, Atanov and Zamir, "3D Common Corruptions and Data Augmentation", CVPR 2022; '
        "datasets.epfl.ch/3dcc",
        label="imagenet-3dcc",
    )
)
register_suite(
    Suite(
        name="laion-c",
        title="LAION-C",
        protocol="corruption",
        conditions=(
            "mosaic",
            "glitched",
            "vertical_lines",
            "stickers",
            "geometric_shapes",
            "luminance_checkerboard",
        ),
        severities=(1, 2, 3, 4, 5),
        source='Li et al., "LAION-C: An Out-of-Distribution Benchmark for Web-Scale Vision Models", ICML 2025, '
        "arXiv 2506.16950; FanfeiLi/LAION-C; Zenodo 14051887",
        label="laion-c",
    )
)

_NOISE = ("gaussian_noise", "impulse_noise", "shot_noise", "speckle_noise")
register_suite(
    Suite(
        name="kamann-rother",
        title="Kamann and Rother, segmentation",
        protocol="corruption",
        conditions=(
            *("motion_blur", "defocus_blur", "glass_blur", "gaussian_blur"),
            *_NOISE,
            *("brightness", "contrast", "saturate", "jpeg_compression"),
            *("snow", "spatter", "fog", "frost"),
        ),
        severities=(1, 2, 3, 4, 5),
        limits=dict.fromkeys(_NOISE, (1, 2, 3)),
        categories={
            "Blur": ("motion_blur", "defocus_blur", "glass_blur", "gaussian_blur"),
            "Noise": _NOISE,
            "Digital": ("brightness", "contrast", "saturate", "jpeg_compression"),
            "Weather": ("snow", "spatter", "fog", "frost"),
        },
        source=(
            'Kamann and Rother, "Benchmarking the Robustness of Semantic Segmentation Models", CVPR 2020; the sets as '
            'Xie et al., "SegFormer", NeurIPS 2021, appendix D, use them: noise at severities 1 to 3'
        ),
        label="kamann-rother16",
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


def suite_of(protocol: str, conditions: Collection[str]) -> Suite | None:
    """The suite that headline numbers over these conditions are of; None for a part of one.

    The suite that has just these, else the first that is among them (ImageNet-C's 15 where all 19 are given).

    >>> suite = suite_of("corruption", ("fog", *metrics.CORRUPTIONS, "saturate"))
    >>> suite.name if suite else None, suite_of("corruption", ("fog", "snow"))
    ('imagenet-c', None)
    """
    given = set(conditions)
    known = [suite for suite in SUITES.values() if suite.protocol == protocol and suite.headline]
    same = [suite for suite in known if set(suite.conditions) == given]
    return next(iter((*same, *(suite for suite in known if set(suite.conditions) <= given))), None)


def suite_with(conditions: Collection[str], protocol: str) -> Suite | None:
    """The suite that has the most of some conditions, the first of several; None where none has any."""
    known = [suite for suite in SUITES.values() if suite.protocol == protocol]
    best = max(known, key=lambda suite: len(set(suite.conditions) & set(conditions)), default=None)
    return best if best is not None and set(best.conditions) & set(conditions) else None


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


def limits(protocol: str, names: tuple[str, ...], default: str) -> dict[str, tuple[int, ...]]:
    """Condition -> its severities, for the conditions of which a suite that is asked for has fewer.

    A condition that is named itself has all severities.

    >>> limits("corruption", ("kamann-rother", "shot_noise"), "imagenet-c")["speckle_noise"]
    (1, 2, 3)
    """
    found: dict[str, tuple[int, ...]] = {}
    for name in names or (default,):
        suite = SUITES.get(name)
        if suite is not None and suite.protocol == protocol:
            found |= suite.limits
    return {name: levels for name, levels in found.items() if name not in names}


def label(protocol: str, conditions: tuple[str, ...], limited: Mapping[str, tuple[int, ...]] | None = None) -> str:
    """What the signature says of conditions: the label of a suite that is these, else the names, sorted.

    `limited` are conditions that have fewer severities than the others.

    Their order changes no number, so that it is no part.

    >>> label("corruption", ("snow", "fog")), label("perturbation", metrics.PERTURBATIONS)
    ('fog+snow', 'benchmark10')
    """
    fewer = dict(limited or {})
    for suite in SUITES.values():
        same = set(suite.conditions) == set(conditions) and dict(suite.limits) == fewer
        if suite.protocol == protocol and suite.label is not None and same:
            return suite.label
    return "+".join(
        f"{name}[{','.join(map(str, fewer[name]))}]" if name in fewer else name for name in sorted(conditions)
    )
