"""Backbones that take a pooling: their registry, where pooling sits in them, and replacing it in any network.

A file beside these that registers a backbone with `@backbone(...)` is found by lying there.
"""

from __future__ import annotations

import importlib
import pkgutil

from .placement import Pools
from .registry import BACKBONES, Backbone, backbone, build_model
from .replace import Replacement, replace_pooling

# In this order backbones are listed.
# isort: off
from . import resnet, vgg, mobilenet, alexnet  # noqa: F401
# isort: on

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")

__all__ = ["BACKBONES", "Backbone", "Pools", "Replacement", "backbone", "build_model", "replace_pooling"]
