from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from robustbench_lift.errors import UsageError
from robustbench_lift.report import Document, document
from robustbench_lift.report.canvas import PALETTE, looks, to_bytes
from robustbench_lift.report.figures import FIGURES, available_figures, make_figure
from robustbench_lift.report.page import inline_svg
from robustbench_lift.runs import Cell, Run


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_files_are_equal_byte_for_byte_when_made_again(made: Document, form: str) -> None:
    again = Document.from_json(made.to_json())
    first = to_bytes(make_figure(made, "figure-4"), form, name="figure-4")
    assert first == to_bytes(make_figure(again, "figure-4"), form, name="figure-4")
    assert first.startswith({"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[form])


def test_a_figure_is_the_same_whatever_else_is_saved(made: Document) -> None:
    figure = make_figure(made, "figure-4")
    for form in ("pdf", "png", "svg"):
        assert to_bytes(figure, form, name="f") == to_bytes(make_figure(made, "figure-4"), form, name="f")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_carries_signature_and_counts(made: Document, name: str) -> None:
    root = ElementTree.fromstring(to_bytes(make_figure(made, name), "svg", name=name, as_text=True))
    text = " ".join("".join(root.itertext()).split())
    assert made.groups[0].signature[:60] in text
    assert "40 images" in text


def test_figure_9_has_a_bar_for_every_pooling_and_condition(made: Document) -> None:
    top, bottom = make_figure(made, "figure-9").axes
    for axes, conditions, attribute, mean in ((top, 15, "corruptions", "mce"), (bottom, 10, "perturbations", "mfr")):
        assert len(axes.containers) == 2 * 3  # bars and their error bars, the normaliser left out
        bars = [c for c in axes.containers if hasattr(c, "patches")]
        for model, group in zip(made.models, bars, strict=False):
            heights = [patch.get_height() for patch in group.patches]
            assert len(heights) == conditions + 1
            assert heights[-1] == pytest.approx(100 * (model.headline[mean].value or 0.0))
            first = next(iter(getattr(model, attribute).values()))
            value = first.ce if attribute == "corruptions" else first.fr
            assert heights[0] == pytest.approx(100 * (value.value or 0.0))


def test_a_missing_bar_is_said_and_not_drawn_as_zero(
    run_writer: Callable[..., Run], runs_folder: Path, tmp_path: Path
) -> None:
    run = run_writer(
        tmp_path / "holes", pooling="lip", quality=1.7, normaliser=str(runs_folder / "alexnet"),
        skip=lambda cell: cell == Cell("corruption", "fog", 2),
    )  # fmt: skip
    figure = make_figure(document([run], replicates=0), "figure-9")
    top = figure.axes[0]
    bars = next(c for c in top.containers if hasattr(c, "patches"))
    assert len(bars.patches) == 14
    assert sum(text.get_text() == "n/a" for text in top.texts) == 2  # fog and the mean
    legend = top.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["lip"]


def luminance(colour: str) -> float:
    red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_the_palette_falls_in_lightness_so_that_grey_prints_differ() -> None:
    lightness = [luminance(colour) for colour in PALETTE]
    assert all(a - b >= 7 for a, b in pairwise(lightness))


@pytest.mark.parametrize("count", [2, 3, 5, 8, 13])
def test_no_two_models_look_alike(count: int) -> None:
    found = looks(tuple(f"m{k}" for k in range(count)))
    assert len({(look.colour, look.hatch) for look in found.values()}) == count
    assert len({(look.colour, look.marker) for look in found.values()}) == count or count > 8


def test_figures_are_dark_on_white_and_not_blank(made: Document) -> None:
    with Image.open(io.BytesIO(to_bytes(make_figure(made, "figure-4"), "png", name="x"))) as image:
        grey = np.asarray(image.convert("L"))
    assert grey[0, 0] == 255
    assert 0.01 < np.mean(grey < 128) < 0.5


def test_hostile_names_are_drawn_and_cut(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    cells = (Cell("clean", "clean", 0), Cell("shift", "crop", 0))
    name = r"$\frac{1}{<script>" + "x" * 90
    run = run_writer(tmp_path / "a", pooling=name, arch="r", quality=1.5, cells=cells)
    svg = to_bytes(make_figure(document([run], replicates=0), "figure-4"), "svg", name="f", as_text=True).decode()
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
    assert "x" * 40 not in svg


def test_figures_without_cells_are_refused_by_name(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    run = run_writer(tmp_path / "a", pooling="max", quality=1.5, cells=(Cell("clean", "clean", 0),))
    made = document([run], replicates=0)
    assert available_figures(made) == ["reliability"]
    for name in ("figure-9", "figure-4", "severity"):
        with pytest.raises(UsageError):
            make_figure(made, name)
    with pytest.raises(UsageError, match="Did you mean 'figure-9'"):
        make_figure(made, "figure9")


def test_inline_svg_follows_the_page_and_needs_no_inline_style(made: Document) -> None:
    svg = inline_svg(to_bytes(make_figure(made, "figure-9"), "svg", name="a", as_text=True), name="a", label="bars")
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert all(element.get("style") is None for element in root.iter())
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert all(str(one).startswith("a-") for one in ids)
    assert "currentColor" in svg
    for reference in [e.get("href") for e in root.iter() if e.get("href")]:
        assert str(reference)[1:] in ids


def test_labels_of_figure_4_stand_apart_from_points_and_each_other(made: Document) -> None:
    figure = make_figure(made, "figure-4")
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(made.models)
    points = [axes.transData.transform(point.get_xydata()[0]) for line in axes.containers for point in line.lines[:1]]
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[k + 1 :])
        assert not any(box.contains(*point) for point in points)


def test_every_panel_of_reliability_has_its_axes(made: Document) -> None:
    figure = make_figure(made, "reliability")
    for axes in (one for one in figure.axes if one.get_visible()):
        assert axes.get_xlabel() == "confidence, %"
        assert any(label.get_visible() and label.get_text() for label in axes.get_xticklabels())
        assert any(label.get_visible() and label.get_text() for label in axes.get_yticklabels())


def test_a_part_of_the_benchmark_has_bars(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    cells = [Cell("corruption", name, s) for name in ("fog", "contrast") for s in (1, 3)]
    made = document([run_writer(tmp_path / "a", pooling="max", quality=1.0, cells=cells)], replicates=0)
    (axes,) = make_figure(made, "figure-9").axes
    (bars,) = [c for c in axes.containers if hasattr(c, "patches")]
    errors = [[e for e in c.errors if e is not None] for c in made.models[0].corruptions.values()]
    expected = [100 * np.mean(row) for row in errors] + [100 * np.mean(errors)]
    assert [patch.get_height() for patch in bars.patches] == pytest.approx(expected)
