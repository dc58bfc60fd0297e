"""The studies that several items share: one value each, so that a training is made once.

Multiply-adds are those of the backbone with its poolings at the default placement, for the estimates of `plan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustbench_lift.paper.study import Scale, Study

EMBEDDED_POOLINGS = ("skip", "max", "average", "blur", "lift", "lift-constrained")
"""Poolings of the networks that ship for the photographs, as their names have them."""
TABLE_4_POOLINGS = (
    "skip",
    "max",
    "average",
    "s3",
    "wavelet",
    "blur",
    "dpp",
    "spectral",
    "gated",
    "mixed",
    "gfgp",
    "gauss",
    "lift",
)
"""The methods that the paper compares on ImageNet."""
CONSTRAINED = "lift?constraint=mse"
"""Lift with the paper's losses c_u and c_p, as they are most plainly read."""
ALL_PROTOCOLS = ("clean", "corruption", "perturbation", "shift")


def photos(protocols: tuple[str, ...] = ALL_PROTOCOLS) -> Study:
    """The shipped networks on the embedded photographs."""
    return Study(
        name="photos",
        networks=tuple(f"photos/resnet-{pooling}" for pooling in EMBEDDED_POOLINGS),
        normaliser="photos/alexnet",
        protocols=protocols,
        gmacs=0.005,
        images=(0, 480),
        measured=0.06,
    )


def drawn_embedded(*networks: str) -> Study:
    """Shipped networks that a picture is shown to."""
    return Study(name="photos", networks=networks, protocols=(), gmacs=0.2, images=(0, 1))


def cifar_vgg(
    networks: tuple[str, ...],
    *,
    small: bool,
    name: str = "",
    label: str = "",
    changes: Mapping[str, Any] | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    protocols: tuple[str, ...] = ("clean",),
    measured: float | None = None,
) -> Study:
    """VGG13 on CIFAR-100: the paper's recipe, or a quarter of the width, 10,000 images and 40 epochs.

    `measured` is of the small scale; nothing has been measured at the paper's.
    """
    backbone = "vgg13-cifar-quarter" if small else "vgg13-cifar"
    return Study(
        name=name or "cifar100-vgg13",
        networks=tuple(f"{backbone}/{network}" for network in networks),
        data="cifar100",
        recipe="cifar100-vgg13",
        changes={**({"epochs": 40} if small else {}), **(changes or {})},
        label=label,
        seeds=seeds,
        protocols=protocols,
        training_images=10_000 if small else None,
        gmacs=0.0145 if small else 0.229,
        images=(10_000 if small else 50_000, 10_000),
        measured=measured if small else None,
    )


def imagenet(
    backbone: str,
    poolings: tuple[str, ...],
    protocols: tuple[str, ...],
    *,
    recipe: str = "imagenet",
    gmacs: float,
) -> Study:
    """A backbone on ImageNet by the public recipe."""
    return Study(
        name=f"imagenet-{backbone}",
        networks=tuple(f"{backbone}/{pooling}" for pooling in poolings),
        data="imagenet",
        recipe=recipe,
        protocols=protocols,
        normaliser="alexnet" if {"corruption", "perturbation"} & set(protocols) else None,
        gmacs=gmacs,
        images=(1_281_167, 50_000),
    )


IMAGENETTE_GEOMETRY = "resize=73&crop=64"
"""Test images as the recipe imagenette-64 takes them: the short side to 73 pixels, the central 64."""


def imagenette(
    backbone: str,
    poolings: tuple[str, ...],
    protocols: tuple[str, ...],
    *,
    gmacs: float,
    seeds: tuple[int, ...] = (0,),
    measured: float | None = None,
) -> Study:
    """A backbone on Imagenette at 64 pixels, 16 epochs; corruptions on 300 test images."""
    heavy = bool({"corruption", "perturbation"} & set(protocols))
    return Study(
        name=f"imagenette-64-{backbone}",
        networks=tuple(f"{backbone}/{pooling}" for pooling in poolings),
        data="imagenette",
        recipe="imagenette-64",
        changes={"epochs": 16},
        seeds=seeds,
        protocols=protocols,
        options={"limit": 300, "storage": "none"} if heavy else {},
        geometry=IMAGENETTE_GEOMETRY,
        normaliser=IMAGENETTE_ALEXNET if heavy else None,
        gmacs=gmacs,
        images=(9_469, 300 if heavy else 3_925),
        measured=measured,
    )


IMAGENETTE_ALEXNET = Study(
    name="imagenette-64-alexnet",
    networks=("alexnet-small/max",),
    data="imagenette",
    recipe="imagenette-64",
    changes={"epochs": 16, "learning_rate": 0.01},
    protocols=ALL_PROTOCOLS,
    options={"limit": 300, "storage": "none"},
    geometry=IMAGENETTE_GEOMETRY,
    gmacs=0.01,
    images=(9_469, 300),
    measured=0.07,  # with 5,800 training images
)
"""The normaliser on Imagenette; the one-cycle recipe at a tenth of the learning rate, since it has no batch norm."""

_TABLE_5_POOLINGS = ("skip", "max", "average", "blur", "lift", CONSTRAINED)
ROBUSTNESS: dict[Scale, tuple[Study, ...]] = {
    "paper": (imagenet("resnet50", _TABLE_5_POOLINGS, ALL_PROTOCOLS, gmacs=3.9),),
    # with 5,800 training images: 1.8 in training, 0.5 in evaluation
    "small": (imagenette("resnet18", _TABLE_5_POOLINGS, ALL_PROTOCOLS, gmacs=0.15, measured=2.3),),
    "embedded": (photos(),),
}
"""Table 5 and Figure 9: every protocol."""
