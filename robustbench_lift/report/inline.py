"""SVG files of matplotlib, made fit to stand inside a page: the page's text colour, no style attributes, unique ids."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from robustbench_lift.report.style import FAINT, INK

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
FONT = re.compile(r"(?:(?P<style>italic|oblique|normal)\s+)?(?:(?P<weight>bold|\d{3})\s+)?(?P<size>[\d.]+px)\s")


def inline_svg(content: bytes, *, name: str, label: str) -> str:
    """An SVG element for a page.

    Colours of text and axes become `currentColor`, so that a figure follows light and dark pages; style attributes
    become presentation attributes, so that the page needs no permission for inline styles.

    Args:
        content: a file of `figures.to_bytes(..., as_text=True)`.
        name: prefix of all ids, unique in the page.
        label: what a screen reader says.
    """
    ElementTree.register_namespace("", SVG[1:-1])
    root = ElementTree.fromstring(content)  # our own file: matplotlib wrote it a moment ago
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    for element in root.iter():
        attributes = _presentation(element.attrib)
        element.attrib.clear()
        for key, value in attributes.items():
            element.set("href" if key == f"{XLINK}href" else key, _named(key, value, name))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": label, "stroke-linejoin": "round", "stroke-linecap": "butt"}
    return ElementTree.tostring(root, encoding="unicode")


def _presentation(attributes: dict[str, str]) -> dict[str, str]:
    """Attributes with the style attribute taken apart and colours replaced."""
    found = {key: value for key, value in attributes.items() if key != "style"}
    for part in filter(None, (p.strip() for p in attributes.get("style", "").split(";"))):
        key, _, value = (text.strip() for text in part.partition(":"))
        if key == "font":
            match = FONT.match(value)
            assert match, f"matplotlib wrote a font that is not understood: {value}"
            found |= {f"font-{k}": v for k, v in match.groupdict().items() if v}
        else:
            found[key] = value
    for key in ("fill", "stroke"):
        colour = found.get(key, "").lower()
        if colour == INK:
            found[key] = "currentColor"
        elif colour == FAINT:
            found |= {key: "currentColor", f"{key}-opacity": "0.2"}
    return found


def _named(key: str, value: str, name: str) -> str:
    """Ids and references with the name before them."""
    if key == "id":
        return f"{name}-{value}"
    if key in ("href", f"{XLINK}href") and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", value)
