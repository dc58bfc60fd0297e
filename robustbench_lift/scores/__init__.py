"""Predictions -> numbers: pure functions of the cells of a run.

numbers     what every number is: name, direction, one row an image, the value of their means
evidence    one pass over the cells of a run, from which all numbers come
scoring     the numbers of a run, and the normaliser of CE and FR
bootstrap   their intervals, images drawn with replacement
classes     errors by class, most confused classes
effective   accuracy under a shift beyond what clean accuracy predicts
frames      the same for pandas, and `robustbench_lift.Run`
"""

from __future__ import annotations

from . import segmentation  # noqa: F401  registers its numbers
from .bootstrap import Interval, intervals, percentile_interval, percentile_intervals, replicated, resample
from .classes import class_frame, confused_frame
from .effective import effective_frame
from .evidence import Evidence, contributions, evidence_of
from .frames import ScoredRun
from .measures import Bins, Counts
from .numbers import NUMBERS, Number, headlines, number_of, register_number
from .scoring import Scores, few_flips, few_flips_note, measured_normaliser, normaliser_of, score, scores_of

__all__ = [
    "NUMBERS",
    "Bins",
    "Counts",
    "Evidence",
    "Interval",
    "Number",
    "ScoredRun",
    "Scores",
    "class_frame",
    "confused_frame",
    "contributions",
    "effective_frame",
    "evidence_of",
    "few_flips",
    "few_flips_note",
    "headlines",
    "intervals",
    "measured_normaliser",
    "normaliser_of",
    "number_of",
    "percentile_interval",
    "percentile_intervals",
    "register_number",
    "replicated",
    "resample",
    "score",
    "scores_of",
]
