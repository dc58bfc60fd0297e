"""A pooling of a user's: one class, one decorator; what goes wrong in it is said to be in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import robustbench_lift.pooling as package
from robustbench_lift.networks import build_model
from robustbench_lift.pooling import (
    POOLINGS,
    UP_POOLINGS,
    PoolingError,
    PoolingLayer,
    make_pooling,
    pooling,
    up_pooling,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both registries are afterwards what they were."""
    before, up = dict(POOLINGS), dict(UP_POOLINGS)
    yield
    for registry, names in ((POOLINGS, before), (UP_POOLINGS, up)):
        registry.clear()
        registry.update(names)


class Mean(PoolingLayer):
    idea = "The mean."

    def pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2, ceil_mode=True)


def test_a_class_registers_by_its_decorator() -> None:
    assert pooling("mine")(Mean) is Mean
    assert make_pooling("mine", 3)(torch.ones(1, 3, 5, 4)).shape == (1, 3, 3, 2)
    assert build_model("resnet8", "mine", num_classes=4)(torch.zeros(1, 3, 32, 32)).shape == (1, 4)
    assert (POOLINGS["mine"].idea, POOLINGS["mine"].source) == ("The mean.", None)
    up_pooling("mine-up")(Mean)
    assert "mine-up" in UP_POOLINGS
    pooling("mine")(Mean)  # a notebook's cell that runs again


def test_a_taken_name_names_both() -> None:
    with pytest.raises(PoolingError, match=r"'lift' of pooling .*test_own_poolings\.Mean is taken by .*LiftDownPool"):
        pooling("lift")(Mean)
    with pytest.raises(PoolingError, match="letters, digits"):
        pooling("my/pool")


def test_what_an_entry_needs_is_asked_for() -> None:
    class Positional(Mean):
        def __init__(self, channels: int, power: float = 2.0) -> None:
            super().__init__(channels)

    class Unsaid(Mean):
        def __init__(self, channels: int, *, power: float = 2.0) -> None:
            super().__init__(channels)

    with pytest.raises(PoolingError, match=r"must take \(self, channels, \*, option=default"):
        pooling("a")(Positional)
    with pytest.raises(PoolingError, match=r'what power does: options = \{"power"'):
        pooling("a")(Unsaid)
    with pytest.raises(PoolingError, match="a subclass of PoolingLayer"):
        pooling("a")(nn.AvgPool2d)  # type: ignore[type-var]


def test_mistakes_in_it_are_its_own() -> None:
    @pooling("broken")
    class Broken(Mean):
        def __init__(self, channels: int) -> None:
            super().__init__(channels)
            raise KeyError("gain")

    @pooling("fails")
    class Fails(Mean):
        def pool(self, x: Tensor) -> Tensor:
            return x @ torch.ones(99, 3)

    @pooling("keeps")
    class Keeps(Mean):
        def pool(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(PoolingError, match=r"your pooling broken raised KeyError: 'gain' when it was made for 16 chan"):
        build_model("resnet8", "broken")
    with pytest.raises(PoolingError, match=r"your pooling Fails raised RuntimeError.*\(1, 3, 8, 8\) \(test_own_pool"):
        make_pooling("fails", 3)(torch.ones(1, 3, 8, 8))
    with pytest.raises(PoolingError, match=r"Keeps made shape \(1, 3, 8, 8\).*makes \(1, 3, 4, 4\)"):
        make_pooling("keeps", 3)(torch.ones(1, 3, 8, 8))


def test_a_constructor_may_read_values() -> None:
    @pooling("reads")
    class Reads(Mean):
        def __init__(self, channels: int) -> None:
            super().__init__(channels)
            self.gain = nn.Parameter(torch.ones(channels))
            self.scale = float(torch.tensor(2.0))

    with torch.device("meta"):
        build_model("resnet8", "reads", num_classes=4)
    assert POOLINGS["reads"].parameters(8) == 8


def run_example(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file that a page shows, imported as a user would."""
    text = next(t for t in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S) if "# mine.py" in t)
    name = f"mine_{page.stem.lower()}"
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    return __import__(name)


@pytest.mark.parametrize(("page", "options"), [("README.md", {}), ("docs/pooling.md", {"start": 0.3})])
def test_the_examples_of_the_pages_work(
    page: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_example(ROOT / page, tmp_path, monkeypatch)
    net = build_model("resnet8", "mine", num_classes=3, options=options)
    assert net(torch.rand(2, 3, 33, 33)).shape == (2, 3)
    assert set(package.__all__) >= {"pooling", "POOLINGS", "make_pooling", "PoolingLayer"}
