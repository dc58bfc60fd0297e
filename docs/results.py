"""Fill docs/results.md from runs: tables, paired differences, figures.

python docs/results.py NAME RUNS [--against NETWORK] [--trainings FOLDER]

NAME stands in the marks of docs/results.md, `<!-- NAME:table-5 -->`, and in the files of docs/results. RUNS is what
`robustbench-lift run --out` wrote. NETWORK, as the table over trainings calls it, is compared with every other network,
training by training of the same seed; repeat for several. FOLDER holds the trainings, whose logs become curves.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from robustbench_lift.regression import Difference, compare
from robustbench_lift.report import Document, document, open_runs, render_all
from robustbench_lift.report.schema import Model
from robustbench_lift.report.tables import available_tables, families, make_table, names_of
from robustbench_lift.runs import Run
from robustbench_lift.tables.render import to_markdown
from robustbench_lift.training.state import draw_curves

DOCS = Path(__file__).resolve().parent
PAGE, FILES = DOCS / "results.md", DOCS / "results"
METRICS = {
    "clean_error": "clean error",
    "mean_error": "mean error",
    "mce": "mCE",
    "mean_flip_probability": "flip probability",
    "mfr": "mFR",
    "consistency": "shift consistency",
}


def blocks(made: Document, runs: Sequence[Run], against: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The tables that the page may ask for by name."""
    for name in ("table-5", "trainings"):
        if name in available_tables(made):
            yield name, to_markdown(make_table(made, name)).strip()
    yield "errors", errors(made, runs)
    if against:
        yield "differences", "\n\n".join(differences(made, runs, name) for name in against)


def by_name(made: Document) -> dict[str, list[Model]]:
    """Trainings by network, as the table over trainings calls it."""
    groups = families(made)
    return dict(zip(names_of([models[0] for models in groups]), groups, strict=True))


def seed_of(model: Model, runs: Sequence[Run]) -> str:
    """The seed of a training, from the card in its weights."""
    run = next(run for run in runs if run.manifest.model["weights_sha256"] == model.weights_sha256)
    return str(run.manifest.model["card"].get("seed", "?"))


def errors(made: Document, runs: Sequence[Run]) -> str:
    """The clean error of every training, with its interval over images."""
    lines = ["network | seed | clean error % | parameters", ":-- | --: | --: | --:"]
    for name, models in by_name(made).items():
        for model in models:
            found = model.headline["clean_error"]
            error, low, high = (100 * (v or 0.0) for v in (found.value, found.low, found.high))
            span = f"{error:.2f} ({low:.2f}..{high:.2f})"
            lines.append(f"`{name}` | {seed_of(model, runs)} | {span} | {model.parameters:,}")
    return "\n".join(f"| {line} |" for line in lines)


def differences(made: Document, runs: Sequence[Run], against: str) -> str:
    """Paired differences of one network from every other, a row a pair of trainings with the same seed."""
    named = by_name(made)
    if against not in named:
        raise SystemExit(f"there is no network {against!r}; there are: {'; '.join(named)}.")
    run_of = {run.manifest.model["weights_sha256"]: run for run in runs}

    def by_seed(models: Sequence[Model]) -> dict[str, Run]:
        return {seed_of(model, runs): run_of[model.weights_sha256] for model in models}

    candidates = by_seed(named[against])
    rows: list[tuple[str, str, dict[str, Difference]]] = []
    for name, models in named.items():
        if name != against:
            for seed, run in sorted(by_seed(models).items()):
                if seed in candidates:
                    rows.append((name, seed, dict(compare(run, candidates[seed]).metrics)))
    known = [key for key in METRICS if any(key in metrics for *_, metrics in rows)]
    lines = [
        f"`{against}` against | seed | " + " | ".join(METRICS[key] for key in known),
        ":-- | --: | " + " | ".join("--:" for _ in known),
    ]
    for name, seed, metrics in rows:
        lines.append(f"`{name}` | {seed} | " + " | ".join(points(metrics.get(key)) for key in known))
    return "\n".join(f"| {line} |" for line in lines)


def points(difference: Difference | None) -> str:
    """A difference in percentage points with its interval; bold where the interval leaves out zero."""
    if difference is None:
        return "-"
    delta, low, high = (100 * v for v in (difference.delta, difference.low, difference.high))
    text = f"{delta:+.2f} [{low:+.2f}, {high:+.2f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def fill(name: str, texts: dict[str, str]) -> None:
    """Replace what stands between the page's marks; every mark of NAME must find its text."""
    page = PAGE.read_text(encoding="utf-8")
    marks = re.findall(rf"<!-- {re.escape(name)}:(\S+) -->", page)
    if not marks:
        raise SystemExit(f"docs/results.md has no mark <!-- {name}:... -->; write one where its table belongs.")
    for mark in marks:
        if mark not in texts:
            raise SystemExit(f"docs/results.md asks for {name}:{mark}; there is {', '.join(texts)}.")
        start, end = f"<!-- {name}:{mark} -->\n", f"<!-- /{name}:{mark} -->"
        before, _, rest = page.partition(start)
        _, closed, after = rest.partition(end)
        if not closed:
            raise SystemExit(f"docs/results.md opens {name}:{mark} and does not close it; write {end} below it.")
        page = f"{before}{start}\n{texts[mark]}\n\n{end}{after}"
    PAGE.write_text(page, encoding="utf-8")


def logs(folder: Path) -> dict[str, list[dict[str, float]]]:
    """Log lines of every training below a folder, named by its path."""
    return {
        str(file.parent.relative_to(folder)): [json.loads(line) for line in file.read_text().splitlines()]
        for file in sorted(folder.rglob("log.jsonl"))
    }


def main() -> None:
    """Read the command line, write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--against", action="append", default=[])
    parser.add_argument("--trainings", type=Path)
    options = parser.parse_args()
    runs = open_runs([options.runs])
    made = document(runs)
    FILES.mkdir(exist_ok=True)
    tables = [name for name in ("per-corruption", "per-perturbation") if name in available_tables(made)]
    with tempfile.TemporaryDirectory() as scratch:
        figures = ["figure-9"] if "per-corruption" in tables else []
        for file in render_all(made, scratch, formats=("md", "svg"), tables=tables, figures=figures):
            if file.suffix in (".md", ".svg"):
                (FILES / f"{options.name}-{file.name}").write_bytes(file.read_bytes())
    if options.trainings is not None:
        draw_curves(logs(options.trainings), FILES / f"{options.name}-curves.svg")
    fill(options.name, dict(blocks(made, runs, options.against)))


if __name__ == "__main__":
    main()
