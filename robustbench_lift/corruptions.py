"""`robustbench_lift.corruptions` is the package `corruptions`."""

import sys

import corruptions
from corruptions import *  # noqa: F403

sys.modules[__name__] = corruptions
