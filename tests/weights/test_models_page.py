"""docs/models.md: its table is what the command prints, its specs mean what they say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from robustbench_lift.networks import BACKBONES
from robustbench_lift.weights import ModelSpec

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
SMALL = ("resnet8", "resnet20", "alexnet-small", "alexnet", "vgg13-cifar", "vgg13")


def command() -> ModuleType:
    """benchmarks/models.py as a module."""
    spec = importlib.util.spec_from_file_location("benchmarks_models", ROOT / "benchmarks" / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "arch", [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES]
)
def test_the_table_is_what_the_command_prints(arch: str) -> None:
    found = [line for line in PAGE.splitlines() if line.startswith(f"| {arch} |")]
    assert found == list(command().rows(arch)), "paste the output of `python benchmarks/models.py` into docs/models.md"


def test_the_specs_of_the_page_are_specs() -> None:
    section = PAGE[PAGE.index("## Model specs") : PAGE.index("## Weight files")]
    specs = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(specs) == 9
    assert [str(ModelSpec.parse(text)) for text in specs] == specs


def test_every_placement_is_on_the_page() -> None:
    for entry in BACKBONES.values():
        assert all(f"| `{placement}`" in PAGE for placement in entry.placements)
