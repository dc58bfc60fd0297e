"""What circular shifts of the input do: polyphase and spectral poolings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustbench_lift.pooling import APSPool, LPSPool, MaxPool, PoolingLayer, Skip, SpectralPool


def image(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(11))


class Block(nn.Module):
    """A residual block whose pooling serves both branches, as a placement builds it."""

    def __init__(self, channels: int, out: int, pool: PoolingLayer) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, padding=1, padding_mode="circular")
        self.shortcut = nn.Conv2d(channels, out, 1)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        main, side = torch.relu(self.first(x)), self.shortcut(x)
        if isinstance(self.pool, APSPool | LPSPool):
            phase = self.pool.select(main)
            return torch.relu(self.pool.take(main, phase) + self.pool.take(side, phase))
        return torch.relu(self.pool(main) + self.pool(side))


def network(make) -> nn.Module:
    torch.manual_seed(0)
    blocks = [Block(3, 8, make(8)), Block(8, 6, make(6))]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)).double().eval()


SHIFTS = [(1, 0), (0, 1), (1, 1), (2, 3), (5, 7), (-3, 4)]
INVARIANT = {
    "aps": APSPool,
    "aps-l1": lambda c: APSPool(c, norm="l1"),
    "aps-blur": lambda c: APSPool(c, filter="tri-3"),
    "lps": LPSPool,
}


@pytest.mark.parametrize("name", INVARIANT)
@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_logits_do_not_change_under_circular_shifts(name, shift):
    net, x = network(INVARIANT[name]), image(4, 3, 16, 12)
    difference = (net(x.roll(shift, (2, 3))) - net(x)).abs().max()
    assert difference < 1e-12


@pytest.mark.parametrize("make", [MaxPool, Skip])
def test_the_same_network_with_a_fixed_grid_does_change(make):
    net, x = network(make), image(4, 3, 16, 12)
    assert (net(x.roll((1, 1), (2, 3))) - net(x)).abs().max() > 1e-3


@pytest.mark.parametrize("make", [APSPool, LPSPool])
def test_each_image_chooses_its_own_phase(make):
    torch.manual_seed(0)
    pool = make(3).double().eval()
    x = image(16, 3, 8, 8)
    phase = pool.select(x)
    assert phase.dtype == torch.int64
    assert set(phase.tolist()) == {0, 1, 2, 3}
    for n in range(len(x)):
        row, column = divmod(int(phase[n]), 2)
        assert torch.equal(pool(x)[n], x[n, :, row::2, column::2])
    assert torch.equal(pool(x[5:6]), pool(x)[5:6])


@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("l2", 2), ("linf", torch.inf)])
def test_aps_keeps_the_phase_of_largest_norm(norm, order):
    x = image(8, 3, 6, 6)
    norms = torch.stack([x[..., i::2, j::2].flatten(1).norm(order, dim=1) for i in (0, 1) for j in (0, 1)], 1)
    assert torch.equal(APSPool(3, norm=norm).select(x), norms.argmax(1))


def test_aps_with_a_filter_chooses_before_and_subsamples_after_the_blur():
    x = image(4, 3, 8, 8)
    plain, blurred = APSPool(3), APSPool(3, filter="tri-3")
    assert torch.equal(plain.select(x), blurred.select(x))
    taps = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    dense = sum(taps[a] * taps[b] * x.roll((1 - a, 1 - b), (2, 3)) for a in range(3) for b in range(3))
    torch.testing.assert_close(blurred(x), plain.take(dense, plain.select(x)))


def test_the_phase_serves_a_shortcut_of_other_channels():
    x, side = image(4, 3, 8, 8), image(4, 7, 8, 8)
    pool = APSPool(3, filter="tri-3")
    assert pool.take(side, pool.select(x)).shape == (4, 7, 4, 4)


@pytest.mark.parametrize("make", [APSPool, LPSPool])
@pytest.mark.parametrize("size", [(8, 6), (7, 5)], ids=str)
def test_put_places_samples_back_on_their_phase(make, size):
    pool = make(3).double().eval()
    x = image(6, 3, *size)
    phase = pool.select(x)
    y = pool.take(x, phase)
    back = pool.put(y, phase, size)
    assert back.shape == x.shape
    for n in range(len(x)):
        row, column = divmod(int(phase[n]), 2)
        kept = x[n, :, row::2, column::2]
        assert torch.equal(back[n, :, row::2, column::2], kept)
        assert int((back[n] != 0).sum()) == kept.numel()


def test_lps_mixes_phases_while_training_and_hardens_with_temperature():
    torch.manual_seed(0)
    pool = LPSPool(3, hidden=4).double().train()
    x = image(6, 3, 8, 8)
    weights = pool.select(x)
    assert weights.shape == (6, 4)
    torch.testing.assert_close(weights.sum(1), torch.ones(6, dtype=torch.float64))
    parts = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)
    torch.testing.assert_close(pool.take(x, weights), torch.einsum("np,npchw->nchw", weights, parts))
    back = pool.put(pool.take(x, weights), weights, (8, 8))
    torch.testing.assert_close(sum(back[..., i::2, j::2] for i in (0, 1) for j in (0, 1)), pool.take(x, weights))
    pool(x).sum().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in (pool.first.weight, pool.first.bias, pool.second.weight)
    )
    pool.temperature = 1e-3
    assert pool.select(x).amax(1).min() > 0.99


def test_lps_scores_follow_the_image():
    torch.manual_seed(0)
    pool = LPSPool(3, hidden=4).double()
    x = image(2, 3, 8, 8)
    scores = pool.score(x)
    torch.testing.assert_close(pool.score(x.roll(1, 3)), scores[:, [1, 0, 3, 2]])
    torch.testing.assert_close(pool.score(x.roll(1, 2)), scores[:, [2, 3, 0, 1]])


@pytest.mark.parametrize("size", [8, 10, 14, 16])
def test_spectral_pooling_follows_even_shifts(size):
    x = image(2, 3, size, size)
    pool = SpectralPool(3)
    torch.testing.assert_close(pool(x.roll((2, 4), (2, 3))), pool(x).roll((1, 2), (2, 3)), rtol=0, atol=1e-12)
