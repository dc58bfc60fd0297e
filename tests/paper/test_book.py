"""The pages of the docs: results of several machines on one page, a section an item."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustbench_lift.errors import DataError
from robustbench_lift.paper import ITEMS
from robustbench_lift.paper.book import lightened, write_pages
from robustbench_lift.paper.output import PAGE, RECORD

DOCS = Path(__file__).parents[2] / "docs"


def made(out: Path, name: str, *, scale: str = "small", words: str = "", options: str = "") -> None:
    """The folder of an item as `write_item` leaves it, as far as pages read it."""
    folder = out / scale / name
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps({"complete": True}), encoding="utf-8")
    text = (
        f"# {ITEMS[name].title}\n\n`robustbench-lift paper {name} --scale {scale}{options}`\n\n{words}\n\n## Made of\n"
    )
    (folder / PAGE).write_text(text, encoding="utf-8")


def state(pages: Path, name: str, scale: str = "small") -> str:
    """What the map says of an item."""
    rows = (pages / "paper.md").read_text(encoding="utf-8").splitlines()
    (row,) = (line for line in rows if line.startswith(f"| {name} | {scale} |"))
    return row.split(" | ")[5]


def test_results_of_other_machines_stay(tmp_path):
    pages = tmp_path / "docs"
    made(tmp_path / "a", "table-3", words="of a")
    made(tmp_path / "a", "table-6", words="- Not made: it needs voc.")
    write_pages(tmp_path / "a", pages)
    made(tmp_path / "b", "table-2", words="of b")
    made(tmp_path / "b", "figure-8", scale="embedded", words="drawn of b\n\n![figure-8](figures/figure-8.png)")
    write_pages(tmp_path / "b", pages)
    text = (pages / "results.md").read_text(encoding="utf-8")
    found = [text.index(f"## {ITEMS[name].title}") for name in ("table-2", "table-3", "table-6", "figure-8")]
    assert found == sorted(found)
    assert all(words in text for words in ("of a", "of b", "drawn of b", "](paper/embedded/figure-8.png)"))
    assert [state(pages, name) for name in ("table-1", "table-2", "table-3", "table-6")] == [
        "-",
        "done",
        "done",
        "partly",
    ]
    assert "![figure-8](paper/embedded/figure-8.png)" in (pages / "paper.md").read_text(encoding="utf-8")


def test_an_item_that_is_made_again_replaces_its_section(tmp_path):
    for out, words in (("a", "before"), ("b", "after")):
        made(tmp_path / out, "table-3", words=words)
        write_pages(tmp_path / out, tmp_path / "docs")
    text = (tmp_path / "docs" / "results.md").read_text(encoding="utf-8")
    assert "after" in text
    assert "before" not in text
    assert text.count("## Table 3") == 1


def test_a_page_does_not_name_folders_of_the_machine(tmp_path):
    options = (
        " --data cifar100=/home/me/cifar.npz --data 'camvid=camvid:/data/CamVid?split=train' "
        "--data 'voc=voc:/my data/VOC' --checkpoints runs/mine --checkpoints /old/runs/"
    )
    made(tmp_path / "a", "table-3", words="a path in a table: /etc/hosts", options=options)
    write_pages(tmp_path / "a", tmp_path / "docs")
    text = (tmp_path / "docs" / "results.md").read_text(encoding="utf-8")
    shown = (
        "--data cifar100=cifar.npz --data 'camvid=camvid:CamVid?split=train' --data voc=voc:VOC "
        "--checkpoints runs/mine --checkpoints runs/`"
    )
    assert shown in text
    assert "/etc/hosts" in text


@pytest.mark.parametrize(
    "section", ["## Mine\n\nsome words\n", "## Mine\n\n`robustbench-lift paper table-99 --scale small`\n"]
)
def test_a_section_that_no_item_wrote_is_not_lost(tmp_path, section):
    (tmp_path / "results.md").write_text(f"# Results\n\n{section}", encoding="utf-8")
    with pytest.raises(DataError, match="section '## Mine' is not of an item"):
        write_pages(tmp_path / "nothing", tmp_path)
    assert section in (tmp_path / "results.md").read_text(encoding="utf-8")


def test_the_pages_of_the_docs_are_what_the_command_writes(tmp_path):
    for name in ("results.md", "paper.md", "results/earlier.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(DOCS / name, tmp_path / name)
    write_pages(tmp_path / "nothing", tmp_path)
    for name in ("results.md", "paper.md"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (DOCS / name).read_text(encoding="utf-8"), name


def test_rare_colours_survive_on_a_page():
    """A figure: a photograph that has most of the pixels, and marks of a few in every hue."""
    rng = np.random.default_rng(0)
    pixels = (rng.random((200, 300, 1)) * (255, 90, 40)).astype(np.uint8)
    marks = np.array([(0, 0, 255), (0, 255, 0), (0, 255, 255), (255, 0, 255), (120, 120, 255)], np.uint8)
    pixels[4:8, 4:24] = marks.repeat(4, axis=0)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    with Image.open(io.BytesIO(lightened(stream.getvalue()))) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(shown - pixels).max() < 32
