"""Which runs a report is made of: their normalisers, groups, labels and order, before any number is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_lift.errors import IncompleteError
from robustbench_lift.networks.pairs import PAIRS
from robustbench_lift.pooling import POOLINGS
from robustbench_lift.pooling.registry import changed
from robustbench_lift.report.schema import Group
from robustbench_lift.runs import Manifest, Run, differences
from robustbench_lift.text import printable

FIRST, LAST = ("skip", "max", "average"), ("lift",)
"""Poolings that are printed first and last; others stand between them by name."""
RESERVED = ("condition", "model", "pooling", "arch")
"""Keys of the first columns of tables, which no label may take."""


@dataclass(frozen=True, slots=True)
class Member:
    """A run of a report with what is known before any cell is read."""

    run: Run
    """The run."""
    divisor: Path | str | None
    """What CE and FR are divided by: the folder of a run, `alexnet`, or None."""
    normaliser: str
    """The same in words, empty when there is none or it cannot be used."""
    problem: str
    """Why a normaliser that the run names cannot be used, empty when it can."""
    is_normaliser: bool
    """Whether other runs of the report are divided by it."""


def print_order(run: Run) -> tuple[str, int, str, str]:
    """Backbones by name; in each the poolings as the paper lists them."""
    pooling = run.manifest.model.get("pooling") or ""
    place = FIRST.index(pooling) if pooling in FIRST else 20 if pooling in LAST else 10
    return str(run.manifest.model.get("arch")), place, str(pooling), str(run.path)


def members_of(runs: Sequence[Run]) -> list[Member]:
    """Runs with their normalisers, in printed order, normalisers last; a normaliser is divided by itself."""
    named = {run.path.resolve(): _named(run) for run in runs}
    folders = {folder for folder in named.values() if isinstance(folder, Path)}
    given = {run.path.resolve(): run for run in runs}
    divisors = {folder: given.get(folder) or _opened(folder) for folder in sorted(folders)}
    members = []
    for run in runs:
        here = run.path.resolve()
        divisor = named[here] or (here if here in folders else None)
        text = problem = ""
        if isinstance(divisor, Path):
            text, problem = _usable(run, divisors[divisor])
        elif divisor:
            import metrics

            text = metrics.ALEXNET.name
        members.append(Member(run, divisor if text else None, text, problem, here in folders))
    return sorted(members, key=lambda m: (m.is_normaliser, *print_order(m.run)))


def _named(run: Run) -> Path | str | None:
    """What a run is divided by: a folder, `alexnet` or nothing."""
    recorded = run.manifest.normaliser
    return recorded if recorded in (None, "alexnet") else (run.path / recorded).resolve()


def _opened(folder: Path) -> Run | str:
    """The run in a folder, or why there is none."""
    if not (folder / "run.json").exists():
        return (
            f"there is no run in {folder}, which the run names as its normaliser. A run is copied together with its "
            "normaliser: copy that folder too."
        )
    try:
        return Run.open(folder)
    except IncompleteError as error:
        return str(error)


def _usable(run: Run, other: Run | str) -> tuple[str, str]:
    """A measured normaliser in words, or why it cannot be used: the report says so and leaves the ratios out."""
    if isinstance(other, str):
        return "", other
    if missing := other.missing():
        return "", (
            f"the normaliser {other.path} lacks {len(missing)} of {len(other.expected)} cells (first: "
            f"{missing[0].key}). Run it to its end first."
        )
    if strange := _strange(run, other):
        return "", strange
    return f"{other.name}, measured on the same images", ""


def _strange(run: Run, divisor: Run) -> str:
    """Why a complete normaliser does not fit a run: another protocol or other images; empty when it fits."""
    other = divisor.manifest
    shared = [protocol for protocol in run.manifest.signature if protocol in other.signature]
    found = differences(
        {"signature": {p: other.signature[p] for p in shared}, "data": _images(other, shared)},
        {"signature": {p: run.manifest.signature[p] for p in shared}, "data": _images(run.manifest, shared)},
    )
    return f"the normaliser {divisor.path} was measured otherwise ({'; '.join(found)})." if found else ""


def _images(manifest: Manifest, protocols: Sequence[str]) -> dict[str, object]:
    sets = manifest.data.get("sets", {})
    return {"name": manifest.data.get("name"), **{p: sets[p] for p in protocols if p in sets}}


def _pooling_with_options(run: Run) -> str:
    """`lift?constraint=mse`: the pooling with the options of its card that are not the default, as a spec has them."""
    pooling = str(run.manifest.model.get("pooling") or run.name)
    try:
        options = json.loads((run.manifest.model.get("card") or {}).get("options", "{}"))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return pooling  # a card from elsewhere
    entry = POOLINGS.get(pooling) or PAIRS.get(pooling)
    if isinstance(options, dict) and entry is not None:
        options = changed(options, entry.options)
    if not isinstance(options, dict) or not options:
        return pooling
    return printable(
        pooling + "?" + "&".join(f"{key}={'none' if value is None else value}" for key, value in options.items())
    )


def labels_of(runs: Sequence[Run]) -> list[str]:
    """Short unique labels: the pooling; with its options, the backbone, the name or the folder where need be.

    Normalisers are not compared with the others: they carry their backbone and leave the pooling's name free.
    """
    divisors = {
        (run.path / run.manifest.normaliser).resolve()
        for run in runs
        if run.manifest.normaliser not in (None, "alexnet", ".")
    }
    aside = [run.path.resolve() in divisors for run in runs]
    candidates = [
        (
            str((not other and run.manifest.model.get("pooling")) or run.manifest.model.get("arch") or run.name),
            _pooling_with_options(run),
            f"{run.manifest.model.get('arch')}/{run.manifest.model.get('pooling') or '-'}",
            run.name,
            f"{run.name} ({run.path.name})",
        )
        for run, other in zip(runs, aside, strict=True)
    ]
    labels: list[str] = []
    for k, options in enumerate(candidates):
        others = [o for j, o in enumerate(candidates) if j != k]
        free = [text for level, text in enumerate(options) if text not in {o[level] for o in others}]
        label = next((text for text in free if text not in (*labels, *RESERVED)), f"{run_text(runs[k])} #{k + 1}")
        labels.append(label)
    return labels


def run_text(run: Run) -> str:
    """A run by its model's name and folder."""
    return f"{run.name} ({run.path.name})"


def counts_of(run: Run) -> dict[str, int]:
    """Images of each protocol of a run."""
    images = run.manifest.data.get("images", 0)
    sets = run.manifest.data.get("sets", {})
    protocols = dict.fromkeys(cell.protocol for cell in run.expected)
    return {protocol: int(sets.get(protocol, {}).get("images", images)) for protocol in protocols}


def training_of(run: Run) -> dict[str, str]:
    """The recipe that made the weights, setting by setting, from their card; empty when the card has none."""
    card = run.manifest.model.get("card") or {}
    try:
        settings = json.loads(card.get("recipe_settings") or "{}")
    except (TypeError, ValueError, RecursionError):  # a card of somebody else's
        return {}
    if not isinstance(settings, Mapping):
        return {}
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": str(one) for inner, one in value.items()}
        elif key != "source":
            flat[str(key)] = str(value)
    return flat


def groups_of(members: Sequence[Member]) -> tuple[tuple[Group, ...], list[str]]:
    """Groups of comparable runs, and the key of each run's group."""
    facts = [
        {
            "signature": s.run.manifest.signature,
            "data": s.run.manifest.data,
            "normaliser": s.normaliser or "none",
        }
        for s in members
    ]
    distinct: list[int] = []
    keys = []
    for k, fact in enumerate(facts):
        same = next((j for j in distinct if facts[j] == fact), None)
        if same is None:
            distinct.append(k)
            same = k
        keys.append(_letters(distinct.index(same)))
    groups = tuple(
        Group(
            key=_letters(number),
            signature=members[k].run.signature,
            fields={p: {f: str(v) for f, v in d.items()} for p, d in members[k].run.manifest.signature.items()},
            normaliser=members[k].normaliser,
            problem=members[k].problem,
            counts=counts_of(members[k].run),
            differs=tuple(differences(facts[distinct[0]], facts[k])),
        )
        for number, k in enumerate(distinct)
    )
    return groups, keys


def _letters(number: int) -> str:
    """a, b, ..., z, aa, ab, ...

    >>> _letters(0), _letters(25), _letters(26)
    ('a', 'z', 'aa')
    """
    return (_letters(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)
