"""Draw docs/gate/comment.png: the comment that a failing gate writes, as a pull request shows it.

python run_benchmark.py && python docs/comment.py      # needs Chromium (Debian: apt-get install chromium)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import markdown
import numpy as np
from PIL import Image

TARGET = Path(__file__).resolve().parent / "gate" / "comment.png"
BASELINE, CANDIDATE = Path("runs/photos/resnet-lift"), Path("runs/photos/resnet-lift-constrained")
WIDTH, HEIGHT, EDGE = 1060, 1600, 8
REGRESSION = 1
"""What the gate ends with."""
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ font: 14px/1.5 Arial, "Liberation Sans", sans-serif; margin: {edge}px; color: #1f2328; background: #fff }}
section {{ border: 1px solid #d1d9e0; border-radius: 6px }}
header {{ background: #f6f8fa; border-bottom: 1px solid #d1d9e0; border-radius: 6px 6px 0 0; padding: 8px 16px }}
main {{ padding: 0 16px 8px }}
table {{ border-collapse: collapse; font-size: 13px }}
th, td {{ border: 1px solid #d1d9e0; padding: 4px 10px }}
code {{ background: #eff1f3; border-radius: 4px; padding: 2px 5px; font-size: 12px; overflow-wrap: anywhere }}
</style><section><header><b>robustness-bot</b> commented</header><main>{body}</main></section>"""


def comment(folder: Path) -> str:
    """What `gate --comment` writes about two of the shipped networks."""
    file = folder / "comment.md"
    words = ["gate", str(BASELINE), str(CANDIDATE), "--comment", str(file)]
    done = subprocess.run([sys.executable, "run_benchmark.py", *words], stdout=subprocess.DEVNULL, check=False)
    if done.returncode != REGRESSION:
        raise SystemExit(f"the gate ended with {done.returncode}, not with a regression: run run_benchmark.py first.")
    return file.read_text(encoding="utf-8")


def main() -> None:
    """Comment, page, picture; white below the comment is cut off."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("Chromium is not installed.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page, shot = folder / "page.html", folder / "shot.png"
        body = markdown.markdown(comment(folder), extensions=["tables", "sane_lists"])
        page.write_text(PAGE.format(body=body, edge=EDGE), encoding="utf-8")
        options = ("--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}")
        size = f"--window-size={WIDTH},{HEIGHT}"
        subprocess.run(
            [browser, *options, size, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True
        )
        pixels = np.asarray(Image.open(shot).convert("RGB"))
    drawn = np.flatnonzero((pixels < 255).any(axis=(1, 2)))
    cut = Image.fromarray(pixels[: drawn[-1] + 1 + EDGE])
    cut.quantize(64, dither=Image.Dither.NONE).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
