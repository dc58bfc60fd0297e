"""What a training minimises and how: the loss of a batch, the optimiser, averaged weights, a falling temperature."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustbench_lift.errors import UsageError
from robustbench_lift.training import draws
from robustbench_lift.training.recipe import Recipe
from robustbench_lift.weights.warm import ENCODERS


def auxiliary_loss(losses: Mapping[str, Tensor], recipe: Recipe) -> Tensor | float:
    """Weighted sum of the poolings' own losses: sum over names of weight * loss.

    LiftPool adds 0.01 * c_u + 0.1 * c_p (section 3); other poolings name their own.

    Args:
        losses: scalars by name, as `pooling.collect_losses` gives them.
        recipe: its `auxiliary` weights.

    Raises:
        UsageError: a loss for which the recipe has no weight.

    Example:
        >>> from robustbench_lift.training.recipes import RECIPES
        >>> round(float(auxiliary_loss({"c_u": torch.tensor(2.0), "c_p": torch.tensor(3.0)}, RECIPES["photos"])), 4)
        0.32
    """
    for name in losses:
        if name not in recipe.auxiliary:
            raise UsageError(
                f"the network has the auxiliary loss {name!r}, for which recipe {recipe.name} has no weight (it has "
                f"{', '.join(recipe.auxiliary) or 'none'}). Give one: --set auxiliary.{name}=0.1, or 0 to leave it out."
            )
    return sum((recipe.auxiliary[name] * loss for name, loss in losses.items() if recipe.auxiliary[name]), start=0.0)


def cutmix(images: Tensor, labels: Tensor, *, alpha: float, parts: tuple[int, ...]) -> tuple[Tensor, Tensor, float]:
    """Paste a box of each image's neighbour: (images, the neighbours' labels, area that is left of the own image).

    Source: Yun et al., ICCV 2019, Algorithm 1; one box a batch, the partner is the next image of the (shuffled) batch.

    Args:
        images: [n, 3, H, W].
        labels: int64 [n].
        alpha: parameter of the beta distribution.
        parts: integers that name the piece of a batch: seed, epoch, step, piece, rank.
    """
    generator = np.random.Generator(np.random.Philox(key=draws.key(*parts)))
    height, width = images.shape[2:]
    side = np.sqrt(1 - generator.beta(alpha, alpha))
    h, w = round(height * side), round(width * side)
    y, x = int(generator.integers(height)), int(generator.integers(width))
    top, bottom = max(0, y - h // 2), min(height, y + h // 2)
    left, right = max(0, x - w // 2), min(width, x + w // 2)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.roll(1, 0)[:, :, top:bottom, left:right]
    return mixed, labels.roll(1, 0), 1 - (bottom - top) * (right - left) / (height * width)


def task_loss(logits: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    """Cross-entropy of each image, float32 [n], with the recipe's label smoothing."""
    return functional.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=recipe.label_smoothing)


def parameter_groups(module: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Parameters with and without weight decay, and those of an encoder apart where it learns at its own rate.

    With `decay_all` every parameter decays but those that a layer names in `no_weight_decay()`; without it vectors
    (biases, normalisation) are spared too.
    """
    spared: set[int] = set()
    for layer in module.modules():
        names = getattr(layer, "no_weight_decay", None)
        if callable(names):
            spared |= {id(layer.get_parameter(name)) for name in names()}
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in module.parameters():
        if not parameter.requires_grad:
            continue
        plain = id(parameter) not in spared and (recipe.decay_all or parameter.ndim > 1)
        (decayed if plain else free).append(parameter)
    slow = {id(parameter) for part in _encoders(module, recipe) for parameter in part.parameters()}
    groups: list[dict[str, object]] = []
    for members, decay in ((decayed, recipe.weight_decay), (free, 0.0)):
        for rate in (1.0, recipe.encoder_rate) if slow else (1.0,):
            own = [p for p in members if not slow or (id(p) in slow) == (rate != 1.0)]
            groups += [{"params": own, "weight_decay": decay, "rate": rate}] if own else []
    return groups


def _encoders(module: nn.Module, recipe: Recipe) -> list[nn.Module]:
    """The parts of a segmentation network that learn at `encoder_rate`; none where that is 1."""
    if recipe.encoder_rate == 1:
        return []
    return [part for name, part in module.named_children() if name in ENCODERS]


def make_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over the network's parameters."""
    groups = parameter_groups(module, recipe)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov)


def temperature(recipe: Recipe, fraction: float) -> float:
    """The recipe's temperature at a fraction of the training, linear between its points.

    >>> from robustbench_lift.training import RECIPES, override
    >>> recipe = override(RECIPES["photos"], {"temperature": [1.0, 0.5], "temperature_at": [0.0, 0.5]})
    >>> [temperature(recipe, f) for f in (0.0, 0.25, 0.75)]
    [1.0, 0.75, 0.5]
    """
    return float(np.interp(fraction, recipe.temperature_at, recipe.temperature))


def has_temperature(layer: nn.Module) -> bool:
    """Whether a layer has a temperature that a recipe may lower."""
    return isinstance(getattr(layer, "temperature", None), float)


def anneal(module: nn.Module, fraction: float, recipe: Recipe) -> None:
    """Set the temperature of every layer that has one (LPS), when the recipe says how it falls."""
    if not recipe.temperature:
        return
    for layer in module.modules():
        if has_temperature(layer):
            layer.temperature = temperature(recipe, fraction)  # type: ignore[assignment]


class Average:
    """An exponential moving average of a network's weights, or nothing at all when the decay is 0.

    After each step a <- decay * a + (1 - decay) * w for parameters; buffers are copied.

    Args:
        module: the network that is trained.
        decay: 0 (no average) to below 1.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> _ = layer.weight.data.fill_(1.0)
    >>> average = Average(layer, 0.75)
    >>> _ = layer.weight.data.fill_(3.0)
    >>> average.update()
    >>> with average.in_place():
    ...     layer.weight.item()
    1.5
    >>> layer.weight.item()
    3.0
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self._parameters = frozenset(name for name, _ in module.named_parameters())
        self.tensors: dict[str, Tensor] | None = None
        if decay:
            self.tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Count the weights after a step."""
        if self.tensors is None:
            return
        for name, value in self._module.state_dict().items():
            if name in self._parameters:
                self.tensors[name].lerp_(value.to(self.tensors[name].dtype), 1 - self._decay)
            else:
                self.tensors[name].copy_(value)

    def restore(self, tensors: Mapping[str, Tensor] | None) -> None:
        """Take over a stored average."""
        if self.tensors is not None and tensors is not None:
            for name, value in tensors.items():
                self.tensors[name].copy_(value)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The network holds the weights that are tested and handed over; the trained ones come back afterwards."""
        if self.tensors is None:
            yield
            return
        trained = {name: value.clone() for name, value in self._module.state_dict().items()}
        self._module.load_state_dict(self.tensors)
        try:
            yield
        finally:
            self._module.load_state_dict(trained)
