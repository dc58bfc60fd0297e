"""Down- and up-pooling for PyTorch: one interface, one file a family; a class registers itself with `@pooling(NAME)`.

    from robustbench_lift.pooling import LiftDownPool, make_pooling

Every down-pooling maps [N, C, H, W] to [N, C, ceil(H/2), ceil(W/2)]. The package imports torch alone.
"""

from __future__ import annotations

import importlib
import pkgutil

from .base import PoolingLayer, Source, collect_losses
from .errors import PoolingError
from .registry import POOLINGS, UP_POOLINGS, Option, Pooling, make_pooling, parse_options, pooling, up_pooling

# In this order poolings are listed.
# isort: off
from .classic import AveragePool, MaxMemory, MaxPool, Skip
from .mixed import GatedPool, MixedPool
from .s3 import S3Pool
from .dpp import DetailPreservingPool
from .wavelet import WaveletPool
from .blur import BlurPool
from .gauss import GaussPool
from .lift import Bands, LiftDownPool, LiftUpPool
from .softmax import GFGP, LIP, AdaPool, SoftPool
from .polyphase import APSPool, LPSPool, PolyphasePooling
from .tips import TIPSPool
from .spectral import ASAPool, FLCPool, SpectralPool
from .unpool import MaxUpPool, MaxUpPoolBlur
# isort: on

for _file in pkgutil.iter_modules(__path__):  # a file beside these registers what it holds by being there
    importlib.import_module(f"{__name__}.{_file.name}")

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
    "pooling",
    "up_pooling",
]
