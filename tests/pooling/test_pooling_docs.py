"""The documentation page keeps up with the registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robustbench_lift.pooling import POOLINGS, UP_POOLINGS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "pooling.md").read_text(encoding="ascii")


@pytest.mark.parametrize("entry", POOLINGS.values(), ids=lambda e: e.name)
def test_every_pooling_has_a_section_with_its_idea_options_picture_and_source(entry):
    section = re.search(rf"^## {entry.name}$(.*?)(?=^## )", PAGE, re.S | re.M)
    assert section, f"docs/pooling.md has no section {entry.name}"
    text = " ".join(section[1].split())
    assert entry.idea in PAGE
    assert f"paper/embedded/method-{entry.name}.png" in text
    assert all(f"`{option}`" in text for option in entry.options)
    reference = entry.name if entry.name != "gated" else None
    if reference:
        assert entry.source.paper in text
        assert str(entry.source.year) in text


def test_every_up_pooling_is_named_with_its_options():
    section = PAGE.split("## Up-pooling")[1]
    for entry in UP_POOLINGS.values():
        assert f"`{entry.name}`" in section
        assert all(f"`{option}`" in section for option in entry.options)


def test_pictures_exist_and_are_small():
    pictures = [DOCS / name for name in re.findall(r"\]\((paper/[^)]+)\)", PAGE)]
    assert len(pictures) == len(set(pictures)) >= len(POOLINGS)
    assert sum(picture.stat().st_size for picture in pictures) < 1_500_000
