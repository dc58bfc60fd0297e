"""Recipes hold what their sources say, and refuse what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from robustbench_lift.errors import UsageError
from robustbench_lift.training import Network, Recipe
from robustbench_lift.training.checks import check_use
from robustbench_lift.training.failures import users_mistake
from robustbench_lift.training.recipes import RECIPES, override, parse_changes, read_changes, recipe_named


def test_values_of_the_papers() -> None:
    imagenet, mobile, vgg = (RECIPES[n] for n in ("imagenet", "imagenet-mobilenetv2", "cifar100-vgg13"))
    assert (imagenet.epochs, imagenet.batch_size, imagenet.weight_decay, imagenet.milestones) == (
        100,
        256,
        1e-4,
        (30, 60, 90),
    )
    assert (mobile.epochs, mobile.learning_rate, mobile.weight_decay, mobile.schedule) == (150, 0.05, 4e-5, "cosine")
    assert (vgg.epochs, vgg.batch_size, vgg.weight_decay, vgg.milestones, vgg.momentum) == (
        160,
        100,
        5e-4,
        (80, 120),
        0.9,
    )
    for recipe in RECIPES.values():
        assert recipe.auxiliary == {"c_u": 0.01, "c_p": 0.1}
        assert recipe.label_smoothing == recipe.cutmix == recipe.ema_decay == 0


def test_overrides_from_text_and_file_agree(tmp_path: Path) -> None:
    file = tmp_path / "short.toml"
    file.write_text('epochs = 5\nschedule = "cosine"\nmilestones = []\n[auxiliary]\nc_u = 0\nc_p = 1\n')
    typed = ["epochs=5", "schedule=cosine", "milestones=[]", "auxiliary.c_u=0", "auxiliary.c_p=1"]
    vgg = RECIPES["cifar100-vgg13"]
    assert override(vgg, read_changes(file)) == override(vgg, parse_changes(typed))


def test_fewer_epochs_keep_the_shape_of_the_schedule() -> None:
    short = override(RECIPES["imagenet"], {"epochs": 10})
    assert short.milestones == (3, 6, 9)
    assert override(RECIPES["imagenet"], {"epochs": 10, "milestones": [5]}).milestones == (5,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch=5", "unknown recipe setting 'epoch'. Did you mean 'epochs'?"),
        ("epochs=five", "epochs must be of type int, not 'five'; write for example epochs=5."),
        ("epochs", "'epochs' is not name=value; write for example --set epochs=5."),
        ("epochs=0", "epochs must be at least 1, not 0"),
        ("learning_rate=-1", "learning_rate must be above 0, not -1.0"),
        ("nesterov=1", "nesterov must be of type bool, not 1; write for example nesterov=true."),
        ("schedule=cosin", "schedule must be one of step, cosine, one-cycle, poly, constant, not 'cosin'"),
        ("milestones=[80, 400]", "milestones must rise and lie inside the 160 epochs, not [80, 400]"),
        ("std=[1, 1]", "mean and std need three values"),
        ("resize=8", "resize 8 is smaller than the image size 32"),
        ("label_smoothing=1", "label_smoothing must be in [0, 1), not 1.0"),
        ("temperature=[1, 0.5]", "temperature needs values above 0 and as many rising temperature_at"),
        ("temperature=[1]", "temperature needs values above 0 and as many rising temperature_at"),
        ("auxiliary=3", "auxiliary must be a table of weights"),
        ("auxiliary.c_u=nan", "auxiliary.c_u must be a finite number, not nan"),
        ("gamma=0", "gamma must be above 0, not 0.0"),
        ("weight_decay=inf", "weight_decay must be 0 or more, not inf"),
        ("crop_area=[0.5, 3]", "crop_area needs two rising values above 0 and at most 1, not (0.5, 3.0)"),
        ("crop_ratio=[2, 1]", "crop_ratio needs two rising values above 0, not (2.0, 1.0)"),
    ],
)
def test_wrong_settings_are_told(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        override(RECIPES["cifar100-vgg13"], parse_changes([text]))
    assert message in str(caught.value)


def test_settings_that_exclude_each_other_are_told() -> None:
    with pytest.raises(UsageError, match="nesterov needs a momentum above 0"):
        override(RECIPES["photos"], {"nesterov": True, "momentum": 0})
    with pytest.raises(UsageError, match="temperature_at holds fractions of the training, 0 to 1"):
        override(RECIPES["photos"], {"temperature": [1, 0.5], "temperature_at": [0, 30]})


def test_unknown_recipe_and_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'imagenette'"):
        recipe_named("imagenete")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_changes(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("epochs: 5")
    with pytest.raises(UsageError, match="is not TOML"):
        read_changes(tmp_path / "bad.toml")


def test_a_table_in_a_file_changes_the_weights_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "lighter.toml"
    file.write_text("[auxiliary]\nc_u = 0\n")
    assert override(RECIPES["photos"], read_changes(file)).auxiliary == {"c_u": 0.0, "c_p": 0.1}


def test_settings_that_no_network_heeds_are_refused() -> None:
    photos = RECIPES["photos"]
    falling = override(photos, {"temperature": [1, 0.1], "temperature_at": [0, 1]})
    with pytest.raises(UsageError, match="resnet8/lift has no pooling with one"):
        check_use(falling, [Network("resnet8", "lift")])
    check_use(falling, [Network("resnet8", "lift"), Network("resnet8", "lps")])
    check_use(override(photos, {"auxiliary.undo_shift": 0.35}), [Network("resnet8", "tips")])
    with pytest.raises(UsageError, match=r"unknown auxiliary loss 'cu'\. Did you mean 'c_u'"):
        check_use(override(photos, {"auxiliary.cu": 0}), [Network("resnet8", "lift")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs=1\nseed=2", "more than one value"),
        (f"epochs={10**22}", "beyond 64 bits"),
        ("epochs=10000000", "epochs must be at most 1000000"),
        ("size=1000000", "size must be at most"),
        ("name=../../evil", "name must be letters, digits"),
        ("name=..", "name must be letters, digits"),
        (f"epochs={'9' * 5000}", "epochs must be of type int"),
        (f"epochs=0x{'f' * 5000}", "beyond 64 bits"),
        (f"milestones={'[' * 5000}", "milestones must be of type tuple"),
        ("source=a\x1b[31m", "more than one value"),
    ],
)
def test_values_that_no_training_can_have_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        override(RECIPES["photos"], parse_changes([text]))
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_recipe_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    import os

    deep = tmp_path / "deep.toml"
    deep.write_text("epochs = " + "[" * 5000)
    digits = tmp_path / "digits.toml"
    digits.write_text("epochs = " + "9" * 5000)
    os.mkfifo(tmp_path / "pipe.toml")
    for name in ("deep.toml", "digits.toml", "pipe.toml", "."):
        with pytest.raises(UsageError, match=f"recipe file .*{name}"):
            read_changes(tmp_path / name)


def test_every_setting_of_a_recipe_is_described() -> None:
    from typing import Annotated, get_args, get_origin, get_type_hints

    from typing_extensions import Doc

    for hint in get_type_hints(Recipe, include_extras=True).values():
        assert get_origin(hint) is Annotated
        assert any(isinstance(part, Doc) and part.documentation for part in get_args(hint))


def test_a_layer_of_the_users_that_fails_is_named() -> None:
    class Mine(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.missing

    with pytest.raises(AttributeError) as caught:
        nn.Sequential(nn.Identity(), Mine())(torch.zeros(1))
    told = users_mistake(caught.value)
    assert isinstance(told, UsageError)
    assert "your layer Mine raised AttributeError" in str(told)
    assert "test_recipes.py, line" in str(told)
    assert users_mistake(ValueError("ours")) is None


@pytest.mark.parametrize("network", ["resnet8/lift?gradient=filters", "segnet/lift?gradient=filters"])
def test_gradients_of_constraints_that_there_are_none_of_are_refused(network: str) -> None:
    with pytest.raises(UsageError, match="Add constraint=mse"):
        check_use(RECIPES["photos"], [Network.parse(network)])
    check_use(RECIPES["photos"], [Network.parse(f"{network}&constraint=mse"), Network.parse("resnet8/lift")])
