"""Draw the filmstrips of docs/perturbations.md: every sequence of ImageNet-P on one photograph of scikit-image.

python docs/filmstrips.py      # writes docs/perturbations/*.png, seven frames each
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from corruptions import EXTRA_PERTURBATIONS, PERTURBATIONS, perturb

TARGET = Path(__file__).resolve().parent / "perturbations"
SHOWN = 7
SIDE = 112


def main() -> None:
    """One strip a sequence: first to last frame, evenly spaced, at half size."""
    TARGET.mkdir(exist_ok=True)
    photo = Image.fromarray(skimage.data.chelsea()).resize((384, 256), Image.Resampling.BILINEAR)
    base = np.asarray(photo)
    for name in (*PERTURBATIONS, *EXTRA_PERTURBATIONS):
        frames = perturb(base, name, ids=["chelsea"], crop=224)
        numbers = np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)
        small = [Image.fromarray(frames[i]).resize((SIDE, SIDE), Image.Resampling.BOX) for i in numbers]
        strip = Image.fromarray(np.concatenate([np.asarray(frame) for frame in small], axis=1))
        strip.quantize(96, dither=Image.Dither.NONE).save(TARGET / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
