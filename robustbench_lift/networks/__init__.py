"""Backbones that take a pooling: their registry, where pooling sits in them, and replacing it in any network.

A file beside these that registers a backbone with `@backbone(...)` is found by lying there.
"""

from __future__ import annotations

import importlib
import pkgutil

from .pairs import PAIRS, Pair, PoolPair, register_pair
from .placement import Pools
from .registry import BACKBONES, Backbone, Task, backbone, build_model, poolings_of
from .replace import Replacement, replace_pooling

# In this order backbones are listed.
# isort: off
from . import resnet, vgg, mobilenet, alexnet, segnet, deeplab  # noqa: F401
# isort: on

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")

__all__ = [
    "BACKBONES",
    "PAIRS",
    "Backbone",
    "Pair",
    "PoolPair",
    "Pools",
    "Replacement",
    "Task",
    "backbone",
    "build_model",
    "poolings_of",
    "register_pair",
    "replace_pooling",
]
