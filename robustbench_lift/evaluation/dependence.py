"""Is a network a function of one image? Asked before its first cell, since everything after takes it for granted.

Batch statistics at test time make an answer depend on the other images of the batch, dropout that is left on makes it
change from call to call. Such numbers depend on batch size and shards, and no run can be repeated or resumed. The same
answers show whether they are logits at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_lift.errors import UsageError
from robustbench_lift.weights import LoadedModel

TOLERANCE = 1e-3
"""Difference of logits, as a share of the largest, that rounding explains: float32 kernels differ by 1e-6 to 1e-5."""
PROBABILITIES = (
    "its answers are no logits: they are probabilities, which sum to 1. Classes are right, but confidence and "
    "calibration are of a softmax over them. Let the network return what comes before its softmax."
)


@dataclass(frozen=True)
class Answers:
    """What a network answered, float64."""

    together: Tensor
    """To an image and its negative, [2, ...]."""
    again: Tensor
    """The same once more."""
    doubled: Tensor
    """To the image beside itself, [2, ...]."""
    alone: Tensor
    """To the image by itself, [1, ...]."""

    def dependence(self) -> str | None:
        """How the answer to an image depends on more than the image, in words; None when it does not.

        In batches of another size the same sums are rounded otherwise. A network that picks the largest of a window
        (max-unpooling) or a phase picks another one at a near tie, and some of its answers jump: most must, to count.
        In batches of one size the image's own sums are the same.
        """
        if not bool(torch.isfinite(self.together).all()):
            return None  # said by name when it is its cell's turn
        bound = TOLERANCE * max(float(self.together.abs().max()), 1e-6)
        if float((self.together - self.again).abs().max()) > bound:
            return "its answers to the same images change from call to call (dropout or another random part is active)"
        most = float((self.together[:1] - self.alone).abs().median())
        if max(most, float((self.together[:1] - self.doubled[:1]).abs().max())) > bound:
            return "its answer to an image depends on the other images of the batch (statistics of the batch are used)"
        return None

    def are_probabilities(self) -> bool:
        """Whether each answer is of values from 0 that sum to 1, which logits never are."""
        if self.together.dim() != 2 or self.together.shape[1] < 2 or bool((self.together < 0).any()):
            return False
        return float((self.together.sum(dim=1) - 1).abs().max()) < 1e-4


@torch.inference_mode()
def show(model: LoadedModel, image: Tensor) -> Answers:
    """Show an image and its negative together, once more, the image beside itself, and alone, in float32.

    Args:
        model: the model, on the image's device.
        image: uint8 [3, h, w].

    Raises:
        UsageError: the network fails on images of this size, or on one image alone.

    >>> from robustbench_lift.weights import load_model
    >>> image = torch.arange(3 * 64 * 64).view(3, 64, 64).to(torch.uint8)
    >>> answers = show(load_model("photos/resnet-lift"), image)
    >>> answers.dependence() is None, answers.are_probabilities()
    (True, False)
    """
    pair = torch.stack([image, 255 - image])
    same = torch.stack([image, image])
    return Answers(*(model.logits(batch).double() for batch in (pair, pair, same, same[:1])))


def refusal(model: LoadedModel, found: str) -> UsageError:
    """The error for a network that is no function of one image."""
    return UsageError(
        f"{model.spec} is no function of one image: {found}. Its scores would depend on batch size and shards. Put "
        "these layers into evaluation mode, or evaluate it nevertheless with --allow-dependent, which marks the "
        "signature."
    )
