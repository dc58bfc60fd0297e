"""Against other libraries that have the same layer, and against Fourier transforms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_lift.pooling import ASAPool, AveragePool, BlurPool, FLCPool, SpectralPool, TIPSPool, WaveletPool
from robustbench_lift.pooling.tensors import pad

SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15, 28, 56]


def image(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "zeros"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 1), (6, 4)], ids=str)
def test_padding_is_numpy_own_at_any_size(mode, size):
    x = image(2, 3, *size)
    name = {"replicate": "edge", "circular": "wrap", "zeros": "constant"}.get(mode, mode)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 4), (3, 2)), mode=name)
    assert np.array_equal(pad(x, 3, 2, 1, 4, mode=mode).numpy(), expected)


@pytest.mark.parametrize("wavelet", ["haar", "db1", "db2", "db4", "sym5", "coif1", "bior3.3", "rbio2.2", "dmey"])
@pytest.mark.parametrize("size", [(16, 12), (7, 9), (2, 4), (1, 1)], ids=str)
def test_wavelet_is_the_ll_band_of_pywavelets(wavelet, size):
    pywt = pytest.importorskip("pywt")
    x = image(2, 3, *size)
    expected, _ = pywt.dwt2(x.numpy(), wavelet, mode="periodization", axes=(2, 3))
    close(WaveletPool(3, wavelet=wavelet)(x), torch.from_numpy(expected), 1e-11)
    close(WaveletPool(3, wavelet=wavelet)(x.float()), torch.from_numpy(expected).float(), 1e-5)


def test_wavelet_is_the_paper_two_level_procedure():
    pywt = pytest.importorskip("pywt")
    x = image(1, 1, 32, 64)
    for wavelet in ("haar", "db2", "bior3.3"):
        second = pywt.wavedec2(x.numpy(), wavelet, mode="periodization", level=2, axes=(2, 3))
        pooled = pywt.waverec2(second[:2], wavelet, mode="periodization", axes=(2, 3))
        close(WaveletPool(1, wavelet=wavelet)(x), torch.from_numpy(pooled))
    close(WaveletPool(1)(x), 2 * AveragePool(1)(x), 0)


@pytest.mark.parametrize("filter", ["tri-3", "bin-5"])
@pytest.mark.parametrize("size", [(8, 8), (15, 7), (13, 14)], ids=str)
def test_blur_is_timm_for_odd_filters(filter, size):
    timm_layers = pytest.importorskip("timm.layers")
    x = image(2, 3, *size)
    expected = timm_layers.BlurPool2d(3, filt_size=int(filter[-1]), stride=2).double()(x)
    close(BlurPool(3, filter=filter).double()(x), expected)


@pytest.mark.parametrize("filter", ["rect-2", "tri-4"])
def test_blur_keeps_half_the_size_for_even_filters(filter):
    assert BlurPool(3, filter=filter)(torch.ones(1, 3, 8, 8)).shape == (1, 3, 4, 4)


def cropped(x: Tensor, *, nyquist: bool, hamming: bool = False) -> Tensor:
    """DFT, crop around frequency 0, inverse DFT, real part."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(x, norm="forward"), dim=(2, 3))
    for axis in (2, 3):
        size = x.shape[axis]
        out = (size + 1) // 2
        shape = [-1 if a == axis else 1 for a in range(4)]
        if hamming:
            k = torch.arange(size) - size // 2
            spectrum = spectrum * (0.54 + 0.46 * torch.cos(2 * torch.pi * k.double() / size)).sqrt().view(shape)
        spectrum = spectrum.narrow(axis, size // 2 - out // 2, out).clone()
        if not nyquist and out % 2 == 0:
            spectrum.narrow(axis, 0, 1).zero_()
    y = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(2, 3)), norm="forward")
    if not nyquist:
        assert y.imag.abs().max() < 1e-12
    return y.real


@pytest.mark.parametrize("height", SIZES)
@pytest.mark.parametrize("width", [8, 14, 7])
def test_spectral_poolings_are_fourier_crops(height, width):
    x = image(2, 3, height, width)
    for layout in (x, x.contiguous(memory_format=torch.channels_last)):
        close(SpectralPool(3)(layout), cropped(x, nyquist=False))
        close(SpectralPool(3, nyquist="keep")(layout), cropped(x, nyquist=True))
        close(FLCPool(3)(layout), cropped(x, nyquist=True))
        close(ASAPool(3)(layout), cropped(x, nyquist=True, hamming=True))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pool", [SpectralPool, FLCPool, ASAPool])
def test_a_constant_stays_itself_at_every_size(pool, size):
    y = pool(1)(torch.full((1, 1, size, size), 3.0, dtype=torch.float64))
    close(y, torch.full_like(y, 3.0))


@pytest.mark.parametrize("size", [14, 10, 6])
def test_a_crop_at_a_quarter_loses_frequency_zero_where_ours_does_not(size):
    """The public FLC crop [N/4, 3N/4): the reason why this one is centred by hand."""
    ones = torch.ones(1, 1, size, size, dtype=torch.float64)
    spectrum = torch.fft.fftshift(torch.fft.fft2(ones, norm="forward"))
    quarter, three = int(size / 4), int(size / 4 * 3)
    low = spectrum[:, :, quarter:three, quarter:three]
    public = torch.fft.ifft2(torch.fft.ifftshift(low), norm="forward").real
    assert (public - 1).abs().max() > 1
    close(FLCPool(1)(ones), torch.ones_like(public))


@pytest.mark.parametrize("size", [8, 16, 28, 56, 112])
def test_flc_agrees_with_its_published_crop_where_that_is_right(size):
    x = image(1, 2, size, size)
    spectrum = torch.fft.fftshift(torch.fft.fft2(x, norm="forward"))
    low = spectrum[:, :, size // 4 : size // 4 * 3, size // 4 : size // 4 * 3]
    close(FLCPool(2)(x), torch.fft.ifft2(torch.fft.ifftshift(low), norm="forward").real)
    close(SpectralPool(2, nyquist="keep")(x), FLCPool(2)(x))


@pytest.mark.parametrize("size", [8, 12, 7])
def test_spectral_pooling_keeps_the_mean(size):
    x = image(2, 3, size, size)
    close(SpectralPool(3)(x).mean((2, 3)), x.mean((2, 3)))


def test_spectral_dropout_only_removes_high_frequencies_and_only_in_training():
    x = image(2, 3, 16, 16)
    pool = SpectralPool(3, dropout=0.9)
    pool.generator = torch.Generator().manual_seed(0)
    full = SpectralPool(3)(x)
    assert torch.equal(pool.eval()(x), full)
    pool.train()
    spectra = []
    for _ in range(20):
        y = pool(x)
        close(y.mean((2, 3)), x.mean((2, 3)))
        found, whole = torch.fft.fft2(y), torch.fft.fft2(full)
        kept = found.abs() > 1e-9
        close(found[kept], whole[kept], 1e-9)
        spectra.append(int(kept.sum()))
    assert len(set(spectra)) > 2


def test_tips_pairs_quadrants_with_phases_as_the_authors_do():
    torch.manual_seed(0)
    layer = TIPSPool(3).eval()
    x = torch.randn(2, 3, 8, 12)
    # the authors' order of components: columns first
    components = torch.stack([x[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)], dim=2)
    features = F.relu(F.conv2d(x, layer.filter.weight, padding=1, groups=3))
    scores = F.conv2d(F.adaptive_avg_pool2d(features, 2), layer.gain.view(3, 1, 1, 1), groups=3)
    shares = torch.softmax(scores.flatten(2), dim=2)
    torch.testing.assert_close(layer(x), (shares[..., None, None] * components).sum(2))
