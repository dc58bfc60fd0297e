"""Recipes: how a network is trained, as plain frozen values with their sources.

    imagenet                ResNets on ImageNet, the pytorch/examples recipe with LiftPool's 100 epochs
    imagenet-mobilenetv2    MobileNetV2 on ImageNet, 150 epochs, cosine
    cifar100-vgg13          VGG13 on CIFAR-100, LiftPool's recipe
    cifar-resnet            ResNets on CIFAR, the recipe of He et al.
    imagenette              Imagenette (or any folders of photographs) at 224 pixels; ours
    imagenette-128, -64     the same at 128 and 64 pixels; ours
    photos                  the embedded photographs at 64 pixels; ours

Anything can be changed (`overrides`); what was used is stored with the weights.
"""

from __future__ import annotations

from robustbench_lift.errors import unknown
from robustbench_lift.training.recipe import Recipe

CIFAR100_MEAN = (0.507, 0.487, 0.441)
"""Channel means of CIFAR-100's 60,000 images, measured, three digits."""
CIFAR100_STD = (0.267, 0.257, 0.276)
"""Channel deviations of CIFAR-100's 60,000 images, measured, three digits."""

_STEP_IMAGENET = "pytorch/examples (SGD 0.9, batch 256, 0.1 divided by 10 every 30 epochs, 1e-4)"

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="imagenet",
            source=f"{_STEP_IMAGENET}; 100 epochs as in LiftPool, section 4.2",
            data="folders",
            classes=1000,
            size=224,
            resize=256,
            epochs=100,
            batch_size=256,
            learning_rate=0.1,
            weight_decay=1e-4,
            schedule="step",
            milestones=(30, 60, 90),
            augmentation="resized-crop-flip",
            drop_last=False,
        ),
        Recipe(
            name="imagenet-mobilenetv2",
            source="150 epochs as in LiftPool, section 4.2; lr 0.05, cosine, 4e-5, batch 256: the public recipe of 150 "
            "epochs (tonylins/pytorch-mobilenet-v2, README of adobe/antialiased-cnns)",
            data="folders",
            classes=1000,
            size=224,
            resize=256,
            epochs=150,
            batch_size=256,
            learning_rate=0.05,
            weight_decay=4e-5,
            schedule="cosine",
            augmentation="resized-crop-flip",
            drop_last=False,
        ),
        Recipe(
            name="cifar100-vgg13",
            source="LiftPool, section 4.1: 160 epochs, batch 100, 0.1 divided by 10 at 80 and 120, 5e-4; its "
            "augmentation is not stated: zero padding 4, crop, flip",
            data="arrays",
            classes=100,
            size=32,
            epochs=160,
            batch_size=100,
            learning_rate=0.1,
            weight_decay=5e-4,
            schedule="step",
            milestones=(80, 120),
            augmentation="crop-flip",
            mean=CIFAR100_MEAN,
            std=CIFAR100_STD,
        ),
        Recipe(
            name="cifar-resnet",
            source="He et al., CVPR 2016, section 4.2: batch 128, 0.1 divided by 10 at 32k and 48k of 64k steps "
            "(epochs 82 and 123 of 164), 1e-4, zero padding 4, crop, flip",
            data="arrays",
            size=32,
            epochs=164,
            batch_size=128,
            learning_rate=0.1,
            weight_decay=1e-4,
            schedule="step",
            milestones=(82, 123),
            augmentation="crop-flip",
            mean=CIFAR100_MEAN,
            std=CIFAR100_STD,
        ),
        Recipe(
            name="imagenette",
            source="ours: about 7,000 images need more epochs than ImageNet; one cycle",
            data="folders",
            size=224,
            epochs=60,
            batch_size=64,
            learning_rate=0.1,
            weight_decay=5e-4,
            schedule="one-cycle",
            augmentation="resized-crop-flip",
            crop_area=(0.35, 1.0),
        ),
        Recipe(
            name="imagenette-128",
            source="ours: imagenette at 128 pixels",
            data="folders",
            size=128,
            resize=146,
            epochs=60,
            batch_size=64,
            learning_rate=0.1,
            weight_decay=5e-4,
            schedule="one-cycle",
            augmentation="resized-crop-flip",
            crop_area=(0.35, 1.0),
        ),
        Recipe(
            name="imagenette-64",
            source="ours: imagenette at 64 pixels",
            data="folders",
            size=64,
            resize=73,
            epochs=60,
            batch_size=64,
            learning_rate=0.1,
            weight_decay=5e-4,
            schedule="one-cycle",
            augmentation="resized-crop-flip",
            crop_area=(0.35, 1.0),
        ),
        Recipe(
            name="photos",
            source="ours: the embedded photographs, made to end in minutes on two cores",
            data="photos",
            classes=15,
            size=64,
            epochs=30,
            batch_size=64,
            learning_rate=0.05,
            weight_decay=5e-4,
            schedule="one-cycle",
            augmentation="crop-flip",
            padding=0,
        ),
    )
}


def recipe_named(name: str) -> Recipe:
    """A recipe by name.

    >>> recipe_named("photo")
    Traceback (most recent call last):
    robustbench_lift.errors.UsageError: unknown recipe 'photo'. Did you mean 'photos'? Known: imagenet, ...
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
