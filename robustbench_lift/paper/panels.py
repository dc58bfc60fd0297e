"""Sheets of maps: pictures in rows, every map drawn on one scale that the sheet states."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from robustbench_lift.report.canvas import INK, literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, PANEL = 11.0, 1.75
"""Inches: the widest sheet, and a panel."""
CLIPPED = 0.5
"""Percent of the values that may lie beyond the scale, so that one of them does not make all others pale."""
COLOURS = "RdBu_r"
"""Zero is white, positive red, negative blue."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a sheet."""

    title: str
    picture: npt.NDArray[Any]
    """uint8 [H, W, 3], or a map [h, w] of numbers."""

    @classmethod
    def of(cls, title: str, channel: Tensor) -> Panel:
        """A panel of one channel [h, w]."""
        return cls(title, channel.detach().double().numpy())

    @property
    def is_map(self) -> bool:
        """Whether it is a map of numbers, drawn on the sheet's scale."""
        return self.picture.ndim == 2


def limit_of(panels: Sequence[Panel]) -> float:
    """The end m of the scale -m..m that all maps of a sheet share: all but 0.5 % of their values lie inside.

    >>> limit_of([Panel("a", np.array([[0.0, -2.0]])), Panel("b", np.array([[1.0, 1.0]]))]) > 1.9
    True
    """
    values = [np.abs(panel.picture).ravel() for panel in panels if panel.is_map]
    return max(float(np.percentile(np.concatenate(values), 100 - CLIPPED)), 1e-12) if values else 1.0


def sheet(rows: Sequence[Sequence[Panel | None]], heading: str, *notes: str) -> Figure:
    """Rows of panels under a heading, with one colour bar for all maps and the notes below.

    Args:
        rows: of panels; None leaves a place empty.
        heading: one line.
        notes: sentences below the panels; the scale is stated after them.
    """
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    limit = limit_of([one for row in rows for one in row if one is not None])
    panel = min(PANEL, WIDTH / (columns + 0.6))
    scale = f"All maps on one scale: -{limit:.3g} (blue) to {limit:.3g} (red), 0 is white; {CLIPPED} % may lie beyond."
    width = max(6.5, panel * (columns + 0.6))
    has_maps = any(one is not None and one.is_map for row in rows for one in row)
    lines = [
        line for text in (*notes, *([scale] if has_maps else [])) for line in textwrap.wrap(text, round(19 * width))
    ]
    foot, head = 0.13 * len(lines) + 0.1, 0.34
    height = len(rows) * (panel + 0.22)
    figure = Figure(figsize=(width, height + head + foot))
    whole = height + head + foot
    figure.set_layout_engine("constrained", rect=(0, foot / whole, 1, height / whole))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    norm = Normalize(-limit, limit)
    shown = None
    for row, places in zip(rows, axes, strict=True):
        for place in places:
            place.axis("off")
        for one, place in zip(row, places, strict=False):
            if one is None:
                continue
            if one.is_map:
                shown = place.imshow(one.picture, cmap=COLOURS, norm=norm, interpolation="nearest")
            else:
                place.imshow(one.picture, interpolation="nearest")
            place.set_title(literal(one.title), fontsize=8, color=INK, pad=3)
    if shown is not None:
        bar = figure.colorbar(shown, ax=axes, shrink=0.7, pad=0.01, aspect=30)
        bar.ax.tick_params(labelsize=7, colors=INK)
        bar.outline.set_visible(False)
    figure.text(
        0.01, 1 - 0.08 / whole, literal(heading), ha="left", va="top", fontsize=11, fontweight="bold", color=INK
    )
    figure.text(
        0.01, 0.06 / whole, literal("\n".join(lines)), ha="left", va="bottom", fontsize=6.5, color=INK, linespacing=1.25
    )
    return figure


def beside(picture: npt.NDArray[Any], rows: Sequence[Sequence[Panel]]) -> list[list[Panel | None]]:
    """Rows with the picture before the first of them."""
    return [[Panel("picture", picture) if k == 0 else None, *row] for k, row in enumerate(rows)]


def laid_out(figure: Figure) -> Figure:
    """The figure with its layout fixed, the same for every format."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure
