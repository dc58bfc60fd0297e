"""Figure 8: the classical lifting scheme on a line, which keeps the area under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from robustbench_lift.paper.item import Item, Rendering, register_item
from robustbench_lift.paper.maps import photograph
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.study import Study
from robustbench_lift.report.canvas import FAINT, INK, PALETTE, bare

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from robustbench_lift.paper.study import Scale

Line = npt.NDArray[np.float64]
SAMPLES = 48
"""Samples of the line that is shown; even."""
ROW = 150
"""Row of the picture that the line is taken from, at a third of a photograph of 512 rows; less of a smaller one."""


def lift_line(x: Line) -> tuple[Line, Line]:
    """The smooth part s and the detail d of a line x [L] of even length, its ends joined.

        d_k = x_{2k+1} - (x_{2k} + x_{2k+2}) / 2          s_k = x_{2k} + (d_{k-1} + d_k) / 4

    so that mean(s) = mean(x): the area under s, whose steps are twice as wide, is that under x.

    >>> s, d = lift_line(np.array([1.0, 3.0, 2.0, 6.0]))
    >>> float(s.mean()), d.tolist()
    (3.0, [1.5, 4.5])

    Source: equations 13 and 14 of LiftPool; the CDF 5/3 wavelet of Cohen, Daubechies and Feauveau, 1992.
    """
    even, odd = x[0::2], x[1::2]
    d = odd - (even + np.roll(even, -1)) / 2
    return even + (np.roll(d, 1) + d) / 4, d


def areas(x: Line, s: Line) -> tuple[float, float]:
    """The area under each of two lines of steps, of width 1 and 2.

    >>> areas(np.ones(4), np.ones(2))
    (4.0, 4.0)
    """
    return float(x.sum()), float(2 * s.sum())


def render(results: Results) -> Rendering:
    """A line of a picture above, its smooth part and its details below, with the areas."""
    image = photograph(results.drawing.image)
    row = min(ROW, image.shape[0] - 1)
    line = image[row].mean(1)[: image.shape[1] // 2 * 2].astype(np.float64) / 255
    start = max(0, (len(line) - SAMPLES) // 2 // 2 * 2)
    x = line[start : start + SAMPLES]
    s, d = lift_line(x)
    whole, smooth = areas(x, s)
    note = (
        f"Row {row} of the picture, samples {start} to {start + len(x) - 1}, ends joined. Area under the line: "
        f"{whole:.6f}; under its smooth part, whose steps are twice as wide: {smooth:.6f}; difference "
        f"{abs(whole - smooth):.0e}."
    )
    return Rendering(figures={"figure-8": draw(x, s, d, note)}, notes=(note,))


def draw(x: Line, s: Line, d: Line, note: str) -> Figure:
    """Steps of x and s on one axis, details below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.6))
    figure.set_layout_engine("constrained", rect=(0, 0.06, 1, 0.94))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges, wide = np.arange(len(x) + 1), np.arange(0, len(x) + 1, 2)
    top.stairs(x, edges, color=INK, linewidth=0.9, label="x")
    top.stairs(s, wide, color=PALETTE[4], linewidth=1.8, label="s, at half the samples")
    top.fill_between(np.repeat(wide, 2)[1:-1], np.repeat(s, 2), color=PALETTE[0], alpha=0.5, linewidth=0)
    top.legend(fontsize=8, frameon=False, ncols=2, labelcolor=INK)
    top.set_ylabel("brightness")
    top.set_title("Figure 8: lifting a line keeps the area under it", fontsize=11, color=INK, loc="left")
    bottom.bar(wide[:-1] + 1, d, width=1.6, color=PALETTE[5])
    bottom.axhline(0, color=INK, linewidth=0.6)
    bottom.set_ylabel("d")
    bottom.set_xlim(0, len(x))
    for axes in (top, bottom):
        axes.grid(axis="y", color=FAINT, linewidth=0.5)
        bare(axes)
    figure.text(0.01, 0.015, note, fontsize=6.5, color=INK)
    return figure


_NOTHING = Study(name="line", networks=(), protocols=())
_STUDIES: dict[Scale, tuple[Study, ...]] = {"paper": (_NOTHING,), "small": (_NOTHING,), "embedded": (_NOTHING,)}

register_item(
    Item(
        name="figure-8",
        title="Figure 8: the classical lifting scheme keeps the running average",
        shows="A row of a picture, its smooth part by the fixed lifting of equations 13 and 14 (predict an odd sample "
        "by the mean of its even neighbours, update by a quarter of the two details), and the details; the two areas "
        "are computed.",
        words="the smooth part has half the samples and the same area, so the running average is kept.",
        studies=_STUDIES,
        render=render,
        draws=True,
    )
)
