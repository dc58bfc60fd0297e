"""Down- and up-pooling for PyTorch: one interface, one file a family, one line to register.

    from robustbench_lift.pooling import LiftDownPool, make_pooling

Every down-pooling maps [N, C, H, W] to [N, C, ceil(H/2), ceil(W/2)]. The package imports torch alone.
"""

from __future__ import annotations

from .base import PoolingLayer, Source, collect_losses
from .blur import BlurPool
from .classic import AveragePool, MaxMemory, MaxPool, Skip
from .dpp import DetailPreservingPool
from .errors import PoolingError
from .gauss import GaussPool
from .lift import Bands, LiftDownPool, LiftUpPool
from .mixed import GatedPool, MixedPool
from .polyphase import APSPool, LPSPool, PolyphasePooling
from .registry import POOLINGS, UP_POOLINGS, Option, Pooling, make_pooling, parse_options
from .s3 import S3Pool
from .softmax import GFGP, LIP, AdaPool, SoftPool
from .spectral import ASAPool, FLCPool, SpectralPool
from .tips import TIPSPool
from .unpool import MaxUpPool, MaxUpPoolBlur
from .wavelet import WaveletPool

__all__ = [
    "GFGP",
    "LIP",
    "POOLINGS",
    "UP_POOLINGS",
    "APSPool",
    "ASAPool",
    "AdaPool",
    "AveragePool",
    "Bands",
    "BlurPool",
    "DetailPreservingPool",
    "FLCPool",
    "GatedPool",
    "GaussPool",
    "LPSPool",
    "LiftDownPool",
    "LiftUpPool",
    "MaxMemory",
    "MaxPool",
    "MaxUpPool",
    "MaxUpPoolBlur",
    "MixedPool",
    "Option",
    "PolyphasePooling",
    "Pooling",
    "PoolingError",
    "PoolingLayer",
    "S3Pool",
    "Skip",
    "SoftPool",
    "Source",
    "SpectralPool",
    "TIPSPool",
    "WaveletPool",
    "collect_losses",
    "make_pooling",
    "parse_options",
]
