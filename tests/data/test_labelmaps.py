"""Label maps of every kind of data: values, void, layouts, and what is refused."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metrics import VOID
from robustbench_lift.data.check import check_data
from robustbench_lift.data.kinds import open_images
from robustbench_lift.data.label_layouts import blocks_of
from robustbench_lift.errors import DataError, IncompleteError, RobustbenchError, UsageError

SIZE = (5, 7)


def picture(path: Path, size: tuple[int, int] = SIZE, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path, **options)  # type: ignore[arg-type]


def labels(path: Path, values: list[int], size: tuple[int, int] = SIZE, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.resize(np.array(values, np.uint8), size)
    image = Image.fromarray(array)
    if mode == "P":
        image = image.convert("L")
        image.putpalette([k % 256 for k in range(768)])
    image.save(path)


def voc(root: Path, names: tuple[str, ...] = ("b", "a"), values: tuple[int, ...] = (0, 15, 255)) -> Path:
    for name in names:
        picture(root / f"JPEGImages/{name}.jpg")
        labels(root / f"SegmentationClass/{name}.png", list(values), mode="P")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(names) + "\n")
    return root


def values_of(spec: str, row: int = 0) -> list[int]:
    images = open_images(spec)
    return sorted(set(images.target(row, images.read(row).shape[:2]).ravel().tolist()))  # type: ignore[attr-defined]


def test_voc_reads_indices_of_the_palette(tmp_path: Path) -> None:
    root = voc(tmp_path / "VOC2012")
    images = open_images(f"voc:{root}")
    assert (images.name, images.ids, len(images.class_names)) == ("voc2012-val", ("a", "b"), 21)
    assert values_of(f"voc:{root}") == [0, 15, VOID]
    assert images.band  # type: ignore[attr-defined]
    assert open_images(f"voc:{tmp_path}").ids == ("a", "b"), "the folder above is found too"


def test_voc_with_the_labels_of_sbd_leaves_val_out(tmp_path: Path) -> None:
    root = voc(tmp_path)
    picture(root / "JPEGImages/c.jpg")
    for name in "ac":
        labels(root / f"SegmentationClassAug/{name}.png", [3, 4])
    lists = root / "ImageSets/Segmentation"
    (lists / "train_aug.txt").write_text("c\n")
    assert open_images(f"voc:{root}?split=trainaug").ids == ("c",)
    (lists / "train_aug.txt").write_text("/JPEGImages/c.jpg /SegmentationClassAug/c.png\na\n")
    with pytest.raises(DataError, match="1 images of val"):
        open_images(f"voc:{root}?split=trainaug")


def cityscapes(root: Path, kind: str, values: list[int]) -> Path:
    for city, frame in (("bonn", 1), ("bonn", 2), ("ulm", 1)):
        name = f"{city}/{city}_000000_{frame:06d}"
        picture(root / f"leftImg8bit/val/{name}_leftImg8bit.png")
        labels(root / f"gtFine/val/{name}_gtFine_{kind}.png", values)
    return root


def test_cityscapes_maps_its_ids(tmp_path: Path) -> None:
    by_id = f"cityscapes:{cityscapes(tmp_path / 'ids', 'labelIds', [0, 7, 26, 33])}"
    assert values_of(by_id) == [0, 13, 18, VOID]
    trained = f"cityscapes:{cityscapes(tmp_path / 'trained', 'labelTrainIds', [0, 13, 18, 255])}"
    assert values_of(trained) == [0, 13, 18, VOID]
    assert open_images(trained).blocks.tolist() == [0, 0, 1]  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"26.*labelIds under the name"):
        values_of(f"cityscapes:{cityscapes(tmp_path / 'wrong', 'labelTrainIds', [7, 26])}")


def test_ade20k_begins_at_one(tmp_path: Path) -> None:
    picture(tmp_path / "images/validation/ADE_val_1.jpg")
    labels(tmp_path / "annotations/validation/ADE_val_1.png", [0, 1, 150])
    assert values_of(f"ade20k:{tmp_path}") == [0, 149, VOID]


def test_camvid_has_its_own_void_and_sequences(tmp_path: Path) -> None:
    names = [f"0001TP_{k:06d}" for k in range(12)] + ["0016E5_1"]
    for name in names:
        picture(tmp_path / f"CamVid/val/{name}.png")
        labels(tmp_path / f"CamVid/valannot/{name}.png", [0, 10, 11])
    assert values_of(f"camvid:{tmp_path}?split=val") == [0, 10, VOID]
    images = open_images(f"camvid:{tmp_path / 'CamVid'}?split=val")
    assert images.blocks.tolist() == [0] * 10 + [1] * 2 + [2]  # type: ignore[attr-defined]
    part = open_images(f"camvid:{tmp_path}?split=val", limit=4)
    assert len(part.ids) == 4
    assert len(part.blocks) == 4  # type: ignore[attr-defined]
    with tarfile.open(tmp_path / "c.tar", "w") as archive:
        archive.add(tmp_path / "CamVid", "CamVid")
    assert open_images(f"camvid:{tmp_path / 'c.tar'}?split=val").ids == images.ids
    assert values_of(f"camvid:{tmp_path / 'c.tar'}?split=val") == [0, 10, VOID]


def folder(root: Path, values: list[int], *, size: tuple[int, int] = SIZE) -> Path:
    picture(root / "images/x.png")
    labels(root / "labels/x.png", values, size)
    return root


def test_folders_of_ones_own(tmp_path: Path) -> None:
    root = folder(tmp_path / "d", [0, 2, 255])
    assert values_of(f"label-folder:{root}?classes=3") == [0, 2, VOID]
    (root / "classes.txt").write_text("sky\nroad\ncar\n")
    assert open_images(f"label-folder:{root}").class_names == ("sky", "road", "car")
    assert values_of(f"label-folder:{folder(tmp_path / 'e', [0, 1, 9])}?classes=2&void=9") == [0, 1, VOID]
    with pytest.raises(UsageError, match="void=1"):
        open_images(f"label-folder:{root}?classes=3&void=1")
    with pytest.raises(UsageError, match="how many classes"):
        open_images(f"label-folder:{tmp_path / 'e'}")
    with pytest.raises(UsageError, match="classes=300"):
        open_images(f"label-folder:{root}?classes=300")


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda root: labels(root / "labels/x.png", [0, 7]), r"labels/x.png has 17 pixels of the values 7"),
        (lambda root: labels(root / "labels/x.png", [0], (5, 6)), r"5x6 pixels, its image .*x.png is 5x7"),
        (lambda root: picture(root / "labels/x.png"), r"labels/x.png is a picture of mode RGB"),
        (lambda root: picture(root / "labels/x.png", format="JPEG"), r"labels/x.png is a JPEG"),
        (lambda root: (root / "labels/x.png").write_bytes(b"PNG"), r"labels/x.png cannot be read"),
    ],
)
def test_maps_that_cannot_be_used_are_named(tmp_path: Path, break_it: object, words: str) -> None:
    root = folder(tmp_path, [0, 1])
    break_it(root)  # type: ignore[operator]
    with pytest.raises(DataError, match=words):
        values_of(f"label-folder:{root}?classes=2")
    findings = check_data(f"label-folder:{root}?classes=2")[0]
    assert any("x.png" in problem for problem in findings.problems)


def test_missing_files_are_counted_and_named(tmp_path: Path) -> None:
    root = voc(tmp_path)
    (root / "SegmentationClass/b.png").unlink()
    with pytest.raises(IncompleteError, match=r"1 of 2 label maps: SegmentationClass/b.png"):
        open_images(f"voc:{root}")
    (root / "JPEGImages/a.jpg").unlink()
    with pytest.raises(IncompleteError, match=r"1 of 2 images: JPEGImages/a.jpg"):
        open_images(f"voc:{root}")


@pytest.mark.parametrize("spec", ["voc:{}", "cityscapes:{}", "ade20k:{}", "camvid:{}", "label-folder:{}?classes=2"])
def test_another_layout_is_one_message(tmp_path: Path, spec: str) -> None:
    (tmp_path / "something").mkdir()
    with pytest.raises(RobustbenchError):
        open_images(spec.format(tmp_path))


def test_check_counts_the_pixels_of_each_class(tmp_path: Path) -> None:
    root = folder(tmp_path, [0, 0, 0, 0, 1, 1, 255])
    texts = [finding.text for finding in check_data(f"label-folder:{root}?classes=3")[0].findings]
    assert any("class-0 57.1 %, class-1 28.6 %, class-2 0.0 %, void 14.3 %" in text for text in texts)
    assert any("no pixel of class-2" in text for text in texts)
    labels(root / "labels/x.png", [255])
    assert any("void throughout" in f.text for f in check_data(f"label-folder:{root}?classes=3")[0].findings)


def test_blocks_without_sequences_are_images() -> None:
    assert blocks_of(["b", "a"], None).tolist() == [0, 1]
