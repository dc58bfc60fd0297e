"""Colours and hatches of figures: told apart in grey, on paper and by colour-blind readers.

Hues follow Okabe and Ito (Color Universal Design, 2008); lightness falls evenly from the first to the last, and every
second bar is hatched, so that no two neighbours look alike even in grey.
"""

from __future__ import annotations

from dataclasses import dataclass

INK = "#1c1e21"
"""Text and axes in a file; replaced by the page's own text colour inside HTML."""
EDGE = "#1b1d20"
"""Edges and hatches of bars and markers: dark on every page, since every fill is lighter."""
FAINT = "#c9ccd1"
"""Grid lines; the same in light and dark pages, drawn thin."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one model is drawn."""

    colour: str
    """Fill."""
    hatch: str
    """Hatch of bars, in matplotlib's letters."""
    marker: str
    """Marker of points."""
    line: str
    """Line style."""


PALETTE = ("#f5e663", "#8fcdf0", "#e8a020", "#2aa57e", "#c9560f", "#1f5f9e", "#6b2c66", "#2a2a2e")
"""From light to dark; CIE lightness 90, 79, 71, 61, 50, 39, 28, 18."""
HATCHES = ("", "////", "", "\\\\\\\\", "", "....", "", "xxxx")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")


def looks(labels: tuple[str, ...]) -> dict[str, Look]:
    """A look for each label, from light to dark in the given order; spread over the palette when there are few.

    >>> [look.colour for look in looks(("max", "lift")).values()]
    ['#8fcdf0', '#1f5f9e']
    """
    count = len(labels)
    few = {1: (5,), 2: (1, 5), 3: (1, 3, 5), 4: (1, 2, 3, 5), 5: (0, 1, 2, 3, 5), 6: (0, 1, 2, 3, 4, 5)}
    chosen = few.get(count, tuple(range(8)))
    found = {}
    for k, label in enumerate(labels):
        index = chosen[k % len(chosen)]
        lap = k // len(chosen)  # more models than colours: the hatch tells the laps apart
        hatch = HATCHES[k % 2 * (1 + 2 * (k % 4 // 2))] if count <= 6 else HATCHES[(k + lap) % 8]
        found[label] = Look(PALETTE[index], hatch, MARKERS[k % 8], LINES[k % 4])
    return found


def title(condition: str) -> str:
    """A condition as printed in a figure.

    >>> title("jpeg_compression"), title("gaussian_noise")
    ('JPEG compression', 'Gaussian noise')
    """
    words = condition.replace("_", " ")
    return words.replace("jpeg", "JPEG") if words.startswith("jpeg") else words[:1].upper() + words[1:]
