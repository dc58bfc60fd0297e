"""What lift makes of the maps inside a network: is LL smooth, are the details small, does LL suffice to go back.

The map x that enters a LiftDownPool is seen beside what its layer makes of it, over many images. All measures are
shares, so that networks whose features differ in size can be compared:

    c_u, c_p      |s - x_o|^2 / |x_o|^2 and |d|^2 / |x_o|^2, summed over the three transforms of a map
    energy of LL  |LL|^2 over that of all four bands
    roughness     mean square of neighbours' differences over twice the variance: 1 for noise, near 0 for a smooth map
    lost          |x - x'|^2 over the variance of x, with x' what LiftUpPool makes of LL when the details are zero

Beside them stand the roughness of every second sample, which is what is kept of x when nothing is done, and roughness
and loss of the means over 2 x 2 (repeated), which need no learning. The mean of each image and channel is taken off
before a variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_lift.paper.places import evaluation_spec
from robustbench_lift.paper.results import Results
from robustbench_lift.paper.study import Study
from robustbench_lift.paper.summary import mean_and_range
from robustbench_lift.pooling import LiftDownPool, LiftUpPool
from robustbench_lift.pooling.kernels import to_pixels
from robustbench_lift.pooling.lift import Bands
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.protocols.request import OpenedData, Request
from robustbench_lift.tables.table import Column, Entry, Row, Table
from robustbench_lift.weights import LoadedModel, load_model

IMAGES = 256
"""Images that are shown at most, evenly spread over the test images."""
BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """What one LiftDownPool does to the maps that enter it."""

    size: float
    """Root mean square of the entering maps, in units of the features."""
    c_u: float
    """As of `constraint="relative"`."""
    c_p: float
    """Likewise."""
    energy: float
    """Of LL."""
    rough: float
    """Roughness of LL."""
    rough_skip: float
    """Roughness of every second sample."""
    rough_mean: float
    """Roughness of the means over 2 x 2."""
    lost: float
    """Without the details."""
    lost_mean: float
    """By the means over 2 x 2."""


COLUMNS: Mapping[str, Column] = {
    "size": Column("size", "Root mean square of the map", "plain", digits=2),
    "c_u": Column("c_u", "c_u, relative", "plain", digits=2),
    "c_p": Column("c_p", "c_p, relative", "plain", digits=2),
    "energy": Column("energy", "Energy in LL"),
    "rough": Column("rough", "Roughness of LL", "plain", digits=2),
    "rough_skip": Column("rough_skip", "of every second sample", "plain", digits=2),
    "rough_mean": Column("rough_mean", "of 2 x 2 means", "plain", digits=2),
    "lost": Column("lost", "Lost by LiftUpPool without details"),
    "lost_mean": Column("lost_mean", "by 2 x 2 means"),
}
"""The measures as tables head them."""


class Fold:
    """The measures of one layer, folded over batches of maps."""

    def __init__(self, pool: LiftDownPool) -> None:
        self.pool = pool
        self.up = LiftUpPool.sharing(pool)
        self._sums: dict[str, float] = {}
        self._values = 0

    @property
    def seen(self) -> bool:
        """Whether there was a map."""
        return self._values > 0

    def update(self, x: Tensor) -> None:
        """Take maps [N, C, H, W]."""
        x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]  # an odd side's repeated row is no map of the network
        if not x.numel():  # a single row or column has no neighbours
            return
        bands = self.pool.analysis(x)
        none = torch.zeros_like(bands.LL)
        alone = self.up(bands.LL, bands._replace(LH=none, HL=none, HH=none))
        mean = F.avg_pool2d(x, 2)
        self._values += x.numel()
        self._add("square", _energy(x))
        for number, (smooth, detail, odd) in enumerate(self.pool.three(to_pixels(x))):
            self._add(f"odd{number}", _energy(odd))
            self._add(f"c_u{number}", _energy(smooth - odd))
            self._add(f"c_p{number}", _energy(detail))
        for name in ("LL", "LH", "HL", "HH"):
            self._add(name, _energy(getattr(bands, name)))
        for name, map_ in (("rough", bands.LL), ("rough_skip", x[:, :, ::2, ::2]), ("rough_mean", mean)):
            self._add(name, _steps(map_))
            self._add(f"{name}_variance", _variance(map_))
        self._add("variance", _energy(x - x.mean((2, 3), keepdim=True)))
        self._add("lost", _energy(x - alone))
        self._add("lost_mean", _energy(x - F.interpolate(mean, scale_factor=2.0)))

    def result(self) -> Measures:
        """The measures over all maps so far.

        Raises:
            ValueError: there was none.
        """
        if not self.seen:
            raise ValueError("no map was measured.")
        s = self._sums
        return Measures(
            size=(s["square"] / self._values) ** 0.5,
            c_u=sum(_share(s[f"c_u{number}"], s[f"odd{number}"]) for number in range(3)),
            c_p=sum(_share(s[f"c_p{number}"], s[f"odd{number}"]) for number in range(3)),
            energy=_share(s["LL"], s["LL"] + s["LH"] + s["HL"] + s["HH"]),
            rough=_share(s["rough"], 2 * s["rough_variance"]),
            rough_skip=_share(s["rough_skip"], 2 * s["rough_skip_variance"]),
            rough_mean=_share(s["rough_mean"], 2 * s["rough_mean_variance"]),
            lost=_share(s["lost"], s["variance"]),
            lost_mean=_share(s["lost_mean"], s["variance"]),
        )

    def _add(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value


def measure(model: LoadedModel, batches: Iterable[Tensor]) -> dict[str, Measures]:
    """The measures of every LiftDownPool of a network, by the name of the layer.

    Args:
        model: in eval mode.
        batches: uint8 [N, 3, H, W], of the size that the network sees.

    >>> found = measure(load_model("photos/resnet-lift"), [torch.zeros(2, 3, 64, 64, dtype=torch.uint8)])
    >>> list(found)[:2]
    ['maxpool', 'layer2.0.entry']
    """
    folds = {name: Fold(module) for name, module in model.module.named_modules() if isinstance(module, LiftDownPool)}
    handles = [fold.pool.register_forward_pre_hook(_noting(fold)) for fold in folds.values()]
    for fold in folds.values():  # an encoder asks for the bands too, not for the sum, and hooks hear of calls alone
        vars(fold.pool)["record"] = _recording(fold)
    device = next((value.device for value in model.module.state_dict().values()), torch.device("cpu"))
    try:
        with torch.no_grad():
            for batch in batches:
                model.logits(batch.to(device))
    finally:
        for handle in handles:
            handle.remove()
        for fold in folds.values():
            del vars(fold.pool)["record"]
    return {name: fold.result() for name, fold in folds.items() if fold.seen}


def bands_table(results: Results, study: Study, name: str, title: str) -> Table | None:
    """One row a network with lift and layer: means over trainings, in brackets the smallest and largest.

    Args:
        results: of an item that has the study.
        study: whose networks, on whose clean test images.
        name: of the table's files.
        title: of the table.

    Returns:
        None where no network of the study has lift.
    """
    members = [m for m in results.of_study(study).members if not m.is_normaliser]
    found: dict[tuple[str, str], list[Measures]] = {}
    for member in members:
        for layer, one in measure(load_model(member.model), _images(results, study)).items():
            found.setdefault((member.label, layer), []).append(one)
    if not found:
        return None
    rows = [
        Row((Entry(label), Entry(layer), *(_entry([getattr(one, key) for one in each]) for key in COLUMNS)))
        for (label, layer), each in found.items()
    ]
    return Table(
        name=name,
        title=title,
        columns=(Column("network", "Network", "text"), Column("layer", "Layer", "text"), *COLUMNS.values()),
        rows=tuple(rows),
        notes=(
            (
                "Means over trainings (seeds), in brackets the smallest and the largest of them. c_u and c_p are those "
                "of `constraint=relative`. Roughness: mean square of neighbours' differences over twice the variance, "
                "1 for noise. Lost: what is missing of the variance of the map when LiftUpPool gets LL and no details. "
                f"At most {IMAGES} clean test images, evenly spread."
            ),
        ),
    )


assert tuple(COLUMNS) == tuple(field.name for field in fields(Measures))


def _images(results: Results, study: Study) -> Iterable[Tensor]:
    request = Request(
        data=evaluation_spec(study.data, results.places, study.geometry),
        protocols=("clean",),
        **study.options,
    )
    clean = Clean.build(request, OpenedData(request))
    (cell,) = clean.cells()
    images = clean.images(cell)
    shown = min(IMAGES, clean.count())
    chosen = [k * clean.count() // shown for k in range(shown)]
    for rows in (chosen[start : start + BATCH] for start in range(0, shown, BATCH)):
        pixels = [torch.from_numpy(clean.prepare(images.read(row)).copy()).permute(2, 0, 1) for row in rows]
        yield clean.render(cell, torch.stack(pixels), [images.ids[row] for row in rows])[:, 0]


def _noting(fold: Fold) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        fold.update(given[0].detach().float())

    return note


def _recording(fold: Fold) -> Callable[[Tensor], tuple[Tensor, Bands]]:
    record = fold.pool.record

    def noted(x: Tensor) -> tuple[Tensor, Bands]:
        fold.update(x.detach().float())
        return record(x)

    return noted


def _entry(values: Sequence[float]) -> Entry:
    """A dash where a map was zero everywhere, which has no shares."""
    return Entry() if any(math.isnan(value) for value in values) else mean_and_range(values)


def _energy(x: Tensor) -> float:
    return float(x.double().square().sum())


def _variance(x: Tensor) -> float:
    """Mean of squares about the means of each image and channel, summed over the images."""
    return _energy(x - x.mean((2, 3), keepdim=True)) / x.numel() * x.shape[0]


def _steps(x: Tensor) -> float:
    """Mean square of the differences of neighbours, over both directions, summed over the images."""
    down, right = x.diff(dim=2), x.diff(dim=3)
    count = down.numel() + right.numel()
    return (_energy(down) + _energy(right)) / max(count, 1) * x.shape[0]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
