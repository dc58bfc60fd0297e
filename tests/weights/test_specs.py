"""Model specs: every form is parsed, written back the same, and refused in words where it means nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_lift.errors import UsageError
from robustbench_lift.networks import BACKBONES
from robustbench_lift.pooling import POOLINGS, PoolingError
from robustbench_lift.weights import ModelSpec
from robustbench_lift.weights.spec import NORMALISATIONS

EXAMPLES = {
    "resnet50/lift@weights.safetensors": ("zoo", "resnet50", "lift", "weights.safetensors"),
    "resnet50/blur?placement=zhang&filter=bin-5@file.pt": ("zoo", "resnet50", "blur", "file.pt"),
    "resnet50@a folder/with@sign?.pt": ("zoo", "resnet50", None, "a folder/with@sign?.pt"),
    "resnet8/lift?num_classes=12@random": ("zoo", "resnet8", "lift", "random"),
    "@final.safetensors": ("card", "", None, "final.safetensors"),
    "torchvision:resnet50@IMAGENET1K_V1": ("torchvision", "resnet50", None, "IMAGENET1K_V1"),
    "torchvision:resnet50?normalize=off@file.pth": ("torchvision", "resnet50", None, "file.pth"),
    "timm:resnetblur50.bt_in1k": ("timm", "resnetblur50.bt_in1k", None, None),
    "torchvision:resnet50?pooling=lift&placement=after@file.pth": ("torchvision", "resnet50", "lift", "file.pth"),
    "timm:resnetblur50?ema=false@C:/x.pth": ("timm", "resnetblur50", None, "C:/x.pth"),
    "hf:timm/resnetblur50.bt_in1k?download=true": ("hf", "timm/resnetblur50.bt_in1k", None, None),
    "package.module:factory?width=2@file": ("factory", "package.module:factory", None, "file"),
    "photos/resnet-lift": ("shipped", "photos/resnet-lift", None, None),
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_forms(text: str) -> None:
    spec = ModelSpec.parse(text)
    assert (spec.source, spec.name, spec.pooling, spec.weights) == EXAMPLES[text]
    assert str(spec) == text
    assert ModelSpec.parse(str(spec)) == spec
    assert hash(spec) == hash(ModelSpec.parse(text))


def test_fields() -> None:
    spec = ModelSpec.parse("resnet8/ada?input_size=32&num_classes=7&ema=true&normalize=half&placement=zhang@x.pt")
    assert (spec.num_classes, spec.ema, spec.normalize, spec.placement) == (7, True, "half", "zhang")
    assert dict(spec.options) == {"input_size": 32}
    assert spec.download is False


# what a text can hold and stay a string: no @ ? & =, nothing that reads as a number or a word of its own
WORDS = st.from_regex(r"[a-z][a-z_+-]{0,8}z", fullmatch=True)
VALUES = st.one_of(
    st.none(),
    st.integers(-1000, 1000),
    st.booleans(),
    st.floats(-10, 10, allow_nan=False),
    st.tuples(st.integers(0, 99), st.integers(0, 99)),
    WORDS,
)


@given(
    arch=st.sampled_from(sorted(BACKBONES)),
    pooling=st.none() | st.sampled_from(sorted(POOLINGS)),
    placement=st.none() | WORDS,
    options=st.dictionaries(WORDS, VALUES, max_size=3),
    num_classes=st.none() | st.integers(1, 30_000),
    ema=st.none() | st.booleans(),
    normalize=st.none() | st.sampled_from(sorted(NORMALISATIONS)),
    download=st.booleans(),
    weights=st.none() | st.from_regex(r"[A-Za-z0-9_./@?&= -]*[a-z]", fullmatch=True),
)
def test_round_trip(**fields: object) -> None:
    arch = fields.pop("arch")
    spec = ModelSpec(source="zoo", name=arch, **fields)  # type: ignore[arg-type]
    assert ModelSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a model spec"),
        ("resnet50@", "is not a model spec"),
        ("resnet50?@x", "is not a model spec"),
        ("resnet50/lift/max@x", "expected ARCH/POOLING"),
        ("https://host/resnet50.pth", "'https' is no source"),
        ("timm:", "names no model"),
        ("timm:resnet50?placement=zhang", "add pooling=NAME"),
        ("resnet8/lift?normalize=imagnet@x", "Did you mean 'imagenet'"),
        ("resnet8/lift?num_classes=many@x", "num_classes must be an integer"),
        ("resnet8/lift?ema=3@x", "ema must be true or false"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ModelSpec.parse(text)


def test_options_that_cannot_be_read() -> None:
    with pytest.raises(PoolingError, match="expected name=value"):
        ModelSpec.parse("resnet8/lift?kernel_size@x")


@pytest.mark.parametrize(
    "text",
    ["resnet8/lift?kernel_size=" + "9" * 5000, "resnet8/lift?num_classes=999999999999999999999999999999@random"],
)
def test_numbers_without_end_are_refused(text: str) -> None:
    with pytest.raises(PoolingError, match="digits; at most 18"):
        ModelSpec.parse(text)


def test_digits_that_are_none_stay_text() -> None:
    assert dict(ModelSpec.parse("resnet8/lift?size=\u00b2x\u00b3@random").options) == {"size": "\u00b2x\u00b3"}
    assert dict(ModelSpec.parse("a.b:c?x=inf").options) == {"x": "inf"}
    with pytest.raises(UsageError, match="from 1 to 1,000,000, not 2000000000"):
        ModelSpec.parse("resnet8/lift?num_classes=2000000000@random")


def test_names_are_printed_safely() -> None:
    with pytest.raises(UsageError) as caught:
        ModelSpec.parse("\x1b[31mred:\n::error x")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
