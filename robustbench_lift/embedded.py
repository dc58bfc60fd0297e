"""The embedded benchmark: shipped networks on the embedded photographs, every protocol, no data, no network."""

from __future__ import annotations

from robustbench_lift.data.photos import REGION, SIZE, PhotoTest
from robustbench_lift.protocols.base import EvaluationProtocol
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.protocols.corruption import Corruption
from robustbench_lift.protocols.geometry import CenterCrop
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


def protocols(*, seed: int = 0) -> tuple[EvaluationProtocol, ...]:
    """Clean, 15 corruptions x 5 severities, 10 perturbations and shift consistency on the photographs.

    Nothing is stored in between: the JPEG and H.264 round trips belong to ImageNet scores.

    >>> [protocol.name for protocol in protocols()]
    ['clean', 'corruption', 'perturbation', 'shift']
    """
    regions, crop = PhotoTest(), CenterCrop(SIZE)
    return (
        Clean(source=regions, geometry=crop),
        Corruption(source=regions, geometry=crop, storage="none", seed=seed),
        Perturbation(source=PhotoTest(SEQUENCES), geometry=crop, storage="none", seed=seed),
        Shift(source=regions, geometry=CenterCrop(REGION), window=SIZE, seed=seed),
    )
