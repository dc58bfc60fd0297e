"""Samples are functions of (seed, epoch, number): batches, order and workers do not matter."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_lift.data import photos
from robustbench_lift.data.folders import open_folder
from robustbench_lift.data.geometry import ResizeCrop
from robustbench_lift.data.memory import array_images
from robustbench_lift.data.subset import held_out
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.training import RECIPES, ArraySource, ImageSource, PhotoSource, Recipe, draws
from robustbench_lift.training.checks import check_fit
from robustbench_lift.training.data import open_data
from robustbench_lift.training.samples import TestImages, epoch_batches, resized_crop_box

CPU = torch.device("cpu")


def test_draws_are_uniform_and_independent() -> None:
    numbers = torch.arange(20000)
    a = draws.uniform(numbers, seed=0, epoch=0, stream=0)
    others = [
        draws.uniform(numbers, seed=1, epoch=0, stream=0),
        draws.uniform(numbers, seed=0, epoch=1, stream=0),
        draws.uniform(numbers, seed=0, epoch=0, stream=1),
        draws.uniform(numbers + 1, seed=0, epoch=0, stream=0),
    ]
    counts = torch.histc(a.float(), 20, 0, 1)
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 43.8  # chi-square, 19 degrees, p = 0.001
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([a, other]))[0, 1])) < 4 / 20000**0.5


def test_epochs_are_permutations_that_differ() -> None:
    first, second = (torch.cat(epoch_batches(101, batch_size=10, epoch=e, seed=0, drop_last=False)) for e in (0, 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(101))
    assert first.tolist() != second.tolist()
    assert [len(b) for b in epoch_batches(101, batch_size=10, epoch=0, seed=0, drop_last=True)] == [10] * 10


def test_a_sample_does_not_depend_on_its_batch(source: ArraySource) -> None:
    together, labels = source.batch(torch.arange(50), 2, 5, CPU)
    alone = [source.batch(torch.tensor([i]), 2, 5, CPU) for i in range(50)]
    assert torch.equal(together, torch.cat([image for image, _ in alone]))
    assert torch.equal(labels, torch.cat([label for _, label in alone]))
    assert not torch.equal(together, source.batch(torch.arange(50), 3, 5, CPU)[0])
    assert not torch.equal(together, source.batch(torch.arange(50), 2, 6, CPU)[0])


def test_crops_are_windows_of_the_padded_image(recipe: Recipe) -> None:
    images = np.random.default_rng(0).integers(1, 256, (40, 8, 8, 3), dtype=np.uint8)
    source = ArraySource(images, np.zeros(40, int), class_names=("a",), recipe=recipe)
    got = source.batch(torch.arange(40), 0, 0, CPU)[0].numpy().transpose(0, 2, 3, 1)
    seen = set()
    for image, crop in zip(images, got, strict=True):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        windows = {
            (top, left, flipped): padded[top : top + 8, left : left + 8][:, :: -1 if flipped else 1]
            for top in range(3)
            for left in range(3)
            for flipped in (False, True)
        }
        matches = [place for place, window in windows.items() if np.array_equal(window, crop)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) > 12  # of 18 places


def test_photo_crops_are_contiguous_and_never_touch_test_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs whose pixels tell their own place and whether it is set aside for testing."""
    shapes = [photos.pixels(p).shape[:2] for p in photos.PHOTOGRAPHS]

    def places(photograph: photos.Photograph) -> np.ndarray:
        height, width = shapes[photos.PHOTOGRAPHS.index(photograph)]
        row, column = np.mgrid[:height, :width]
        aside = np.ones((height, width), int)
        for top, bottom in photos.training_bands(height):
            aside[top:bottom] = 0
        return np.stack([row % 256, column % 256, aside], -1).astype(np.uint8)

    monkeypatch.setattr(photos, "pixels", places)
    source = PhotoSource(recipe=dataclasses.replace(RECIPES["photos"], flip=False))
    crops, labels = source.batch(torch.arange(15 * 60), 0, 0, CPU)
    assert labels.bincount().tolist() == [60] * 15
    assert not crops[:, 2].any()
    line = torch.arange(64, dtype=torch.uint8)  # differences of uint8 wrap, as the coordinates do
    assert torch.equal(crops[:, 0] - crops[:, 0, :1, :1], line[:, None].expand(900, 64, 64))
    assert torch.equal(crops[:, 1] - crops[:, 1, :1, :1], line.expand(900, 64, 64))


def test_photo_crops_reach_every_part_of_the_bands() -> None:
    source = PhotoSource(recipe=RECIPES["photos"], crops=400)
    table = source._table
    corner = source._first[0] + draws.integers(torch.arange(4000), source._total[0], seed=0, epoch=0, stream=0)
    band = torch.searchsorted(source._ends, corner, right=True)
    share = band.bincount(minlength=len(table))[table[:, 0] == 0] / 4000
    sizes = (table[:, 2] * table[:, 3])[table[:, 0] == 0]
    assert torch.allclose(share, sizes / sizes.sum(), atol=0.03)


def folders(path: Path, count: int = 4) -> Path:
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (path / name).mkdir(parents=True)
        for k in range(count):
            pixels = generator.integers(0, 256, (20 + k, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / name / f"{k}.png")
    return path


def test_workers_give_the_same_samples(tmp_path: Path, recipe: Recipe) -> None:
    crops = dataclasses.replace(recipe, augmentation="resized-crop-flip", data="folders")
    images = open_folder(folders(tmp_path))
    batches = [torch.tensor([3, 0, 7]), torch.tensor([5, 6])]
    alone = list(ImageSource(images, recipe=crops).stream(batches, 1, 2, CPU))
    helped = list(ImageSource(images, recipe=crops, workers=1).stream(batches, 1, 2, CPU))
    for (a, label_a), (b, label_b) in zip(alone, helped, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(label_a, label_b)
    assert alone[0][0].shape == (3, 3, 8, 8)
    assert alone[0][1].tolist() == [0, 0, 1]


def test_resized_crop_boxes_have_the_asked_area_and_ratio() -> None:
    generator = np.random.default_rng(0)
    boxes = [
        resized_crop_box(200, 300, area=(0.08, 1.0), ratio=(0.75, 4 / 3), generator=generator) for _ in range(2000)
    ]
    sides = np.array([(right - left, bottom - top) for left, top, right, bottom in boxes])
    assert all(0 <= b[0] < b[2] <= 300 and 0 <= b[1] < b[3] <= 200 for b in boxes)
    area, ratio = sides.prod(1) / 60000, sides[:, 0] / sides[:, 1]
    assert area.min() > 0.07
    assert area.max() > 0.8
    assert 0.72 < ratio.min() < 0.8
    assert 1.28 < ratio.max() < 1.38


def test_a_strip_falls_back_to_its_centre() -> None:
    generator = np.random.default_rng(0)
    box = resized_crop_box(10, 400, area=(0.9, 1.0), ratio=(0.75, 4 / 3), generator=generator)
    assert box == (193, 0, 206, 10)


def shown(image: np.ndarray, recipe: Recipe) -> np.ndarray:
    """What a network is shown of one test image, uint8 [size, size, 3]."""
    images = array_images(image[None], np.zeros(1, int), class_names=("a",), name="one")
    batch, _ = next(TestImages(images, recipe=recipe).batches(CPU))
    return batch[0].permute(1, 2, 0).numpy()


def test_test_images_are_resized_and_cropped_as_torchvision_does(recipe: Recipe) -> None:
    from torchvision.transforms import v2

    image = np.random.default_rng(0).integers(0, 256, (50, 83, 3), dtype=np.uint8)
    theirs = v2.Compose([v2.Resize(37), v2.CenterCrop(32)])(Image.fromarray(image))
    assert np.array_equal(shown(image, dataclasses.replace(recipe, size=32, resize=37)), np.asarray(theirs))
    with pytest.raises(DataError, match=r"50x83 pixels is smaller than the 64-pixel crop.*--set resize=64"):
        shown(image, dataclasses.replace(recipe, size=64))


def test_test_images_are_those_of_an_evaluation(recipe: Recipe) -> None:
    """One pixel more or less where the proportion is computed in another order, such as in 686 x 98 pixels."""
    image = np.random.default_rng(1).integers(0, 256, (686, 98, 3), dtype=np.uint8)
    square = shown(image, dataclasses.replace(recipe, size=224, resize=256))
    assert np.array_equal(square, ResizeCrop(resize=256, crop=224)(image))


def test_held_out_parts_are_balanced_and_do_not_move() -> None:
    ids = [f"{k:03d}" for k in range(100)]
    labels = np.arange(100) % 5
    aside = held_out(ids, labels, 0.2)
    assert np.bincount(labels[aside]).tolist() == [4] * 5
    order = np.random.default_rng(0).permutation(100)
    again = held_out([ids[i] for i in order], labels[order], 0.2)
    assert np.array_equal(again, aside[order])
    with pytest.raises(UsageError, match=r"between 0 and 1, not 1\.5"):
        held_out(ids, labels, 1.5)


def test_readers_open_npz_and_folders(tmp_path: Path, recipe: Recipe) -> None:
    generator = np.random.default_rng(0)
    file = tmp_path / "small.npz"
    np.savez(file, x=generator.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8), y=np.arange(30) % 3)
    data = open_data(recipe, data=file, hold_out=0.2)
    assert isinstance(data.source, ArraySource)
    assert (len(data.source), len(data.images.ids)) == (24, 6)
    root = tmp_path / "tree"
    folders(root / "train")
    folders(root / "val", 2)
    data = open_data(dataclasses.replace(recipe, data="folders"), data=root)
    assert (len(data.source), len(data.images.ids), data.images.class_names) == (8, 4, ("cat", "dog"))


def test_unusable_data_is_told(tmp_path: Path, recipe: Recipe) -> None:
    x, y = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 2, 0])
    file = tmp_path / "a.npz"
    for hold_out in (0.5, None):
        with pytest.raises(DataError, match="does not exist"):
            open_data(recipe, data=tmp_path / "none", hold_out=hold_out)
    np.savez(file, x=x, y=y + 10**9)
    with pytest.raises(DataError, match=r"labels go up to 1,000,000,0\d\d; at most 1,000,000 classes are read"):
        open_data(recipe, data=file, hold_out=0.5)
    np.savez(file, x=x, y=y)
    with pytest.raises(UsageError, match=r"holding out 0\.999 of each class of \w+ leaves no train images"):
        open_data(recipe, data=file, hold_out=0.999)
    with pytest.raises(UsageError, match="no test images: give --test-data PATH, or --hold-out"):
        open_data(recipe, data=file)
    with pytest.raises(UsageError, match=r"needs --data: an \.npz with x and y"):
        open_data(recipe)
    with pytest.raises(UsageError, match="takes no --data"):
        open_data(RECIPES["photos"], data=file)


def test_recipes_refuse_data_that_does_not_fit(recipe: Recipe, source: ArraySource) -> None:
    with pytest.raises(UsageError, match="is for 15 classes, tiny has 3"):
        check_fit(dataclasses.replace(recipe, classes=15), source)
    one = ArraySource(np.zeros((50, 8, 8, 3), np.uint8), np.zeros(50, int), class_names="a", recipe=recipe, name="one")
    with pytest.raises(UsageError, match=r"one has one class \(a\), and a network learns to tell classes apart"):
        check_fit(recipe, one)
    with pytest.raises(UsageError, match="has 50 training images, fewer than one batch of 64"):
        check_fit(dataclasses.replace(recipe, batch_size=64), source)
    with pytest.raises(DataError, match="has images of 8x8 pixels, recipe tiny trains at 16"):
        ArraySource(
            np.zeros((2, 8, 8, 3), np.uint8),
            np.zeros(2, int),
            class_names="ab",
            recipe=dataclasses.replace(recipe, size=16),
        )
