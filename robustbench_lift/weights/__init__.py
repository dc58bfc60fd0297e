"""Models from anywhere: what a spec names, how weights are read and fitted, and the card that travels with them.

from robustbench_lift.weights import load_model
"""

from __future__ import annotations

from .card import save_checkpoint
from .load import convert_weights, load_model, untrained
from .model import LoadedModel
from .preprocessing import Preprocessing
from .spec import ModelSpec

__all__ = ["LoadedModel", "ModelSpec", "Preprocessing", "convert_weights", "load_model", "save_checkpoint", "untrained"]
