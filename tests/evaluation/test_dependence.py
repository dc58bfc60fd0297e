"""Whether a network is a function of one image, asked of networks whose dependence is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustbench_lift.evaluation.dependence import show
from robustbench_lift.networks import build_model
from robustbench_lift.weights import LoadedModel

SIDE, CLASSES = 48, 5


class Mapped(nn.Module):
    """A map of logits from a fixed convolution, then changed by a function of the batch."""

    def __init__(self, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, CLASSES, 3, padding=1)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.convolution(x), x)


def one_pixel_jumps(y: Tensor, x: Tensor) -> Tensor:
    """As where another value of a window is the largest: one place is another in batches of another size."""
    y[:, :, 3, 4] += 10.0 * len(x)
    return y


def batch_mean(y: Tensor, x: Tensor) -> Tensor:
    return y - y.mean((0, 2, 3), keepdim=True)


def one_pixel_of_the_others(y: Tensor, x: Tensor) -> Tensor:
    y[:, :, 3, 4] += x.mean()
    return y


FOUND = {
    "the image alone": (lambda y, x: y, None),
    "rounding": (lambda y, x: y * (1 + 1e-6 * len(x)), None),
    "one pixel jumps with the size": (one_pixel_jumps, None),
    "the size of the batch": (lambda y, x: y / len(x), "other images of the batch"),
    "batch norm that trains": (
        lambda y, x: nn.functional.batch_norm(y, None, None, training=True),
        "other images of the batch",
    ),
    "the mean of the batch": (batch_mean, "other images of the batch"),
    "one pixel has the mean of the batch": (one_pixel_of_the_others, "other images of the batch"),
    "chance": (lambda y, x: nn.functional.dropout(y, training=True), "change from call to call"),
}


def dependence(network: nn.Module) -> str | None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image = torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8)
        model = LoadedModel.of(network, num_classes=CLASSES, device=torch.device("cpu"), name="one")
        return show(model, image).dependence()


@pytest.mark.parametrize("name", FOUND)
def test_what_an_answer_depends_on_is_found(name):
    change, words = FOUND[name]
    found = dependence(Mapped(change).eval())
    assert (found is None) if words is None else (found is not None and words in found)


@pytest.mark.parametrize("seed", range(4))
def test_networks_that_pick_the_largest_of_a_window_are_functions_of_one_image(seed):
    """Untrained, their windows are full of near ties, which batches of another size decide otherwise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_model("segnet", "max", num_classes=CLASSES, options={"width": 0.0625})
    assert dependence(network.eval()) is None
