"""The step of LiftPool in few passes, its gradient written out, against the equations."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from robustbench_lift.pooling import LiftDownPool, split


def inputs(gain: float | None, dtype: torch.dtype, bundles: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = ((bundles, 8, 2, 3), (3, 5), (3,), (3, 5), (3,))
    made = [torch.randn(shape, dtype=dtype, generator=generator) for shape in shapes]
    if gain is not None:
        made[2][1] = made[4][2] = gain
    return [one.requires_grad_() for one in made]


@pytest.mark.parametrize("gain", [None, 0.0, 1e-14, -1e-14])
@pytest.mark.parametrize("block", [1, 1 << 19])
def test_values_and_gradients_are_those_of_the_equations(monkeypatch, gain, block):
    """Block by block too; a gain of nothing learns."""
    monkeypatch.setattr(split, "BLOCK", block)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        given = inputs(gain, dtype)
        found, expected = split.step(*given), split.plain(*given)
        weights = [torch.linspace(-1, 2, one.numel(), dtype=dtype).view_as(one) for one in found]
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
        gradients = [torch.autograd.grad(outputs, given, weights) for outputs in (found, expected)]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=10 * tolerance)
        assert gain is None or gradients[0][2][1] != 0


def map_and_filters(dtype: torch.dtype, memory_format: torch.memory_format, images: int = 3) -> list[Tensor]:
    x = torch.randn((images, 3, 6, 8), dtype=dtype, generator=torch.Generator().manual_seed(4))
    filters = [one.detach() for one in inputs(None, dtype)[1:]]
    return [one.requires_grad_() for one in (x.contiguous(memory_format=memory_format), *filters)]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("images_at_once", [1, 2, 3])
def test_the_sum_of_the_bands_and_its_gradient_are_those_of_the_equations(monkeypatch, memory_format, images_at_once):
    """Blocks of one image, a last block that is smaller, and one block; a map keeps its memory format."""
    monkeypatch.setattr(split, "BLOCK", images_at_once * 3 * 6 * 8)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        given = map_and_filters(dtype, memory_format)
        found, expected = split.summed(*given), split.plain_sum(*given)
        weights = torch.linspace(-1, 2, found.numel(), dtype=dtype).view_as(found)
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
        gradients = [torch.autograd.grad(output, given, weights) for output in (found, expected)]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=10 * tolerance)
        with torch.no_grad():
            alone = split.summed(*given)
        assert torch.equal(alone, found)
        for one in (alone, found, gradients[0][0]):
            assert one.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("height", [2, 6, 12, 20, 40])
@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 11])
def test_lines_shorter_and_longer_than_the_filter_are_those_of_the_equations(size, height):
    """Which operations run along a line depends on its length and the number of taps."""
    generator = torch.Generator().manual_seed(size)
    shapes = ((2, 3, height, 14), (3, size), (3,), (3, size), (3,))
    given = [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]
    expected = split.plain_sum(*given)
    weights = torch.linspace(-1, 2, expected.numel(), dtype=torch.float64).view_as(expected)
    right = torch.autograd.grad(expected, given, weights)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-4)):
        inputs = [one.detach().to(dtype).requires_grad_() for one in given]
        found = split.summed(*inputs)
        torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
        for one, other in zip(torch.autograd.grad(found, inputs, weights.to(dtype)), right, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance * other.abs().max().item())


def test_first_and_second_derivatives_of_the_sum_are_right():
    given = map_and_filters(torch.float64, torch.contiguous_format, images=1)
    assert torch.autograd.gradcheck(split.summed, given)
    assert torch.autograd.gradgradcheck(split.summed, given)


def test_first_and_second_derivatives_are_right():
    given = inputs(None, torch.float64, bundles=1)
    assert torch.autograd.gradcheck(lambda *all_: split.step(*all_), given)
    assert torch.autograd.gradgradcheck(lambda *all_: split.step(*all_), given)


@pytest.mark.parametrize("bands", ["sum", "LL"])
def test_gradients_are_the_same_where_activations_are_computed_anew(bands):
    layer, gradients = LiftDownPool(3, bands=bands), []
    for checkpointed in (False, True):
        x = torch.rand(2, 3, 7, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
        layer.zero_grad()
        y = checkpoint(layer, x, use_reentrant=False) if checkpointed else layer(x)
        y.square().sum().backward()
        gradients.append([x.grad, *(p.grad for p in layer.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_without_a_gradient_the_values_are_the_same():
    given = inputs(None, torch.float32)
    with torch.no_grad():
        alone = split.step(*given)
    for one, other in zip(alone, split.step(*given), strict=True):
        assert not one.requires_grad
        assert other.requires_grad
        assert torch.equal(one, other)


@pytest.mark.parametrize("fused", [True, False])
def test_the_tanh_inside_the_convolution_is_within_rounding_of_float64(monkeypatch, fused):
    if fused and not split.FUSED:
        pytest.skip("this torch has no convolution with a tanh in it")
    monkeypatch.setattr(split, "FUSED", fused)
    given = [one.detach() for one in inputs(None, torch.float32)]
    for one, exact in zip(split.step(*given), split.plain(*(v.double() for v in given)), strict=True):
        torch.testing.assert_close(one.double(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bands", ["sum", "LH"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_float32_rounded_at_the_end(bands, dtype):
    pool = LiftDownPool(3, bands=bands)
    x = torch.randn(2, 3, 8, 6).to(dtype).requires_grad_()
    wide = x.detach().float().requires_grad_()
    y = pool(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pool(wide), pool(wide.clone()))
        inside = pool(x)
    assert y.dtype == inside.dtype == dtype
    assert torch.equal(y, inside)
    torch.testing.assert_close(y, pool(wide).to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-2)
    (one,), (other,) = (torch.autograd.grad(z.float().square().sum(), [of]) for z, of in ((y, x), (pool(wide), wide)))
    assert one.dtype == dtype
    torch.testing.assert_close(one.float(), other, rtol=0.05, atol=0.1)


def test_autocast_leaves_float32_maps_as_they_are():
    pool, x = LiftDownPool(3), torch.randn(2, 3, 8, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = pool(x)
    assert torch.equal(y, pool(x))


def test_a_layer_compiles_without_a_break():
    pool = LiftDownPool(3)
    x = torch.randn(2, 3, 8, 6, requires_grad=True)
    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), pool(x), rtol=1e-5, atol=1e-6)


def operations(layer, x):
    """What a compiler is given, and the compiled answer."""
    seen = []

    def backend(graph, _inputs):
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch._dynamo.reset()
    return torch.compile(layer, fullgraph=True, backend=backend)(x), seen


@pytest.mark.skipif(split.EXPORTING is torch.compiler.is_compiling, reason="this torch cannot tell export from compile")
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 3, 8, 6), (1, 3, 7, 5), (3, 3, 1, 1), (0, 3, 4, 4)])
def test_without_gradient_a_compiler_calls_the_sum_of_the_bands_as_one_operation(memory, shape):
    pool = LiftDownPool(3)
    x = torch.randn(shape).to(memory_format=memory)
    with torch.no_grad():
        y, seen = operations(pool, x)
        expected = pool(x)
    assert any("lift_sum" in one for one in seen)
    assert not any("tanh" in one for one in seen)
    assert torch.equal(y, expected)
    assert y.stride() == expected.stride()


@pytest.mark.skipif(split.EXPORTING is torch.compiler.is_compiling, reason="this torch cannot tell export from compile")
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 3, 8, 6), (1, 3, 7, 5), (3, 3, 1, 1), (0, 3, 4, 4)])
def test_a_compiled_training_has_the_gradients_of_an_eager_one(memory, shape, monkeypatch):
    pool = LiftDownPool(3)
    x = torch.randn(shape).to(memory_format=memory).requires_grad_()
    inputs = (x, *pool.parameters())
    calls, given = [], split._gradients
    torch._dynamo.reset()
    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
    weights = torch.randn(pool(x).shape)
    expected = torch.autograd.grad((pool(x) * weights).sum(), inputs)
    monkeypatch.setattr(split, "_gradients", lambda *args: calls.append(1) or given(*args))
    found = torch.autograd.grad((compiled(x) * weights).sum(), inputs)
    assert calls, "the gradient is not that of the operation"
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("pool", "dtype"),
    [
        (LiftDownPool(3, bands="LL"), torch.float32),
        (LiftDownPool(3, padding="reflect"), torch.float32),
        (LiftDownPool(3, constraint="mse").train(), torch.float32),
        (LiftDownPool(3).double(), torch.float64),
    ],
    ids=["one band", "reflect", "constraint", "float64"],
)
def test_elsewhere_a_compiler_sees_the_equations(pool, dtype):
    x = torch.randn(2, 3, 8, 6, dtype=dtype)
    with torch.no_grad():
        y, seen = operations(pool, x)
        assert not any("lift_sum" in one for one in seen)
        torch.testing.assert_close(y, pool(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_is_of_torchs_operations_alone(strict):
    pool, x = LiftDownPool(3).eval(), torch.randn(2, 3, 8, 6)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own machinery
        program = torch.export.export(pool, (x,), strict=strict)
        torch.testing.assert_close(program.module()(x), pool(x), rtol=1e-5, atol=1e-6)
    assert not any("lift_sum" in str(node.target) for node in program.graph.nodes)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of the check's own
def test_the_operations_keep_what_torch_asks_of_operations():
    pool = LiftDownPool(3)
    filters = tuple(one.detach() for one in pool.filters())
    x, grad = torch.randn(2, 3, 8, 6), torch.randn(2, 3, 4, 3)
    torch.library.opcheck(torch.ops.robustbench_lift.lift_sum.default, (x, *filters))
    torch.library.opcheck(torch.ops.robustbench_lift.lift_sum.default, (x.requires_grad_(), *pool.filters()))
    torch.library.opcheck(torch.ops.robustbench_lift.lift_sum_gradients.default, (grad, x.detach(), *filters))
