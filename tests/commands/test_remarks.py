"""What `run` says of models and shifts beside its tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from robustbench_lift.commands.remarks import data_notes, model_notes, shift_words
from robustbench_lift.data.folders import open_folder
from robustbench_lift.data.geometry import AsStored, ResizeCrop
from robustbench_lift.data.photos import PhotoTest
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.runs import Cell, Manifest, Predictions, Run
from robustbench_lift.weights import Preprocessing, load_model


def test_another_geometry_than_the_models_own_is_told() -> None:
    model = replace(load_model("photos/resnet-lift"), name="net", preprocessing=Preprocessing(), notes=("open.",))
    clean = Clean(source=PhotoTest(1), geometry=ResizeCrop())
    assert model_notes([model], [clean]) == ["note on net: open."]
    wide = replace(model, preprocessing=Preprocessing(resize=303, crop=288, interpolation="bicubic"), notes=())
    (line,) = model_notes([wide], [clean])
    assert (
        "its own preprocessing is resize 303 (bicubic), crop 288; the protocol shows every model resize256-bilinear"
        in line
    )
    assert "?resize=303&crop=288&interpolation=bicubic" in line
    own = Clean(source=PhotoTest(1), geometry=ResizeCrop(resize=303, crop=288, interpolation="bicubic"))
    assert model_notes([wide], [own]) == []
    assert model_notes([wide], [Clean(source=PhotoTest(1), geometry=AsStored(224))]) == []


def test_files_that_are_left_out_are_said_once(tmp_path: Path) -> None:
    for name in ("class1/a.png", "class10/a.png", "class2/a.png", "class2/a.heic", "loose.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    clean = Clean(source=open_folder(tmp_path, name="own"), geometry=ResizeCrop())
    left_out, order = data_notes([clean, clean])
    assert left_out.startswith("note on own: files are left out (1 images beside the class folders, 1 other endings")
    assert "?classes=natural" in order
    assert data_notes([Clean(source=PhotoTest(1), geometry=ResizeCrop())]) == []


def stored(folder: Path, top1: list[list[int]], mode: str) -> Run:
    cell = Cell("shift", mode, 0)
    manifest = Manifest(
        model={"name": "net"},
        data={"images": len(top1), "sets": {"shift": {"images": len(top1)}}},
        signature={"shift": {"mode": mode}},
        cells=(cell.key,),
    )
    run = Run.prepare(folder, manifest)
    top5 = np.repeat(np.array(top1)[:, :, None], 5, axis=2)
    ids = [f"{k}" for k in range(len(top1))]
    run.write(cell, Predictions.sorted(ids, np.ones(len(top1)), top5, np.ones(top5.shape[:2])))
    return run


def test_consistency_stands_with_accuracy(tmp_path: Path) -> None:
    # two draws an image; right in the first window of 3 of 4 pairs, of which 2 agree; 2 of 4 agree in all
    words = shift_words(stored(tmp_path / "a", [[1, 1, 1, 2], [1, 1, 3, 4]], "crop"))
    assert words == (
        "net: shift consistency (crop) 50.0 % at an accuracy of 62.5 % on these windows; "
        "66.7 % where the first of a pair is right"
    )
    never = shift_words(stored(tmp_path / "b", [[5, 5, 5, 5]], "circular"))
    assert never is not None
    assert never.endswith("at an accuracy of 0.0 % on these windows; undefined where the first of a pair is right")
    diagonal = shift_words(stored(tmp_path / "c", [[1, 1, 2]], "diagonal"))
    assert diagonal is not None
    assert "(diagonal) 33.3 % at an accuracy of 66.7 % on these windows; 33.3 % where" in diagonal
