"""Hostile files: data, weights, run folders, baselines, policies and documents that were broken or made on purpose."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from .conftest import Refused, ends

DEEP = "[" * 100_000
HUGE = 10**400
EVIL = "a\x1b[2J\u202e\n::error title=x::evil"
WRONG: list[Any] = [None, True, -1, 1.5, HUGE, "", "x", EVIL, [], [[]], {}, {"x": {}}]
"""Values of wrong types; each field takes some of them."""


def png(side: int = 64, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def header(shape: object, dtype: str = "|u1", version: bytes = b"\x01\x00", rest: bytes = b"") -> bytes:
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + rest


# ---------------------------------------------------------------- images and trees

IMAGES = {
    "empty": b"", "text": b"x", "page": b"<!DOCTYPE html>", "lfs": b"version https://git-lfs.github.com/spec/v1",
    "gif": b"GIF89a",
    "half": png()[:60], "flipped": png()[:40] + b"\xff" + png()[41:], "zeros": b"\0" * 1000,
    "jpeg head": b"\xff\xd8\xff\xe0" + b"\0" * 50,
    "bomb": png()[:16] + struct.pack(">II", 100_000, 100_000) + png()[24:],
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "negative": png()[:16] + struct.pack(">II", 2**32 - 1, 2**32 - 1) + png()[24:], "zip": b"PK\x03\x04" + b"\0" * 50,
    "tiff": b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 60, "bmp": b"BM" + b"\xff" * 60,
    "ppm": b"P6 99999999 99999999 255\n", "ppm text": b"P6 x",
    "webp": b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\xff" * 40, "pickle": pickle.dumps(os.system),
    "svg": b"<svg xmlns='x'/>", "apple": b"\0\5\x16\7",
    "heic": b"\0\0\0\x18ftypheic", "float": b"II*\0", "utf-16": "<html>".encode("utf-16"),
}  # fmt: skip


@pytest.mark.parametrize("content", IMAGES.values(), ids=IMAGES)
def test_images(refused: Refused, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d" / "a").mkdir(parents=True)
    (tmp_path / "d" / "a" / "1.png").write_bytes(content)
    (tmp_path / "d" / "a" / "2.png").write_bytes(png())
    assert "1.png" in refused("check", "folder:d", "--all")


@pytest.mark.parametrize("name", ["x\x1b[2J", "x\u202ey", "x\n::error title=a::b", "x\r", "x\x9b1m", "\u2066"])
def test_names_are_printed_safely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", name):
        (tmp_path / "d" / folder).mkdir(parents=True)
        (tmp_path / "d" / folder / f"{name}.png").write_bytes(png())
        (tmp_path / "d" / folder / f"{name}.txt").write_bytes(b"")
        (tmp_path / "d" / folder / f"{name}2.png").write_bytes(b"broken")
    ends(["check", "folder:d", "--all"], (2, 3))
    options = ["--protocols", "clean", "--normaliser", "none", "--no-report", "--out", "out"]
    ends(["run", "resnet8/max?num_classes=2@random", "--data", "folder:d?resize=none&crop=64", *options], (2, 3))


def test_special_files_among_images(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "d" / "a").mkdir(parents=True)
    os.mkfifo(tmp_path / "d" / "a" / "1.png")
    (tmp_path / "d" / "a" / "2.png").symlink_to("/dev/zero")
    (tmp_path / "d" / "b").symlink_to(tmp_path / "d")
    refused("check", "folder:d", "--all")


def tar_of(*members: tuple[str, bytes, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


REGULAR = tarfile.REGTYPE
GOOD_TAR = tar_of(("a/1.png", REGULAR, png()), ("b/1.png", REGULAR, png()))
TARS = {
    "empty": b"", "zeros": b"\0" * 10240, "half": GOOD_TAR[:700],
    "damaged": GOOD_TAR[:100] + b"9" * 56 + GOOD_TAR[156:],
    "above": tar_of(("../../a/1.png", REGULAR, png())), "absolute": tar_of(("/a/1.png", REGULAR, png())),
    "link": tar_of(("a/1.png", tarfile.SYMTYPE, b"")), "hard link": tar_of(("a/1.png", tarfile.LNKTYPE, b"")),
    "fifo": tar_of(("a/1.png", tarfile.FIFOTYPE, b"")), "device": tar_of(("a/1.png", tarfile.CHRTYPE, b"")),
    "size": GOOD_TAR[:124] + b"77777777777\0" + GOOD_TAR[136:], "gzip": b"\x1f\x8b" + b"\0" * 600,
    "zip": b"PK\x03\x04" + b"\0" * 600,
    "names": tar_of((f"{EVIL}.txt", REGULAR, b"x")), "text": b"hello" * 300, "parquet": b"PAR1" + b"\0" * 600,
}  # fmt: skip


@pytest.mark.parametrize("content", TARS.values(), ids=TARS)
def test_archives(refused: Refused, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.tar").write_bytes(content)
    refused("check", "folder:d.tar", "--all")


# ---------------------------------------------------------------- arrays and pickles

ARRAYS = {
    "empty": b"", "text": b"x" * 300, "html": b"<html>", "huge": header((10**12, 32, 32, 3)),
    "digits": header("(" + "9" * 60 + ",)"),
    "negative": header((-1, 32, 32, 3)), "object": header((5,), "|O"), "code": header("__import__('os')"),
    "deep": header("(" * 40),
    "version": header((5,), version=b"\x09\x00"), "floats": header((5, 32, 32, 3), "<f8", rest=b"\0" * 5 * 3072 * 8),
    "short": header((5, 32, 32, 3), rest=b"\0" * 10), "none": header((0, 32, 32, 3)), "scalar": header(()),
    "wide": header((5, 64, 64, 3), rest=b"\0" * 61440),
    "zip": b"PK\x03\x04" + b"\0" * 60, "pickled": b"\x93NUMPY\x01\0\xff\xff", "dtype": header((5,), "<x9"),
    "many": header((5,) * 9),
}  # fmt: skip


@pytest.mark.parametrize("content", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("which", ["fog", "labels"])
def test_arrays(refused: Refused, tmp_path: Path, which: str, content: bytes) -> None:
    np.save(tmp_path / "labels.npy", np.tile(np.arange(10), 5))
    np.save(tmp_path / "fog.npy", np.zeros((50, 32, 32, 3), np.uint8))
    (tmp_path / f"{which}.npy").write_bytes(content)
    options = [
        "--protocols",
        "corruption",
        "--corruptions",
        "fog",
        "--normaliser",
        "none",
        "--no-report",
        "--out",
        "out",
    ]
    refused("run", "resnet8/max?num_classes=10@random", "--data", "cifar10-c:.", *options)


@pytest.mark.parametrize(
    "labels",
    [np.full(50, 10), np.full(50, -2), np.full(50, np.nan), np.eye(10)[np.arange(50) % 10], np.zeros((50, 2, 2))],
)
def test_labels(refused: Refused, tmp_path: Path, labels: Any) -> None:
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "fog.npy", np.zeros((50, 32, 32, 3), np.uint8))
    options = [
        "--protocols",
        "corruption",
        "--corruptions",
        "fog",
        "--normaliser",
        "none",
        "--no-report",
        "--out",
        "out",
    ]
    refused("run", "resnet8/max?num_classes=10@random", "--data", "cifar10-c:.", *options)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


PICKLES = {
    "empty": b"", "text": b"hello", "memo": b"\x80\x02Nr" + struct.pack("<I", 2**27) + b".",
    "memo 2": b"\x80\x02Nr" + struct.pack("<I", 2**31 - 1) + b".",
    "code": pickle.dumps(Evil()), "code 0": pickle.dumps(Evil(), 0), "list": pickle.dumps([1]),
    "dict": pickle.dumps({b"data": 1}),
    "strings": pickle.dumps({b"data": "x", b"labels": "y"}), "deep": b"(" * 200_000,
    "nested": b"]" * 100 + b"a" * 99 + b".",
    "length": b"\x80\x02T" + struct.pack("<I", 2**31 - 1), "long": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1),
    "frame": b"\x80\x04\x95" + b"\xff" * 8, "stop": b".", "labels": pickle.dumps({b"data": np.zeros((2, 3072),
    np.uint8), b"labels": [1, 99]}),
    "shape": pickle.dumps({b"data": np.zeros((2, 3), np.uint8), b"labels": [1, 2]}),
}  # fmt: skip


@pytest.mark.parametrize("content", PICKLES.values(), ids=PICKLES)
def test_pickles_of_cifar(refused: Refused, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    refused("check", "cifar10:.")
    assert not (tmp_path / "executed").exists()


def zipped(method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


BOMB = zipped(
    zipfile.ZIP_DEFLATED,
    x__npy=header((2 * 10**8,), rest=b"\0" * 2 * 10**8),
    y__npy=header((3,), "<i8", rest=b"\0" * 24),
)
GOOD_NPZ = zipped(x__npy=header((2, 32, 32, 3), rest=b"\0" * 6144), y__npy=header((2,), "<i8", rest=b"\0" * 16))
NPZ = {
    "empty": b"", "text": b"x", "no members": zipped(), "other names": zipped(a__npy=b""),
    "broken": zipped(x__npy=b"x", y__npy=b"y"),
    "bomb": BOMB, "half": GOOD_NPZ[:3000], "huge": zipped(x__npy=header((10**11, 32, 32, 3)), y__npy=header((10**11,),
    "<i8")),
    "objects": zipped(x__npy=header((2,), "|O"), y__npy=header((2,), "|O")),
    "digits": zipped(x__npy=header("(" + "9" * 60 + ",)"), y__npy=b""),
    "method": GOOD_NPZ[:8] + b"\x63" + GOOD_NPZ[9:], "encrypted": GOOD_NPZ.replace(b"PK\1\2\x14\3\x14\0\0",
    b"PK\1\2\x14\3\x14\0\1"),
    "rows": zipped(x__npy=header((2, 32, 32, 3), rest=b"\0" * 6144), y__npy=header((3,), "<i8", rest=b"\0" * 24)),
}  # fmt: skip


@pytest.mark.parametrize("content", NPZ.values(), ids=NPZ)
def test_npz(refused: Refused, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.npz").write_bytes(content)
    refused("check", "cifar10:d.npz")


# ---------------------------------------------------------------- weights and cards


def safetensors(text: bytes | str, size: int | None = None) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw) if size is None else size) + raw


def saved(value: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def carded(**card: str) -> bytes:
    from robustbench_lift.networks import build_model

    state = {
        key: value.contiguous() for key, value in build_model("resnet8", "max", num_classes=3).state_dict().items()
    }
    base = {
        "format": "robustbench-lift",
        "schema": "1",
        "arch": "resnet8",
        "pooling": "max",
        "num_classes": "3",
        "options": "{}",
    }
    return save(state, base | card)


TENSOR = {"x": torch.zeros(3)}
WEIGHTS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"", "text": lambda: b"hello", "page": lambda: b"<html>",
    "lfs": lambda: b"version https://git-lfs.github.com/spec/v1",
    "header size": lambda: safetensors("{}", 2**62), "header deep": lambda: safetensors(DEEP),
    "header list": lambda: safetensors("[]"),
    "header null": lambda: safetensors("null"), "header bytes": lambda: safetensors(b"\xff\xfe"),
    "tensor text": lambda: safetensors('{"a": 1}'),
    "dtype": lambda: safetensors('{"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}'),
    "shape": lambda: safetensors('{"a": {"dtype": "F32", "shape": [99999999999999], "data_offsets": [0, 4]}}'),
    "negative": lambda: safetensors('{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}'),
    "offsets": lambda: safetensors('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}'),
    "metadata": lambda: safetensors('{"__metadata__": 5}'),
    "metadata types": lambda: safetensors('{"__metadata__": {"a": []}}'),
    "code": lambda: saved(Evil()), "code legacy": lambda: saved(Evil(), _use_new_zipfile_serialization=False),
    "code in": lambda: saved({"a": Evil()}),
    "pickle": lambda: pickle.dumps(Evil()), "list": lambda: saved([1]), "number": lambda: saved(5),
    "no tensors": lambda: saved({}),
    "other": lambda: saved(TENSOR), "keys": lambda: saved({EVIL: torch.zeros(1)}),
    "key types": lambda: saved({1: torch.zeros(1)}),
    "nested": lambda: saved({"state_dict": {"state_dict": {"state_dict": 5}}}), "half": lambda: saved(TENSOR)[:300],
    "zip": lambda: zipped(a=b"x"),
    "sparse": lambda: saved({"x": torch.zeros(3).to_sparse()}), "zip bomb": lambda: BOMB,
    "strings": lambda: saved({"a": "b"}),
    "expanded": lambda: saved({"conv1.weight": torch.zeros(1).expand(10**9)}),
    "complex": lambda: saved({"x": torch.zeros(3, dtype=torch.complex64)}),
    "card arch": lambda: carded(arch="nothing"), "card arch evil": lambda: carded(arch=EVIL),
    "card pooling": lambda: carded(pooling=EVIL),
    "card classes": lambda: carded(num_classes="x"), "card classes 2": lambda: carded(num_classes="9" * 5000),
    "card classes 3": lambda: carded(num_classes="\u00b2"),
    "card classes 4": lambda: carded(num_classes="-1"), "card options": lambda: carded(options=DEEP),
    "card options 2": lambda: carded(options="[1]"),
    "card options 3": lambda: carded(options='{"size": "x"}'),
    "card options 4": lambda: carded(options='{"\\u001b[2J": 1}'),
    "card mean": lambda: carded(mean=DEEP), "card mean 2": lambda: carded(mean="[1]"),
    "card mean 3": lambda: carded(mean='["a","b","c"]'),
    "card std": lambda: carded(std="[0,0,0]"), "card std 2": lambda: carded(std="[1e999,1,1]"),
    "card names": lambda: carded(class_names=DEEP),
    "card names 2": lambda: carded(class_names="5"), "card names 3": lambda: carded(class_names='["a"]'),
    "card resize": lambda: carded(resize="x"),
    "card crop": lambda: carded(crop="9" * 4400), "card crop 2": lambda: carded(crop="0"),
    "card filter": lambda: carded(interpolation=EVIL),
    "card plugin": lambda: carded(plugin="../x"), "card plugin 2": lambda: carded(plugin=EVIL),
    "card placement": lambda: carded(placement="x"),
}  # fmt: skip


@pytest.mark.parametrize("make", WEIGHTS.values(), ids=WEIGHTS)
def test_weights(refused: Refused, tmp_path: Path, make: Callable[[], bytes]) -> None:
    content = make()
    ending = "safetensors" if content[8:9] in (b"{", b"[", b"n", b"\xff") else "pt"
    (tmp_path / f"w.{ending}").write_bytes(content)
    spec = f"@w.{ending}" if b"robustbench-lift" in content else f"resnet8/max?num_classes=3@w.{ending}"
    refused("check", spec)
    assert not (tmp_path / "executed").exists()


# ---------------------------------------------------------------- run folders

FIELDS = ["cells", "model", "data", "signature", "schema", "model.name", "data.images", "data.sets",
    "signature.common", "normaliser",
          "provenance", "model.card", "model.notes", "data.classes", "data.name", "model.parameters"]  # fmt: skip


def fitting(field: str, value: Any) -> bool:
    """Whether a value is of the field's type after all."""
    free = {
        "provenance": (dict,), "normaliser": (type(None), str), "data.sets": (dict,), "signature.common": (dict,),
        "cells": (list,),
        "model.card": (dict,), "model.notes": (list,), "data.name": (str,), "model.name": (str,),
    }  # fmt: skip
    return isinstance(value, free.get(field, ()))


CHANGES = [(field, k) for field in FIELDS for k, value in enumerate(WRONG) if not fitting(field, value)]


@pytest.mark.parametrize(("field", "which"), CHANGES)
def test_fields_of_run_json(refused: Refused, run_folder: Path, field: str, which: int) -> None:
    file = run_folder / "run.json"
    content = json.loads(file.read_text())
    holder, *rest = field.split(".")
    if rest:
        content[holder][rest[0]] = WRONG[which]
    else:
        content[holder] = WRONG[which]
    file.write_text(json.dumps(content))
    refused("report", run_folder, "--figure", "none", "--replicates", "0", "--out", "rep")


@pytest.mark.parametrize(
    "value",
    [["a/b"], [5], ["../../x/y/1"], ["clean/clean/0", DEEP[:5000]], ["clean/clean/9999999"], [EVIL], ["a/\u00b2/1"]],
)
def test_cells_of_run_json(refused: Refused, run_folder: Path, value: Any) -> None:
    content = json.loads((run_folder / "run.json").read_text())
    (run_folder / "run.json").write_text(json.dumps({**content, "cells": value}))
    refused("report", run_folder, "--figure", "none", "--replicates", "0", "--out", "rep")


BROKEN = {
    "empty": b"", "deep": DEEP.encode(), "digits": b"9" * 5000, "bytes": b"\xff\xfe", "list": b"[]", "null": b"null",
    "nan": b"NaN", "half": b'{"schema": 1,',
    "schema": b'{"schema": 999}', "object": b"{}", "deep object": b'{"a":' * 50_000, "surrogate": b'"\\ud800"',
    "twice": b'{"schema":2,"schema":3}', "text": b"x",
}  # fmt: skip


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("kind", ["run.json", "baseline", "document.json", "manifest.json"])
def test_json_files(refused: Refused, finished: Path, tmp_path: Path, kind: str, content: bytes) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    name = "b.json" if kind == "baseline" else kind
    (folder / name).write_bytes(content)
    if kind == "run.json":
        refused("report", folder)
    elif kind == "baseline":
        refused("gate", folder / name, finished)
    elif kind == "document.json":
        refused("report", folder / name)
    else:
        (tmp_path / "src" / "a").mkdir(parents=True)
        (tmp_path / "src" / "a" / "1.png").write_bytes(png(260))
        refused("corrupt", "src", folder, "--conditions", "fog", "--levels", "1", "--workers", "1")


@pytest.mark.parametrize("kind", ["run.json", "policy", "baseline", "document.json", "recipe", "weights", "cell"])
@pytest.mark.parametrize("special", ["fifo", "zero", "folder"])
@pytest.mark.timeout(60)
def test_special_files(refused: Refused, run_folder: Path, tmp_path: Path, kind: str, special: str) -> None:
    names = {
        "run.json": "x/run.json",
        "baseline": "b.json",
        "recipe": "r.toml",
        "policy": "p.toml",
        "weights": "w.pt",
        "cell": "run/cells/clean/clean/0.npz",
    }
    file = tmp_path / names.get(kind, "document.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    if special == "fifo":
        os.mkfifo(file)
    elif special == "zero":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    command = {
        "run.json": ["report", file.parent], "policy": ["gate", run_folder, run_folder, "--policy", file],
        "baseline": ["gate", file, run_folder],
        "document.json": ["report", file], "recipe": ["train", file, "--device", "cpu", "--out", "out"],
        "weights": ["check", f"resnet8/max@{file}"],
        "cell": ["report", run_folder, "--figure", "none", "--replicates", "0", "--out", "rep"],
    }[kind]  # fmt: skip
    refused(*command)


def cell_bytes(good: bytes, **changes: Any) -> bytes:
    """The bytes of a cell with other members; None takes one away."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, content in changes.items():
        name = name.replace("__", ".")
        members.pop(name, None)
        if content is not None:
            members[name] = content
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


CELLS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"", "text": lambda good: b"x", "half": lambda good: good[: len(good) // 2],
    "no members": lambda good: zipped(),
    "no header": lambda good: cell_bytes(good, cell__json=None), "header deep": lambda good: cell_bytes(good,
    cell__json=DEEP.encode()),
    "header list": lambda good: cell_bytes(good, cell__json=b"[]"), "header fields": lambda good: cell_bytes(good,
    cell__json=b"{}"),
    "kind": lambda good: cell_bytes(good,
    cell__json=b'{"layout":2,"record":"x","cell":"","run":"","share":null,"digest":""}'),
    "layout": lambda good: cell_bytes(good,
    cell__json=b'{"layout":9,"record":"x","cell":"","run":"","share":null,"digest":""}'),
    "bomb": lambda good: cell_bytes(good, ids__npy=header((10**8,), rest=b"\0" * 10**8)),
    "more": lambda good: cell_bytes(good, x__npy=b""),
    "labels": lambda good: cell_bytes(good, labels__npy=header((15,), "<f4", rest=b"\0" * 60)),
    "no ids": lambda good: cell_bytes(good, ids__npy=None),
    "objects": lambda good: cell_bytes(good, top5__npy=header((15,), "|O")), "shape": lambda good: cell_bytes(good,
    top5__npy=header((10**12,))),
    "names": lambda good: cell_bytes(good, **{EVIL: b""}),
}  # fmt: skip


@pytest.mark.parametrize("change", CELLS.values(), ids=CELLS)
def test_cells(refused: Refused, run_folder: Path, change: Callable[[bytes], bytes]) -> None:
    file = run_folder / "cells" / "clean" / "clean" / "0.npz"
    file.write_bytes(change(file.read_bytes()))
    refused("report", run_folder, "--figure", "none", "--replicates", "0", "--out", "rep")


def test_no_flipped_bit_of_a_cell_ends_in_a_traceback(run_folder: Path) -> None:
    from robustbench_lift.errors import RobustbenchError
    from robustbench_lift.runs import Run

    run = Run.open(run_folder)
    file = run.file(run.expected[0])
    good = file.read_bytes()
    whole = run.read(run.expected[0]).arrays()
    noticed = 0
    for position in np.random.default_rng(0).integers(0, 8 * len(good), 600).tolist():
        damaged = bytearray(good)
        damaged[position // 8] ^= 1 << position % 8
        file.write_bytes(bytes(damaged))
        try:
            found = run.read(run.expected[0]).arrays()
        except RobustbenchError:
            noticed += 1
            continue
        assert all(np.array_equal(found[name], whole[name]) for name in whole)
    assert noticed > 400


# ---------------------------------------------------------------- policies, baselines, documents

POLICIES = [
    b"x", b"\xff", b"x = " + b"[" * 100_000, b"alpha = 'x'", b"alpha = nan", b"alpha = 2", b"alpha = -1",
    b"alpha = [1]", b"alpha = true", b"nothing = 1",
    b"replicates = 1" + b"0" * 5000, b"replicates = 10000000000", b"replicates = -1", b"replicates = 1.5",
    b"seed = 'x'", b"confidence = 1", b"confidence = inf",
    b"margins = 5", b"margins = {mce = 'x'}", b"margins = {nothing = 1}", b"margins = {mce = nan}",
    b"margins = {mce = -1}", b"mode = 5", b"mode = 'x'",
    b"metrics = 'x'", b"metrics = [5]", b"metrics = []\nmetrics = []", b"cells = 'x'", b"correction = 7",
    b"flip_budget = 'x'", b"flip_budget = -1",
    b"on_missing = 'x'", b"on_improved = 5", b"require_power = 'x'", b"require_power = -1", b'"\\u001b[2J" = 1',
    b"alpha = 1979-05-27", b"[alpha]\nx = 1",
]  # fmt: skip


@pytest.mark.parametrize("content", POLICIES, ids=range(len(POLICIES)))
def test_policies(refused: Refused, finished: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.toml").write_bytes(content)
    refused("gate", finished, finished, "--policy", "p.toml")


GATE = ["--alpha 2", "--alpha nan", "--confidence 0", "--replicates -1", "--replicates 100000000000", "--mode x",
    "--metric nothing", "--margin x", "--margin mce=x",
        "--margin mce=nan", "--margin \x1b[2J=1", "--correction x", "--on-missing x", "--format x", "--seed x",
        "--out /dev/null/x", "--junit /dev/null/x"]  # fmt: skip


@pytest.mark.parametrize("options", GATE)
def test_options_of_gate(refused: Refused, finished: Path, options: str) -> None:
    refused("gate", finished, finished, *options.split(" "))


REPORT = [
    "--table x",
    "--figure x",
    "--format x",
    "--replicates -1",
    "--replicates x",
    "--confidence 2",
    "--confidence nan",
    "--signature x",
    "--out /dev/null/x",
    "--table \x1b[2J",
]


@pytest.mark.parametrize("options", REPORT)
def test_options_of_report(refused: Refused, finished: Path, options: str) -> None:
    refused("report", finished, *options.split(" "))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in nested JSON, containers too; of a list the first element."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        found += leaves(value[0], (*path, 0))
    return found


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = new
    return copy


def never_a_traceback(arguments: list[str]) -> None:
    """A change that keeps the type may be harmless; nothing else may happen than an answer or one message."""
    ends(arguments, (0, 1, 2, 3, 4))


@pytest.mark.parametrize("new", [None, -1, 1.5, EVIL, [], {}, {"x": [EVIL]}, 10**400], ids=range(8))
def test_every_field_of_a_baseline(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: Any) -> None:
    monkeypatch.chdir(tmp_path)
    ends(["gate", "b.json", str(finished), "--accept", "--force"], (0,))
    good = json.loads(Path("b.json").read_text())
    paths = leaves(good)
    assert len(paths) > 20
    for path in paths[:: max(1, len(paths) // 12)] + paths[1 : len(good)]:
        Path("b.json").write_text(json.dumps(changed(good, path, new)))
        never_a_traceback(["gate", "b.json", str(finished), "--replicates", "10"])


@pytest.mark.parametrize("new", [None, -1, 1.5, EVIL, [], {}, {"x": [EVIL]}, 10**400], ids=range(8))
def test_every_field_of_a_document(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: Any) -> None:
    monkeypatch.chdir(tmp_path)
    ends(["report", str(finished), "--figure", "none", "--replicates", "10", "--format", "json", "--out", "rep"], (0,))
    document = next(Path("rep").rglob("document.json"))
    good = json.loads(document.read_text())
    paths = leaves(good)
    assert len(paths) > 20
    for path in paths[:: max(1, len(paths) // 12)] + paths[1 : len(good)]:
        document.write_text(json.dumps(changed(good, path, new)))
        never_a_traceback(["report", str(document), "--figure", "none", "--format", "md,csv,tex", "--out", "again"])


@pytest.mark.parametrize("change", CELLS.values(), ids=CELLS)
def test_arrays_of_a_baseline(refused: Refused, finished: Path, change: Callable[[bytes], bytes]) -> None:
    ends(["gate", "b.json", str(finished), "--accept", "--force"], (0,))
    (arrays,) = Path().glob("b*.npz")
    good = (finished / "cells" / "clean" / "clean" / "0.npz").read_bytes()
    arrays.write_bytes(change(good))
    refused("gate", "b.json", finished)


@pytest.mark.parametrize("field", ["name", "arch", "pooling", "spec", "placement"])
def test_hostile_names_of_models(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.chdir(tmp_path)
    content = json.loads((run_folder / "run.json").read_text())
    evil = f"=HYPERLINK(1)<img src=x onerror=alert(1)>\"' {EVIL}|`[x](javascript:y)"
    content["model"][field] = evil
    (run_folder / "run.json").write_text(json.dumps(content))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    codes = (0, 1, 2, 3, 4)
    for form in ("text", "markdown", "csv"):
        ends(
            ["gate", str(run_folder), str(run_folder), "--format", form, "--junit", "j.xml", "--comment", "c.md"], codes
        )
    ends(["report", str(run_folder), "--replicates", "0", "--out", "rep", "--figure", "none"], codes)
    for file in [*Path("rep").rglob("*"), Path("j.xml"), Path("c.md")]:
        if file.is_file() and file.suffix in (".md", ".csv", ".html", ".xml", ".tex"):
            text = file.read_text()
            assert "\x1b" not in text, file
            assert "\u202e" not in text, file
            assert "\n::error" not in text, file
            shown = re.sub("`[^`]*`", "", text) if file.suffix == ".md" else text  # a code span shows what it holds
            assert "<img src=x" not in shown or file.suffix in (".csv", ".tex"), file
            if file.suffix == ".csv":
                assert not any(
                    line.startswith(("=", '"=')) or ",=" in line or ',"=' in line for line in text.splitlines()
                ), file
