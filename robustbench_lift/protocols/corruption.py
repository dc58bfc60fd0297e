"""ImageNet-C's protocol on clean images: every corruption at every severity, generated on the fly.

Generated frames are another signature than the official files: the official randomness cannot be regenerated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import corruptions
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.runs import Cell

if TYPE_CHECKING:
    from torch import Tensor

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class Corruption(Clean):
    """Corrupted images, `corruptions x severities` cells of one frame.

    Raises:
        UsageError: a corruption or severity that does not exist.
    """

    conditions: tuple[str, ...] = corruptions.BENCHMARK
    """Names of corruptions; the 15 of the benchmark unless told otherwise."""
    severities: tuple[int, ...] = SEVERITIES
    """Severities, 1..5."""
    variant: str = "imagenet-c"
    """`imagenet-c` or `imagecorruptions`."""
    table: int | str | None = None
    """Severity table (32, 64, 224, 299, "nearest"); None is the table of the image size."""
    storage: str = "jpeg85"
    """Storage round trip: `jpeg85`, as ImageNet-C is stored, or `none`."""
    seed: int = 0
    """Every draw comes from (seed, corruption, severity, image id)."""
    name: str = "corruption"

    def __post_init__(self) -> None:
        known = (*corruptions.BENCHMARK, *corruptions.EXTRA)
        for condition in self.conditions:
            if condition not in known:
                raise unknown("corruption", condition, known)
        for severity in self.severities:
            if severity not in SEVERITIES:
                raise UsageError(f"severity {severity} does not exist: severities are 1, 2, 3, 4 and 5.")

    def cells(self) -> tuple[Cell, ...]:
        """Corruption by corruption, severities ascending."""
        return tuple(Cell("corruption", c, s) for c in self.conditions for s in self.severities)

    def fields(self) -> dict[str, str]:
        """Everything that changes a pixel."""
        fields = {"source": "generated", "variant": self.variant}
        if self.table is not None:
            fields["table"] = str(self.table)
        fields |= {"set": named_set(self.conditions, corruptions.BENCHMARK, "benchmark15")}
        if set(self.severities) != set(SEVERITIES):
            fields["severities"] = "+".join(map(str, sorted(self.severities)))
        return fields | {"geometry": self.geometry.text, "storage": self.storage, "seed": str(self.seed)}

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        """Corrupt, store and read back: [n, 3, h, w] -> [n, 1, 3, h, w]."""
        from corruptions.storage import round_trip

        damaged = corruptions.corrupt(
            batch, cell.condition, cell.severity, seed=self.seed, ids=list(ids), variant=self.variant, table=self.table
        )
        return round_trip(damaged, self.storage).unsqueeze(1)


def named_set(conditions: Sequence[str], full: Sequence[str], name: str) -> str:
    """`benchmark15` for the whole benchmark, the names otherwise; their order changes no number, so it is no part.

    >>> named_set(("snow", "fog"), ("fog",), "benchmark1")
    'fog+snow'
    """
    return name if set(conditions) == set(full) else "+".join(sorted(conditions))
