"""What --data may say: the words of `run`, and plain paths; one image set either way."""

from __future__ import annotations

import dataclasses
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustbench_lift.data.base import fingerprint
from robustbench_lift.data.folders import open_folder
from robustbench_lift.data.kinds import open_images
from robustbench_lift.errors import DataError, IncompleteError, UsageError
from robustbench_lift.training import ArraySource, ImageSource, Recipe
from robustbench_lift.training.data import open_data, parts_of


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        name="tiny",
        source="a test",
        data="folders",
        size=8,
        epochs=1,
        batch_size=2,
        learning_rate=0.1,
        weight_decay=0.0,
        schedule="constant",
        augmentation="resized-crop-flip",
    )


def write(root: Path, names: list[str]) -> Path:
    """Images of 9 pixels, their colour drawn from their name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = np.frombuffer(name.encode()[-3:], np.uint8)
        Image.fromarray(np.broadcast_to(colour, (9, 9, 3)).copy()).save(path, format="PNG")
    return root


def test_a_folder_is_one_set_under_all_its_names(tmp_path: Path, recipe: Recipe) -> None:
    names = [f"{part}/{kind}/{k}.png" for part in ("train", "val") for kind in ("cat", "dog") for k in range(3)]
    root = write(tmp_path / "pets", [*names, "train/cat/._0.png"])
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for kind in ("cat", "dog"):
            tar.add(root / "train" / kind, kind)
    plain = open_data(recipe, data=root)
    assert isinstance(plain.source, ImageSource)
    assert (len(plain.source), len(plain.images.ids)) == (6, 6)
    assert (plain.source.name, plain.images.name) == ("train", "val")
    for given in (
        {"data": f"folder:{root}"},
        {"data": root / "train", "test_data": root / "val"},
        {"data": f"folder:{root}/train", "test_data": f"folder:{root}"},
        {"data": tmp_path / "train.tar", "test_data": f"folder:{root}/val"},
        {"data": f"folder:{tmp_path}/train.tar", "test_data": str(root)},
    ):
        other = open_data(recipe, **given)
        assert other.source.fingerprint == plain.source.fingerprint
        assert other.images.ids == plain.images.ids
        assert other.source.name == "train"
        assert np.array_equal(other.source._samples.images.read(4), plain.source._samples.images.read(4))


def test_images_may_lie_deeper_in_a_plain_folder(tmp_path: Path) -> None:
    root = write(tmp_path, ["a/x/1.png", "a/2.png", "b/x/y/3.PNG", "b/notes.txt"][:3])
    (root / "b" / "notes.txt").write_text("no image")
    found = open_folder(root)
    assert found.ids == ("a/2", "a/x/1", "b/x/y/3")
    assert found.labels.tolist() == [0, 0, 1]
    # of a training that was begun before: ids, labels and thereby the fingerprint of a folder stay as they were
    assert fingerprint(found.ids, found.labels).startswith("17312aff")


def test_a_place_that_does_not_exist_is_named(recipe: Recipe) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_data(recipe, data="folder:nowhere", hold_out=0.5)


def test_imagenet_means_its_thousand_classes(tmp_path: Path, recipe: Recipe) -> None:
    root = write(
        tmp_path / "in", [f"{part}/{w}/a.png" for part in ("train", "val") for w in ("n01440764", "n01443537")]
    )
    with pytest.raises((DataError, IncompleteError), match="classes=partial"):
        open_data(recipe, data=f"imagenet:{root}")
    data = open_data(recipe, data=f"imagenet:{root}?classes=partial")
    assert len(data.source.class_names) == len(data.images.class_names) == 1000
    assert data.images.labels.tolist() == [0, 1]


def test_what_a_training_cannot_take_is_told(tmp_path: Path, recipe: Recipe) -> None:
    for text, message in (
        ("folder:/d?resize=64", r"\?resize= is for an evaluation; in a training the recipe says it"),
        ("imagenet-c:/d", "is a tree of many cells"),
        ("folder:/d?colour=red", "unknown option of folder"),
        ("folder:", "names no folder"),
    ):
        with pytest.raises(UsageError, match=message):
            parts_of(text).train()
    with pytest.raises(UsageError, match="no test images: give --test-data PATH"):
        open_data(recipe, data=f"folder:{write(tmp_path, ['a/1.png'])}")
    odd = write(tmp_path / "folder:odd", ["a/1.png"])
    assert len(open_folder(odd).ids) == 1


def batch(path: Path, count: int, key: str, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    content = {
        b"data": generator.integers(0, 256, (count, 3072), dtype=np.uint8),
        key.encode(): (np.arange(count) % classes).tolist(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_as_published(tmp_path: Path, recipe: Recipe, classes: int) -> None:
    arrays = dataclasses.replace(recipe, data="arrays", size=32, augmentation="crop-flip")
    if classes == 10:
        for k in range(5):
            batch(tmp_path / "cifar-10-batches-py" / f"data_batch_{k + 1}", 20, "labels", 10, k)
        batch(tmp_path / "cifar-10-batches-py" / "test_batch", 30, "labels", 10, 9)
    else:
        batch(tmp_path / "cifar-100-python" / "train", 200, "fine_labels", 100, 0)
        batch(tmp_path / "cifar-100-python" / "test", 30, "fine_labels", 100, 9)
    data = open_data(arrays, data=f"cifar{classes}:{tmp_path}")
    assert isinstance(data.source, ArraySource)
    assert (len(data.source), len(data.images.ids), len(data.source.class_names)) == (
        100 if classes == 10 else 200,
        30,
        classes,
    )
    assert data.source.class_names == data.images.class_names
    raw = np.random.default_rng(0).integers(0, 256, (20 if classes == 10 else 200, 3072), dtype=np.uint8)
    assert np.array_equal(data.source._images[7].numpy().reshape(-1), raw[7])
    held = open_data(arrays, data=f"cifar{classes}:{tmp_path}", hold_out=0.5)
    assert len(held.source) == len(held.images.ids) == (50 if classes == 10 else 100)
    (tmp_path / ("cifar-10-batches-py/data_batch_3" if classes == 10 else "cifar-100-python/train")).unlink()
    with pytest.raises(DataError, match="has no file"):
        open_data(arrays, data=f"cifar{classes}:{tmp_path}")


def test_rows_of_an_archive_of_cifar(tmp_path: Path, recipe: Recipe) -> None:
    arrays = dataclasses.replace(recipe, data="arrays", size=32, augmentation="crop-flip")
    file = tmp_path / "c.npz"
    np.savez(file, x=np.zeros((60, 32, 32, 3), np.uint8), y=np.arange(60) % 10)
    data = open_data(arrays, data=f"cifar10:{file}?rows=0-50", test_data=f"cifar10:{file}?rows=50-60")
    assert (len(data.source), len(data.images.ids)) == (50, 10)


def test_tiny_imagenet_as_published(tmp_path: Path, recipe: Recipe) -> None:
    wnids = [f"n{k:08d}" for k in range(200)]
    write(tmp_path, [f"train/{w}/images/{w}_0.JPEG" for w in wnids])
    write(tmp_path, [f"val/images/val_{k}.JPEG" for k in range(200)])
    (tmp_path / "wnids.txt").write_text("\n".join(wnids))
    lines = [f"val_{k}.JPEG\t{w}\t0\t0\t1\t1\n" for k, w in enumerate(wnids)]
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(lines))
    data = open_data(recipe, data=f"tiny-imagenet:{tmp_path}")
    assert (len(data.source), len(data.images.ids)) == (200, 200)
    assert data.source.class_names == data.images.class_names


def test_held_out_images_have_a_spec_that_run_takes(tmp_path: Path, recipe: Recipe) -> None:
    """Evaluated on it, a network meets no image that it was trained on."""
    names = [f"{part}/{kind}/{k}.png" for part in ("train", "val") for kind in ("cat", "dog") for k in range(8)]
    root = write(tmp_path / "pets", names)
    for given in (str(root / "train"), f"folder:{root}/train", f"folder:{root}", str(root)):
        data = open_data(recipe, data=given, hold_out=0.25)
        assert data.held_out == f"folder:{root}/train?part=test&hold_out=0.25"
        assert isinstance(data.source, ImageSource)
        evaluated = open_images(data.held_out)
        assert evaluated.ids == data.images.ids
        assert len(evaluated.ids) == 4
        assert not set(evaluated.ids) & set(data.source._samples.images.ids)
        again = open_data(recipe, data=data.held_out.replace("part=test", "part=train"), test_data=data.held_out)
        assert again.source.fingerprint == data.source.fingerprint
        assert again.images.ids == data.images.ids
    assert open_data(recipe, data=root).held_out is None


def test_held_out_arrays_have_a_spec_where_run_reads_them(tmp_path: Path, recipe: Recipe) -> None:
    arrays = dataclasses.replace(recipe, data="arrays", size=32, augmentation="crop-flip")
    generator = np.random.default_rng(0)
    file = tmp_path / "c.npz"
    np.savez(file, x=generator.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8), y=np.arange(60) % 10)
    data = open_data(arrays, data=f"cifar10:{file}", hold_out=0.5)
    assert data.held_out == f"cifar10:{file}?part=test&hold_out=0.5"
    assert open_images(data.held_out).ids == data.images.ids
    batches = tmp_path / "cifar-10-batches-py"
    for k in range(5):
        batch(batches / f"data_batch_{k + 1}", 20, "labels", 10, k)
    batch(batches / "test_batch", 30, "labels", 10, 9)
    assert open_data(arrays, data=f"cifar10:{tmp_path}", hold_out=0.5).held_out is None  # run reads the test batch
