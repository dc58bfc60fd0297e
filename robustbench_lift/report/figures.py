"""The figures of a report, each a function of the document: Figure 9, Figure 4, error by severity, reliability."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from robustbench_lift.data.suites import category
from robustbench_lift.errors import UsageError, unknown
from robustbench_lift.report.canvas import bare, blank, label, legend_of, literal, per_row, span, span_note
from robustbench_lift.report.notes import normalised, order
from robustbench_lift.report.schema import Document, Model
from robustbench_lift.report.style import EDGE, FAINT, INK, looks, title
from robustbench_lift.tables.table import Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 5
"""A bin of a reliability diagram with fewer predictions is noise and is left out (a note says so)."""


def _bars(
    axes: Axes,
    document: Document,
    models: Sequence[Model],
    names: Sequence[str],
    value: Callable[[Model, str], Value],
    whole: tuple[str, Callable[[Model], Value]],
) -> None:
    """Bars grouped by condition, the mean set apart at the right."""
    style = looks(tuple(m.label for m in models))
    places = [float(k) for k in range(len(names))] + [len(names) + 0.35]
    width = 0.84 / max(1, len(models))
    for k, model in enumerate(models):
        values = [*(value(model, name) for name in names), whole[1](model)]
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
        places, [*(literal(title(n)) for n in names), whole[0]], rotation=28, ha="right", rotation_mode="anchor"
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


def figure_9(document: Document) -> Figure:
    """CE by corruption above, FR by perturbation below, one bar a pooling, with confidence intervals."""
    ratio = normalised(document)
    models = [m for m in document.models if not (ratio and m.is_normaliser)]
    corruptions, perturbations = order(models, "corruptions"), order(models, "perturbations")
    panels = [bool(corruptions), bool(perturbations)]
    if not any(panels):
        raise UsageError("Figure 9 needs corruption or perturbation cells; these runs have neither.")
    figure = blank(
        document, 0.4 + 3.1 * sum(panels),
        f"Figure 9: {'CE by corruption and FR' if ratio else 'error by corruption and flips'} by perturbation "
        f"({document.data}); lower is better",
        span_note(document, models),
    )  # fmt: skip
    axes = list(figure.subplots(sum(panels), 1, squeeze=False)[:, 0])
    unknown_value = Value()
    if corruptions:
        top = axes.pop(0)

        def error(model: Model, name: str) -> Value:
            found = model.corruptions.get(name)
            return unknown_value if found is None else found.ce if ratio else found.mean_error

        whole = ("mCE", "mce") if ratio else ("mean", "mean_error")
        _bars(top, document, models, corruptions, error, (whole[0], lambda m: m.headline[whole[1]]))
        top.set_ylabel("CE, % of the normaliser" if ratio else "mean error, %")
        _bar_legend(top, document, models)
    if perturbations:
        bottom = axes.pop(0)

        def flips(model: Model, name: str) -> Value:
            found = model.perturbations.get(name)
            return unknown_value if found is None else found.fr if ratio else found.flip_probability

        last = ("mFR", "mfr") if ratio else ("mean", "mean_flip_probability")
        _bars(bottom, document, models, perturbations, flips, (last[0], lambda m: m.headline[last[1]]))
        bottom.set_ylabel("FR, % of the normaliser" if ratio else "flip probability, %")
        if not corruptions:
            _bar_legend(bottom, document, models)
    return figure


def figure_4(document: Document) -> Figure:
    """Shift consistency against clean accuracy, one point a model."""
    models = [m for m in document.models if m.headline["consistency"].value is not None]
    models = [m for m in models if m.headline["clean_error"].value is not None]
    if not models:
        raise UsageError("Figure 4 needs clean and shift cells of at least one complete run; there is none.")
    figure = blank(
        document, 4.2, f"Figure 4: shift consistency against accuracy ({document.data}); up and right is better",
        f"Consistency rises with accuracy by itself: read both. {span_note(document, models)}",
    )  # fmt: skip
    axes = figure.subplots()
    style = looks(tuple(m.label for m in models if not m.is_normaliser))
    backbones = list(dict.fromkeys(m.arch for m in models))
    for model in models:
        look = style.get(model.label)
        clean, consistency = model.headline["clean_error"], model.headline["consistency"]
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
        axes.annotate(
            label(document, model), (100 * (1 - clean.value), 100 * consistency.value), xytext=(7, 6),
            textcoords="offset points", fontsize=8.5, color=INK,
        )  # fmt: skip
    axes.set_xlabel("top-1 accuracy on clean images, %")
    axes.set_ylabel("shift consistency, %")
    axes.margins(0.12)
    axes.grid(color=FAINT, linewidth=0.5)
    bare(axes)
    return figure


def severity(document: Document) -> Figure:
    """Error against severity, one panel a corruption, one line a model."""
    models = list(document.models)
    names = order(models, "corruptions")
    if not names:
        raise UsageError("error against severity needs corruption cells; these runs have none.")
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = blank(
        document,
        0.4 + 1.75 * rows,
        f"Error against severity ({document.data}); lower is better",
        legend=[label(document, m) for m in models],
    )
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    style = looks(tuple(m.label for m in models if not m.is_normaliser))
    for k, axes in enumerate(grid.flat):
        if k >= len(names):
            axes.set_visible(False)
            continue
        for model in models:
            if names[k] not in model.corruptions:
                continue
            clean = model.headline["clean_error"].value
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
        axes.set_title(literal(title(names[k])), fontsize=8.5, color=INK, pad=3)
        axes.set_xticks(range(6), ["clean", "1", "2", "3", "4", "5"])
        axes.grid(color=FAINT, linewidth=0.5)
        bare(axes)
        axes.tick_params(labelsize=7)
    for row in grid:
        row[0].set_ylabel("error, %")
    legend_of(figure, grid[0, 0])
    return figure


def reliability(document: Document) -> Figure:
    """Reliability diagrams: accuracy against confidence, one panel a model; clean and the severities."""
    models = [m for m in document.models if any(b.count for bins in m.reliability.values() for b in bins)]
    if not models:
        raise UsageError("reliability diagrams need clean or corruption cells; these runs have none.")
    curves = list(dict.fromkeys(key for m in models for key in m.reliability))
    columns = min(4, len(models))
    rows = -(-len(models) // columns)
    figure = blank(
        document, 0.4 + 2.7 * rows,
        f"Reliability: accuracy against confidence ({document.data}); on the diagonal is best",
        "Points below the diagonal are over-confident. Area of a point: share of the predictions in its bin; bins of "
        f"fewer than {FEW} predictions are left out.",
        legend=curves,
    )  # fmt: skip
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
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
        axes.grid(color=FAINT, linewidth=0.5)
        bare(axes)
    for row in grid:
        row[0].set_ylabel("accuracy, %")
    for axes in grid[-1]:
        axes.set_xlabel("confidence, %")
    placed = legend_of(figure, grid[0, 0])
    for handle in placed.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([28])
    return figure


FIGURES: dict[str, Callable[[Document], Any]] = {
    "figure-9": figure_9,
    "figure-4": figure_4,
    "severity": severity,
    "reliability": reliability,
}
"""Every figure, in the order of the report."""


def make_figure(document: Document, name: str) -> Figure:
    """A figure by name.

    Raises:
        UsageError: there is no such figure, or the runs have no cells for it.
    """
    from matplotlib.figure import Figure

    if name not in FIGURES:
        raise unknown("figure", name, FIGURES)
    figure = FIGURES[name](document)
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, the same for every format
    return figure
