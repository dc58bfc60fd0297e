"""Draw every corruption at five severities on one photograph, for docs/corruptions.md.

python -m corruptions.gallery                              # writes docs/corruptions.jpg
python -m corruptions.gallery --image my.png --output my.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from corruptions.api import corrupt
from corruptions.errors import CorruptionError
from corruptions.kernels import BENCHMARK, EXTRA
from corruptions.layout import Pixels

_SIDE = 224
_SHOWN = 112  # every picture is shown at half its side
_LABEL = 14


def gallery(image: Pixels, *, seed: int = 0) -> Image.Image:
    """A row a corruption: its name, the clean image and severities 1 to 5, at half size.

    Args:
        image: uint8 [224, 224, 3].
        seed: of the draws.

    >>> gallery(np.zeros((224, 224, 3), dtype=np.uint8)).size
    (672, 2394)
    """
    names = (*BENCHMARK, *EXTRA)
    height = _SHOWN + _LABEL
    sheet = Image.new("RGB", (6 * _SHOWN, len(names) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        versions = [image, *(corrupt(image, name, severity, seed=seed, ids="gallery") for severity in range(1, 6))]
        for column, version in enumerate(versions):
            small = Image.fromarray(version).resize((_SHOWN, _SHOWN), Image.Resampling.BOX)
            sheet.paste(small, (column * _SHOWN, row * height + _LABEL))
            draw.text((column * _SHOWN + 2, row * height + 1), str(column) if column else name, fill="black")
    return sheet


def centre(picture: Image.Image) -> Pixels:
    """The largest central square, shrunk to 224 x 224: uint8 [224, 224, 3]."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(square.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))


def main() -> None:
    """Read the command line and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="a photograph; scikit-image's cat when left out")
    parser.add_argument("--output", type=Path, default=Path("docs/corruptions.jpg"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.image is None:
        from skimage import data

        picture = Image.fromarray(np.asarray(data.cat()))  # type: ignore[no-untyped-call]
    elif options.image.is_file():
        picture = Image.open(options.image)
    else:
        raise CorruptionError(f"no image at {options.image}")
    gallery(centre(picture), seed=options.seed).save(options.output, quality=82, optimize=True)


if __name__ == "__main__":
    main()
