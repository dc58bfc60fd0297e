"""Segmentation networks of the package segmentation_models_pytorch, with weights of a file."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from robustbench_lift.errors import UsageError
from robustbench_lift.weights.card import card_of, check_network, class_names_of, number_of_classes
from robustbench_lift.weights.fit import built
from robustbench_lift.weights.model import Found
from robustbench_lift.weights.preprocessing import Preprocessing, from_card
from robustbench_lift.weights.read import read_raw
from robustbench_lift.weights.sources import assumed, constructed, library
from robustbench_lift.weights.spec import RANDOM, ModelSpec

CLASSES = 21
"""Where neither spec, card nor weights say it: VOC's."""


class Padded(nn.Module):
    """A network of images whose sides are multiples of a number, for images of any size.

    Zeros of the normalised image (the mean colour) are added below and on the right, and their logits cut away.

    Args:
        network: from [N, 3, H, W] to [N, K, H, W].
        multiple: what H and W must be multiples of, in pixels.

    >>> import torch
    >>> Padded(nn.Conv2d(3, 2, 1), 32)(torch.zeros(1, 3, 40, 72)).shape
    torch.Size([1, 2, 40, 72])
    """

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the size of the image."""
        height, width = x.shape[-2:]
        out: Tensor = self.network(functional.pad(x, (0, -width % self.multiple, 0, -height % self.multiple)))
        return out[..., :height, :width]


def from_smp(spec: ModelSpec) -> Found:
    """`smp:ARCHITECTURE?encoder_name=resnet34@FILE`: options are those of its `create_model`; nothing is fetched.

    Raises:
        UsageError: the package is absent, the spec names no weights, or an option that it does not take.
        CheckpointError: weights that do not fit.
    """
    smp = library("segmentation_models_pytorch", "segmentation-models-pytorch")
    if spec.weights is None:
        raise UsageError(f"{spec} names no weights: write {spec}@FILE, or {spec}@random for an untrained network.")
    if spec.options.get("encoder_weights") is not None:
        raise UsageError(f"{spec}: encoder_weights would be fetched by the package itself; write @FILE.")
    raw = None if spec.weights == RANDOM else read_raw(spec.weights)
    card = card_of(raw)
    check_network(card, spec, spec.weights)
    options = {key: value for key, value in spec.options.items() if key != "encoder_weights"}

    def build(classes: int | None) -> nn.Module:
        return constructed(
            lambda: smp.create_model(spec.name, encoder_weights=None, classes=classes or CLASSES, **options), spec
        )

    stated = spec.num_classes or number_of_classes(card)
    module, stated, notes = built(build, stated, raw, spec, hint=f" smp's {spec.name}")
    if getattr(module, "requires_divisible_input_shape", False):
        multiple = int(module.encoder.output_stride)  # type: ignore[union-attr, arg-type]
        module = Padded(module, multiple)
        notes += (f"images are padded below and on the right to multiples of {multiple} pixels, which it asks for.",)
    classes = stated or CLASSES
    preprocessing = Preprocessing(resize=None, crop=None)
    if raw and not card:
        notes += assumed(spec, preprocessing, "ImageNet's normalisation, no resizing", "the file does not say")
    return Found(
        module=module,
        arch=spec.name,
        task="segmentation",
        preprocessing=from_card(card, spec.weights) if card else preprocessing,
        num_classes=classes,
        class_names=class_names_of(card, classes, spec.weights),
        sha256=raw.sha256 if raw else None,
        card=card,
        notes=notes,
    )
