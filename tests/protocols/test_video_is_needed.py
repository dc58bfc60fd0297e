"""What needs PyAV says so when protocols are built, before the first cell."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from corruptions import CorruptionError
from robustbench_lift.data.kinds import open_tree
from robustbench_lift.errors import DataError
from robustbench_lift.protocols import Request


def test_generated_sequences_that_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    Request(protocols=("perturbation",)).build()
    with pytest.raises(CorruptionError, match=r"needs PyAV: pip install"):
        Request(protocols=("perturbation",), storage="official").build()


def test_official_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tilt" / "n01440764").mkdir(parents=True)
    (tmp_path / "tilt" / "n01440764" / "1.mp4").write_bytes(b"x")
    tree = open_tree(f"imagenet-p:{tmp_path}?classes=partial")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"needs PyAV: pip install"):
        tree.require(("tilt",), (1,))
