"""Recipes hold what their sources say, and refuse what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_lift.errors import UsageError
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
        ("schedule=cosin", "schedule must be one of step, cosine, one-cycle, constant, not 'cosin'"),
        ("milestones=[80, 400]", "milestones must rise and lie inside the 160 epochs, not [80, 400]"),
        ("std=[1, 1]", "mean and std need three values"),
        ("resize=8", "resize 8 is smaller than the image size 32"),
        ("label_smoothing=1", "label_smoothing must be in [0, 1), not 1.0"),
        ("temperature=[1, 0.5]", "temperature needs values above 0 and as many rising temperature_at"),
        ("auxiliary=3", "auxiliary must be a table of weights"),
    ],
)
def test_wrong_settings_are_told(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        override(RECIPES["cifar100-vgg13"], parse_changes([text]))
    assert message in str(caught.value)


def test_unknown_recipe_and_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'imagenette'"):
        recipe_named("imagenete")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_changes(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("epochs: 5")
    with pytest.raises(UsageError, match="is not TOML"):
        read_changes(tmp_path / "bad.toml")
