"""`robustbench_lift.metrics` is the package `metrics`."""

import sys

import metrics
from metrics import *  # noqa: F403

sys.modules[__name__] = metrics
