"""Backbones that take a pooling, and models from anywhere: built, loaded, converted.

from robustbench_lift.models import build_model, load_model
"""

from __future__ import annotations

from .architectures import ARCHITECTURES, Architecture, build_model
from .checkpoints import save_checkpoint
from .loaded import LoadedModel
from .loading import load_model
from .preprocessing import Preprocessing
from .replace import Replacement, replace_pooling
from .spec import ModelSpec

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "LoadedModel",
    "ModelSpec",
    "Preprocessing",
    "Replacement",
    "build_model",
    "load_model",
    "replace_pooling",
    "save_checkpoint",
]
