"""Class folders from disk and from archives: labels, ids, subsets, decoding, and what is refused."""

from __future__ import annotations

import io
import re
import struct
import unicodedata
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from robustbench_lift.data.base import left_out_of, notes_of
from robustbench_lift.data.check import check_data
from robustbench_lift.data.classes import class_titles, wnids
from robustbench_lift.data.decode import decode_clip, decode_image
from robustbench_lift.data.folders import APPLE, BESIDE, BROKEN, ENDING
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


def test_what_is_left_out_is_counted_by_reason(make: SimpleNamespace, tmp_path: Path) -> None:
    content = make.jpeg(make.picture(1))
    names = (
        "ant/1.png",
        "bee/1.png",
        "bee/more/2.png",
        "cow/1.png",
        "cow/2.jfif",
        "cow/._1.png",
        "loose.png",
        "readme",
    )
    root = make.write(tmp_path / "x", dict.fromkeys(names, content))
    (root / "ant" / "gone.png").symlink_to(tmp_path / "unplugged" / "gone.png")
    images = open_images(f"folder:{root}")
    assert images.ids == ("ant/1", "bee/1", "bee/more/2", "cow/1"), "images may lie deeper, as for ImageFolder"
    assert dict(left_out_of(images)) == {BESIDE: 1, BROKEN: 1, ENDING: 1, APPLE: 1}
    assert left_out_of(subset(images, 2)) == left_out_of(images)
    packed = open_images(f"folder:{make.pack(tmp_path / 'x.tar', dict.fromkeys(names, content))}")
    assert packed.ids == images.ids
    assert dict(left_out_of(packed)) == {BESIDE: 1, ENDING: 1, APPLE: 1}
    (report,) = check_data(f"folder:{root}")
    assert all(name in " ".join(report.problems) for name in ("ant/gone.png", "loose.png"))
    assert all(
        any(name in finding.text for finding in report.findings) for name in ("cow/2.jfif", "cow/._1.png", "bee/more/2")
    )


def test_names_are_the_same_on_linux_and_macos(make: SimpleNamespace, tmp_path: Path) -> None:
    found, accented = [], "\u00e9clair"
    for form in ("NFC", "NFD"):
        names = [unicodedata.normalize(form, name) for name in ("echo/1.png", "\u00e9clair/\u00fc.png", "fog/1.png")]
        found.append(
            open_images(f"folder:{make.write(tmp_path / form, dict.fromkeys(names, make.jpeg(make.picture(1))))}")
        )
    assert found[0].ids == found[1].ids
    assert found[0].class_names == found[1].class_names == ("echo", "fog", "\u00e9clair")
    assert all(np.array_equal(found[0].read(k), found[1].read(k)) for k in range(3))
    both = {f"{unicodedata.normalize(form, accented)}/1.png": b"" for form in ("NFC", "NFD")}
    with pytest.raises(DataError, match="Unicode form"):
        open_images(f"folder:{make.write(tmp_path / 'both', both)}")


def test_names_that_are_no_text_are_refused_by_name(make: SimpleNamespace, tmp_path: Path) -> None:
    for name in ("a/caf\udce9.png", "caf\udce9/a.png"):
        root = make.write(tmp_path / name[:1], {name: b"x", "b/1.png": b"x"})
        with pytest.raises(DataError, match=r"caf\\udce9.* is a name that is not UTF-8"):
            open_images(f"folder:{root}")


def test_the_order_of_classes_is_said_and_chosen(make: SimpleNamespace, tmp_path: Path) -> None:
    names = ["class1", "class2", "class10", "Zebra", "apple"]
    root = make.write(tmp_path / "x", {f"{name}/1.png": b"x" for name in names})
    images = open_images(f"folder:{root}")
    assert images.class_names == ("Zebra", "apple", "class1", "class10", "class2")
    assert "?classes=natural" in " ".join(notes_of(images))
    assert any("?classes=natural" in finding.text for finding in check_data(f"folder:{root}")[0].findings)
    natural = open_images(f"folder:{root}?classes=natural")
    assert natural.class_names == ("apple", "class1", "class2", "class10", "Zebra")
    assert natural.labels.tolist() == [natural.class_names.index(name.partition("/")[0]) for name in natural.ids]
    assert notes_of(natural) == ()
    assert notes_of(open_images(f"folder:{make.write(tmp_path / 'y', few(['a', 'b']))}")) == ()


def test_a_class_without_images_keeps_its_number(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "x", few(["ant", "cow"]))
    (root / "bee").mkdir()
    with pytest.raises(DataError, match=r"without images .*: bee\..*\?empty=allow"):
        open_images(f"folder:{root}")
    images = open_images(f"folder:{root}?empty=allow")
    assert images.class_names == ("ant", "bee", "cow")
    assert images.labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("names", "best"), [(["train/a", "train/b", "val/a", "val/b"], "val"), (["pets/a", "pets/b"], "pets")]
)
def test_the_folder_above_the_classes_is_not_taken_for_classes(
    make: SimpleNamespace, tmp_path: Path, names: list[str], best: str
) -> None:
    root = make.write(tmp_path / "x", few(names))
    archive = make.pack(tmp_path / "x.tar", few(names))
    for place in (root, archive):
        with pytest.raises(DataError, match=rf"one folder below\. Name it: {place}/{best}\."):
            open_images(f"folder:{place}")
    assert open_images(f"folder:{archive}/{best}").class_names == ("a", "b")


def test_a_file_that_no_data_set_has_is_not_read(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "x", few(["a"]))
    with (root / "a" / "a.JPEG").open("r+b") as stream:
        stream.truncate(3 * 2**30)  # sparse: it takes no room on the disk
    with pytest.raises(DataError, match=r"a/a\.JPEG has 3,221,225,472 bytes"):
        open_images(f"folder:{root}").read(0)


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


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "LA", "1"])
def test_every_mode_becomes_rgb_as_pillow_does_it(mode: str) -> None:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    expected = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    assert np.array_equal(decode_image(buffer.getvalue(), "x"), expected)


def stored(array: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_images_of_16_bits_are_scaled_not_clipped(form: str) -> None:
    wide = np.random.default_rng(1).integers(0, 65536, (9, 7), dtype=np.uint16)
    wide[0, :3] = 0, 65535, 128
    expected = np.round(wide / 257).astype(np.uint8)
    assert np.array_equal(decode_image(stored(wide, form), "x"), np.stack([expected] * 3, axis=-1))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_of_unknown_range_are_refused(kind: type) -> None:
    with pytest.raises(DataError, match=r"scan\.tif has pixels of .* 8 or 16 bits"):
        decode_image(stored(np.ones((9, 7), kind), "TIFF"), "scan.tif")


def test_pillow_warns_of_nothing_that_names_no_file() -> None:
    palette, metadata = io.BytesIO(), io.BytesIO()
    picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    picture.convert("P").save(palette, "PNG", transparency=bytes(range(256)))
    picture.save(metadata, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0" + b"\xff" * 7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [decode_image(file.getvalue(), "x") for file in (palette, metadata)]
    assert np.array_equal(found[0], np.asarray(picture.convert("P").convert("RGB")))
    assert found[1].shape == (8, 8, 3)


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


def test_a_clip_with_a_flipped_bit_is_not_read_as_if_it_were_whole(make: SimpleNamespace) -> None:
    """FFmpeg fills what it cannot decode from other frames, and hands them out like any."""
    clip = next(iter(make.clips(frames=4, side=64).values()))
    said = []
    for place in range(len(clip) // 4, len(clip) // 2, 97):
        try:
            decode_clip(clip[:place] + bytes([clip[place] ^ 16]) + clip[place + 1 :], "b")
        except DataError as error:
            said.append(str(error))
    assert any(re.match(r"b: frame \d is damaged", text) for text in said)


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
