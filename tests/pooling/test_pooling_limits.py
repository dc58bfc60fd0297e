"""Closed forms, limits and invariants of the baselines."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_lift.pooling import (
    GFGP,
    LIP,
    AdaPool,
    AveragePool,
    BlurPool,
    DetailPreservingPool,
    GatedPool,
    GaussPool,
    MaxPool,
    MaxUpPool,
    MaxUpPoolBlur,
    MixedPool,
    PoolingError,
    S3Pool,
    Skip,
    SoftPool,
    TIPSPool,
    collect_losses,
)
from robustbench_lift.pooling.blur import FILTERS
from robustbench_lift.pooling.softmax import importance_pool


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X = image(3, 4, 10, 8)
MEAN, MAX = F.avg_pool2d(X, 2), F.max_pool2d(X, 2)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def test_classic_poolings_are_torch_own():
    assert torch.equal(MaxPool(4)(X), MAX)
    assert torch.equal(MaxPool(4, kernel=3)(X), F.max_pool2d(X, 3, 2, 1))
    assert torch.equal(AveragePool(4)(X), MEAN)
    weight = image(5, 4, 3, 3)
    close(Skip(5)(F.conv2d(X, weight, padding=1)), F.conv2d(X, weight, padding=1, stride=2))
    assert (MAX >= MEAN).all()


def test_odd_borders_count_only_what_is_there():
    x = torch.tensor([[[[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]]])
    assert AveragePool(1)(x).flatten().tolist() == [3, 4.5, 7.5, 9]
    assert MaxPool(1)(x).flatten().tolist() == [5, 6, 8, 9]


@pytest.mark.parametrize("granularity", ["layer", "channel"])
def test_mixed_goes_from_mean_to_maximum(granularity):
    pool = MixedPool(4, granularity=granularity).double()
    close(pool(X), (MEAN + MAX) / 2)
    pool.share.data.fill_(40)
    close(pool(X), MAX)
    pool.share.data.fill_(-40)
    close(pool(X), MEAN)


def test_gated_goes_from_mean_to_maximum_by_the_window():
    pool = GatedPool(4).double()
    close(pool(X), (MEAN + MAX) / 2)
    pool.mask.data = image(1, 2, 2)
    gate = torch.sigmoid(F.conv2d(X, pool.mask[None].expand(4, 1, 2, 2), stride=2, groups=4))
    close(pool(X), gate * MAX + (1 - gate) * MEAN)
    positive = X.abs() + 1
    pool.mask.data.fill_(100)
    close(pool(positive), F.max_pool2d(positive, 2))
    pool.mask.data.fill_(-100)
    close(pool(positive), F.avg_pool2d(positive, 2))


@pytest.mark.parametrize("grid", [2, 4, 6, 16])
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 3)], ids=str)
def test_s3_keeps_rows_and_columns_of_the_dense_maximum(size, grid):
    pool = S3Pool(2, grid=grid)
    pool.generator = torch.Generator().manual_seed(0)
    x = image(3, 2, *size)
    dense = torch.stack(
        [torch.stack([x[..., i : i + 2, j : j + 2].amax((2, 3)) for j in range(size[1])], -1) for i in range(size[0])],
        -2,
    )
    for _ in range(5):
        y = pool(x)
        rows = [[k for k in range(size[0]) if torch.isin(y[:, :, i], dense[:, :, k]).all()] for i in range(y.shape[2])]
        assert all(rows), "a row that the dense maximum does not have"
        kept = pool.draw(size[0], x.device)
        assert len(kept) == len(set(kept.tolist())) == (size[0] + 1) // 2
        assert kept.tolist() == sorted(kept.tolist())
        for start in range(0, size[0], grid):
            run = ((kept >= start) & (kept < start + grid)).sum()
            assert run == (min(grid, size[0] - start) + 1) // 2


def test_s3_draws_every_position_and_eval_averages():
    pool = S3Pool(1, grid=2)
    pool.generator = torch.Generator().manual_seed(0)
    draws = torch.stack([pool.draw(6, torch.device("cpu")) for _ in range(200)])
    assert ((draws - 2 * torch.arange(3)) % 2 == draws % 2).all()
    assert (draws // 2 == torch.arange(3)).all(), "grid 2 keeps one of each pair"
    assert (draws % 2).double().mean(0).sub(0.5).abs().max() < 0.15
    x = image(1, 1, 5, 6)
    dense = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, 1)
    close(pool.eval()(x), F.avg_pool2d(dense, 2, 2, ceil_mode=True))


@pytest.mark.parametrize("variant", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("guide", ["lite", "full"])
def test_dpp_keeps_constants_and_becomes_the_mean(variant, guide):
    pool = DetailPreservingPool(4, variant=variant, guide=guide).double()
    close(pool(torch.full_like(X, 3.0)), torch.full_like(MEAN, 3.0))
    pool.lam.data.fill_(-60)
    close(pool(X), MEAN, 1e-12)
    pool.lam.data.fill_(0)
    pool.alpha.data.fill_(10)
    close(pool(X), MEAN, 1e-3)


def test_dpp_becomes_the_maximum_without_overflow():
    pool = DetailPreservingPool(4, variant="asymmetric").double()
    pool.alpha.data.fill_(-60)
    pool.lam.data.fill_(8)  # an exponent of 1490
    far = X.clone()
    far[..., ::2, ::2] += 3  # one clear maximum a window
    close(pool(far), F.max_pool2d(far, 2), 2e-4)


def test_dpp_divides_by_the_mean_of_the_window():
    pool = DetailPreservingPool(4).double()
    window = torch.stack([X[..., ::2, ::2], X[..., ::2, 1::2], X[..., 1::2, ::2], X[..., 1::2, 1::2]])
    reward = (window - MEAN) ** 2 + 1e-3
    lam, alpha = (p.view(-1, 1, 1) for p in (pool.lam, pool.alpha))
    weights = (reward / reward.mean(0)) ** (lam.exp() / 2) + alpha.exp()
    close(pool(X), (weights * window).sum(0) / weights.sum(0))
    pool.alpha.data.fill_(25)
    capped = pool(X)
    pool.alpha.data.fill_(10)
    assert torch.equal(pool(X), capped)


@pytest.mark.parametrize("filter", list(FILTERS))
@pytest.mark.parametrize("padding", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("size", [(9, 8), (2, 3), (1, 1)], ids=str)
def test_blur_keeps_constants(filter, padding, size):
    pool = BlurPool(2, filter=filter, padding=padding).double()
    close(pool.kernel.sum((2, 3)), torch.ones(2, 1, dtype=torch.float64), 0)
    y = pool(torch.full((1, 2, *size), 2.5, dtype=torch.float64))
    close(y, torch.full_like(y, 2.5))


def test_blur_pads_even_filters_on_the_far_side():
    x = torch.arange(5.0, dtype=torch.float64).view(1, 1, 1, 5).expand(1, 1, 2, 5)
    assert BlurPool(1, filter="rect-2").double()(x).flatten().tolist() == [0.5, 2.5, 3.5]
    padded = F.pad(x, (1, 2, 1, 1), mode="reflect")
    line = F.conv1d(padded[:, :, 1], torch.tensor([[[1.0, 3, 3, 1]]], dtype=torch.float64) / 8, stride=2)
    close(BlurPool(1, filter="tri-4").double()(x.repeat(1, 1, 2, 1))[:, :, 1], line)


def test_gauss_is_the_mean_plus_a_multiple_of_the_deviation():
    pool = GaussPool(4).double().eval()
    for parameter in pool.location.norm.parameters():
        parameter.data.zero_()
    half = torch.full((), 0.0, dtype=torch.float64)
    deviation = F.unfold(X.flatten(0, 1)[:, None], 2, stride=2).var(1, correction=0).sqrt().view_as(MEAN)
    close(pool(X), MEAN + F.softplus(half) * deviation)
    close(pool(torch.full_like(X, 2.0)), torch.full_like(MEAN, 2.0) + F.softplus(half) * 1e-3)
    pool.location.norm.bias.data.fill_(-800)
    close(pool(X), MEAN)


def test_gauss_noise_is_shared_over_space_or_not():
    x = torch.ones(3, 4, 6, 6, dtype=torch.float64) * image(3, 4, 1, 1)
    for noise, shared in (("image", True), ("pixel", False)):
        pool = GaussPool(4, noise=noise).double().train()
        spread = pool(x).flatten(2).std(-1)
        assert bool((spread < 1e-12).all()) is shared


def test_gfgp_goes_from_mean_to_maximum():
    pool = GFGP(4).double().eval()
    y = pool(X)
    assert (y >= MEAN - 1e-12).all()
    assert (y <= MAX).all()
    for parameter in pool.sharpness.norm.parameters():
        parameter.data.zero_()
    pool.sharpness.norm.bias.data.fill_(-800)
    close(pool(X), MEAN)
    pool.sharpness.norm.bias.data.fill_(800)  # sharpness 1: SoftPool
    close(pool(X), SoftPool(4)(X))
    close(pool(500 * X) / 500, MAX, 1e-2)


def test_softpool_lies_between_and_follows_shifts_of_value_per_channel():
    pool = SoftPool(4)
    y = pool(X)
    assert (y >= MEAN - 1e-12).all()
    assert (y <= MAX).all()
    close(pool(X + 3.5), y + 3.5, 1e-12)
    close(pool(X[:, :1].repeat(1, 4, 1, 1))[:, 1:2], y[:, :1])  # other channels do not matter
    assert (pool(X - 10) < 0).all(), "negative maps are not clipped"
    assert pool(1e4 * X.float()).isfinite().all()


def test_adapool_mixes_its_two_means():
    pool = AdaPool(4, size=(10, 8)).double()
    pool.mixture.data.fill_(-1)
    close(pool(X), SoftPool(4)(X))
    pool.mixture.data.fill_(0)
    close(pool(X), SoftPool(4)(X))
    pool.mixture.data.fill_(2)
    window = F.unfold(X.flatten(0, 1)[:, None], 2, stride=2).view(3, 4, 4, -1)
    mean = window.mean(2, keepdim=True)
    weights = torch.softmax(2 * (window * mean).abs() / (window**2 + mean**2), 2)
    close(pool(X), (weights * window).sum(2).view_as(MEAN))
    for value in (0.0, -2.0, 3.0):
        close(pool(torch.full_like(X, value)), torch.full_like(MEAN, value))


def test_adapool_has_finite_gradients_on_windows_of_zeros():
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    AdaPool(1, size=2)(x).sum().backward()
    assert x.grad.isfinite().all()


def test_lip_goes_from_mean_over_soft_to_maximum():
    ones = torch.ones_like(X)
    counted = F.avg_pool2d(X, 3, 2, 1) / F.avg_pool2d(ones, 3, 2, 1)
    close(importance_pool(X, 0 * X), counted)
    soft = F.avg_pool2d(X.exp() * X, 3, 2, 1) / F.avg_pool2d(X.exp(), 3, 2, 1)
    close(importance_pool(X, X), soft)
    close(importance_pool(X, 50 * X), F.max_pool2d(X, 3, 2, 1), 0.05)
    close(LIP(4).double()(X), counted)


def test_lip_instance_norm_is_torch_own():
    pool = LIP(4).double()
    nn.init.normal_(pool.importance[0].weight)
    nn.init.normal_(pool.importance[1].weight)
    nn.init.normal_(pool.importance[1].bias)
    convolution, norm = pool.importance
    logits = 12 * torch.sigmoid(F.instance_norm(convolution(X), weight=norm.weight, bias=norm.bias))
    close(pool(X), F.avg_pool2d(logits.exp() * X, 3, 2, 1) / F.avg_pool2d(logits.exp(), 3, 2, 1), 1e-10)


def test_tips_is_a_convex_mixture_of_the_window():
    pool = TIPSPool(4).double().eval()
    y = pool(X)
    weights = pool.weights(F.relu(pool.filter(X)))
    close(weights.sum(2), torch.ones(3, 4, dtype=torch.float64))
    assert (weights.std(2) > 1e-6).all()
    assert (y <= MAX).all()
    assert (y >= -F.max_pool2d(-X, 2)).all()
    pool.gain.data.zero_()
    close(pool(X), MEAN)


def test_tips_loss_compares_features_with_a_moved_input():
    pool = TIPSPool(4).double().train()
    moves = set()
    for seed in range(12):
        pool.generator = torch.Generator().manual_seed(seed)
        pool(X)
        pool.generator.manual_seed(seed)
        moved = pool.shifted(X)
        close(collect_losses(pool)["undo_shift"], F.mse_loss(F.relu(pool.filter(X)), moved))
        candidates = [
            (i, j)
            for i in range(-2, 3)
            for j in range(-2, 3)
            if torch.equal(moved[..., 2:-2, 2:-2], X.roll((i, j), (2, 3))[..., 2:-2, 2:-2])
        ]
        assert len(candidates) == 1
        moves.update(candidates)
    assert len(moves) > 5
    assert not pool.shifted(X.clone().requires_grad_()).requires_grad
    pool.eval()(X)
    assert collect_losses(pool) == {}


@pytest.mark.parametrize("size", [(8, 6), (7, 5)], ids=str)
@pytest.mark.parametrize("kernel", [2, 3])
def test_max_up_pool_puts_maxima_back(size, kernel):
    x = image(2, 3, *size)
    down, up = MaxPool(3, kernel=kernel), MaxUpPool(3)
    y, memory = down.record(x)
    assert torch.equal(y, down(x))
    back = up(y, memory)
    assert back.shape == x.shape
    assert ((back == x) | (back == 0)).all()
    assert torch.equal(back.flatten(2).gather(2, memory.indices.flatten(2)), y.flatten(2))
    if kernel == 2:
        assert int((back != 0).sum()) == y.numel()
        positive = y.abs()
        assert torch.equal(down(up(positive, memory)), positive)
        if size[0] % 2 == 0:
            assert torch.equal(back, F.max_unpool2d(y, memory.indices, 2))


def test_max_up_pool_with_blur_blurs_what_max_up_pool_gives():
    y, memory = MaxPool(3).record(image(2, 3, 8, 6))
    up = MaxUpPoolBlur(3, filter="tri-3").double()
    close(up(y, memory), BlurPool(3, filter="tri-3", stride=1).double()(MaxUpPool(3)(y, memory)))
    close(up.blur(torch.ones(1, 3, 5, 4, dtype=torch.float64)), torch.ones(1, 3, 5, 4, dtype=torch.float64))
    with pytest.raises(PoolingError, match="remembered maxima are"):
        up(y[..., 1:], memory)
