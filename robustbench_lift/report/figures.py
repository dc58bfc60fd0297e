"""The figures of a report, one entry each: its name, caption, notes, what it needs, and the function that draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustbench_lift.data.suites import category
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.report.canvas import (
    EDGE,
    FAINT,
    INK,
    NARROW,
    bare,
    blank,
    label,
    legend_of,
    literal,
    looks,
    per_row,
    span,
    span_note,
)
from robustbench_lift.report.notes import Part, common_notes, normalised, order, part_of, shown_mean
from robustbench_lift.report.schema import Document, Model
from robustbench_lift.tables.table import Value
from robustbench_lift.text import condition_words

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Draw = Callable[[Document, Sequence[str]], Figure]
    Box = tuple[float, float, float, float]
    """Left, bottom, right, top in pixels."""

FEW = 5
"""A bin of a reliability diagram with fewer predictions is noise and is left out (a note says so)."""

OVERCONFIDENT = (
    "Points below the diagonal are over-confident. Area of a point: share of the predictions in its bin; bins of "
    f"fewer than {FEW} predictions are left out."
)


@dataclass(frozen=True, slots=True)
class FigureEntry:
    """A figure that a report can have."""

    name: str
    """Name in options and files."""
    caption: str
    """What it shows, for a caption and a screen reader."""
    needs: str
    """What it needs, in words, for the message when it cannot be drawn."""
    known: Callable[[Document], bool]
    """Whether a document has that."""
    notes: Callable[[Document], tuple[str, ...]]
    """Notes below it, besides those that every table and figure has."""
    draw: Draw
    """Document and all notes -> figure."""


FIGURES: dict[str, FigureEntry] = {}
"""Every figure by name, in the order of the report."""


def figure(
    name: str,
    caption: str,
    *,
    needs: str,
    known: Callable[[Document], bool],
    notes: Callable[[Document], tuple[str, ...]] = lambda document: (),
) -> Callable[[Draw], Draw]:
    """Add a figure: a decorator of the function that draws it."""

    def add(draw: Draw) -> Draw:
        FIGURES[name] = FigureEntry(name, caption, needs, known, notes, draw)
        return draw

    return add


def available_figures(document: Document) -> list[str]:
    """Figures for which a document has cells."""
    return [name for name, entry in FIGURES.items() if entry.known(document)]


def figure_notes(document: Document, name: str) -> tuple[str, ...]:
    """Everything that is said below a figure, without the signature."""
    return (*filter(None, FIGURES[name].notes(document)), *common_notes(document))


def make_figure(document: Document, name: str) -> Figure:
    """A figure by name.

    Raises:
        UsageError: there is no such figure, or the runs have no cells for it.
    """
    if name not in FIGURES:
        raise unknown("figure", name, FIGURES)
    entry = FIGURES[name]
    if not entry.known(document):
        raise UsageError(f"{name} needs {entry.needs}; these runs have none.")
    made = entry.draw(document, figure_notes(document, name))
    made.draw_without_rendering()
    made.set_layout_engine("none")  # laid out once, the same for every format
    return made


def _bars(
    axes: Axes,
    document: Document,
    models: Sequence[Model],
    names: Sequence[str],
    family: str,
    whole: tuple[str, str],
    part: Part | None,
) -> None:
    """Bars grouped by condition, the mean (heading and key) set apart at the right."""
    style = looks(tuple(m.label for m in models))
    places = [float(k) for k in range(len(names))] + [len(names) + 0.35]
    width = 0.84 / max(1, len(models))
    for k, model in enumerate(models):
        values = [*(model.value(f"{family}/{name}") for name in names), model.value(whole[1])]
        if part is not None:  # of the benchmark: means over what was asked
            shown = [shown_mean(model, "corruptions" if family == "error" else "perturbations", n) for n in names]
            values = [*map(Value, shown), Value(part.values.get(model.label))]
        known = [(x, v) for x, v in zip(places, values, strict=True) if v.value is not None]
        look = style[model.label]
        centre = (k - (len(models) - 1) / 2) * width
        spans = [span(v) for _, v in known]
        has_span = any(low or high for low, high in spans)
        axes.bar(
            [x + centre for x, _ in known],
            [100 * v.value for _, v in known if v.value is not None],
            width * 0.94,
            color=look.colour,
            edgecolor=EDGE,
            linewidth=0.5,
            hatch=look.hatch,
            yerr=tuple(zip(*spans, strict=True)) if has_span else None,
            error_kw={"ecolor": INK, "elinewidth": 0.7, "capsize": 1.2, "capthick": 0.7},
        )
        for x, v in zip(places, values, strict=True):
            if v.value is None:
                axes.text(x + centre, 0, "n/a", rotation=90, ha="center", va="bottom", fontsize=6, color=INK)
    axes.set_xticks(
        places,
        [*(literal(condition_words(n)) for n in names), whole[0]],
        rotation=28,
        ha="right",
        rotation_mode="anchor",
    )
    axes.get_xticklabels()[-1].set_fontweight("bold")
    axes.set_xlim(-0.6, places[-1] + 0.6)
    axes.axvline(len(names) - 0.33, color=INK, linewidth=0.6)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.tick_params(axis="x", length=0)
    _families(axes, names)
    bare(axes)


def _bar_legend(axes: Axes, document: Document, models: Sequence[Model]) -> None:
    """A legend above bars, with every model, those without a single bar too."""
    from matplotlib.patches import Patch

    labels = [label(document, m) for m in models]
    handles = [
        Patch(facecolor=look.colour, edgecolor=EDGE, linewidth=0.5, hatch=look.hatch)
        for look in looks(tuple(m.label for m in models)).values()
    ]
    axes.legend(
        handles, labels, ncols=per_row(labels), fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.07),
        borderaxespad=0, labelcolor=INK, handlelength=1.6, columnspacing=1.4,
    )  # fmt: skip


def _families(axes: Axes, names: Sequence[str]) -> None:
    """Names of the families above the bars, thin lines between them."""
    starts = [k for k in range(len(names)) if k == 0 or category(names[k]) != category(names[k - 1])]
    for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
        if start:
            axes.axvline(start - 0.5, color=FAINT, linewidth=0.8)
        axes.text(
            (start + end - 1) / 2, 1.01, category(names[start]), transform=axes.get_xaxis_transform(), ha="center",
            va="bottom", fontsize=8, color=INK, style="italic",
        )  # fmt: skip


@figure(
    "figure-9",
    "Corruption error of every corruption and flip rate of every perturbation, one bar a pooling, means at the right.",
    needs="corruption or perturbation cells",
    known=lambda document: any(m.corruptions or m.perturbations for m in document.models),
    notes=lambda document: (span_note(document, document.models),),
)
def figure_9(document: Document, notes: Sequence[str]) -> Figure:
    """CE by corruption above, FR by perturbation below, one bar a pooling, with confidence intervals."""
    parts = part_of(document, "corruption"), part_of(document, "perturbation")
    ratio = normalised(document) and parts == (None, None)
    models = [m for m in document.models if not (ratio and m.is_normaliser)]
    corruptions, perturbations = order(models, "corruptions"), order(models, "perturbations")
    panels = [bool(corruptions), bool(perturbations)]
    sheet = blank(
        document, 0.4 + 3.1 * sum(panels),
        f"Figure 9: {'CE by corruption and FR' if ratio else 'error by corruption and flips'} by perturbation "
        f"({document.data}); lower is better",
        notes,
    )  # fmt: skip
    axes = list(sheet.subplots(sum(panels), 1, squeeze=False)[:, 0])
    if corruptions:
        top = axes.pop(0)
        family, whole, heading = ("ce", "mce", "mCE") if ratio else ("error", "mean_error", "mean")
        _bars(top, document, models, corruptions, family, (heading, whole), parts[0])
        top.set_ylabel("CE, % of the normaliser" if ratio else "mean error, %")
        _bar_legend(top, document, models)
    if perturbations:
        bottom = axes.pop(0)
        family, whole, heading = ("fr", "mfr", "mFR") if ratio else ("fp", "mean_flip_probability", "mean")
        _bars(bottom, document, models, perturbations, family, (heading, whole), parts[1])
        bottom.set_ylabel("FR, % of the normaliser" if ratio else "flip probability, %")
        if not corruptions:
            _bar_legend(bottom, document, models)
    return sheet


def _placed(document: Document) -> list[Model]:
    """Models with a point in Figure 4."""
    return [m for m in document.models if None not in (m.value("consistency").value, m.value("clean_error").value)]


@figure(
    "figure-4",
    "Shift consistency against accuracy, one point a model.",
    needs="clean and shift cells of at least one complete run",
    known=lambda document: bool(_placed(document)),
    notes=lambda document: (
        f"Consistency rises with accuracy by itself: read both. {span_note(document, _placed(document))}",
    ),
)
def figure_4(document: Document, notes: Sequence[str]) -> Figure:
    """Shift consistency against clean accuracy, one point a model."""
    models = _placed(document)
    heading = f"Figure 4: shift consistency against accuracy ({document.data}); up and right is better"
    sheet = blank(document, 4.2, heading, notes, width=NARROW)
    axes = sheet.subplots()
    style = looks(tuple(m.label for m in models if not m.is_normaliser))
    backbones = list(dict.fromkeys(m.arch for m in models))
    for model in models:
        look = style.get(model.label)
        clean, consistency = model.value("clean_error"), model.value("consistency")
        assert clean.value is not None
        assert consistency.value is not None
        low, high = span(clean)
        marker = (
            "oshD^vPX"[backbones.index(model.arch) % 8] if len(backbones) > 1 else "o" if look is None else look.marker
        )
        axes.errorbar(
            [100 * (1 - clean.value)], [100 * consistency.value], xerr=[[high], [low]],
            yerr=[[v] for v in span(consistency)], fmt=marker, markersize=9,
            markerfacecolor="none" if look is None else look.colour, markeredgewidth=0.9,
            markeredgecolor=INK if look is None else EDGE,
            ecolor=INK, elinewidth=0.6, capsize=2, label=label(document, model),
        )  # fmt: skip
    axes.set_xlabel("top-1 accuracy on clean images, %")
    axes.set_ylabel("shift consistency, %")
    axes.margins(0.12)
    axes.grid(color=FAINT, linewidth=0.5)
    bare(axes)
    sheet.draw_without_rendering()  # places in pixels are known from here on
    _label_points(axes, document, models)
    return sheet


def _label_points(axes: Axes, document: Document, models: Sequence[Model]) -> None:
    """A label beside each point, apart from points, error bars and other labels; a line where it stands far off."""
    import numpy as np

    def box_of(centre: npt.NDArray[np.float64], half: tuple[float, float]) -> Box:
        return centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]

    def common(a: Box, b: Box) -> float:
        return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))

    scale = axes.get_figure().dpi / 72  # type: ignore[union-attr]  # it has one: a point in pixels
    taken: list[Box] = []
    points = []
    for model in models:
        clean, consistency = model.value("clean_error"), model.value("consistency")
        x, y = 100 * (1 - (clean.value or 0.0)), 100 * (consistency.value or 0.0)
        (low, high), (below, above) = span(clean), span(consistency)
        middle, left, right, bottom, top = axes.transData.transform(
            [(x, y), (x - high, y), (x + low, y), (x, y - below), (x, y + above)]
        )
        points.append((x, y, middle))
        taken += [box_of(middle, (6 * scale, 6 * scale))]
        taken += [(left[0], middle[1] - 2 * scale, right[0], middle[1] + 2 * scale)]
        taken += [(middle[0] - 2 * scale, bottom[1], middle[0] + 2 * scale, top[1])]
    frame = axes.get_window_extent()
    for model, (x, y, middle) in zip(models, points, strict=True):
        text = axes.annotate(label(document, model), (x, y), fontsize=8.5, color=INK, ha="center", va="center")
        extent = text.get_window_extent()
        half = (extent.width / 2 + scale, extent.height / 2 + scale)
        choices: list[tuple[int, int, int, Box, npt.NDArray[np.float64]]] = []
        for distance in (9, 20, 34, 52, 74):
            for angle in np.deg2rad([45, 135, -45, -135, 20, 160, -20, -160, 75, 105, -75, -105]):
                way = np.array([np.cos(angle), np.sin(angle)])
                centre = middle + way * (distance * scale + np.abs(way) @ np.array(half) * 0.9)
                box = box_of(centre, half)
                inside = box[0] >= frame.x0 and box[1] >= frame.y0 and box[2] <= frame.x1 and box[3] <= frame.y1
                cost = sum(common(box, other) for other in taken) + (0 if inside else 1e6)
                choices.append((round(cost), distance, len(choices), box, (centre - middle) / scale))
        _, distance, _, box, offset = min(choices, key=lambda choice: choice[:3])
        taken.append(box)
        text.remove()
        axes.annotate(
            label(document, model), (x, y), xytext=tuple(offset), textcoords="offset points", fontsize=8.5, color=INK,
            ha="center", va="center",
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 5}
            if distance > 9 else None,
        )  # fmt: skip


@figure(
    "severity",
    "Error at each severity, one panel a corruption, one line a model.",
    needs="corruption cells",
    known=lambda document: any(m.corruptions for m in document.models),
)
def severity(document: Document, notes: Sequence[str]) -> Figure:
    """Error against severity, one panel a corruption, one line a model."""
    models = list(document.models)
    names = order(models, "corruptions")
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    sheet = blank(
        document,
        0.4 + 1.75 * rows,
        f"Error against severity ({document.data}); lower is better",
        notes,
        legend=[label(document, m) for m in models],
    )
    grid = sheet.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    style = looks(tuple(m.label for m in models if not m.is_normaliser))
    for k, axes in enumerate(grid.flat):
        if k >= len(names):
            axes.set_visible(False)
            continue
        for model in models:
            if names[k] not in model.corruptions:
                continue
            clean = model.value("clean_error").value
            values = [clean, *model.corruptions[names[k]].errors]
            known = [(s, 100 * v) for s, v in enumerate(values) if v is not None]
            look = style.get(model.label)
            axes.plot(
                [s for s, _ in known], [v for _, v in known], marker="" if look is None else look.marker,
                markersize=3.6, color=INK if look is None else look.colour,
                linestyle=":" if look is None else look.line,
                linewidth=1.0 if look is None else 1.5, markeredgecolor=EDGE, markeredgewidth=0.4,
                label=label(document, model),
            )  # fmt: skip
        axes.set_title(literal(condition_words(names[k])), fontsize=8.5, color=INK, pad=3)
        axes.set_xticks(range(6), ["clean", "1", "2", "3", "4", "5"])
        axes.grid(color=FAINT, linewidth=0.5)
        bare(axes)
        axes.tick_params(labelsize=7, labelbottom=k + columns >= len(names))  # the lowest panel of each column
    for row in grid:
        row[0].set_ylabel("error, %")
    legend_of(sheet, grid[0, 0])
    return sheet


def _reliable(document: Document) -> list[Model]:
    """Models with a panel of reliability."""
    return [m for m in document.models if any(b.count for bins in m.reliability.values() for b in bins)]


@figure(
    "reliability",
    "Accuracy against confidence, one panel a model: clean images, and all corruptions at each severity.",
    needs="clean or corruption cells",
    known=lambda document: bool(_reliable(document)),
    notes=lambda document: (OVERCONFIDENT,),
)
def reliability(document: Document, notes: Sequence[str]) -> Figure:
    """Reliability diagrams: accuracy against confidence, one panel a model; clean and the severities."""
    models = _reliable(document)
    curves = list(dict.fromkeys(key for m in models for key in m.reliability))
    columns = min(4, len(models))
    rows = -(-len(models) // columns)
    sheet = blank(
        document, 0.4 + 2.9 * rows,
        f"Reliability: accuracy against confidence ({document.data}); on the diagonal is best", notes, legend=curves,
    )  # fmt: skip
    grid = sheet.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    style = looks(tuple(curves))
    for k, axes in enumerate(grid.flat):
        if k >= len(models):
            axes.set_visible(False)
            continue
        axes.plot([0, 100], [0, 100], color=INK, linewidth=0.7, linestyle=":")
        for key, bins in models[k].reliability.items():
            total = sum(b.count for b in bins)
            known = [b for b in bins if b.count >= FEW and b.confidence is not None and b.accuracy is not None]
            if not known:
                continue
            look = style[key]
            x, y = [100 * (b.confidence or 0.0) for b in known], [100 * (b.accuracy or 0.0) for b in known]
            axes.plot(x, y, color=look.colour, linestyle=look.line, linewidth=1.2, zorder=2)
            axes.scatter(
                x, y, s=[6 + 60 * b.count / total for b in known], color=look.colour, edgecolors=EDGE, linewidths=0.4,
                marker=look.marker, zorder=3, label=key,
            )  # fmt: skip
        axes.set_title(label(document, models[k]), fontsize=9, color=INK, pad=3)
        axes.set_xlim(0, 101)
        axes.set_ylim(-2, 102)
        axes.set_xlabel("confidence, %")
        axes.grid(color=FAINT, linewidth=0.5)
        bare(axes)
        axes.tick_params(labelbottom=True, labelleft=True)  # every panel has its axes
    for row in grid:
        row[0].set_ylabel("accuracy, %")
    placed = legend_of(sheet, grid[0, 0])
    for handle in placed.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([28])
    return sheet
