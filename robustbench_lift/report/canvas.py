"""What all figures share: colours, the sheet with heading, legend and signature, the look of axes, and saving.

matplotlib's object interface alone (no pyplot, no global state); files are equal byte for byte when made again.

Figures are told apart in grey, on paper and by colour-blind readers: hues follow Okabe and Ito (Color Universal Design,
2008); lightness falls evenly from the first to the last, and every second bar is hatched, so that no two neighbours
look alike even in grey.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustbench_lift.report.notes import shown, signature_text
from robustbench_lift.report.schema import Document, Model
from robustbench_lift.tables.table import Value, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

INK = "#1c1e21"
"""Text and axes in a file; replaced by the page's own text colour inside HTML."""
EDGE = "#1b1d20"
"""Edges and hatches of bars and markers: dark on every page, since every fill is lighter."""
FAINT = "#c9ccd1"
"""Grid lines; the same in light and dark pages, drawn thin."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one model is drawn."""

    colour: str
    """Fill."""
    hatch: str
    """Hatch of bars, in matplotlib's letters."""
    marker: str
    """Marker of points."""
    line: str
    """Line style."""


PALETTE = ("#f5e663", "#8fcdf0", "#e8a020", "#2aa57e", "#c9560f", "#1f5f9e", "#6b2c66", "#2a2a2e")
"""From light to dark; CIE lightness 90, 79, 71, 61, 50, 39, 28, 18."""
HATCHES = ("", "////", "", "\\\\\\\\", "", "....", "", "xxxx")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")


def looks(labels: tuple[str, ...]) -> dict[str, Look]:
    """A look for each label, from light to dark in the given order; spread over the palette when there are few.

    >>> [look.colour for look in looks(("max", "lift")).values()]
    ['#8fcdf0', '#1f5f9e']
    """
    count = len(labels)
    few = {1: (5,), 2: (1, 5), 3: (1, 3, 5), 4: (1, 2, 3, 5), 5: (0, 1, 2, 3, 5), 6: (0, 1, 2, 3, 4, 5)}
    chosen = few.get(count, tuple(range(8)))
    found = {}
    for k, label in enumerate(labels):
        index = chosen[k % len(chosen)]
        lap = k // len(chosen)  # more models than colours: the hatch tells the laps apart
        hatch = HATCHES[k % 2 * (1 + 2 * (k % 4 // 2))] if count <= 6 else HATCHES[(k + lap) % 8]
        found[label] = Look(PALETTE[index], hatch, MARKERS[k % 8], LINES[k % 4])
    return found


FORMATS = ("png", "svg", "pdf")
PNG_DPI = 160
WIDTH, NARROW = 11.0, 7.5
"""Inches, of most figures and of those with one panel."""
NOTE_SIZE = 6.5
"""Points of the signature lines."""
NOTE_COLUMNS = 215
"""Characters of a signature line that fit in `WIDTH`."""
HEAD, LEGEND = 0.32, 0.26
"""Inches above the panels for the heading, and for a row of a legend of the whole figure."""
LEGEND_COLUMNS, LABEL = 120, 32
"""Characters of a legend row, and of a label before it is cut (tables have it whole)."""


FOOT = "foot-"
"""Prefix of the id of notes and signatures at the foot of a figure; their height in points follows. A page, which says
them as text, leaves them out."""


def blank(
    document: Document,
    height: float,
    heading: str,
    notes: Sequence[str],
    *,
    legend: Sequence[str] = (),
    width: float = WIDTH,
) -> Figure:
    """An empty figure with a heading, room for a legend of these labels, and the notes and signature lines below."""
    from matplotlib.figure import Figure

    lines: list[str] = []
    for text in (*notes, *(signature_text(document, group) for group in document.groups)):
        lines += textwrap.wrap(plain(text), int(NOTE_COLUMNS * width / WIDTH))
    rows = -(-len(legend) // per_row(legend))
    head, foot = HEAD + LEGEND * rows, 0.13 * len(lines) + 0.1
    whole = height + head + foot
    figure = Figure(figsize=(width, whole))
    figure.set_layout_engine("constrained", rect=(0, foot / whole, 1, height / whole))
    figure.text(
        0.01, 1 - 0.08 / whole, literal(heading), ha="left", va="top", fontsize=11, fontweight="bold", color=INK
    )
    figure.text(
        0.01, 0.06 / whole, literal("\n".join(lines)), ha="left", va="bottom", fontsize=NOTE_SIZE, color=INK,
        linespacing=1.25, gid=f"{FOOT}{72 * foot:.1f}",
    )  # fmt: skip
    return figure


def per_row(labels: Sequence[str]) -> int:
    """How many labels fit in a row of a legend."""
    return max(1, min(8, LEGEND_COLUMNS // (max((len(label) for label in labels), default=0) + 7)))


def label(document: Document, model: Model) -> str:
    """The label of a model in a figure, cut where it is very long."""
    text = plain(shown(document, model))
    return literal(text if len(text) <= LABEL else f"{text[: LABEL - 3]}...")


def legend_of(figure: Figure, axes: Axes) -> Legend:
    """The legend of `axes` under the heading, for the whole figure."""
    handles, labels = axes.get_legend_handles_labels()
    placed = figure.legend(
        handles, labels, ncols=per_row(labels), fontsize=8, frameon=False, loc="upper left", labelcolor=INK,
        columnspacing=1.4, bbox_to_anchor=(0.003, 1 - HEAD / figure.get_figheight()),
    )  # fmt: skip
    placed.set_in_layout(False)
    return placed


def literal(text: str) -> str:
    """Text that matplotlib does not take for mathematics."""
    return "\n".join(plain(line) for line in text.split("\n")).replace("$", r"\$")


def bare(axes: Axes) -> None:
    """Two axes and no frame, in the figures' ink and sizes."""
    axes.set_facecolor("none")  # a dark page shows through; files are saved on white
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(colors=INK, labelsize=8, width=0.8)
    axes.set_axisbelow(True)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_color(INK)
        text.set_fontsize(9)


def span(value: Value) -> tuple[float, float]:
    """Lengths of the error bar below and above, in percent."""
    if value.value is None or value.low is None or value.high is None:
        return 0.0, 0.0
    return max(0.0, 100 * (value.value - value.low)), max(0.0, 100 * (value.high - value.value))


def span_note(document: Document, models: Sequence[Model]) -> str:
    """What error bars mean, empty when there are none."""
    if not any(v.low is not None for m in models for v in m.headline.values()):
        return ""
    return f"Error bars: {document.confidence:.0%} confidence intervals (bootstrap over images)."


def to_bytes(figure: Figure, form: str, *, name: str, as_text: bool = False) -> bytes:
    """The figure as PNG, SVG or PDF, the same bytes every time.

    Args:
        figure: what to draw.
        form: `png`, `svg` or `pdf`.
        name: seed of the ids inside an SVG, so that several can stand in one page.
        as_text: keep text as text in an SVG (searchable; the reader's fonts) instead of outlines.
    """
    import matplotlib as mpl

    metadata: dict[str, None] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }[form]
    stream = io.BytesIO()
    settings: Any = {"svg.hashsalt": name, "svg.fonttype": "none" if as_text else "path", "hatch.linewidth": 0.6}
    with mpl.rc_context(settings):
        figure.savefig(stream, format=form, dpi=PNG_DPI, metadata=metadata, facecolor="none" if as_text else "white")
    return stream.getvalue()
