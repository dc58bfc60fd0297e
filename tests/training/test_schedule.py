"""Learning rates against torch's schedulers, which step through state; ours is a function of the step."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from robustbench_lift.training import RECIPES, Recipe
from robustbench_lift.training.recipe import learning_rate

STEPS = 7


def torch_rates(recipe: Recipe, make) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.learning_rate, momentum=0.9)
    scheduler = make(optimizer)
    rates = []
    for _ in range(recipe.epochs * STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def ours(recipe: Recipe) -> list[float]:
    return [learning_rate(recipe, step=k, steps_per_epoch=STEPS) for k in range(recipe.epochs * STEPS)]


def test_step_schedule_is_multistep(recipe: Recipe) -> None:
    stepped = dataclasses.replace(recipe, schedule="step", epochs=6, milestones=(2, 5))
    expected = torch_rates(
        stepped, lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [m * STEPS for m in stepped.milestones])
    )
    assert ours(stepped) == pytest.approx(expected, rel=1e-12)


def test_cosine_schedule(recipe: Recipe) -> None:
    expected = torch_rates(recipe, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, recipe.epochs * STEPS))
    assert ours(recipe) == pytest.approx(expected, rel=1e-9)


def test_one_cycle_schedule(recipe: Recipe) -> None:
    cycle = dataclasses.replace(recipe, schedule="one-cycle", epochs=10)
    expected = torch_rates(
        cycle,
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, cycle.learning_rate, total_steps=10 * STEPS, pct_start=0.3),
    )
    assert ours(cycle) == pytest.approx(expected, rel=1e-9)


def test_warmup_rises_in_a_line_and_then_leaves_the_schedule_alone(recipe: Recipe) -> None:
    warm = dataclasses.replace(recipe, schedule="constant", warmup_epochs=1.0)
    rates = ours(warm)
    assert rates[:STEPS] == pytest.approx([0.05 * (k + 1) / STEPS for k in range(STEPS)])
    assert set(rates[STEPS:]) == {0.05}


def test_published_steps() -> None:
    """pytorch/examples: lr = 0.1 * 0.1 ** (epoch // 30); LiftPool's VGG13: divided by ten at 80 and 120."""
    imagenet, vgg = RECIPES["imagenet"], RECIPES["cifar100-vgg13"]
    for epoch in range(100):
        assert learning_rate(imagenet, step=epoch * 5005, steps_per_epoch=5005) == pytest.approx(
            0.1 * 0.1 ** (epoch // 30)
        )
    rates = [learning_rate(vgg, step=epoch * 500, steps_per_epoch=500) for epoch in (0, 79, 80, 119, 120, 159)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_parameters_that_a_pooling_names_are_not_decayed() -> None:
    from robustbench_lift.networks import build_model
    from robustbench_lift.training.objective import parameter_groups
    from robustbench_lift.training.recipes import RECIPES

    groups = parameter_groups(build_model("resnet8", "dpp", num_classes=15), RECIPES["photos"])
    free = [group for group in groups if group["weight_decay"] == 0]
    assert len(free) == 1
    assert len(list(free[0]["params"])) == 2 * 3  # lam and alpha of the three pools
