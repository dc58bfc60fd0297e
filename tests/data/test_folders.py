"""Class folders from disk and from archives: labels, ids, subsets, decoding, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from robustbench_lift.data.classes import class_titles, wnids
from robustbench_lift.data.decode import decode_clip, decode_image
from robustbench_lift.data.kinds import open_images, parse_specs
from robustbench_lift.data.subset import subset, subset_rows
from robustbench_lift.errors import DataError, IncompleteError, UsageError
from robustbench_lift.text import printable


def test_the_thousand_classes() -> None:
    assert len(set(wnids())) == 1000
    assert list(wnids()) == sorted(wnids())
    index = {name: k for k, name in enumerate(wnids())}
    known = {"n01440764": 0, "n02099601": 207, "n02123045": 281, "n07753592": 954, "n15075141": 999}
    assert {name: index[name] for name in known} == known
    assert class_titles()["n02099601"] == "golden retriever"


def test_imagenet_labels_are_wnid_order_wherever_the_data_lie(make: SimpleNamespace, tmp_path: Path) -> None:
    chosen = (wnids()[999], wnids()[3], wnids()[500])
    files = make.validation(chosen)
    here = open_images(f"imagenet:{make.write(tmp_path / 'deep' / 'val', files)}?classes=partial")
    packed = open_images(f"imagenet:{make.pack(tmp_path / 'val.tar', files)}?classes=partial")
    assert here.name == packed.name == "imagenet-partial"
    assert here.ids == packed.ids == tuple(sorted(name.removesuffix(".JPEG") for name in files))
    assert {name.partition("/")[0]: int(label) for name, label in zip(here.ids, here.labels, strict=True)} == {
        wnids()[999]: 999,
        wnids()[3]: 3,
        wnids()[500]: 500,
    }
    assert here.class_names == wnids()
    for k in range(len(here.ids)):
        expected = np.asarray(Image.open(io.BytesIO(files[f"{here.ids[k]}.JPEG"])).convert("RGB"))
        assert np.array_equal(here.read(k), expected)
        assert np.array_equal(packed.read(k), expected)


def test_all_thousand_folders_are_needed(make: SimpleNamespace, tmp_path: Path) -> None:
    files = {f"{wnid}/a.JPEG": b"x" for wnid in wnids()}
    whole = open_images(f"imagenet:{make.pack(tmp_path / 'val.tar', files)}")
    assert whole.name == "imagenet"
    assert whole.labels.tolist() == list(range(1000))
    del files["n01443537/a.JPEG"]
    with pytest.raises(IncompleteError, match=r"999 of the 1,000.*n01443537 \(goldfish\).*\?classes=partial"):
        open_images(f"imagenet:{make.pack(tmp_path / 'val.tar', files)}")


def test_folders_are_labelled_as_torchvision_labels_them(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "pets", make.validation(("dog", "Cat", "ant"), each=3))
    ours, reference = open_images(f"folder:{root}"), ImageFolder(str(root))
    assert list(ours.class_names) == reference.classes
    expected = {f"{Path(p).parent.name}/{Path(p).stem}": label for p, label in reference.samples}
    assert dict(zip(ours.ids, ours.labels.tolist(), strict=True)) == expected
    for k, (path, _) in enumerate(sorted(reference.samples)):
        assert np.array_equal(ours.read(k), np.asarray(reference.loader(path)))
    assert ours.name == "pets"


def few(names: list[str]) -> dict[str, bytes]:
    return {f"{name}/a.JPEG": b"x" for name in names}


@pytest.mark.parametrize(
    ("kind", "files", "words"),
    [
        ("imagenet", {f"ILSVRC2012_val_0000000{k}.JPEG": b"x" for k in range(5)}, "flat folder: 5 images.*valprep"),
        ("imagenet", few([str(k) for k in range(20)]), r"named by numbers.*0, 1, 10, 100.*\?classes=numeric"),
        ("imagenet", few(["train/n01440764", "val/n01440764"]), "one folder below. Name it: .*/x/val"),
        ("imagenet", few(["ILSVRC/n01440764"]), "one folder below. Name it: .*/x/ILSVRC"),
        ("imagenet", few(["fog/1/n01440764"]), "fog: corruptions or perturbations, no classes. Say imagenet-c:"),
        ("imagenet", few(["tench", "goldfish"]), "'goldfish' is a class name.*n01443537"),
        ("imagenet", few(["golden_retriever"]), "n02099601"),
        ("imagenet", few(["crane"]), "must be named n02012849 or n03126707"),
        ("imagenet", few(["n00000001", "n00000002"]), "WNIDs of other ImageNet releases"),
        ("imagenet", {}, "holds no class folders"),
        ("folder", {"a.JPEG": b"x", "b.png": b"x"}, "2 images lie directly in it"),
        ("folder", few([str(k) for k in range(12)]), r"order as strings \(0, 1, 10 and 9 more\)"),
        ("folder", {"a/x.JPEG": b"x", "b/readme.txt": b"x"}, "class folders without images.*: b"),
        ("folder", {"a/x.JPEG": b"x", "a/x.png": b"x"}, r"two files for one image, a/x\.JPEG and a/x\.png"),
        ("folder", {}, "it is empty"),
    ],
)
def test_wrong_layouts_say_what_to_do(
    make: SimpleNamespace, tmp_path: Path, kind: str, files: dict[str, bytes], words: str
) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match=words):
        open_images(f"{kind}:{make.write(tmp_path / 'x', files)}")


def test_numbers_as_folders_when_the_user_says_so(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "v2", few([str(k) for k in range(1000)]))
    images = open_images(f"imagenet:{root}?classes=numeric")
    assert {int(name.partition("/")[0]) for name in images.ids} == set(range(1000))
    assert all(int(n.partition("/")[0]) == label for n, label in zip(images.ids, images.labels, strict=True))
    gone = make.write(tmp_path / "v3", few([str(k) for k in range(999)]))
    with pytest.raises(IncompleteError, match="999 of the 1,000 class folders; missing: 999"):
        open_images(f"imagenet:{gone}?classes=numeric")
    with pytest.raises(DataError, match="takes folders named by numbers"):
        open_images(f"folder:{make.write(tmp_path / 'w', few(['1', 'b']))}?classes=numeric")
    ten = make.write(tmp_path / "ten", few([f"{k:02d}" for k in range(12)]))
    assert open_images(f"folder:{ten}").class_names[-1] == "11"


def test_wrong_specs_are_usage_errors() -> None:
    for spec, words in {
        "/data/val": "is no data spec. Say what it is: imagenet:/data/val",
        "imagnet:/x": "Did you mean 'imagenet'",
        "imagenet:/x?clases=partial": "Did you mean 'classes'",
        "imagenet:/x?classes=some": "unknown classes 'some'",
        "imagenet:/x?crop": "is no data spec|does not exist|has no value",
        "imagenet-c:/x": "is a tree of many cells",
        "\x1b[31mx:/y": r"\\x1b\[31mx",
    }.items():
        with pytest.raises((UsageError, DataError), match=words):
            open_images(spec)
    assert [str(spec.path) for spec in parse_specs("imagenet:/a,b?x,imagenet-p:/c")] == ["/a,b?x", "/c"]


def test_a_subset_is_balanced_fixed_and_nested() -> None:
    labels = np.array([k % 7 for k in range(70)] + [7] * 2)
    ids = [f"c{label}/{k}" for k, label in enumerate(labels)]
    small, large = subset_rows(ids, labels, 16), subset_rows(ids, labels, 40)
    assert np.bincount(labels[small]).tolist() == [2] * 8
    assert sorted(np.bincount(labels[large]).tolist()) == [2, 5, 5, 5, 5, 6, 6, 6]
    assert set(small) <= set(large)
    assert subset_rows(ids, labels, 16) == small
    shuffled = np.random.default_rng(0).permutation(len(ids))
    again = subset_rows([ids[k] for k in shuffled], labels[shuffled], 16)
    assert {ids[shuffled[k]] for k in again} == {ids[k] for k in small}
    assert subset_rows(ids, labels, 16, seed=1) != small
    assert subset_rows(ids, labels, len(ids)) == list(range(len(ids)))


def test_the_fixed_subset_never_changes() -> None:
    ids = [f"n{k // 4:08d}/ILSVRC2012_val_{k:08d}" for k in range(24)]
    labels = np.arange(24) // 4
    assert subset_rows(ids, labels, 8) == GOLDEN
    with pytest.raises(UsageError, match="there are 24 images; give 1 to 24"):
        subset_rows(ids, labels, 25)


GOLDEN = [0, 2, 5, 8, 13, 15, 16, 22]
"""Rows of the subset of 8; a change of this list makes every --limit score incomparable."""


def test_a_subset_reads_the_images_of_the_whole(make: SimpleNamespace, tmp_path: Path) -> None:
    whole = open_images(f"folder:{make.write(tmp_path / 'x', make.validation(each=4))}")
    part = subset(whole, 6)
    assert part.name == "x-limit6"
    assert len(part.ids) == 6
    for k, name in enumerate(part.ids):
        assert np.array_equal(part.read(k), whole.read(whole.ids.index(name)))
    assert subset(whole, None) is whole


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "LA", "1", "I;16"])
def test_every_mode_becomes_rgb_as_pillow_does_it(mode: str) -> None:
    rng = np.random.default_rng(1)
    rgb = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    image = Image.fromarray(rng.integers(0, 60000, (9, 7), dtype=np.uint16)) if mode == "I;16" else rgb.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    expected = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    assert np.array_equal(decode_image(buffer.getvalue(), "x"), expected)


def test_exif_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4)).save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue(), "x").shape == (4, 8, 3)


def png(width: int, height: int) -> bytes:
    """A PNG that declares a size and has next to no content."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8100, 12_000, 60_000])
def test_decompression_bombs_are_refused_before_decoding(side: int) -> None:
    with pytest.raises(DataError, match=r"val/bomb\.png declares .* pixels.*decompression bomb"):
        decode_image(png(side, side), "val/bomb.png")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "x is empty"),
        (b"  <!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"\x00\x05\x16\x07" + bytes(80), "AppleDouble"),
        (b"not an image at all", "not an image in a format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a format"),
        (png(64, 64), "cannot be decoded"),
    ],
)
def test_broken_files_say_what_they_are(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode_image(content, "x")


def test_truncated_images_and_videos_are_named(make: SimpleNamespace) -> None:
    whole = make.jpeg(make.picture(1, 64, 64))
    with pytest.raises(DataError, match="a cannot be decoded"):
        decode_image(whole[: len(whole) // 2], "a")
    clip = next(iter(make.clips(frames=4, side=64).values()))
    assert decode_clip(clip, "b").shape == (4, 64, 64, 3)
    for content in (clip[: len(clip) // 2], b"", b"<html>"):
        with pytest.raises(DataError, match="b is not a video"):
            decode_clip(content, "b")


def test_names_are_shown_without_their_power() -> None:
    for name in ("\x1b]0;title\x07", "a\u202eb", "a\r\nb", b"\xff\xfe", "\ud800", "x" * 5000, "[bold]"):
        shown = printable(name)
        assert shown.isprintable()
        assert len(shown) <= 200
    assert printable("n01440764/caf\u00e9.JPEG") == "n01440764/caf\u00e9.JPEG"


def test_hostile_folder_names_reach_messages_escaped(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "x", few(["n01440764", "\x1b[2J\x1b[31mevil"]))
    with pytest.raises(DataError) as caught:
        open_images(f"imagenet:{root}")
    assert str(caught.value).isprintable()
    assert r"\x1b[2J" in str(caught.value)
