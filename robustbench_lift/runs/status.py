"""Where a run stands, from the files of its folder alone: any machine that sees the folder can ask."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path

from robustbench_lift.runs.run import SHARE, Run


@dataclass(frozen=True, slots=True)
class ProtocolStatus:
    """Where the cells of a protocol stand."""

    protocol: str
    done: int
    """Cells that are complete."""
    total: int
    """Cells of the whole run."""
    begun: int
    """Cells of which some shares are there, and others are not."""
    reported: dict[int, dict[int, int]]
    """Of runs in n shares, begun cells: n -> {share from 1 to n: cells that it has left}, shares that left none too."""
    seconds: float | None
    """Median time between two complete cells, by the clock of the files; None below three."""

    @property
    def left(self) -> float | None:
        """Seconds until the last cell, at the pace of the cells that are there."""
        return None if self.seconds is None else self.seconds * (self.total - self.done)

    @property
    def silent(self) -> list[str]:
        """Shares that have left nothing of the begun cells, as `3/8`."""
        return [
            f"{share}/{count}"
            for count, shares in self.reported.items()
            for share, cells in shares.items()
            if not cells
        ]


def status(run: Run) -> list[ProtocolStatus]:
    """Where each protocol of a run stands, in the run's order."""
    found: dict[str, list[Path]] = {}
    for cell in run.expected:
        found.setdefault(cell.protocol, []).append(run.file(cell))
    return [_protocol(name, files) for name, files in found.items()]


def _protocol(name: str, files: list[Path]) -> ProtocolStatus:
    times = []
    begun = 0
    reported: dict[int, dict[int, int]] = {}
    for file in files:
        try:
            times.append(file.stat().st_mtime)
            continue
        except FileNotFoundError:
            pass
        matches = [SHARE.fullmatch(other.name) for other in file.parent.glob(f"{file.stem}.share-*-of-*.npz")]
        begun += any(matches)
        for match in matches:
            if match is not None:
                count = int(match[4])
                shares = reported.setdefault(count, dict.fromkeys(range(1, count + 1), 0))
                shares[int(match[3])] = shares.get(int(match[3]), 0) + 1
    times.sort()
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return ProtocolStatus(
        name, len(times), len(files), begun, reported, statistics.median(gaps) if len(gaps) > 1 else None
    )
