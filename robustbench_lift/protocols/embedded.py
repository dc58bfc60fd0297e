"""The embedded benchmark: shipped networks on the embedded photographs, every protocol, no data, no network."""

from __future__ import annotations

import corruptions as kernels
from robustbench_lift.data.geometry import CenterCrop
from robustbench_lift.data.photos import PATCHES, PHOTOGRAPHS, REGION, SIZE, PhotoTest
from robustbench_lift.errors import UsageError
from robustbench_lift.protocols.base import EvaluationProtocol
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.protocols.corruption import SEVERITIES, Corruption
from robustbench_lift.protocols.perturbation import Perturbation
from robustbench_lift.protocols.shift import Shift

NORMALISER = "photos/alexnet"
"""The network that CE and FR are divided by, measured on the same images."""
MODELS = (
    NORMALISER,
    "photos/resnet-max",
    "photos/resnet-average",
    "photos/resnet-skip",
    "photos/resnet-blur",
    "photos/resnet-lift",
)
"""What the benchmark compares, the normaliser first."""
SEQUENCES = 4
"""Test regions a photograph that are shown as perturbation sequences; each is 31 frames."""


def protocols(
    *,
    corruptions: tuple[str, ...] = kernels.BENCHMARK,
    severities: tuple[int, ...] = SEVERITIES,
    perturbations: tuple[str, ...] = kernels.PERTURBATIONS,
    difficulty: int = 1,
    variant: str = "imagenet-c",
    stored: bool = False,
    shift_mode: str = "crop",
    draws: int = 5,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[EvaluationProtocol, ...]:
    """Clean, 15 corruptions x 5 severities, 10 perturbations and shift consistency on the photographs.

    Nothing is stored in between unless `stored`: the JPEG and H.264 round trips belong to ImageNet scores.

    >>> [protocol.name for protocol in protocols()]
    ['clean', 'corruption', 'perturbation', 'shift']
    """
    patches = PATCHES if limit is None else limit // len(PHOTOGRAPHS)
    if limit is not None and (limit % len(PHOTOGRAPHS) or patches not in (1, 2, 4, 8, PATCHES)):
        sizes = ", ".join(str(len(PHOTOGRAPHS) * k) for k in (1, 2, 4, 8, PATCHES))
        raise UsageError(f"--limit {limit}: balanced subsets of the photographs have {sizes} images.")
    regions, crop = PhotoTest(patches), CenterCrop(SIZE)
    return (
        Clean(source=regions, geometry=crop),
        Corruption(
            source=regions,
            geometry=crop,
            conditions=corruptions,
            severities=severities,
            variant=variant,
            storage="jpeg85" if stored else "none",
            seed=seed,
        ),
        Perturbation(
            source=PhotoTest(min(patches, SEQUENCES)),
            geometry=crop,
            conditions=perturbations,
            difficulty=difficulty,
            storage="h264" if stored else "none",
            seed=seed,
        ),
        Shift(source=regions, geometry=CenterCrop(REGION), window=SIZE, mode=shift_mode, draws=draws, seed=seed),
    )
