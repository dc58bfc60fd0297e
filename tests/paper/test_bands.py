"""What lift makes of the maps in a network, against values that are known: noise, smooth maps, and loops in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustbench_lift import load_model
from robustbench_lift.paper.bands import Fold, _entry, measure
from robustbench_lift.pooling import LiftDownPool
from robustbench_lift.tables.table import Entry


def _noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape)).float()


def _drawn(pool: LiftDownPool) -> LiftDownPool:
    with torch.no_grad():
        for value in pool.parameters():
            value.copy_(_noise(*value.shape) / 2)
    return pool


def _folded(pool: LiftDownPool, *batches: torch.Tensor):
    fold = Fold(pool.eval())
    with torch.no_grad():
        for batch in batches:
            fold.update(batch)
    return fold.result()


def test_a_layer_that_only_splits_keeps_every_second_sample_of_noise() -> None:
    found = _folded(LiftDownPool(4, init="zero"), _noise(8, 4, 64, 64))
    assert found.c_p == pytest.approx(3, abs=1e-6)  # nothing is predicted: d is x_o in each of the three transforms
    assert found.c_u == pytest.approx(6, abs=0.1)  # two values that know nothing of each other
    assert found.energy == pytest.approx(0.25, abs=0.01)
    assert found.rough == pytest.approx(1, abs=0.01)
    assert found.rough_skip == pytest.approx(found.rough, rel=1e-6)  # LL is every second sample
    assert found.rough_mean == pytest.approx(1, abs=0.01)
    assert found.lost == pytest.approx(0.75, abs=0.01)
    assert found.lost_mean == pytest.approx(0.75, abs=0.01)
    assert found.size == pytest.approx(1, abs=0.01)


def test_shares_do_not_depend_on_the_scale_of_the_map_nor_on_batches() -> None:
    pool, x = LiftDownPool(3, init="zero"), _noise(6, 3, 16, 16)
    whole, parts, larger = _folded(pool, x), _folded(pool, x[:2], x[2:]), _folded(pool, 10 * x)
    for key in ("size", "c_u", "c_p", "energy", "rough", "rough_skip", "rough_mean", "lost", "lost_mean"):
        assert getattr(parts, key) == pytest.approx(getattr(whole, key), rel=1e-6)
        if key != "size":
            assert getattr(larger, key) == pytest.approx(getattr(whole, key), rel=1e-6)


def test_constraints_are_those_of_the_layer() -> None:
    """What `constraint="relative"` trains with, but for the floor below its divisor."""
    pool = _drawn(LiftDownPool(5, constraint="relative"))
    x = _noise(2, 5, 12, 10)
    found = _folded(pool, x)
    with torch.no_grad():
        pool.train()(x)
    losses = {name: float(value) for name, value in pool.losses().items()}
    assert found.c_u == pytest.approx(losses["c_u"], rel=1e-5)
    assert found.c_p == pytest.approx(losses["c_p"], rel=1e-5)


def test_roughness_and_loss_by_loops() -> None:
    pool = _drawn(LiftDownPool(2))
    x = _noise(2, 2, 6, 8).cumsum(3)
    found = _folded(pool, x)
    z = x.double().numpy().reshape(2, 2, 3, 2, 4, 2).mean((3, 5))
    steps = [z[:, :, i + 1, j] - z[:, :, i, j] for i in range(2) for j in range(4)]
    steps += [z[:, :, i, j + 1] - z[:, :, i, j] for i in range(3) for j in range(3)]
    variance = z.var((2, 3)).mean()
    assert found.rough_mean == pytest.approx(np.mean(np.square(steps)) / (2 * variance), rel=1e-5)
    back = z.repeat(2, axis=2).repeat(2, axis=3)
    assert found.lost_mean == pytest.approx(
        np.mean((x.numpy() - back) ** 2) / x.double().numpy().var((2, 3)).mean(), rel=1e-5
    )


def test_every_lift_layer_of_a_network_is_measured_and_no_hook_stays() -> None:
    model = load_model("photos/resnet-lift")
    found = measure(model, [torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator())])
    lifts = [name for name, module in model.module.named_modules() if isinstance(module, LiftDownPool)]
    assert list(found) == lifts
    assert not any(module._forward_pre_hooks for module in model.module.modules())
    assert all(0 < one.energy < 1 for one in found.values())


def test_the_lifts_of_an_encoder_that_hands_on_its_bands_are_measured() -> None:
    model = load_model("scenes/segnet-lift")
    found = measure(model, [torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator())])
    lifts = {name: module for name, module in model.module.named_modules() if isinstance(module, LiftDownPool)}
    assert list(found) == list(lifts)
    assert len(lifts) == 5
    assert not any("record" in vars(module) for module in lifts.values())


def test_a_single_row_has_no_bands_and_zeros_have_no_shares() -> None:
    fold = Fold(LiftDownPool(2).eval())
    with torch.no_grad():
        fold.update(_noise(1, 2, 1, 8))
        assert not fold.seen
        fold.update(torch.zeros(1, 2, 8, 8))
    assert np.isnan(fold.result().c_p)
    assert _entry([fold.result().c_p, 0.5]) == Entry()


def test_without_a_map_there_is_no_measure() -> None:
    with pytest.raises(ValueError, match="no map"):
        Fold(LiftDownPool(2)).result()
