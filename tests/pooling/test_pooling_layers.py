"""What every pooling promises: shapes at all sizes, gradients, memory formats, half precision, copies, export."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from robustbench_lift.pooling import POOLINGS, PoolingError, PoolingLayer, make_pooling

NAMES = list(POOLINGS)
VARIANTS = [
    *((name, {}) for name in NAMES),
    ("max", {"kernel": 3}),
    ("mixed", {"granularity": "channel"}),
    ("gated", {"granularity": "channel"}),
    ("dpp", {"variant": "asymmetric"}),
    ("dpp", {"guide": "full"}),
    ("spectral", {"nyquist": "keep"}),
    ("wavelet", {"wavelet": "db2"}),
    ("wavelet", {"wavelet": "bior3.3"}),
    ("blur", {"filter": "rect-2"}),
    ("blur", {"filter": "tri-4", "padding": "zeros"}),
    ("gauss", {"noise": "pixel"}),
    ("lift", {"padding": "reflect", "kernel_size": 7}),
    ("lift", {"padding": "replicate", "bands": "LL+HH", "kernel_size": 3}),
    ("lift", {"init": "zero", "constraint": "l2"}),
    ("lift", {"constraint": "relative", "gradient": "filters"}),
    ("lip", {"logits": "bottleneck", "width": 3}),
    ("aps", {"norm": "linf", "filter": "tri-3"}),
    ("lps", {"hidden": 2}),
]
IDS = [name + "?" + "&".join(f"{k}={v}" for k, v in options.items()) for name, options in VARIANTS]


def build(name: str, channels: int, size: tuple[int, int], **options: object) -> PoolingLayer:
    torch.manual_seed(5)
    extra = {"size": size} if POOLINGS[name].needs_size else {}
    layer = make_pooling(name, channels, **extra, **options)
    for parameter in layer.parameters():  # zeros hide mistakes
        if parameter.abs().max() == 0:
            nn.init.uniform_(parameter, -0.5, 0.5)
    return layer


def image(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_output_is_half_rounded_up_and_finite(name, options, training):
    for size in ((1, 1), (1, 5), (2, 2), (3, 2), (7, 6), (8, 8)):
        layer = build(name, 4, size, **options).train(training)
        x = image(3, 4, *size).requires_grad_()
        y = layer(x)
        assert y.shape == (3, 4, (size[0] + 1) // 2, (size[1] + 1) // 2)
        assert y.isfinite().all(), size
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        assert gradient.isfinite().all(), size


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_gradients_are_exact(name, options):
    layer = build(name, 2, (4, 3), **options).double().eval()
    x = image(2, 2, 4, 3, dtype=torch.float64).requires_grad_()
    names = [key for key, _ in layer.named_parameters()]

    def run(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert gradcheck(run, (x, *layer.parameters()))


@pytest.mark.parametrize("name", ["lift", "soft", "dpp", "mixed"])
def test_second_derivatives_are_exact(name):
    layer = build(name, 1, (2, 3)).double()
    assert gradgradcheck(layer, image(1, 1, 2, 3, dtype=torch.float64).requires_grad_())


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_channels_last_gives_the_same_values_in_the_same_format(name, options):
    layer = build(name, 4, (7, 6), **options).eval()
    x = image(2, 4, 7, 6)
    y, last = layer(x), layer(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, y, rtol=1e-5, atol=1e-6)
    assert y.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.06), (torch.float16, 0.008)], ids=str)
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_half_precision_stays_near(name, options, dtype, tolerance):
    if name in ("aps", "lps"):
        pytest.skip("a near tie between phases may fall the other way")
    layer = build(name, 4, (8, 8), **options).eval()
    x = image(2, 4, 8, 8).to(dtype)
    expected = layer(x.float())
    found = layer.to(dtype)(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_eval_is_deterministic_and_training_draws_follow_the_generator(name):
    layer = build(name, 4, (8, 8))
    x = image(4, 4, 8, 8)
    layer.eval()
    before = torch.get_rng_state()
    assert torch.equal(layer(x), layer(x))
    assert torch.equal(torch.get_rng_state(), before), "eval drew from the ambient generator"
    layer.train()
    outputs = []
    for seed in (1, 1, 2):
        layer.generator = torch.Generator().manual_seed(seed)
        outputs.append(layer(x))
    assert torch.equal(torch.get_rng_state(), before), "a layer with a generator drew from the ambient one"
    assert torch.equal(outputs[0], outputs[1])
    if name in ("s3", "gauss", "lps"):
        assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("name", ["s3", "gauss", "lps"])
def test_without_a_generator_training_follows_torch(name):
    layer = build(name, 4, (8, 8))
    x = image(4, 4, 8, 8)
    torch.manual_seed(0)
    first = layer(x)
    torch.manual_seed(0)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_weights_survive_saving_copying_and_pickling(name, options):
    layer = build(name, 4, (6, 6), **options)
    layer(image(2, 4, 6, 6))  # leaves losses behind, which must not travel
    layer.generator = torch.Generator()
    layer.eval()
    x = image(2, 4, 6, 6)
    fresh = make_pooling(name, 4, **({"size": 6} if POOLINGS[name].needs_size else {}), **options).eval()
    fresh.load_state_dict(layer.state_dict())
    for other in (fresh, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), layer(x))
        assert other.losses() == {}


@pytest.mark.parametrize(
    ("name", "options"),
    [pytest.param(*variant, marks=[pytest.mark.slow] if variant[1] else []) for variant in VARIANTS],
    ids=IDS,
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_exports(name, options):
    layer = build(name, 4, (8, 6), **options).eval()
    x = image(2, 4, 8, 6)
    program = torch.export.export(layer, (x,))
    torch.testing.assert_close(program.module()(x), layer(x), rtol=1e-5, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_compiles_without_a_graph_break_and_agrees(name, options):
    layer = build(name, 4, (7, 6), **options).eval()
    x = image(2, 4, 7, 6).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own machinery
        torch._dynamo.reset()
        compiled = torch.compile(layer, fullgraph=True)
        y = compiled(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
    expected = layer(x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.square().sum(), x)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_refuses_what_is_not_a_map_of_its_channels(name):
    layer = build(name, 4, (4, 4))
    with pytest.raises(PoolingError, match=r"built for 4 channels, the input has 5"):
        layer(image(1, 5, 4, 4))
    with pytest.raises(PoolingError, match=r"expected \[N, C, H, W\], found 3 dimensions, shape \(4, 4, 4\)"):
        layer(image(4, 4, 4))
    with pytest.raises(PoolingError, match=r"floating point tensor, found torch\.uint8"):
        layer(torch.zeros(1, 4, 4, 4, dtype=torch.uint8))
    with pytest.raises(PoolingError, match=r"no pixels"):
        layer(torch.zeros(1, 4, 0, 4))
