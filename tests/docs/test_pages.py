"""Every page is well formed: fences are closed, tables have a heading, and none is interrupted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def outside_fences(text: str) -> list[str]:
    """The lines that are no code; a fence that is opened twice, or never closed, is an error."""
    lines: list[str] = []
    opened = False
    for line in text.splitlines():
        if line.startswith("```"):
            assert not (opened and line != "```"), f"{line} opens a block inside a block"
            opened = not opened
        elif not opened:
            lines.append(line)
    assert not opened, "a block of code is not closed"
    return lines


def headless(lines: list[str]) -> list[str]:
    """First rows of tables that no line of dashes follows, which are shown as text."""
    starts = [
        n for n, line in enumerate(lines) if line.startswith("|") and not lines[n - 1 : n or 1][0].startswith("|")
    ]
    return [lines[n] for n in starts if not re.fullmatch(r"\|[\s:|-]+\|?", "".join(lines[n + 1 : n + 2]))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_well_formed(page: Path) -> None:
    assert headless(outside_fences(page.read_text(encoding="utf-8"))) == []


def test_what_is_not_well_formed_is_seen() -> None:
    with pytest.raises(AssertionError, match="not closed"):
        outside_fences("```sh\nls\n\ntext")
    with pytest.raises(AssertionError, match="inside a block"):
        outside_fences("```sh\nls\n\n```sh\nls\n```")
    assert headless(["", "| a | b |", "|---|---|", "| 1 | 2 |", "", "| 3 | 4 |"]) == ["| 3 | 4 |"]


def test_the_readme_reads_in_a_terminal() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("<!-- table5 -->") : text.index("<!-- /table5 -->")]  # written by the program
    lines = outside_fences(text.replace(table, ""))
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
