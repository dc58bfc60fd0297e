"""The registry: names, options, parameter counts, and the errors that teach."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

import robustbench_lift.pooling as package
from robustbench_lift.pooling import POOLINGS, UP_POOLINGS, Pooling, PoolingError, make_pooling, parse_options
from robustbench_lift.pooling.registry import REQUIRED

DOWN = "max average skip mixed gated s3 dpp spectral wavelet blur gauss gfgp lift lip soft ada aps lps tips flc asap"
UP = ("lift-up", "max-up", "max-up-blur")


def test_what_is_built_in_is_there():
    assert set(DOWN.split()) <= set(POOLINGS)
    assert set(UP) <= set(UP_POOLINGS)
    public = """
        GFGP LIP POOLINGS UP_POOLINGS APSPool ASAPool AdaPool AveragePool Bands BlurPool DetailPreservingPool FLCPool
        GatedPool GaussPool LPSPool LiftDownPool LiftUpPool MaxMemory MaxPool MaxUpPool MaxUpPoolBlur MixedPool Option
        PolyphasePooling Pooling PoolingError PoolingLayer S3Pool Skip SoftPool Source SpectralPool TIPSPool WaveletPool
        collect_losses make_pooling parse_options pooling up_pooling
    """
    assert set(package.__all__) == set(public.split())
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("entry", [(POOLINGS | UP_POOLINGS)[n] for n in (*DOWN.split(), *UP)], ids=lambda e: e.name)
def test_every_entry_says_what_it_is_and_takes(entry: Pooling):
    assert entry.idea.endswith(".")
    assert len(entry.idea) < 100
    assert 1980 < entry.source.year < 2030
    assert str(entry.source).endswith(str(entry.source.year))
    keywords = {p.name: p.default for p in inspect.signature(entry.factory).parameters.values()}
    keywords.pop("channels")
    assert {name: option.default for name, option in entry.options.items()} == keywords
    assert set(entry.factory.options) == set(keywords), "a documented option that does not exist"
    assert entry.factory.__doc__


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        *(
            (name, {}, 0)
            for name in ["max", "average", "skip", "s3", "spectral", "wavelet", "blur", "soft", "aps", "flc", "asap"]
        ),
        ("mixed", {}, 1),
        ("mixed", {"granularity": "channel"}, 64),
        ("gated", {}, 4),
        ("gated", {"granularity": "channel"}, 4 * 64),
        ("dpp", {}, 2 * 64),
        ("dpp", {"guide": "full"}, 12 * 64),
        ("lift", {"kernel_size": 3}, 8 * 64),
        ("lift", {}, 12 * 64),
        ("lift", {"kernel_size": 7}, 16 * 64),
        ("lift-up", {}, 12 * 64),
        ("tips", {}, 10 * 64),
        ("ada", {"size": (7, 9)}, 4 * 5),
        ("lps", {"hidden": 8}, 9 * 64 * 8 + 9 * 8 * 8 + 2 * 8),
        ("gfgp", {}, 64**2 + 64 * 9 // 2),
        ("gauss", {}, 64**2 * 3 // 2 + 64 * 15 // 2),
        ("lip", {}, 9 * 64**2 + 2 * 64),
    ],
)
def test_parameters_are_those_of_the_formula(name, options, count):
    entry = POOLINGS.get(name) or UP_POOLINGS[name]
    assert entry.parameters(64, **options) == count
    assert sum(p.numel() for p in make_pooling(name, 64, **options).parameters()) == count


def test_parameter_count_draws_nothing():
    before = torch.get_rng_state()
    POOLINGS["gauss"].parameters(512)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lifft", {}, r"unknown pooling 'lifft'. Did you mean 'lift'.*Known: max, average"),
        ("lift", {"kernel": 5}, r"unknown option of pooling 'lift' 'kernel'. Did you mean 'kernel_size'"),
        ("average", {"kernel": 2}, r"unknown option of pooling 'average' 'kernel'. Known: \(none\)."),
        ("lift", {"kernel_size": 4}, "kernel_size must be odd and positive, not 4"),
        ("lift", {"bands": "LL+XX"}, "unknown band 'XX'.*Known: sum, LL, LH, HL, HH"),
        ("lift", {"bands": "LL+LL"}, "names a band twice"),
        ("lift", {"padding": "circular"}, "unknown value of padding 'circular'.*zeros, reflect, replicate"),
        ("lift", {"constraint": "l1"}, "unknown value of constraint 'l1'"),
        ("lift", {"gradient": "feature"}, "unknown value of gradient 'feature'. Did you mean 'features'"),
        ("blur", {"filter": "bin5"}, "Did you mean 'bin-5'"),
        ("blur", {"stride": 3}, "stride must be 1 or 2, not 3"),
        ("max", {"kernel": 4}, "kernel must be 2 or 3, not 4"),
        ("s3", {"grid": 3}, "grid must be even"),
        ("spectral", {"dropout": 1.0}, "dropout must be from 0 to below 1"),
        ("wavelet", {"wavelet": "db99"}, "unknown wavelet 'db99'"),
        ("ada", {}, "pooling 'ada' needs size"),
        ("ada", {"size": (3, 0)}, "size must be a positive integer or a pair"),
        ("lip", {"width": 0}, "width must be a positive integer"),
        ("lps", {"hidden": 0}, "hidden must be a positive integer"),
        ("lps", {"temperature": 0.0}, "temperature must be above 0"),
    ],
)
def test_mistakes_are_answered(name, options, message):
    with pytest.raises(PoolingError, match=message) as caught:
        make_pooling(name, 8, **options)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("channels", [0, -1, 2.0, True, "8"])
def test_channels_must_be_a_positive_integer(channels):
    with pytest.raises(PoolingError, match="channels must be an integer of at least 1"):
        make_pooling("max", channels)


@pytest.mark.parametrize("name", ["gauss", "gfgp"])
def test_networks_over_channels_say_what_they_need(name):
    with pytest.raises(PoolingError, match="needs at least 2 channels"):
        make_pooling(name, 1)
    with pytest.raises(PoolingError, match="needs at least 2 images, found 1"):
        make_pooling(name, 4)(torch.ones(1, 4, 4, 4))


def test_a_map_of_another_size_is_refused_where_size_is_learned():
    with pytest.raises(PoolingError, match=r"built for maps of 8 x 8, found 8 x 6.*size=\(8, 6\)"):
        make_pooling("ada", 2, size=8)(torch.ones(1, 2, 8, 6))


def test_wavelets_say_which_package_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pywt", None)
    with pytest.raises(PoolingError, match=r"pip install PyWavelets.*wavelet=.haar"):
        make_pooling("wavelet", 2, wavelet="db2")
    make_pooling("wavelet", 2)


def test_options_are_read_with_their_types():
    text = "kernel_size=7&bands=LL+HH&size=14x7&flag=false&filter=none&t=1e-2"
    assert parse_options(text) == {
        "kernel_size": 7,
        "bands": "LL+HH",
        "size": (14, 7),
        "flag": False,
        "filter": None,
        "t": 0.01,
    }
    assert parse_options("") == {}


@pytest.mark.parametrize("text", ["a", "=3", "a=", "a=1&b"])
def test_unreadable_options_are_refused(text):
    with pytest.raises(PoolingError, match="expected name=value"):
        parse_options(text)


def test_options_given_twice_are_refused():
    with pytest.raises(PoolingError, match="'a' is given twice"):
        parse_options("a=1&a=2")


def test_every_option_survives_the_query_string():
    for entry in POOLINGS.values():
        defaults = {name: o.default for name, o in entry.options.items() if o.default is not REQUIRED}
        text = "&".join(f"{name}={value}" for name, value in defaults.items())
        given = parse_options(text)
        layer = entry.make(8, **given, **({"size": 4} if entry.needs_size else {}))
        assert layer(torch.rand(2, 8, 4, 4)).shape == (2, 8, 2, 2)


@pytest.mark.parametrize(
    ("owner", "given"), [("lift", "gauss"), ("lift", "max"), ("max", "lift"), ("dpp", "mixed"), ("gfgp", "gauss")]
)
def test_weights_of_another_pooling_are_refused_by_name(owner, given):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), make_pooling(owner, 4))
    other = nn.Sequential(nn.Conv2d(3, 4, 1), make_pooling(given, 4))
    with pytest.raises(RuntimeError, match=rf"1 is {type(model[1]).__name__}\(4.*belong to another pooling"):
        model.load_state_dict(other.state_dict())


def test_weights_of_another_kernel_size_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        make_pooling("lift", 4).load_state_dict(make_pooling("lift", 4, kernel_size=3).state_dict())


def test_filters_stored_by_public_blur_networks_are_compared_not_loaded():
    layer = make_pooling("blur", 4, filter="tri-4")
    taps = torch.tensor([1.0, 3, 3, 1])
    right = (torch.outer(taps, taps) / 64).repeat(4, 1, 1, 1)
    assert layer.state_dict() == {}
    nn.Sequential(layer).load_state_dict({"0.filt": right})
    with pytest.raises(RuntimeError, match=r"shape \(4, 1, 3, 3\).*use filter=tri-3 and 4 channels"):
        layer.load_state_dict({"filt": right[..., :3, :3]})
    with pytest.raises(RuntimeError, match="not the tri-4 filter"):
        layer.load_state_dict({"filt": right * 1.1})
