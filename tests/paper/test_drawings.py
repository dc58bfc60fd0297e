"""The figures of feature maps, drawn from a shipped network: what they show is what the layers compute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from robustbench_lift import load_model
from robustbench_lift.cli import app
from robustbench_lift.errors import DataError
from robustbench_lift.paper.figure_8 import areas, lift_line
from robustbench_lift.paper.maps import maps_of, photograph, picture_for, strongest
from robustbench_lift.paper.panels import Panel, limit_of, sheet


@pytest.mark.parametrize(
    "name",
    [
        "figure-1",
        "figure-3",
        "figure-6",
        "figure-8",
        pytest.param("figure-7", marks=pytest.mark.slow),
        pytest.param("poolings", marks=pytest.mark.slow),
    ],
)
def test_it_is_drawn_from_what_ships(name: str, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["paper", name, "--out", str(tmp_path), "--image", "chelsea"])
    assert shown.exit_code == 0, shown.output
    folder = tmp_path / "embedded" / name
    record = json.loads((folder / "item.json").read_text())
    assert record["complete"]
    page = (folder / "README.md").read_text()
    for figure in record["figures"]:
        assert (folder / "figures" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / "figures" / f"{figure}.svg").stat().st_size > 1000
        assert f"figures/{figure}.png" in page
    assert "--image chelsea" in page


def test_pictures_are_read_as_images_are_evaluated(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")  # Pillow alone would clip nearly all of it to white
    assert len(np.unique(photograph(str(tmp_path / "deep.png")))) == 256
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(DataError, match=r"page\.png is a web page"):
        photograph(str(tmp_path / "page.png"))


def test_maps_are_those_of_the_layer() -> None:
    model = load_model("photos/resnet-lift")
    picture = picture_for(model, photograph("coffee"))
    assert picture.shape == (256, 256, 3)
    found = maps_of(model, picture, "layer2.0.entry")
    with torch.no_grad():
        assert torch.equal(found.module(found.entering), found.leaving)
    assert found.leaving.shape[2] * 2 == found.entering.shape[2]


def test_channels_that_vary_most_come_first() -> None:
    x = torch.randn(1, 6, 8, 8) * torch.tensor([1.0, 5, 2, 4, 3, 6])[None, :, None, None] * 10
    assert strongest(x, 3) == x[0].flatten(1).var(1).argsort(descending=True)[:3].tolist()


def test_all_maps_share_one_scale_that_is_stated() -> None:
    a, b = Panel("a", np.full((4, 4), 0.25)), Panel("b", np.full((4, 4), -2.0))
    assert limit_of([a, b]) == pytest.approx(2.0)
    figure = sheet([[a, None], [b]], "two")
    drawn = [image for axes in figure.axes for image in axes.get_images()]
    assert {image.get_clim() for image in drawn} == {(-2.0, 2.0)}
    assert any("-2 (blue) to 2 (red)" in text.get_text() for text in figure.texts)


def test_the_lifted_line_keeps_its_area_and_comes_back() -> None:
    x = np.random.default_rng(0).random(64)
    s, d = lift_line(x)
    whole, smooth = areas(x, s)
    assert smooth == pytest.approx(whole, abs=1e-12)
    even = s - (np.roll(d, 1) + d) / 4
    odd = d + (even + np.roll(even, -1)) / 2
    assert np.allclose(np.stack([even, odd], 1).ravel(), x)
    ramp = np.arange(16.0)
    assert np.allclose(lift_line(ramp)[1][:-1], 0)  # a straight line is predicted exactly


def test_a_sheet_without_maps_states_no_scale() -> None:
    figure = sheet([[Panel("a", np.zeros((4, 4, 3), np.uint8))]], "one")
    assert not any("scale" in text.get_text() for text in figure.texts)
