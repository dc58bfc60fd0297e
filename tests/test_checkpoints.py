"""The weights that ship: what the index says is what the files hold, and `add` writes both."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import checkpoints.__main__ as shelf
from robustbench_lift import load_model

HERE = Path(shelf.HERE)
INDEX = tomllib.loads((HERE / "index.toml").read_text(encoding="utf-8"))
LIMIT = 40_000_000
"""Bytes that all weights together may take: they are part of every installation."""


@pytest.mark.parametrize("name", INDEX)
def test_index_card_and_file_agree(name: str) -> None:
    entry, file = INDEX[name], HERE / INDEX[name]["file"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == entry["sha256"]
    card, parameters = shelf.header(file)
    assert {key: card[key] for key in ("architecture", "pooling", "data", "recipe")} == {
        key: entry[key] for key in ("architecture", "pooling", "data", "recipe")
    }
    assert float(card["clean_error"]) == entry["clean_error"]
    assert file.with_suffix(".md").read_text(encoding="utf-8") == shelf.describe(name, entry, card)
    model = load_model(name)
    buffers = {key for key, _ in model.module.named_buffers()}
    loaded = sum(value.numel() for key, value in model.module.state_dict().items() if key not in buffers)
    assert loaded == parameters == entry["parameters"]


def test_nothing_lies_there_unlisted_and_all_is_small() -> None:
    files = {file.relative_to(HERE).as_posix() for file in HERE.rglob("*.safetensors")}
    assert files == {entry["file"] for entry in INDEX.values()}
    assert sum((HERE / file).stat().st_size for file in files) < LIMIT


def test_add_may_change_the_card_and_changes_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = HERE / INDEX["photos/resnet-lift"]["file"]
    monkeypatch.setattr(shelf, "HERE", tmp_path)
    shelf.add("mine/lift", source, {"data": "my photographs, 500 a class"})
    entry = tomllib.loads((tmp_path / "index.toml").read_text(encoding="utf-8"))["mine/lift"]
    assert entry["data"] == "my photographs, 500 a class"
    with safe_open(source, "pt") as before, safe_open(tmp_path / entry["file"], "pt") as after:
        assert {**before.metadata(), "data": entry["data"]} == after.metadata()
        assert list(before.keys()) == list(after.keys())
        for key in before.keys():  # noqa: SIM118 - not a dict
            assert torch.equal(before.get_tensor(key), after.get_tensor(key))


def test_add_refuses_a_word_that_the_card_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "HERE", tmp_path)
    with pytest.raises(SystemExit, match=r"has no dta; it has .*data"):
        shelf.add("mine/lift", HERE / INDEX["photos/resnet-lift"]["file"], {"dta": "x"})
    assert not (tmp_path / "index.toml").exists()
