"""Does the gate keep its promises? Coverage of intervals, false alarms and power, by simulation of correlated cells.

python benchmarks/gate_calibration.py             # prints; about ten minutes on two cores
python benchmarks/gate_calibration.py --write     # also docs/gate/power.svg and the tables in docs/gate.md

A model answers image i in cell c rightly when q_c + shared difficulty of the image (in all cells) + difficulty of the
image in this cell + what the model alone finds hard (in all cells, and here) is positive; all four are normal. So all
cells of an image are correlated, two models err on the same images, and the true error of a cell is known: Phi(-q_c).
"""

from __future__ import annotations

import argparse
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import metrics
from robustbench_lift.regression import Outcome, Policy, gate
from robustbench_lift.regression.policy import MARGINS
from robustbench_lift.runs import Cell, Manifest, Predictions, Run
from robustbench_lift.scores import intervals

CELLS = (
    Cell("clean", "clean", 0),
    *(Cell("corruption", name, severity) for name in metrics.CORRUPTIONS for severity in range(1, 6)),
    *(Cell("perturbation", name, 1) for name in metrics.PERTURBATIONS),
    Cell("shift", "crop", 0),
)
FRAMES = {"perturbation": 4, "shift": 4}
IMAGE, HERE, MODEL = 0.6, 0.4, 0.3
"""Weights of the image in all cells, of the image in one cell, and of the model's own view of the image; the rest is
the model's own view of the image in one cell."""
ROOT = Path(__file__).resolve().parents[1]


class MemoryRun(Run):
    """A run whose cells are arrays."""

    def __init__(self, name: str, cells: dict[Cell, Predictions]) -> None:
        images = len(next(iter(cells.values())).ids)
        protocols = dict.fromkeys(cell.protocol for cell in cells)
        manifest = Manifest(
            model={"name": name, "weights_sha256": hashlib.sha256(name.encode()).hexdigest()},
            data={"name": "imaginary", "images": images},
            signature={"common": {}, **{protocol: {} for protocol in protocols}},
            cells=tuple(cell.key for cell in cells),
            normaliser="alexnet",
        )
        super().__init__(Path(name), manifest)
        self._cells = cells

    def has(self, cell: Cell) -> bool:
        """Whether the cell is there."""
        return cell in self._cells

    def read(self, cell: Cell) -> Predictions:
        """The cell."""
        return self._cells[cell]


def true_error(cell: Cell, loss: float) -> float:
    """The error of a cell in the population: AlexNet's pattern at six tenths, `loss` added everywhere."""
    if cell.protocol == "corruption":
        return 0.6 * metrics.ALEXNET.corruption_errors[cell.condition][cell.severity - 1] + loss
    return 0.25 + loss


def true_mce(loss: float) -> float:
    """mCE of the population."""
    errors = {
        name: [true_error(Cell("corruption", name, severity), loss) for severity in range(1, 6)]
        for name in metrics.CORRUPTIONS
    }
    return metrics.mean_corruption_error(errors)


def two_runs(images: int, seed: int, *, loss: float = 0.0) -> tuple[MemoryRun, MemoryRun]:
    """Two models on the same new images; the second errs more often by `loss` in every cell."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"{i:05d}" for i in range(images)])
    labels = np.zeros(images, dtype=np.int64)
    everywhere = rng.normal(size=images)
    own = rng.normal(size=(2, images))
    rest = np.sqrt(1 - IMAGE**2 - HERE**2 - MODEL**2)
    cells: tuple[dict[Cell, Predictions], dict[Cell, Predictions]] = ({}, {})
    for cell in CELLS:
        frames = FRAMES.get(cell.protocol, 1)
        here = rng.normal(size=(images, 1))
        for model in range(2):
            quality = stats.norm.isf(true_error(cell, loss * model))
            alone = MODEL * own[model][:, None] + rest * rng.normal(size=(images, frames))
            right = quality + IMAGE * everywhere[:, None] + HERE * here + alone > 0
            top5 = np.where(right, 0, 1)[:, :, None] + np.arange(5)
            confidence = np.full((images, frames), 0.5, dtype=np.float32)
            cells[model][cell] = Predictions(ids, labels, top5.astype(np.int16), confidence)
    return MemoryRun("before", cells[0]), MemoryRun("after", cells[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """How often something happened; fractions."""

    count: int
    """Times it happened."""
    trials: int
    """Simulations."""

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.trials

    @property
    def printed(self) -> str:
        """Percent, with the standard error of the simulation."""
        error = np.sqrt(self.value * (1 - self.value) / self.trials)
        return f"{100 * self.value:.1f} ({100 * error:.1f})"


def coverage(images: int, trials: int, *, confidence: float = 0.95, seed: int = 0) -> dict[str, Share]:
    """How often intervals of clean error and mCE hold the population's value."""
    truth = {"clean_error": true_error(CELLS[0], 0.0), "mce": true_mce(0.0)}
    held = dict.fromkeys(truth, 0)
    for trial in range(trials):
        run, _ = two_runs(images, seed + trial)
        found = intervals(run, normaliser=metrics.ALEXNET, confidence=confidence, replicates=500, seed=trial)
        for name, value in truth.items():
            held[name] += found[name].low <= value <= found[name].high
    return {name: Share(count=count, trials=trials) for name, count in held.items()}


def failures(
    images: int, trials: int, policies: dict[str, Policy], *, loss: float = 0.0, seed: int = 0
) -> dict[str, Share]:
    """How often each policy fails a candidate that is worse by `loss` in every cell (0: a false alarm)."""
    failed = dict.fromkeys(policies, 0)
    for trial in range(trials):
        pair = two_runs(images, seed + trial, loss=loss)
        for name, policy in policies.items():
            outcome: Outcome = gate(*pair, policy)
            failed[name] += outcome.exit_code == 1
    return {name: Share(count=count, trials=trials) for name, count in failed.items()}


def without_margins(**settings: Any) -> Policy:
    """A policy that tolerates no loss: the tests themselves; the default margins make every failure rarer."""
    return Policy(replicates=100, margins=dict.fromkeys(MARGINS, 0.0), **settings)


def policies() -> dict[str, Policy]:
    """The policies whose false alarms are counted."""
    rules = {f"headline numbers, {name}": without_margins(correction=name) for name in ("bh", "holm", "none")}
    rules["and all 76 cells, bh"] = without_margins(cells=True)
    rules["and all 76 cells, none"] = without_margins(cells=True, correction="none")
    rules["mCE alone"] = without_margins(metrics=("mce",))
    return rules


def figures(power: dict[float, dict[int, Share]], folder: Path) -> None:
    """Power against loss, a line a number of images."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "gate"
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
    sizes = list(next(iter(power.values())))
    for images, style, marker in zip(sizes, ("-", "--", ":"), ("o", "s", "^"), strict=False):
        losses = [100 * loss for loss in power]
        axes.plot(
            losses, [100 * power[loss][images].value for loss in power], style, marker=marker, label=f"{images} images"
        )
    axes.axhline(5, color="0.6", linewidth=0.8)
    axes.set(xlabel="true loss in every cell, points", ylabel="gate fails, %", ylim=(0, 101))
    axes.legend(frameon=False)
    figure.savefig(folder / "power.svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Simulate, print, and with --write put the numbers where the documentation shows them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    trials, rules = options.trials, policies()
    lines = ["| intervals at 95 % | images | clean error | mCE |", "|---|---:|---:|---:|"]
    for images in (60, 240, 1000):
        found = coverage(images, trials, seed=10_000)
        lines.append(f"| hold the truth, % | {images} | {found['clean_error'].printed} | {found['mce'].printed} |")
    lines += ["", "| false alarms, % (no true loss, alpha 5 %) | 60 images | 240 images |", "|---|---:|---:|"]
    alarms = {images: failures(images, trials, rules, seed=20_000) for images in (60, 240)}
    lines += [f"| {name} | {alarms[60][name].printed} | {alarms[240][name].printed} |" for name in rules]
    lines += [
        "",
        "| detected, % (headline numbers, bh) | 60 images | 240 images | 1000 images |",
        "|---|---:|---:|---:|",
    ]
    power: dict[float, dict[int, Share]] = {}
    for loss in (0.0, 0.005, 0.01, 0.02, 0.04):
        power[loss] = {}
        for images in (60, 240, 1000):
            one = {"bh": rules["headline numbers, bh"]}
            power[loss][images] = failures(images, max(50, trials // 2), one, loss=loss, seed=30_000)["bh"]
        row = " | ".join(share.printed for share in power[loss].values())
        lines.append(f"| true loss of {100 * loss:g} points in every cell | {row} |")
    table = "\n".join(
        [
            *lines,
            "",
            f"In brackets the standard error of the simulation ({trials} trials; power {max(50, trials // 2)}).",
        ]
    )
    print(table)
    if options.write:
        figures(power, ROOT / "docs" / "gate")
        page = ROOT / "docs" / "gate.md"
        marked = re.compile(r"(<!-- calibration -->\n).*?(<!-- /calibration -->)", re.DOTALL)
        text = page.read_text(encoding="utf-8")
        if len(marked.findall(text)) != 1:
            raise SystemExit("docs/gate.md has lost its <!-- calibration --> marks; put them back around the tables.")
        page.write_text(marked.sub(lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
