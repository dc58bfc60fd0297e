"""The map of all items with what is done, and the pages of the docs that are made of their folders.

PAGES/paper.md       the map, with the pictures of what is done
PAGES/results.md     every result that exists, a section an item
PAGES/paper/         pictures and tables of the items

Results come from many machines: a section of an item that lies in no folder here stays as it is.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from robustbench_lift.errors import DataError
from robustbench_lift.files import write_atomic
from robustbench_lift.paper.item import ITEMS, Item
from robustbench_lift.paper.output import LACKING, PAGE
from robustbench_lift.paper.places import PLACES
from robustbench_lift.paper.runner import Experiment, record_of, state_of
from robustbench_lift.paper.study import SCALES, Scale, Study

WIDEST, COLOURS = 900, 128
"""Of a picture on a page: a repository should not grow by megabytes each time they are drawn."""
RESULTS = "results.md"
COMMAND = re.compile(r"^`robustbench-lift paper (?P<item>\S+) --scale (?P<scale>[^\s`]+).*`$", re.MULTILINE)
"""The line of a section that says how to make it."""
FOLDERS = re.compile(r"(?:^|(?<=[=:]))/(?:[^/?]+/)+(?=[^/?])")
"""Of an absolute path in a part of a command all but its last name: a page says nothing of the machine it is from."""
NARROW = 0.05
"""Hours below which an estimate is given as less than a tenth."""


Sections = dict[tuple[str, str], str]
"""Scale and item -> its section of the page of results."""


class MapRow(NamedTuple):
    """An item at one scale, in words."""

    item: Item
    scale: Scale
    needs: str
    gpu: str
    cores: str
    state: str

    @property
    def command(self) -> str:
        """The command that makes it."""
        data = "".join(f" --data {name}=..." for name in self.needs.split(", ") if name in PLACES)
        model = " --model ..." if self.scale == "paper" and self.item.draws and self.needs else ""
        return f"robustbench-lift paper {self.item.name} --scale {self.scale}{data}{model}"


def map_rows(out: Path) -> Iterator[MapRow]:
    """Every item at every scale that it has."""
    for item in ITEMS.values():
        for scale in SCALES:
            if scale not in item.studies:
                continue
            studies = _all_studies(item.studies[scale])
            needs = dict.fromkeys(study.data for study in studies if not PLACES[study.data].embedded)
            gpu, cores = zip(*(study.hours() for study in studies), strict=True)
            measured = all(study.measured is not None for study in studies)
            yield MapRow(
                item=item,
                scale=scale,
                needs=", ".join(needs),
                gpu=_hours(sum(gpu)),
                cores=_hours(sum(cores)) + (" m" if measured else ""),
                state=state_of(Experiment(item=item, scale=scale, out=out, places=_anything())),
            )


def hours_words(study: Study) -> tuple[str, str]:
    """Hours on one H100 and core-hours on a CPU, each said to be an estimate or measured."""
    gpu, cores = study.hours()
    return f"{_hours(gpu)} (estimate)", f"{_hours(cores)} ({'estimate' if study.measured is None else 'measured'})"


def write_pages(out: Path, pages: Path) -> list[Path]:
    """Write the pages of what exists under `out`, and keep the results that the pages have of other items.

    Raises:
        StorageError: the folder cannot be written.
        DataError: the page of results has a section that is not of an item.
    """
    sections = _kept_sections(pages / RESULTS) | dict(_sections(out))
    contents: dict[Path, bytes] = {}
    for scale in SCALES:
        for name in ITEMS:
            folder = out / scale / name
            if record_of(out, scale, name) is not None:
                for file in sorted((folder / "figures").glob("*.png")):
                    contents[pages / "paper" / scale / file.name] = lightened(file.read_bytes())
    contents[pages / "paper.md"] = _map_page(out, sections).encode()
    contents[pages / RESULTS] = _results_page(pages, sections).encode()
    for path, content in contents.items():
        write_atomic(path, content)
    return list(contents)


def lightened(png: bytes) -> bytes:
    """A picture for a page: at most 900 pixels wide, 128 colours.

    They are spread over all that occur, since the rare ones are the lines and marks: chosen by how many pixels have
    them, they would be the greys of edges and text, and one end of a scale would have the colour of the other.
    """
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("RGB")
    small.thumbnail((WIDEST, WIDEST))
    stream = io.BytesIO()
    small.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).save(
        stream, format="PNG", optimize=True
    )
    return stream.getvalue()


def _anything() -> dict[str, str]:
    """Places that hold nothing, so that every member of an item is counted."""
    return {name: f"{name}:/nowhere" for name, place in PLACES.items() if not place.embedded and not place.beside}


def _all_studies(studies: tuple[Study, ...]) -> list[Study]:
    """Studies and the normalisers that are trained for them."""
    found = [*studies]
    for study in studies:
        if isinstance(study.normaliser, Study) and study.normaliser not in found:
            found.append(study.normaliser)
    return found


def _hours(hours: float) -> str:
    if hours < NARROW:
        return "< 0.1"
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"


def _map_page(out: Path, sections: Sections) -> str:
    rows = list(map_rows(out))
    lines = [
        "# The paper, an item a command",
        "",
        (
            "Zhao and Snoek, LiftPool: Bidirectional ConvNet Pooling, ICLR 2021. `robustbench-lift paper` prints this "
            "map; `robustbench-lift paper ITEM --scale SCALE` makes an item from end to end: trainings, evaluations, "
            "table or figure, in a folder with a page. Figure 2 is a diagram of the method and no experiment."
        ),
        "",
        "| scale | what it is |",
        "| --- | --- |",
        (
            "| `paper` | the paper's networks, recipes and data, from data that you have; `--checkpoints` takes "
            "weights that exist |"
        ),
        "| `small` | the same question on CPU cores: other networks, fewer images and epochs |",
        "| `embedded` | from what ships with the package: no data, no training, a minute or two |",
        "",
        (
            "Every step goes on where it stopped; `--shard i/n` shares the trainings among jobs that see one `--out`; "
            "`--plan` says what would be done. No cell of the paper's tables is in this project; what is said of the "
            "paper is in words. Hours are estimates (multiply-adds at assumed rates, rendering of corruptions not "
            "counted) unless marked m, measured."
        ),
        "",
        "| item | scale | needs | hours on one H100 | core-hours on a CPU | done | command |",
        "| --- | --- | --- | --: | --: | --- | --- |",
    ]

    def state(row: MapRow) -> str:
        section = sections.get((row.scale, row.item.name))
        if section is None:
            return "-"
        return "partly" if any(words in section for words in LACKING) else "done"

    for row in rows:
        lines.append(
            f"| {row.item.name} | {row.scale} | {row.needs or '-'} | {row.gpu} | {row.cores} | {state(row)} | "
            f"`{row.command}` |"
        )
    lines += ["", "Data are named by `--data NAME=SPEC`:", "", "| name | what |", "| --- | --- |"]
    lines += [f"| `{name}` | {place.about} |" for name, place in PLACES.items() if not place.embedded]
    for item in ITEMS.values():
        lines += ["", f"## {item.title}", "", item.shows, ""]
        lines += [f"**The paper says:** {item.words}" if item.in_paper else item.words]
        pictures = re.findall(r"\]\((paper/embedded/[^)]+)\)", sections.get(("embedded", item.name), ""))
        if item.in_paper and pictures:
            lines += ["", *(f"![{item.name}]({picture})" for picture in pictures)]
    return "\n".join(lines) + "\n"


def _results_page(pages: Path, sections: Sections) -> str:
    lines = [
        "# Results",
        "",
        (
            "What was measured by the items of [the paper](paper.md), each with the command that makes it. This page "
            "is written by `robustbench-lift paper --pages docs` from the items' own folders. None of it is a number "
            "of the LiftPool paper."
        ),
        "",
    ]
    earlier = pages / "results" / "earlier.md"
    if earlier.exists():
        lines += ["Measured before these commands were there, by hand: [earlier results](results/earlier.md).", ""]
    for scale in SCALES:
        for name in ITEMS:
            if (scale, name) in sections:
                lines += [sections[scale, name], ""]
    return "\n".join(lines)


def _sections(out: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """The sections of the items that were made under `out`, by scale and item."""
    for scale in SCALES:
        for name, item in ITEMS.items():
            if record_of(out, scale, name) is None:
                continue
            text = (out / scale / name / PAGE).read_text(encoding="utf-8")
            text = re.sub(r"\]\(figures/([^)]+)\)", rf"](paper/{scale}/\1)", text)
            if not item.in_paper:  # its pictures stand on the pages that explain them
                text = re.sub(r"^!\[.*\n+", "", text, flags=re.MULTILINE)
            text = re.sub(r"^(#+) ", lambda found: f"{found[1]}# ", text, flags=re.MULTILINE)
            yield (scale, name), COMMAND.sub(_without_folders, text.strip(), count=1)


def _without_folders(line: re.Match[str]) -> str:
    parts = shlex.split(line[0].strip("`"))
    return f"`{shlex.join(FOLDERS.sub('', part) for part in parts)}`"


def _kept_sections(page: Path) -> Sections:
    """The sections that a page of results has.

    Raises:
        DataError: a section does not name its command, or one of an item or scale that does not exist.
    """
    if not page.exists():
        return {}
    found = {}
    for section in re.split(r"^(?=## )", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        command = COMMAND.search(section)
        if command is None or command["item"] not in ITEMS or command["scale"] not in SCALES:
            raise DataError(
                f"{page}: the section {section.splitlines()[0]!r} is not of an item: expected below its title "
                "`robustbench-lift paper ITEM --scale SCALE ...`. Move what you wrote yourself to a page of its own."
            )
        found[command["scale"], command["item"]] = section.strip()
    return found
