"""LiftPool: the equations written down once more, reconstruction, identities, constraints."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_lift.pooling import (
    AveragePool,
    Bands,
    BlurPool,
    LiftDownPool,
    LiftUpPool,
    PoolingError,
    WaveletPool,
    collect_losses,
)
from robustbench_lift.pooling.kernels import tanh

SIZES = [(8, 8), (7, 6), (6, 7), (15, 13), (1, 1), (1, 6), (2, 1), (4, 4)]


def image(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def lift(channels: int = 3, **options: object) -> LiftDownPool:
    torch.manual_seed(1)
    return LiftDownPool(channels, **({"constraint": "mse"} | options)).double()


def by_loops(pool: LiftDownPool, x: Tensor) -> dict[str, Tensor]:
    """The four bands of a map of even sides, sample by sample, from the equations alone."""

    def operator(which, line: list[Tensor], c: int) -> list[Tensor]:
        taps, gain = which.taps[c], which.gain[c]
        reach = len(taps) // 2
        z = [
            sum(
                (taps[k] * line[i + k - reach] for k in range(len(taps)) if 0 <= i + k - reach < len(line)),
                x.new_zeros(()),
            )
            for i in range(len(line))
        ]
        return [torch.tanh(gain * torch.relu(v)) for v in z]

    def split(line: list[Tensor], c: int) -> tuple[list[Tensor], list[Tensor]]:
        x_e, x_o = line[0::2], line[1::2]
        d = [o - p for o, p in zip(x_o, operator(pool.predict, x_e, c), strict=True)]
        return [e + u for e, u in zip(x_e, operator(pool.update, d, c), strict=True)], d

    images, channels, height, width = x.shape
    bands = {name: x.new_zeros(images, channels, height // 2, width // 2) for name in ("LL", "LH", "HL", "HH")}
    for n in range(images):
        for c in range(channels):
            rows = [split(list(x[n, c, i]), c) for i in range(height)]
            for letter, part in (("L", 0), ("H", 1)):
                for j in range(width // 2):
                    low, high = split([rows[i][part][j] for i in range(height)], c)
                    bands[letter + "L"][n, c, :, j] = torch.stack(low)
                    bands[letter + "H"][n, c, :, j] = torch.stack(high)
    return bands


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
def test_bands_are_those_of_the_equations(kernel_size):
    pool = lift(2, kernel_size=kernel_size)
    x = image(2, 2, 6, 8)
    expected = by_loops(pool, x)
    bands = pool.analysis(x)
    for name in ("LL", "LH", "HL", "HH"):
        torch.testing.assert_close(getattr(bands, name), expected[name], rtol=0, atol=1e-14)
    torch.testing.assert_close(pool(x), sum(expected.values()), rtol=0, atol=1e-14)


@pytest.mark.parametrize("bands", ["LL", "LH", "HL", "HH", "LL+HH", "LH+HL+HH", "sum"])
def test_the_output_is_the_plain_sum_of_the_chosen_bands(bands):
    pool = lift(bands=bands)
    x = image(2, 3, 7, 6)
    parts = pool.analysis(x)
    names = ["LL", "LH", "HL", "HH"] if bands == "sum" else bands.split("+")
    torch.testing.assert_close(pool(x), sum(getattr(parts, name) for name in names), rtol=0, atol=1e-14)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("padding", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_up_pooling_reconstructs(size, dtype, tolerance, padding, memory_format):
    pool = lift(padding=padding).to(dtype)
    x = (3 * image(2, 3, *size, dtype=dtype)).contiguous(memory_format=memory_format)
    up = LiftUpPool.sharing(pool)
    for graph in (True, False):
        with torch.set_grad_enabled(graph):
            back = up(*pool.record(x))
        assert back.shape == x.shape
        assert (back - x).abs().max() <= tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1.2e-2), (torch.bfloat16, 0.1)], ids=str)
def test_half_precision_reconstructs_to_its_rounding(dtype, tolerance):
    pool = lift().to(dtype)
    x = (3 * image(2, 3, 32, 32)).to(dtype)
    assert (LiftUpPool.sharing(pool)(*pool.record(x)) - x).abs().max() <= tolerance


def test_the_inverse_shares_parameters_and_draws_nothing():
    pool = lift()
    before = torch.get_rng_state()
    up = LiftUpPool.sharing(pool)
    assert torch.equal(torch.get_rng_state(), before)
    assert [id(p) for p in up.parameters()] == [id(p) for p in pool.parameters()]
    own = LiftUpPool(3).double()
    assert (own(*pool.record(image(1, 3, 4, 4))) - image(1, 3, 4, 4)).abs().max() > 1e-3


def test_the_decoder_may_bring_another_map_in_place_of_ll():
    pool = lift()
    bands = pool.analysis(image(1, 3, 7, 6))
    up = LiftUpPool.sharing(pool)
    assert up(bands.LL + 1, bands).shape == (1, 3, 7, 6)
    with pytest.raises(PoolingError, match=r"the map is \(1, 3, 4, 4\), the details are \(1, 3, 4, 3\)"):
        up(image(1, 3, 4, 4), bands)


def test_even_indices_are_those_with_zero_based_even_index():
    x = torch.arange(16.0, dtype=torch.float64).view(1, 1, 4, 4)
    pool = lift(1)
    for parameter in pool.parameters():
        parameter.data.zero_()
    bands = pool.analysis(x)
    assert isinstance(bands, Bands)
    assert bands.LL.flatten().tolist() == [0, 2, 8, 10]
    assert bands.LH.flatten().tolist() == [4, 6, 12, 14]  # horizontally low: even columns; vertically high: odd rows
    assert bands.HL.flatten().tolist() == [1, 3, 9, 11]
    assert bands.HH.flatten().tolist() == [5, 7, 13, 15]
    assert bands.size == (4, 4)


@pytest.mark.parametrize("size", [(8, 8), (14, 28), (2, 2)], ids=str)
def test_four_poolings_are_one(size):
    """AvgPool2d(2) == BlurPool Rect-2 == LiftDownPool(P = U = 0, sum) / 4 == Haar-LL / 2."""
    x = image(2, 3, *size, dtype=torch.float32)
    mean = F.avg_pool2d(x, 2)
    pool = LiftDownPool(3, init="zero")
    assert torch.equal(AveragePool(3)(x), mean)
    torch.testing.assert_close(BlurPool(3, filter="rect-2")(x), mean, rtol=0, atol=1e-7)
    torch.testing.assert_close(pool(x) / 4, mean, rtol=0, atol=2e-7)
    torch.testing.assert_close(WaveletPool(3)(x) / 2, mean, rtol=0, atol=1e-7)


def test_a_lift_of_zero_gain_is_four_times_the_mean_at_odd_sizes_too():
    x = image(2, 3, 7, 5)
    torch.testing.assert_close(lift(init="zero")(x), 4 * AveragePool(3)(x), rtol=0, atol=1e-14)


def test_training_and_eval_give_the_same_values():
    pool = LiftDownPool(5)
    for x in (image(2, 5, 9, 8, dtype=torch.float32), image(2, 5, 9, 8)):
        pool.to(x.dtype)
        with torch.no_grad():
            assert torch.equal(pool.eval()(x), pool.train()(x))
        assert torch.equal(pool(x), pool.eval()(x))


def test_float32_is_within_rounding_of_float64():
    pool = lift(6)
    x = 3 * image(4, 6, 12, 12)
    for gradient in (True, False):
        with torch.set_grad_enabled(gradient):
            expected, found = pool.double()(x), pool.float()(x.float())
        assert (found - expected).abs().max() < 5e-6
        assert (found - expected).abs().mean() < 5e-7


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_float32_gradients_are_within_rounding_of_float64(memory_format):
    """float32 on a CPU takes its own tanh and its own copies between layouts, with gradients of their own."""
    pool = lift(3)
    x = image(2, 3, 8, 6).contiguous(memory_format=memory_format).requires_grad_()
    gradients = []
    for dtype in (torch.float64, torch.float32):
        pool.to(dtype)
        target = (pool(x.to(dtype)) ** 2).sum() + sum(pool.losses().values())
        gradients.append(torch.autograd.grad(target, [x, *pool.parameters()]))
    for exact, found in zip(*gradients, strict=True):
        assert exact.abs().max() > 1e-2
        torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)


def test_the_fast_tanh_has_the_first_and_second_derivative_of_tanh():
    x = torch.linspace(-5, 5, 41, dtype=torch.float64, requires_grad=True)
    assert (tanh(x) - torch.tanh(x)).abs().max() < 1e-14
    assert torch.autograd.gradcheck(tanh, x)
    assert torch.autograd.gradgradcheck(tanh, x)
    wide = torch.linspace(-20, 20, 100_001)
    assert (tanh(wide).double() - wide.double().tanh()).abs().max() < 4e-7


def test_the_operators_stay_in_range():
    pool = LiftDownPool(3)
    pool.predict.gain.data.fill_(50.0)
    lines = 100 * image(2, 6, 1, 3, dtype=torch.float32)
    zero = torch.zeros_like(lines)
    with torch.no_grad():
        values = pool.predict(lines, zero, 1)
    assert values.abs().max() <= 1
    assert (values == 1).any()


def by_hand(x: Tensor, pool: LiftDownPool, measure) -> tuple[Tensor, Tensor]:
    bands = pool.analysis(x)
    up = LiftUpPool.sharing(pool)
    s, d = (
        up.merge(a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        for a, b in ((bands.LL, bands.LH), (bands.HL, bands.HH))
    )
    calls = ((s, d, x[..., 1::2]), (bands.LL, bands.LH, s[..., 1::2, :]), (bands.HL, bands.HH, d[..., 1::2, :]))
    c_u = sum(measure(smooth - odd, odd) for smooth, _, odd in calls)
    return c_u, sum(measure(detail, odd) for _, detail, odd in calls)


@pytest.mark.parametrize("gradient", ["features", "filters"])
@pytest.mark.parametrize(
    ("constraint", "measure"),
    [
        ("mse", lambda v, _: v.square().mean()),
        ("l2", lambda v, _: v.square().sum().sqrt()),
        ("relative", lambda v, odd: v.square().mean() / (odd.square().mean() + 1e-6)),
    ],
)
def test_constraints_are_summed_over_the_three_transforms(constraint, measure, gradient):
    pool = lift(constraint=constraint, gradient=gradient)
    x = image(2, 3, 6, 8)
    pool(x)
    c_u, c_p = by_hand(x, pool, measure)
    losses = pool.losses()
    torch.testing.assert_close(losses["c_u"], c_u)
    torch.testing.assert_close(losses["c_p"], c_p)


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_relative_constraints_do_not_depend_on_the_scale_of_the_map(scale):
    """With P = U = 0 each detail is x_o itself, so c_p is 1 a transform."""
    pool = lift(init="zero", constraint="relative")
    x = image(2, 3, 6, 8)
    pool(scale * x)
    x_e, x_o = x[..., 0::2], x[..., 1::2]
    pairs = [(x_e, x_o), *((v[..., 0::2, :], v[..., 1::2, :]) for v in (x_e, x_o))]
    losses = pool.losses()
    assert losses["c_p"].item() == pytest.approx(3.0, rel=1e-5)
    expected = sum((even - odd).square().mean() / odd.square().mean() for even, odd in pairs)
    assert losses["c_u"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_relative_constraints_of_nothing_are_finite():
    pool = lift(constraint="relative")
    x = torch.zeros(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    pool(x)
    losses = pool.losses()
    assert losses["c_u"] == losses["c_p"] == 0
    assert torch.autograd.grad(sum(losses.values()), x)[0].isfinite().all()


@pytest.mark.parametrize("constraint", ["mse", "l2", "relative"])
def test_constraints_of_the_filters_leave_the_features_alone(constraint):
    """The map gets exactly the gradient of the output; P and U get what they get with the features."""
    x = image(2, 3, 7, 6).requires_grad_()
    of_constraints, of_output = {}, {}
    for gradient in ("features", "filters"):
        pool = lift(constraint=constraint, gradient=gradient)
        y, losses = pool(x).square().mean(), sum(pool.losses().values())
        wanted = [x, *pool.parameters()]
        of_output[gradient] = torch.autograd.grad(y, wanted, retain_graph=True)
        of_constraints[gradient] = torch.autograd.grad(losses, wanted, allow_unused=True, materialize_grads=True)
    for features, filters in zip(of_output["features"], of_output["filters"], strict=True):
        assert torch.equal(features, filters)
    (into_map, *into_filters), (nothing, *same) = of_constraints["features"], of_constraints["filters"]
    assert into_map.abs().max() > 1e-3
    assert (nothing == 0).all()
    for features, filters in zip(into_filters, same, strict=True):
        assert features.abs().min() > 0
        torch.testing.assert_close(filters, features)


def test_constraints_of_the_filters_do_not_reach_the_layers_before():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), LiftDownPool(4, constraint="mse", gradient="filters"))
    net(image(2, 3, 8, 8, dtype=torch.float32))
    sum(collect_losses(net).values()).backward()
    assert [p.grad is None or not p.grad.any() for p in net[0].parameters()] == [True, True]
    assert all(p.grad.any() for p in net[1].parameters())


def test_constraints_of_idle_operators_are_known():
    pool = lift(init="zero")
    x = image(2, 3, 6, 8)
    pool(x)
    x_e, x_o = x[..., 0::2], x[..., 1::2]
    losses = pool.losses()
    c_p = sum(v.square().mean() for v in (x_o, x_e[..., 1::2, :], x_o[..., 1::2, :]))
    c_u = sum(
        v.square().mean()
        for v in (x_e - x_o, x_e[..., 0::2, :] - x_e[..., 1::2, :], x_o[..., 0::2, :] - x_o[..., 1::2, :])
    )
    torch.testing.assert_close(losses["c_p"], c_p)
    torch.testing.assert_close(losses["c_u"], c_u)


def test_constraints_reach_both_operators_and_do_not_depend_on_the_size():
    pool = lift()
    pool(image(1, 3, 64, 64))
    small = pool.losses()["c_p"].item()
    pool(image(1, 3, 256, 256, seed=4))
    assert pool.losses()["c_p"].item() == pytest.approx(small, rel=0.1)
    gradients = torch.autograd.grad(sum(pool.losses().values()), list(pool.parameters()))
    assert all(g.abs().min() > 0 for g in gradients)


def test_losses_are_of_training_only_and_sum_over_layers():
    net = torch.nn.Sequential(LiftDownPool(2, constraint="mse"), LiftDownPool(2, constraint="mse"), LiftDownPool(2))
    x = image(1, 2, 16, 16, dtype=torch.float32)
    net(x)
    total = collect_losses(net)
    assert set(total) == {"c_u", "c_p"}
    torch.testing.assert_close(total["c_p"], net[0].losses()["c_p"] + net[1].losses()["c_p"])
    net.eval()
    net(x)
    assert collect_losses(net) == {}


def test_gradients_reach_the_operators_from_all_three_transforms():
    """On a map of one row only the rows' transform sees P; on one column only the columns' do."""
    for size in ((1, 8), (8, 1), (8, 8)):
        pool = lift(bands="LL")
        gradients = torch.autograd.grad(pool(image(2, 3, *size)).sum(), list(pool.parameters()), allow_unused=True)
        assert all(g is not None and g.abs().sum() > 0 for g in gradients), size


def test_a_generic_sweep_over_convolutions_leaves_the_operators_alone():
    assert not [m for m in LiftDownPool(3).modules() if isinstance(m, torch.nn.modules.conv._ConvNd)]


def test_works_under_autocast_and_vmap():
    pool = LiftDownPool(3)
    x = image(4, 2, 3, 6, 6, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert pool(x[0]).isfinite().all()
    pool.eval()
    per_batch = torch.func.vmap(pool)(x)
    torch.testing.assert_close(per_batch[1], pool(x[1]), rtol=1e-5, atol=1e-6)
