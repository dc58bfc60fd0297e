"""S3Pool: dense maximum, then rows and columns kept at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import PoolingLayer, Source
from .errors import PoolingError
from .registry import pooling
from .tensors import mean


@pooling("s3")
class S3Pool(PoolingLayer):
    """Stochastic spatial sampling of the dense 2 x 2 maximum.

    The maximum of every 2 x 2 window at stride 1 (a window at the far border is cut) keeps the size of the map. While
    training, rows and, independently, columns are cut into runs of `grid`, half of each run is drawn without
    replacement and kept in order; the last run takes what is left and keeps the larger half. One draw serves the
    batch and all channels. In eval mode, the mean of 2 x 2 windows of the dense maximum.

    Args:
        channels: C.
        grid: length of a run, even; 2 distorts least, the paper uses up to 16 on 32 x 32 maps.

    >>> S3Pool(1).eval()(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]])).item()
    5.0
    """

    idea = "Dense maximum; training keeps random rows and columns, eval averages."
    source = Source("Zhai et al.", "S3Pool: pooling with stochastic spatial sampling", "CVPR", 2017)
    options: ClassVar[Mapping[str, str]] = {"grid": "rows (columns) of which a random half is kept, even"}
    stochastic = True

    def __init__(self, channels: int, *, grid: int = 4) -> None:
        super().__init__(channels)
        if not isinstance(grid, int) or grid < 2 or grid % 2:
            raise PoolingError(f"S3Pool: grid must be even and at least 2, not {grid!r}.")
        self.grid = grid

    def pool(self, x: Tensor) -> Tensor:
        dense = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, 1)
        if not self.training:
            return mean(dense)
        rows, columns = self.draw(x.shape[2], x.device), self.draw(x.shape[3], x.device)
        return dense.index_select(2, rows).index_select(3, columns)

    def draw(self, size: int, device: torch.device) -> Tensor:
        """Which ceil(size / 2) of `size` positions are kept: int64, ascending."""
        keys = torch.rand(size, generator=self.generator, device=_home(self.generator, device), dtype=torch.float64)
        run = torch.arange(size, device=keys.device) // self.grid
        length = torch.clamp(size - run * self.grid, max=self.grid)
        order = torch.argsort(run + keys)  # shuffles every run within itself
        kept = order[torch.arange(size, device=keys.device) - run * self.grid < (length + 1) // 2]
        return kept.sort().values.to(device)


def _home(generator: torch.Generator | None, device: torch.device) -> torch.device:
    return device if generator is None else generator.device
