"""Copy the embedded benchmark from its report into docs/embedded, the README and docs/networks.md.

python run_benchmark.py && python docs/embed.py      # `make figures` does both
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "runs" / "photos" / "report"
TARGET = ROOT / "docs" / "embedded"
FILES = (
    "tables/table-5.md",
    "tables/per-corruption.md",
    "figures/figure-9.png",
    "figures/figure-9.svg",
)

NUMBERS = {"mce": 1, "mean_error": 1, "mfr": 1, "mean_flip_probability": 2, "consistency": 1, "clean_error": 1}
"""Columns of the table of public networks, with the digits that are printed."""


def rows(document: dict[str, Any]) -> str:
    """The networks of a report as rows of docs/networks.md, best mCE first, the normaliser last."""
    models = sorted(document["models"], key=lambda m: (m["is_normaliser"], m["headline"]["mce"]["value"]))
    return "".join(
        f"| `{model['spec']}` | "
        + " | ".join(f"{100 * model['headline'][key]['value']:.{digits}f}" for key, digits in NUMBERS.items())
        + f" | {model['parameters']:,} |\n"
        for model in models
    )


def fill(page: Path, mark: str, text: str) -> None:
    """Replace what stands between `<!-- mark -->` and `<!-- /mark -->` of a page."""
    old = page.read_text(encoding="utf-8")
    marked = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    if len(marked.findall(old)) != 1:
        raise SystemExit(f"{page.name} has lost its <!-- {mark} --> marks; put them back around the table.")
    page.write_text(marked.sub(lambda m: f"{m[1]}{text}{m[2]}", old), encoding="utf-8")


def main() -> None:
    """Copy, and replace what stands between the README's marks."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(REPORT / name, TARGET / Path(name).name)
    table = (REPORT / FILES[0]).read_text(encoding="utf-8").strip()
    fill(ROOT / "README.md", "table5", f"\n{table}\n\n")
    page = ROOT / "docs" / "networks.md"
    head = page.read_text(encoding="utf-8").partition("<!-- photos -->\n")[2].splitlines(keepends=True)[:2]
    document = json.loads((REPORT / "document.json").read_text(encoding="utf-8"))
    fill(page, "photos", "".join(head) + rows(document) + "\n")


if __name__ == "__main__":
    main()
