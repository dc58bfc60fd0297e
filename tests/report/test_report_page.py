from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from robustbench_lift.data.photos import PhotoTest
from robustbench_lift.report import Document, document
from robustbench_lift.report.notes import signature_id
from robustbench_lift.report.page import page
from robustbench_lift.report.pictures import GivenPictures, PhotoPictures, data_uri, strip
from robustbench_lift.report.schema import Flips
from robustbench_lift.runs import Cell, Run
from robustbench_lift.scores import NUMBERS


class Plain:
    """Pictures without kernels: a grey tile for everything."""

    caption = "Grey."

    def gallery(self, corruption: str) -> Sequence[npt.NDArray[np.uint8]]:
        return [np.full((8, 8, 3), 40 * k, np.uint8) for k in range(6)]

    def frames(self, flips: Flips) -> npt.NDArray[np.uint8]:
        return np.zeros((31, 8, 8, 3), np.uint8)


class Reader(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def html(made: Document) -> str:
    return page(made, pictures=Plain())


def test_everything_is_inside_and_nothing_is_fetched(html: str) -> None:
    reader = Reader(html)
    for tag, attributes in reader.tags:
        for key in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:image/")), (tag, key, value)
    assert not {"link", "iframe", "object", "base", "form"} & {tag for tag, _ in reader.tags}
    assert "@import" not in html
    assert re.search(r"url\((?!#)", html) is None


def test_the_policy_allows_this_script_and_style_and_nothing_else(html: str) -> None:
    policy = next(str(a["content"]) for t, a in Reader(html).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not any(
        "style" in attributes or any(k.startswith("on") for k in attributes) for _, attributes in Reader(html).tags
    )


def test_ids_are_unique_and_links_lead_somewhere(html: str) -> None:
    reader = Reader(html)
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        if tag == "a":
            assert str(attributes["href"])[1:] in ids


def test_the_page_says_what_it_must(html: str, made: Document) -> None:
    text = " ".join(" ".join(Reader(html).text).split())
    assert made.groups[0].signature in text
    assert "robustbench-lift report runs" in text
    assert "40 images" in text
    assert "Robustness on photos" in text
    for name, version in made.versions.items():
        assert f"{name} {version}" in text
    for model in made.models:
        assert model.spec in text
        assert model.weights_sha256 in text
    for model in made.models[:3]:
        assert f"{100 * (model.headline['mce'].value or 0.0):.1f}" in text
    assert html.count("<svg ") == 4
    assert html.count('class="film"') == 4
    assert text.count("Gaussian noise") >= 2


def test_every_frame_has_a_prediction(html: str) -> None:
    for film in re.findall(r'<table class="film">(.*?)</table>', html, flags=re.DOTALL):
        for row in re.findall(r"<tr>(.*?)</tr>", film, flags=re.DOTALL):
            assert sum(int(n) for n in re.findall(r'colspan="(\d+)"', row)) == 31


def test_an_incomplete_run_is_told_at_the_top(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    run = run_writer(tmp_path / "a", pooling="max", quality=1.5, skip=lambda cell: cell.condition in ("fog", "crop"))
    text = page(document([run], replicates=0), pictures=Plain())
    assert "Incomplete." in text
    assert "max lacks 6 of 87 cells" in text
    assert "corruption/fog/1" in text
    assert 'id="figure-4"' not in text


def test_several_signatures_are_told_at_the_top(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    cells = (Cell("clean", "clean", 0),)
    runs = [
        run_writer(tmp_path / seed, pooling="max", quality=1.5, protocol_seed=seed, cells=cells) for seed in ("0", "1")
    ]
    text = page(document(runs, replicates=0), pictures=Plain())
    assert "Several protocols." in text
    assert "clean.seed: 0 != 1" in text


HOSTILE = "<img src=x onerror=alert(1)>\"'&</script><script>alert(1)</script>"


def test_hostile_names_are_text(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    run = run_writer(
        tmp_path / "a", pooling=HOSTILE, arch=HOSTILE, name=HOSTILE, data=HOSTILE.replace("/", "|"), quality=1.5,
        skip=lambda cell: cell.condition == "fog",
    )  # fmt: skip
    made = document([run], replicates=0, title=HOSTILE, command=HOSTILE, class_names=[HOSTILE] * 15)
    reader = Reader(page(made, pictures=Plain()))
    assert sum(tag == "script" for tag, _ in reader.tags) == 1
    assert all(str(a["src"]).startswith("data:image/png;base64,") for tag, a in reader.tags if tag == "img")
    assert not any(key.startswith("on") for _, attributes in reader.tags for key in attributes)
    assert "<img src=x onerror=alert(1)>" in " ".join(reader.text)


def test_pages_are_equal_when_made_again(made: Document, html: str) -> None:
    assert page(Document.from_json(made.to_json()), pictures=Plain()) == html


def test_embedded_pictures_show_the_frames_the_models_saw(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    ids = PhotoTest(1).ids
    cells = (Cell("perturbation", "translate", 1), Cell("corruption", "fog", 1))
    run = run_writer(tmp_path / "a", pooling="max", quality=1.0, ids=ids, cells=cells)
    made = document([run], replicates=0)
    pictures = PhotoPictures(made)
    frames = pictures.frames(made.flips[0])
    assert frames is not None
    assert frames.shape == (31, 64, 64, 3)
    assert frames.dtype == np.uint8
    tiles = pictures.gallery("fog")
    assert len(tiles) == 6
    assert {tile.shape for tile in tiles} == {(64, 64, 3)}
    assert not np.array_equal(tiles[0], tiles[5])
    text = page(made)
    assert "some of the test images" in text
    assert 'class="film"' in text


def test_images_of_other_data_are_named_as_illustration(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    cells = (Cell("corruption", "fog", 1), Cell("perturbation", "tilt", 1))
    made = document([run_writer(tmp_path / "a", pooling="max", quality=1.0, data="cifar10", cells=cells)], replicates=0)
    assert "for illustration; the runs are on cifar10" in PhotoPictures(made).caption
    assert PhotoPictures(made).frames(made.flips[0]) is None


def test_given_images_take_turns() -> None:
    images = {name: np.full((64, 64, 3), value, np.uint8) for name, value in (("a", 60), ("b", 120))}
    samples = GivenPictures(images)
    assert samples.gallery("gaussian_noise")[0][0, 0, 0] == 60
    assert samples.gallery("shot_noise")[0][0, 0, 0] == 120
    assert len(samples.gallery("a corruption of somebody else")) == 0


def test_strips_and_uris() -> None:
    tiles = [np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)]
    assert strip(tiles).shape == (4, 8, 3)
    assert data_uri(strip(tiles)).startswith("data:image/png;base64,")
    assert data_uri(strip(tiles), lossless=False).startswith("data:image/jpeg;base64,")


def test_the_page_explains_itself(html: str, made: Document) -> None:
    text = " ".join(" ".join(Reader(html).text).split())
    for term in ("mCE", "mFR", "Shift consistency", "Relative mCE"):
        assert term in text
    for heading in ("What was measured", "What it does not claim", "How to cite", "Settings"):
        assert heading in text
    assert NUMBERS["mce"].about in text
    assert NUMBERS["consistency"].about in text
    assert "claims nothing about ImageNet" in text
    assert "times the normaliser's" in text  # an example of a CE
    assert "{LiftPool}: Bidirectional {ConvNet} Pooling" in text
    for protocol, fields in made.groups[0].fields.items():
        assert protocol in text
        assert all(f"{field}: {value}" in text for field, value in fields.items())


def test_the_signature_stands_once_in_full_and_short_elsewhere(html: str, made: Document) -> None:
    text = " ".join(" ".join(Reader(html).text).split())
    assert text.count(made.groups[0].signature) == 1
    assert text.count(signature_id(made.groups[0])) >= 10


def test_no_attribute_holds_a_control_character(run_writer: Callable[..., Run], tmp_path: Path) -> None:
    name = "lift\x1b[31m\u202eabc"
    cells = (Cell("clean", "clean", 0), Cell("shift", "crop", 0))
    run = run_writer(tmp_path / "a", pooling=name, arch=name, name=name, quality=1.5, cells=cells)
    text = page(document([run], replicates=0), pictures=Plain())
    assert "\x1b" not in text
    assert "\u202e" not in text
