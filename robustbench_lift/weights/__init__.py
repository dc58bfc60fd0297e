"""Models from anywhere: what a spec names, how weights are read and fitted, and the card that travels with them.

from robustbench_lift.weights import load_model
"""

from __future__ import annotations

from .load import load_model
from .loaded import LoadedModel
from .preprocessing import Preprocessing
from .save import save_checkpoint
from .spec import ModelSpec

__all__ = ["LoadedModel", "ModelSpec", "Preprocessing", "load_model", "save_checkpoint"]
