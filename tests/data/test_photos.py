"""The embedded photographs: the same patches everywhere, test regions never seen in training."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from robustbench_lift.data import photos
from robustbench_lift.data.base import fingerprint
from robustbench_lift.errors import DataError
from robustbench_lift.training.recipes import RECIPES
from robustbench_lift.training.samples import PhotoSource

CPU = torch.device("cpu")


def test_at_least_twelve_balanced_classes() -> None:
    test = photos.PhotoTest()
    assert len(test.class_names) >= 12
    counts = np.bincount(test.labels, minlength=len(test.class_names))
    assert set(counts.tolist()) == {photos.PATCHES}
    assert list(test.ids) == sorted(set(test.ids))
    assert all(test.class_names[label] == name.split("/")[0] for name, label in zip(test.ids, test.labels, strict=True))


def test_the_same_patches_on_every_machine() -> None:
    test = photos.PhotoTest()
    assert fingerprint(test.ids, test.labels, test.content())[:16] == "faa83961ad8d3bbb"


@pytest.mark.parametrize("photograph", photos.PHOTOGRAPHS, ids=lambda p: p.name)
def test_test_regions_lie_in_the_held_out_bands_and_training_never_does(photograph: photos.Photograph) -> None:
    height, width, channels = photos.pixels(photograph).shape
    assert channels == 3
    rows_trained = np.zeros(height, dtype=bool)
    for top, bottom in photos.training_bands(height):
        assert bottom - top >= photos.SIZE
        rows_trained[top:bottom] = True
    corners = photos.held_out_corners(height, width)
    assert len(set(corners)) == photos.PATCHES
    for top, left in corners:
        assert 0 <= left <= width - photos.REGION
        assert not rows_trained[top : top + photos.REGION].any()


def test_training_crops_come_from_the_training_rows() -> None:
    source = PhotoSource(recipe=RECIPES["photos"])
    crops, labels = source.batch(torch.arange(0, 45), 3, 0, CPU)
    for crop, label in zip(crops.numpy(), labels.tolist(), strict=True):
        photograph = photos.pixels(photos.PHOTOGRAPHS[label])
        bands = [photograph[top:bottom] for top, bottom in photos.training_bands(photograph.shape[0])]
        assert any(_contains(band, image) for band in bands for image in (crop, crop[:, :, ::-1]))


def _contains(band: np.ndarray, crop: np.ndarray) -> bool:
    """Whether the crop [3, 64, 64] stands somewhere in the band [H, W, 3]: its first row decides where to look."""
    first = np.lib.stride_tricks.sliding_window_view(band[: band.shape[0] - 63], (1, 64, 3))[:, :, 0, 0]
    for row, column in np.argwhere((first == crop.transpose(1, 2, 0)[0]).all(axis=(2, 3))):
        if np.array_equal(band[row : row + 64, column : column + 64], crop.transpose(1, 2, 0)):
            return True
    return False


def test_a_crop_depends_on_seed_epoch_and_sample_alone() -> None:
    source = PhotoSource(recipe=RECIPES["photos"])
    together, _ = source.batch(torch.tensor([5, 77, 1900]), 1, 4, CPU)
    alone, _ = source.batch(torch.tensor([77]), 1, 4, CPU)
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(source.batch(torch.tensor([77]), 2, 4, CPU)[0], alone)
    assert not torch.equal(source.batch(torch.tensor([77]), 1, 5, CPU)[0], alone)


def test_another_photograph_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph = photos.PHOTOGRAPHS[1]
    (tmp_path / photograph.file).write_bytes(b"something else")
    monkeypatch.setattr(photos, "_folder", lambda: tmp_path)
    photos.pixels.cache_clear()
    with pytest.raises(DataError, match="is not the photograph"):
        photos.pixels(photograph)
    with pytest.raises(DataError, match="cannot be read"):
        photos.pixels(photos.PHOTOGRAPHS[2])
    photos.pixels.cache_clear()


def test_subsets_are_spread_and_checked() -> None:
    few = photos.PhotoTest(4)
    assert len(few.ids) == 4 * len(photos.PHOTOGRAPHS)
    assert set(few.ids) < set(photos.PhotoTest().ids)
    with pytest.raises(DataError, match="not 5"):
        photos.PhotoTest(5)


def test_files_are_found_without_importing_scikit_image() -> None:
    photograph = photos.PHOTOGRAPHS[0]
    content = (photos._folder() / photograph.file).read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith(photograph.sha256)
