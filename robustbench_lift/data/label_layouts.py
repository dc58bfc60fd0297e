"""Where the published sets of label maps keep their files, and what the values in them mean.

| kind         | files of a part                                                    | values             | void      |
|--------------|--------------------------------------------------------------------|--------------------|-----------|
| voc          | JPEGImages/NAME.jpg, SegmentationClass/NAME.png (palette)          | 0..20              | 255       |
| cityscapes   | leftImg8bit/PART/CITY/*_leftImg8bit.png, gtFine/PART/CITY/...      | trainIds 0..18     | 255       |
| ade20k       | images/PART/NAME.jpg, annotations/PART/NAME.png                    | 1..150, less 1     | 0         |
| camvid       | PART/NAME.png, PARTannot/NAME.png (SegNet's copy)                  | 0..10              | 11        |
| label-folder | images/..., labels/..., of the same names                          | 0..K-1             | 255       |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from metrics import VOID
from robustbench_lift.data.decode import SUFFIXES
from robustbench_lift.data.labelmaps import MOST_CLASSES, Coding, StoredLabelMaps
from robustbench_lift.data.store import Store, join, open_store
from robustbench_lift.errors import DataError, IncompleteError, UsageError, unknown
from robustbench_lift.text import listed, printable

BLOCK = 10
"""Neighbouring frames of a sequence that a bootstrap draws together."""

VOC_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
CITYSCAPES_CLASSES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic-light",
    "traffic-sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""labelIds of the 19 classes, in the order of their trainIds."""
CAMVID_CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign-symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
ADE20K_CLASSES = tuple(f"class-{k}" for k in range(1, 151))
"""By number: objectInfo150.txt names them."""

Row = tuple[str, str, str]
"""(id, path of the image, path of its label map), below the store."""


def _opened(
    name: str,
    store: Store,
    rows: Sequence[Row],
    *,
    class_names: tuple[str, ...],
    coding: Coding,
    band: bool = False,
    sequence: Callable[[str], str] | None = None,
    notes: tuple[str, ...] = (),
) -> StoredLabelMaps:
    """The set of images and label maps, whose files must all be there."""
    if not rows:
        raise IncompleteError(f"{store.location} has no images of this part; check the layout and ?split=.")
    ordered = sorted(rows)
    there: dict[str, set[str]] = {}
    for what, column in (("images", 1), ("label maps", 2)):
        missing = []
        for row in ordered:
            folder, _, file = row[column].rpartition("/")
            if folder not in there:
                there[folder] = set(store.files(folder))
            if file not in there[folder]:
                missing.append(row[column])
        if missing:
            raise IncompleteError(
                f"{store.location} lacks {len(missing):,} of {len(ordered):,} {what}: {listed(missing, most=3)}. "
                "Extract the rest; no mean is taken over a part."
            )
    ids = tuple(row[0] for row in ordered)
    return StoredLabelMaps(
        name=name,
        ids=ids,
        class_names=class_names,
        blobs=store.blobs([row[1] for row in ordered]),
        maps=store.blobs([row[2] for row in ordered]),
        coding=coding,
        blocks=blocks_of(ids, sequence),
        band=band,
        notes=notes,
    )


def blocks_of(ids: Sequence[str], sequence: Callable[[str], str] | None) -> npt.NDArray[np.int64]:
    """Numbers of blocks: up to `BLOCK` neighbours of one sequence share one; without sequences each image has its own.

    >>> blocks_of(["a1", "a2", "b1"], lambda name: name[0]).tolist()
    [0, 0, 1]
    """
    if sequence is None:
        return np.arange(len(ids), dtype=np.int64)
    numbers, counts, last, number = [], 0, None, -1
    for name in ids:
        if sequence(name) != last or counts == BLOCK:
            last, counts, number = sequence(name), 0, number + 1
        numbers.append(number)
        counts += 1
    return np.array(numbers, dtype=np.int64)


def _split(split: str, known: Sequence[str], what: str) -> str:
    if split not in known:
        raise unknown(f"split of {what}", split, known)
    return split


def _lines(store: Store, path: str) -> list[str]:
    """The lines of a text file, without those that are empty."""
    content = store.blobs([path]).read(0)
    return [line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]


def open_voc(path: Path, split: str = "val") -> StoredLabelMaps:
    """PASCAL VOC 2012's segmentation: train, val, trainval, or trainaug (with the labels of SBD).

    Args:
        path: VOCdevkit/VOC2012, or the folder above it.
        split: the list in ImageSets/Segmentation. `trainaug` reads SegmentationClassAug and `train_aug.txt` or
            `trainaug.txt`.

    Raises:
        DataError, IncompleteError: another layout, or files that are missing.
    """
    store = open_store(path)
    top = next((t for t in ("", "VOC2012", "VOCdevkit/VOC2012") if "JPEGImages" in store.folders(t)), None)
    if top is None:
        raise DataError(
            f"{store.location} holds {listed(store.folders('')) or 'no folders'}; JPEGImages, SegmentationClass and "
            "ImageSets/Segmentation of VOC2012 were expected."
        )
    lists = join(top, "ImageSets/Segmentation")
    names = {"trainaug": ("train_aug.txt", "trainaug.txt")}.get(split, (f"{split}.txt",))
    file = next((name for name in names if name in store.files(lists)), None)
    if file is None:
        raise unknown("split of voc", split, [name.removesuffix(".txt") for name in store.files(lists)] or ("none",))
    folder = "SegmentationClassAug" if split == "trainaug" else "SegmentationClass"
    ids = [PurePosixPath(line.split()[0]).stem for line in _lines(store, join(lists, file))]
    if len(set(ids)) < len(ids):
        raise DataError(f"{file} of {store.location} names an image twice.")
    if split == "trainaug" and "val.txt" in store.files(lists):
        both = sorted(set(ids) & {PurePosixPath(line).stem for line in _lines(store, join(lists, "val.txt"))})
        if both:
            raise DataError(
                f"{file} names {len(both):,} images of val ({listed(both, most=3)}): scores on val would be of images "
                "that were trained on. Take the list that leaves val out (10,582 images)."
            )
    rows = [(name, join(top, f"JPEGImages/{name}.jpg"), join(top, f"{folder}/{name}.png")) for name in ids]
    return _opened(
        f"voc2012-{split}", store, rows, class_names=VOC_CLASSES, coding=Coding.of(21), band=split != "trainaug"
    )


def open_cityscapes(path: Path, split: str = "val") -> StoredLabelMaps:
    """Cityscapes' fine labels: train or val; `labelTrainIds` where they are, else `labelIds`, mapped to the 19 classes.

    Raises:
        DataError, IncompleteError: another layout, or files that are missing.
    """
    store = open_store(path)
    split = _split(split, ("train", "val"), "cityscapes")
    top = f"leftImg8bit/{split}"
    files = [f"{city}/{file}" for city in store.folders(top) for file in store.files(join(top, city))]
    names = [file.removesuffix("_leftImg8bit.png") for file in files if file.endswith("_leftImg8bit.png")]
    first = names[0].partition("/") if names else ("", "", "")
    trained = f"{first[2]}_gtFine_labelTrainIds.png" in store.files(f"gtFine/{split}/{first[0]}")
    ending = "labelTrainIds" if trained else "labelIds"
    confused = "These are labelIds under the name of labelTrainIds: make the trainIds anew, or remove them."
    coding = Coding.of(19, hints=dict.fromkeys(range(19, 34), confused))
    if not trained:
        table = np.full(256, -1, dtype=np.int64)
        table[:34] = VOID
        table[list(CITYSCAPES_IDS)] = np.arange(19)
        table[255] = VOID  # the licence plate's -1
        coding = Coding(table=table, expected="labelIds 0 to 33, or 255", hints={})
    rows = [(name, f"{top}/{name}_leftImg8bit.png", f"gtFine/{split}/{name}_gtFine_{ending}.png") for name in names]
    return _opened(
        f"cityscapes-{split}",
        store,
        rows,
        class_names=CITYSCAPES_CLASSES,
        coding=coding,
        sequence=lambda name: name.rpartition("_")[0],
    )


def open_ade20k(path: Path, split: str = "validation") -> StoredLabelMaps:
    """ADE20K's SceneParse150: training or validation; 0, "other", is void.

    Raises:
        DataError, IncompleteError: another layout, or files that are missing.
    """
    store = open_store(path)
    split = _split(split, ("training", "validation"), "ade20k")
    rows = []
    for file in store.files(f"images/{split}"):
        name, _, ending = file.rpartition(".")
        if f".{ending.lower()}" in SUFFIXES:
            rows.append((name, f"images/{split}/{file}", f"annotations/{split}/{name}.png"))
    coding = Coding.of(150, first=1, void=(0,))
    return _opened(f"ade20k-{split}", store, rows, class_names=ADE20K_CLASSES, coding=coding)


def open_camvid(path: Path, split: str = "test") -> StoredLabelMaps:
    """CamVid as SegNet's authors publish it, 11 classes: train, val or test; 11 is void.

    Raises:
        DataError, IncompleteError: another layout, or files that are missing.
    """
    store = open_store(path)
    split = _split(split, ("train", "val", "test"), "camvid")
    top = next((t for t in ("", *store.folders("")) if split in store.folders(t)), "")
    rows = []
    for file in store.files(join(top, split)):
        name, _, ending = file.rpartition(".")
        if f".{ending.lower()}" in SUFFIXES:
            rows.append((name, join(top, split, file), join(top, f"{split}annot", f"{name}.png")))
    return _opened(
        f"camvid-{split}",
        store,
        rows,
        class_names=CAMVID_CLASSES,
        coding=Coding.of(11, void=(11,)),
        sequence=lambda name: name.partition("_")[0],
    )


def open_label_folder(
    path: Path,
    *,
    classes: str | None = None,
    void: str | None = None,
    images: str = "images",
    labels: str = "labels",
    name: str | None = None,
) -> StoredLabelMaps:
    """Two folders of equal names: pictures, and label maps of values 0..K-1.

    Args:
        path: where both lie.
        classes: K; None reads their names from `classes.txt`, one a line.
        void: the value that is not counted, 255 unless given.
        images: name of the folder of pictures.
        labels: name of the folder of label maps.
        name: of the set; the folder's unless given.

    Raises:
        UsageError: no number of classes, or one that cannot be.
        DataError, IncompleteError: another layout, or files that are missing.
    """
    store = open_store(path)
    unseen = int(_whole("void", void, 0, 255) if void is not None else VOID)
    if classes is not None:
        class_names = tuple(f"class-{k}" for k in range(_whole("classes", classes, 1, MOST_CLASSES)))
    elif "classes.txt" in store.files(""):
        class_names = tuple(printable(line) for line in _lines(store, "classes.txt"))
        _whole("classes", str(len(class_names)), 1, MOST_CLASSES)
    else:
        raise UsageError(
            f"how many classes do the label maps of {store.location} have? Write ?classes=21, or put their names into "
            "classes.txt there, one a line."
        )
    if unseen < len(class_names):
        raise UsageError(f"?void={unseen} is the value of a class: they are 0 to {len(class_names) - 1}.")
    for folder in (images, labels):
        if folder not in store.folders(""):
            raise DataError(
                f"{store.location} has no folder {printable(folder)}; it holds {listed(store.folders('')) or 'none'}. "
                "Name them: ?images=...&labels=..."
            )
    maps = {PurePosixPath(file).stem: file for file in store.files(labels)}
    rows = []
    for file in store.files(images):
        stem = PurePosixPath(file).stem
        if PurePosixPath(file).suffix.lower() in SUFFIXES:
            rows.append((stem, join(images, file), join(labels, maps.get(stem, f"{stem}.png"))))
    return _opened(
        name or path.name,
        store,
        rows,
        class_names=class_names,
        coding=Coding.of(len(class_names), void=(unseen,)),
    )


def _whole(option: str, text: str, low: int, high: int) -> int:
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise UsageError(f"?{option}={printable(text)}: expected a whole number from {low} to {high}.")
    return int(text)
