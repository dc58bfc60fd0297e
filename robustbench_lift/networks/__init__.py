"""Backbones that take a pooling: their registry, where pooling sits in them, and replacing it in any network."""

from __future__ import annotations

from .architectures import ARCHITECTURES, Architecture, build_model
from .replace import Replacement, replace_pooling

__all__ = ["ARCHITECTURES", "Architecture", "Replacement", "build_model", "replace_pooling"]
