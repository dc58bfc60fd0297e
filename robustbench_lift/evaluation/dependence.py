"""Is a network a function of one image? Asked before its first cell, since everything after takes it for granted.

Batch statistics at test time make an answer depend on the other images of the batch, dropout that is left on makes it
change from call to call. Such numbers depend on batch size and shards, and no run can be repeated or resumed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_lift.errors import UsageError
from robustbench_lift.weights import LoadedModel

TOLERANCE = 1e-3
"""Difference of logits, as a share of the largest, that rounding explains: float32 kernels differ by 1e-6 to 1e-5."""


@torch.inference_mode()
def dependence(model: LoadedModel, image: Tensor) -> str | None:
    """How the answer to an image depends on more than the image, in words; None when it does not.

    The image and its negative are shown alone, together, and together once more, in float32.

    Args:
        model: the model, on the image's device.
        image: uint8 [3, h, w].

    Raises:
        UsageError: the network fails on images of this size, or on one image alone.

    >>> from robustbench_lift.weights import load_model
    >>> image = torch.arange(3 * 64 * 64).view(3, 64, 64).to(torch.uint8)
    >>> dependence(load_model("photos/resnet-lift"), image) is None
    True
    """
    pair = torch.stack([image, 255 - image])
    together = model.logits(pair).double()
    again = model.logits(pair).double()
    alone = torch.cat([model.logits(pair[:1]), model.logits(pair[1:])]).double()
    if not bool(torch.isfinite(together).all()):
        return None  # said by name when it is its cell's turn
    bound = TOLERANCE * max(float(together.abs().max()), 1e-6)
    if float((together - again).abs().max()) > bound:
        return "its answers to the same images change from call to call (dropout or another random part is active)"
    if float((together - alone).abs().max()) > bound:
        return "its answer to an image depends on the other images of the batch (statistics of the batch are used)"
    return None


def refusal(model: LoadedModel, found: str) -> UsageError:
    """The error for a network that is no function of one image."""
    return UsageError(
        f"{model.spec} is no function of one image: {found}. Its scores would depend on batch size and shards. Put "
        "these layers into evaluation mode, or evaluate it nevertheless with --allow-dependent, which marks the "
        "signature."
    )
