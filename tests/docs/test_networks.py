"""The table of public networks says what the weight files and the embedded benchmark's own table say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
INDEX = tomllib.loads((ROOT / "checkpoints" / "index.toml").read_text(encoding="utf-8"))
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in PAGE.splitlines()
    if (cells := line.strip("| ").split(" | "))[0][:1] == "`"
}


def test_every_network_that_ships_has_a_row_with_its_size() -> None:
    assert set(ROWS) == set(INDEX)
    assert {name: cells[-1] for name, cells in ROWS.items()} == {
        name: f"{card['parameters']:,}" for name, card in INDEX.items()
    }


def test_clean_errors_are_those_of_the_weight_files() -> None:
    shown = {name: cells[-2] for name, cells in ROWS.items() if not name.startswith("scenes/")}
    assert shown == {name: f"{100 * INDEX[name]['clean_error']:.1f}" for name in shown}


def test_numbers_are_those_of_table_5() -> None:
    table = (ROOT / "docs" / "embedded" / "table-5.md").read_text(encoding="utf-8").splitlines()
    made = {
        tuple(re.sub(r"\\~| \(.*|[*_]", "", cell).strip() for cell in line.strip("| ").split(" | ")[1:])
        for line in table
        if line.startswith("| ") and "|" in line and re.search(r"\d,\d{3} \|$", line)
    }
    assert made == {tuple(cells) for name, cells in ROWS.items() if name.startswith("photos/")}
