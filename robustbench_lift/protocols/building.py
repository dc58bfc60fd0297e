"""A request over the user's own data becomes protocols: official files where they are named, else generated frames.

imagenet:/val                     clean, corruption (generated), perturbation (generated), shift
imagenet-c:/c                     corruption (official)
imagenet:/val,imagenet-c:/c       clean, corruption (official), perturbation (generated), shift
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import corruptions
from corruptions.sequences import TABLES
from robustbench_lift.data.base import ImageSet
from robustbench_lift.data.geometry import AsStored, Geometry, ResizeCrop, ZeroPad
from robustbench_lift.data.opening import DataSpec, open_images, open_tree, parse_specs
from robustbench_lift.data.subset import subset
from robustbench_lift.errors import UsageError
from robustbench_lift.protocols.base import EvaluationProtocol
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.protocols.corruption import Corruption
from robustbench_lift.protocols.official import (
    ALL_CORRUPTIONS,
    ALL_PERTURBATIONS,
    OfficialCorruption,
    OfficialPerturbation,
)
from robustbench_lift.protocols.perturbation import Perturbation, WholeImagePerturbation
from robustbench_lift.protocols.shift import Shift

if TYPE_CHECKING:
    from robustbench_lift.protocols.request import Request


def build(request: Request) -> list[EvaluationProtocol]:
    """The protocols of a request over the user's own data, in the order that it names.

    Raises:
        UsageError: a data spec that means nothing, or a protocol that these data cannot serve.
        DataError, IncompleteError: what lies there is not what was expected.
    """
    specs = parse_specs(request.data)
    clean, trees = _sort(specs)
    whole = None if clean is None else open_images(clean)
    images = None if whole is None else subset(whole, request.limit)
    made: list[EvaluationProtocol] = []
    for name in request.protocols:
        tree = trees.get({"corruption": "-c", "perturbation": "-p"}.get(name, ""))
        if tree is not None:
            made.append(_official(name, tree, request, whole))
        elif clean is not None and images is not None:
            made.append(_generated(name, clean, images, request))
        else:
            raise UsageError(
                f"protocol {name} cannot be evaluated on {request.data}: it needs clean images. Name them too, for "
                f"example {specs[0].family}:PATH,{request.data}, or say --protocols "
                f"{','.join({'-c': 'corruption', '-p': 'perturbation'}[key] for key in sorted(trees))}."
            )
    return made


def _sort(specs: Sequence[DataSpec]) -> tuple[DataSpec | None, dict[str, DataSpec]]:
    """The clean part and the trees (`-c`, `-p`) of a data spec."""
    clean: DataSpec | None = None
    trees: dict[str, DataSpec] = {}
    for spec in specs:
        suffix = spec.kind[-2:] if spec.kind.endswith(("-c", "-p")) else ""
        if (clean is not None) if not suffix else (suffix in trees):
            raise UsageError(f"{spec.kind}: a run takes one set of clean images, one -c and one -p tree.")
        if suffix:
            trees[suffix] = spec
        else:
            clean = spec
    families = sorted({spec.family for spec in specs})
    if len(families) > 1:
        raise UsageError(f"a run is over one data set, not over {' and '.join(families)}. Start one run for each.")
    if "photos" in families:
        raise UsageError("photos stands alone: give no other data beside it.")
    rules = {spec.options.get("classes", "wnid") for spec in specs if spec.family == "imagenet"}
    if "partial" in rules and len(rules) > 1:
        raise UsageError("give ?classes=partial to every part of the data spec, or to none.")
    return clean, trees


def _official(name: str, spec: DataSpec, request: Request, clean: ImageSet | None) -> EvaluationProtocol:
    if request.storage == "none":
        raise UsageError("--storage none is for generated frames; official files are as they were stored.")
    if request.variant != "imagenet-c":
        raise UsageError(f"--variant {request.variant} is for generated frames; official files are imagenet-c's.")
    tree = open_tree(spec, limit=request.limit, clean=clean)
    if name == "corruption":
        return OfficialCorruption(
            tree=tree,
            conditions=_names(request.corruptions, "all19", corruptions.BENCHMARK, ALL_CORRUPTIONS),
            severities=request.severities,
        )
    return OfficialPerturbation(
        tree=tree,
        conditions=_names(request.perturbations, "all14", corruptions.PERTURBATIONS, ALL_PERTURBATIONS),
        difficulty=request.difficulty,
    )


def _generated(name: str, spec: DataSpec, images: ImageSet, request: Request) -> EvaluationProtocol:
    geometry, shift, window = _geometries(spec)
    stored = request.storage != "none" and not spec.kind.startswith("cifar")
    table: int | str | None = spec.options.get("table")
    if table is not None and table != "nearest":
        table = spec.pixels("table", None)
    if name == "clean":
        return Clean(source=images, geometry=geometry)
    tabled = name == "perturbation" or (name == "corruption" and request.variant == "imagenet-c")
    if tabled and table is None and geometry.side not in TABLES:
        sizes = ", ".join(map(str, sorted(TABLES)))
        raise UsageError(
            f"{name}s have severity tables for images of {sizes} pixels, not of {geometry.side}. "
            "Say which to take in the data spec, ?table=nearest or a size; the signature names it."
        )
    if name == "corruption":
        return Corruption(
            source=images,
            geometry=geometry,
            conditions=_names(request.corruptions, "all19", corruptions.BENCHMARK, ALL_CORRUPTIONS),
            severities=request.severities,
            variant=request.variant,
            table=table,
            storage="jpeg85" if stored else "none",
            seed=request.seed,
        )
    if name == "perturbation":
        conditions = _names(request.perturbations, "all14", corruptions.PERTURBATIONS, ALL_PERTURBATIONS)
        storage = "h264" if stored else "none"
        if geometry == ResizeCrop():
            return WholeImagePerturbation(
                source=images,
                geometry=ResizeCrop(crop=None),
                conditions=conditions,
                difficulty=request.difficulty,
                storage=storage,
                seed=request.seed,
            )
        return Perturbation(
            source=images,
            geometry=geometry,
            conditions=conditions,
            difficulty=request.difficulty,
            table=table,
            storage=storage,
            seed=request.seed,
        )
    if shift is None:
        raise UsageError(
            f"shift consistency needs a margin around the window, and {geometry.text} leaves none. Give a resize "
            "larger than the crop, for example ?resize=256&crop=224, or leave shift out of --protocols."
        )
    return Shift(
        source=images,
        geometry=shift,
        window=window,
        mode=request.shift_mode,
        draws=request.draws,
        seed=request.seed,
    )


def _geometries(spec: DataSpec) -> tuple[Geometry, Geometry | None, int]:
    """Geometry of clean images, of shift consistency (None: no margin) and the window of the latter."""
    if spec.kind.startswith("cifar"):
        return AsStored(32), ZeroPad(32, 4), 32
    if spec.kind == "tiny-imagenet":
        return AsStored(64), ZeroPad(64, 8), 64
    resize, crop = spec.pixels("resize", 256), spec.pixels("crop", 224)
    if crop is None:
        raise UsageError("?crop=none: images of a batch need one size; give the side that the model takes.")
    interpolation = spec.options.get("interpolation", "bilinear")
    geometry = ResizeCrop(resize=resize, crop=crop, interpolation=interpolation)
    if resize is None or resize <= crop:
        return geometry, None, crop
    return geometry, ResizeCrop(resize=resize, crop=resize, interpolation=interpolation), crop


def _names(
    asked: tuple[str, ...], everything: str, benchmark: tuple[str, ...], known: tuple[str, ...]
) -> tuple[str, ...]:
    if not asked:
        return benchmark
    return known if asked == (everything,) else asked
