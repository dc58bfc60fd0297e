"""LoadedModel.of: any module or callable, with what is known of it said and what is not assumed in the open."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_lift.errors import UsageError
from robustbench_lift.weights import LoadedModel, Preprocessing, load_model

PLAIN = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), resize=None, crop=16)


def tiny(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(12, 5))


def test_a_module_is_what_it_is() -> None:
    net = tiny().train()
    model = LoadedModel.of(net, name="mine", preprocessing=PLAIN)
    assert (model.name, model.arch, model.num_classes, model.parameters) == ("mine", "Sequential", 5, 65)
    assert model.module is net
    assert not net.training
    assert all(p.requires_grad for p in net.parameters())  # it can be trained on afterwards
    assert model.notes == ()
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(images), net(images / 255))
    assert model.weights_sha256 == LoadedModel.of(tiny(), name="other").weights_sha256
    assert model.weights_sha256 != LoadedModel.of(tiny(1)).weights_sha256


def test_what_is_assumed_is_said() -> None:
    assert any("ImageNet's defaults, assumed" in note for note in LoadedModel.of(tiny()).notes)
    net = tiny()
    net.preprocessing = PLAIN  # type: ignore[assignment]
    assert LoadedModel.of(net).preprocessing == PLAIN


def test_a_function_is_called_with_normalised_images() -> None:
    seen: list[Tensor] = []

    def mine(x: Tensor) -> Tensor:
        seen.append(x)
        return x.mean((2, 3))

    model = LoadedModel.of(mine, preprocessing=Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, resize=None, crop=8))
    assert (model.name, model.num_classes, model.parameters) == ("mine", 3, 0)
    assert seen[0].shape == (1, 3, 8, 8)
    assert torch.equal(seen[0], torch.full((1, 3, 8, 8), -1.0))
    assert any("name alone" in note for note in model.notes)
    other = LoadedModel.of(mine, name="other", num_classes=3, weights_sha256="ab" * 32)
    assert other.weights_sha256 == "ab" * 32
    assert len(seen) == 1  # a number of classes that is given is not asked for


@pytest.mark.parametrize("wrap", [lambda y: SimpleNamespace(logits=y), lambda y: {"logits": y, "loss": None}])
def test_logits_inside_of_an_answer(wrap: Any) -> None:
    model = LoadedModel.of(lambda x: wrap(x.mean((2, 3))), name="hf")
    assert model.logits(torch.zeros(2, 3, 4, 4, dtype=torch.uint8)).shape == (2, 3)


def fails(x: Tensor) -> Tensor:
    raise KeyError("width")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("resnet50", "expected a torch.nn.Module or a callable, found a str"),
        (3, "found a int"),
        (fails, r"fails failed on images of 224 x 224 pixels: KeyError: 'width'"),
        (lambda x: x[:, 0], r"answers with shape \(1, 224, 224\); logits \[1, classes\]"),
        (lambda x: None, "answers with a NoneType"),
        (nn.Linear(7, 2), "Linear failed on images"),
    ],
)
def test_mistakes_are_the_users(network: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LoadedModel.of(network)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": 3}, "name must be text"),
        ({"name": ""}, "name must be text"),
        ({"num_classes": -1}, "num_classes must be a whole number, 1 or more, not -1"),
        ({"num_classes": True}, "num_classes must be a whole number"),
        ({"weights_sha256": 3}, "weights_sha256 must be text"),
        ({"class_names": ("a",)}, "classes and 1 class names"),
        ({"device": "gpu"}, "cannot be moved to gpu"),
    ],
    ids=str,
)
def test_what_is_said_of_a_network_must_fit(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LoadedModel.of(tiny(), **options)


def test_a_network_without_data_cannot_be_moved() -> None:
    with pytest.raises(UsageError, match="cannot be moved to cpu: NotImplementedError: Cannot copy out of meta tensor"):
        LoadedModel.of(tiny().to("meta"), device="cpu")
    with pytest.raises(UsageError, match="cannot be moved to gpu"):
        load_model("resnet8/max?num_classes=3@random", device="gpu")


def test_load_model_says_what_to_use_for_a_module() -> None:
    with pytest.raises(UsageError, match=r"takes a model spec, not a Sequential.*LoadedModel\.of"):
        load_model(tiny())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="must be a Preprocessing, not a str"):
        LoadedModel.of(tiny(), preprocessing="imagenet")  # type: ignore[arg-type]


def test_its_repr_is_one_short_line() -> None:
    shown = repr(LoadedModel.of(tiny(), name="mine"))
    assert shown.startswith("LoadedModel('mine (in memory)'")
    assert len(shown) < 100
    assert "\n" not in shown
