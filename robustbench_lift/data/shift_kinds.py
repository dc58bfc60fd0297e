"""Kinds of data that are natural shifts of ImageNet, an entry each. Clean images alone are evaluated unless asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import Bordered
from robustbench_lift.data.kind import Expected, Kind, KindOption, Views, register_kind
from robustbench_lift.data.spec import DataSpec
from robustbench_lift.data.views import GEOMETRY, resized

if TYPE_CHECKING:
    from robustbench_lift.data.tree import Tree

CLEAN = ("clean",)


def _v2(spec: DataSpec) -> ImageSet:
    from robustbench_lift.data.shifts import open_v2

    return open_v2(spec.path, variant=spec.options.get("variant"), classes=spec.options.get("classes", "numeric"))


def _r(spec: DataSpec) -> ImageSet:
    from robustbench_lift.data.shifts import open_some_classes

    return open_some_classes(spec.path, name="imagenet-r", count=200)


def _a(spec: DataSpec) -> ImageSet:
    from robustbench_lift.data.shifts import open_some_classes

    return open_some_classes(spec.path, name="imagenet-a", count=200, adversarial=True)


def _sketch(spec: DataSpec) -> ImageSet:
    from robustbench_lift.data.folders import open_imagenet

    return open_imagenet(spec.path, name="imagenet-sketch")


def _objectnet(spec: DataSpec) -> ImageSet:
    from robustbench_lift.data.shifts import open_objectnet

    return open_objectnet(spec.path)


def _laion(spec: DataSpec, limit: int | None, clean: ImageSet | None) -> Tree:
    from robustbench_lift.data.laion import open_laion

    return open_laion(spec.path, limit=limit)


def _bordered(spec: DataSpec) -> Views:
    """ObjectNet's images have a red border of one pixel; two are cut off, as its users do."""
    views = resized(spec)
    shift = None if views.shift is None else Bordered(2, views.shift)
    return Views(geometry=Bordered(2, views.geometry), shift=shift, window=views.window)


register_kind(
    Kind(
        name="imagenet-v2",
        title="ImageNet-V2: folders 0 to 999, folder k is class k; one of its three variants.",
        images=_v2,
        options=(
            KindOption(
                "variant",
                "Which one, where the folder's name does not say so.",
                ("matched-frequency", "threshold-0.7", "top-images"),
            ),
            KindOption("classes", "How folders are named.", ("numeric", "wnid")),
            *GEOMETRY,
        ),
        views=resized,
        protocols=CLEAN,
        expected=Expected(all_classes=True, images=10_000),
    )
)
register_kind(
    Kind(
        name="imagenet-r",
        title="ImageNet-R: 200 class folders named by WNID; scored among these 200 classes.",
        images=_r,
        options=GEOMETRY,
        views=resized,
        protocols=CLEAN,
        expected=Expected(all_classes=True, images=30_000),
    )
)
register_kind(
    Kind(
        name="imagenet-a",
        title="ImageNet-A: 200 class folders named by WNID; scored among these 200 classes.",
        images=_a,
        options=GEOMETRY,
        views=resized,
        protocols=CLEAN,
        expected=Expected(all_classes=True, images=7_500),
    )
)
register_kind(
    Kind(
        name="imagenet-sketch",
        title="ImageNet-Sketch: 1,000 class folders named by WNID.",
        images=_sketch,
        options=GEOMETRY,
        views=resized,
        protocols=CLEAN,
        expected=Expected(all_classes=True, images=50_889),
    )
)
register_kind(
    Kind(
        name="objectnet",
        title="ObjectNet 1.0: images/<object>/*.png and mappings/; scored among the 113 objects of ImageNet classes.",
        images=_objectnet,
        options=GEOMETRY,
        views=_bordered,
        protocols=CLEAN,
        expected=Expected(all_classes=True),
    )
)
register_kind(
    Kind(
        name="laion-c",
        title="LAION-C: <distortion>/<severity>/<super-class>/*; scored among 16 super-classes.",
        tree=_laion,
        serves="corruption",
        suites={"corruption": "laion-c", "perturbation": "imagenet-p"},
    )
)
