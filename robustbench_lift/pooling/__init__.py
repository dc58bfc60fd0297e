"""Down- and up-pooling for PyTorch: one interface, one file a family, one line to register.

    from robustbench_lift.pooling import LiftDownPool, make_pooling

Every down-pooling maps [N, C, H, W] to [N, C, ceil(H/2), ceil(W/2)]. The package imports torch alone.
"""

from __future__ import annotations

from .base import PoolingLayer, Source, collect_losses
from .blur import BlurPool
from .classic import AveragePool, MaxMemory, MaxPool, Skip
from .errors import PoolingError
from .lift import Bands, LiftDownPool, LiftUpPool
from .registry import POOLINGS, UP_POOLINGS, Option, Pooling, make_pooling, parse_options

__all__ = [
    "POOLINGS",
    "UP_POOLINGS",
    "AveragePool",
    "Bands",
    "BlurPool",
    "LiftDownPool",
    "LiftUpPool",
    "MaxMemory",
    "MaxPool",
    "Option",
    "Pooling",
    "PoolingError",
    "PoolingLayer",
    "Skip",
    "Source",
    "collect_losses",
    "make_pooling",
    "parse_options",
]
