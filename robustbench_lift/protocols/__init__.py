"""Which cells there are, which frames of an image a cell shows, and the request that names them.

A protocol is a class with `@protocol("name")`; a suite is a value with `register_suite`; from a plug-in too.
"""

from robustbench_lift.data.suites import SUITES, Suite, register_suite
from robustbench_lift.protocols.base import PROTOCOLS, DataIdentity, EvaluationProtocol, protocol
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.protocols.corruption import Corruption
from robustbench_lift.protocols.perturbation import Perturbation
from robustbench_lift.protocols.request import OpenedData, Request
from robustbench_lift.protocols.shift import Shift

__all__ = [
    "PROTOCOLS",
    "SUITES",
    "Clean",
    "Corruption",
    "DataIdentity",
    "EvaluationProtocol",
    "OpenedData",
    "Perturbation",
    "Request",
    "Shift",
    "Suite",
    "protocol",
    "register_suite",
]
