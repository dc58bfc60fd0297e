"""Copy the table and the figure of the embedded benchmark from its report into docs/embedded and the README.

python run_benchmark.py && python docs/embed.py      # `make figures` does both
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "runs" / "photos" / "report"
TARGET = ROOT / "docs" / "embedded"
FILES = (
    "tables/table-5.md",
    "tables/per-corruption.md",
    "figures/figure-9.png",
    "figures/figure-9.svg",
)


def main() -> None:
    """Copy, and replace what stands between the README's marks."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(REPORT / name, TARGET / Path(name).name)
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    table = (REPORT / FILES[0]).read_text(encoding="utf-8").strip()
    marked = re.compile(r"(<!-- table5 -->\n).*?(<!-- /table5 -->)", re.DOTALL)
    if len(marked.findall(text)) != 1:
        raise SystemExit("README.md has lost its <!-- table5 --> marks; put them back around the table.")
    readme.write_text(marked.sub(lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
