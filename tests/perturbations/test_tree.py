"""The tree writer: official layouts and storage, resuming, broken sources, unusable folders, verification."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import corruptions
from corruptions import CorruptionError
from corruptions.preparation import prepared, sequence
from corruptions.storage import decode_jpeg, decode_video, encode_jpeg, encode_video
from corruptions.tree import TreeSpec, verify_tree, write_tree
from corruptions.tree.source import read, scan


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two classes, five photographs of different shapes, modes and formats, and a text file."""
    root = tmp_path / "val"
    photo = skimage.data.chelsea()
    parts = {
        "n01/a.JPEG": photo[:200, :260],
        "n01/b.png": photo[:90, :80],
        "n02/c.jpg": photo[:64, :64],
        "n02/d.JPEG": photo[50:180, 60:420],
        "n02/grey.png": photo[:70, :90, 0],
    }
    for name, pixels in parts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(root / name)
    (root / "notes.txt").write_text("not an image")
    return root


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    root = tmp_path / "cifar"
    photo = skimage.data.astronaut()
    for number, name in enumerate(("cat/0", "cat/1", "dog/0", "frog/0")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo[40 * number : 40 * number + 32, 100:132].copy()).save(root / f"{name}.png")
    return root


def digests(root: Path) -> dict[str, str]:
    """Content of a tree without its manifest, which tells the history."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and not path.name.startswith(".lock")
    }


FOG = TreeSpec(conditions=("fog", "gaussian_noise"), levels=(1, 4), size=64, seed=3)


def test_an_imagenet_c_tree_has_the_official_layout_and_bytes(source, tmp_path):
    out = tmp_path / "c"
    seen = []
    report = write_tree(source, out, FOG, workers=1, progress=lambda done, total: seen.append((done, total)))
    assert (report.images, report.written, report.kept, report.failed, report.ignored) == (5, 20, 0, (), 1)
    assert seen[0] == (0, 5)
    assert seen[-1] == (5, 5)
    for name, suffix in (("n01/a", "JPEG"), ("n01/b", "png"), ("n02/grey", "png")):
        base = np.asarray(prepared(read(source / f"{name}.{suffix}"), 64))
        expected = corruptions.corrupt(base, "gaussian_noise", 4, seed=3, ids=[name])
        assert (out / "gaussian_noise/4" / f"{name}.JPEG").read_bytes() == encode_jpeg(expected)
    assert sorted(p.name for p in out.iterdir()) == [".checksums", "fog", "gaussian_noise", "manifest.json"]
    assert len(list(out.glob("*/*/*/*.JPEG"))) == 20
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["settings"] == {"layout": "imagenet-c", "seed": 3, "size": 64, "variant": "imagenet-c"}
    assert manifest["classes"] == ["n01", "n02"]
    assert manifest["cells"]["fog/4"]["files"] == 5
    assert "pillow" in manifest["versions"][0]
    lines = (out / ".checksums/fog-1.sha256").read_text().splitlines()
    assert len(lines) == 5
    digest, name = lines[0].split("  ")
    assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest


def test_the_package_variant_can_be_written(source, tmp_path):
    out = tmp_path / "c"
    spec = TreeSpec(conditions=("contrast",), levels=(2,), size=64, variant="imagecorruptions")
    write_tree(source, out, spec, workers=1)
    base = np.asarray(prepared(read(source / "n01/a.JPEG"), 64))
    expected = corruptions.corrupt(base, "contrast", 2, ids=["n01/a"], variant="imagecorruptions")
    assert (decode_jpeg((out / "contrast/2/n01/a.JPEG").read_bytes()) == decode_jpeg(encode_jpeg(expected))).all()


def test_an_imagenet_p_tree_has_the_official_layout(source, tmp_path):
    out = tmp_path / "p"
    spec = TreeSpec(layout="imagenet-p", conditions=("gaussian_noise", "tilt"), levels=(1, 2), size=64)
    report = write_tree(source, out, spec, workers=1, limit=1)
    assert report.written == 6
    assert sorted(str(p.relative_to(out)) for p in out.glob("*/*/*.mp4")) == [
        "gaussian_noise/n01/a.mp4",
        "gaussian_noise/n02/c.mp4",
        "gaussian_noise_2/n01/a.mp4",
        "gaussian_noise_2/n02/c.mp4",
        "tilt/n01/a.mp4",
        "tilt/n02/c.mp4",
    ]
    whole = read(source / "n01/a.JPEG").resize((64 * 260 // 200, 64), Image.Resampling.BILINEAR)
    base = np.asarray(whole)[:, 10:74]  # (83 - 64) / 2 rounded half to even
    expected = corruptions.perturb(np.ascontiguousarray(base), "gaussian_noise", difficulty=2, ids=["n01/a"])
    content = (out / "gaussian_noise_2/n01/a.mp4").read_bytes()
    assert content == encode_video(expected, noise=True)
    assert decode_video(content).shape == (31, 64, 64, 3)
    assert verify_tree(out, workers=1).problems == ()


def test_bases_are_prepared_as_the_benchmark_was():
    photo = Image.fromarray(skimage.data.coffee())  # 600 x 400
    square = prepared(photo, 224)
    whole = photo.resize((384, 256), Image.Resampling.BILINEAR)
    assert (np.asarray(square) == np.asarray(whole)[16:240, 80:304]).all()
    inner = photo.crop((38, 25, 38 + 525, 25 + 350)).resize((299, 299), Image.Resampling.BILINEAR)
    assert (np.asarray(prepared(photo, 299)) == np.asarray(inner)).all()
    assert prepared(photo, 64).size == (64, 64)
    with pytest.raises(CorruptionError, match="600x400 pixels; size 32 takes images as they are"):
        prepared(photo, 32)


def test_sequences_of_224_warp_the_256_base():
    photo = Image.fromarray(skimage.data.coffee())
    whole = np.asarray(photo.resize((384, 256), Image.Resampling.BILINEAR))
    options = {"size": 224, "difficulty": 1, "seed": 0, "image_id": "x", "device": "cpu"}
    found = sequence(photo, "translate", **options)
    assert (found[20] == whole[16:240, 80:304]).all()
    assert (found[40] == whole[16:240, 60:284]).all()  # 384 pixels are wide enough: no black


def test_sequences_of_299_use_the_whole_image_where_the_benchmark_does():
    photo = Image.fromarray(np.ascontiguousarray(skimage.data.coffee()[:120, :160]))
    options = {"difficulty": 1, "seed": 0, "image_id": "x", "device": "cpu"}
    rotated = sequence(photo, "rotate", size=299, **options)
    assert rotated.shape == (31, 299, 299, 3)
    assert (rotated[15] == np.asarray(prepared(photo, 299))).all()
    translated = sequence(photo, "translate", size=299, **options)
    moved = np.zeros((120, 160, 3), np.uint8)
    moved[:, 5:] = np.asarray(photo)[:, :-5]
    assert (translated[25] == np.asarray(prepared(Image.fromarray(moved), 299))).all()


@pytest.mark.parametrize(("height", "width"), [(120, 160), (160, 120), (100, 100)])
def test_sequences_of_64_show_the_centre_of_the_resized_photograph(height, width):
    pixels = np.ascontiguousarray(skimage.data.coffee()[:height, :width])
    photo = Image.fromarray(pixels)
    options = {"size": 64, "difficulty": 1, "seed": 0, "image_id": "x", "device": "cpu"}
    shape = (64, int(64 * height / width)) if width < height else (int(64 * width / height), 64)
    left, top = (round((side - 64) / 2) for side in shape)

    def centre(whole):
        small = np.asarray(Image.fromarray(whole).resize(shape, Image.Resampling.BILINEAR))
        return small[top : top + 64, left : left + 64]

    moved = sequence(photo, "translate", **options)
    assert (moved[15] == centre(pixels)).all()
    blurred = sequence(photo, "motion_blur", **options)
    for i in (0, 7, 30):
        expected = centre(motion_blurred(pixels, 14, 3, (i - 30) * 5))
        difference = np.abs(blurred[i].astype(int) - expected)
        assert difference.max() <= 1
        assert (difference == 0).mean() > 0.995


def motion_blurred(pixels, radius, sigma, degrees):
    """ImageMagick's motion blur in float64: sums of whole-pixel shifts, edges replicated, 16 bits."""
    width = 2 * radius + 1
    y, x = width * math.sin(math.pi * degrees / 180), width * math.cos(math.pi * degrees / 180)
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    total, weights = np.zeros(pixels.shape), 0.0
    for i in range(width):
        weight = math.exp(-i * i / (2 * sigma * sigma))
        row = np.clip(rows + math.ceil(i * y / math.hypot(y, x) - 0.5), 0, pixels.shape[0] - 1)
        column = np.clip(columns + math.ceil(i * x / math.hypot(y, x) - 0.5), 0, pixels.shape[1] - 1)
        total += weight * pixels[row, column]
        weights += weight
    return np.floor(np.round(257 * total / weights) / 257).astype(np.uint8)


def test_a_tree_goes_on_where_it_was_stopped_and_ends_the_same(source, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    write_tree(source, whole, FOG, workers=1)
    monkeypatch.setattr("corruptions.tree.writer.BATCH", {"cpu": 2})
    out = tmp_path / "out"

    def stop(done: int, total: int) -> None:
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tree(source, out, FOG, workers=1, progress=stop)
    partial = len(list(out.rglob("*.JPEG")))
    assert 0 < partial < 20
    assert not (out / ".partial").exists()
    report = write_tree(source, out, FOG, workers=1)
    assert (report.written, report.kept) == (20 - partial, partial)
    assert digests(out) == digests(whole)
    again = write_tree(source, out, FOG, workers=1)
    assert (again.written, again.kept) == (0, 20)


def test_missing_cut_off_and_unrecorded_files_are_written_again(source, tmp_path):
    out = tmp_path / "c"
    write_tree(source, out, FOG, workers=1)
    before = digests(out)
    (out / "fog/1/n01/a.JPEG").unlink()
    cut = out / "fog/4/n02/c.JPEG"
    cut.write_bytes(cut.read_bytes()[:-100])
    record = out / ".checksums/gaussian_noise-1.sha256"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[1:4]) + lines[4][:20])  # the first is lost, the last was torn
    report = write_tree(source, out, FOG, workers=1)
    assert report.written == 4
    assert digests(out) == before


def test_conditions_can_be_added_later(source, tmp_path):
    out = tmp_path / "c"
    write_tree(source, out, FOG, workers=1)
    more = TreeSpec(conditions=("contrast",), levels=(1,), size=64, seed=3)
    assert write_tree(source, out, more, workers=1).written == 5
    cells = json.loads((out / "manifest.json").read_text())["cells"]
    assert set(cells) == {"fog/1", "fog/4", "gaussian_noise/1", "gaussian_noise/4", "contrast/1"}
    assert verify_tree(out, workers=1).files == 25


def test_a_broken_source_image_is_named_and_the_rest_written(source, tmp_path):
    good = (source / "n02/d.JPEG").read_bytes()
    (source / "n02/cut.JPEG").write_bytes(good[: len(good) // 2])
    (source / "n02/junk.png").write_bytes(b"this is no image")
    (source / "n02/void.png").touch()
    out = tmp_path / "c"
    report = write_tree(source, out, FOG, workers=1)
    assert [failure.path for failure in report.failed] == ["n02/cut.JPEG", "n02/junk.png", "n02/void.png"]
    assert "truncated" in report.failed[0].reason
    assert report.failed[1].reason == "not an image in a format that is known"
    assert report.written == 20
    assert verify_tree(out, workers=1).problems == ()
    assert [row[0] for row in json.loads((out / "manifest.json").read_text())["failed"]] == [
        "n02/cut.JPEG",
        "n02/junk.png",
        "n02/void.png",
    ]


def test_verification_names_what_is_wrong(source, tmp_path):
    out = tmp_path / "c"
    write_tree(source, out, FOG, workers=1)
    assert verify_tree(out, workers=1).problems == ()
    (out / "fog/1/n01/a.JPEG").unlink()
    cut = out / "fog/1/n01/b.JPEG"
    cut.write_bytes(cut.read_bytes()[:200])
    swapped = np.zeros((32, 32, 3), np.uint8)
    (out / "fog/4/n02/c.JPEG").write_bytes(encode_jpeg(swapped))
    (out / "fog/4/n02/stranger.JPEG").write_bytes(encode_jpeg(swapped))
    problems = "\n".join(verify_tree(out, workers=1).problems)
    assert "fog/1/n01/a.JPEG: is missing" in problems
    assert "fog/1/n01/b.JPEG: cannot be decoded" in problems
    assert "fog/4/n02/c.JPEG: its checksum is not the one on record" in problems
    assert "fog/4/n02/c.JPEG: is [32, 32, 3], expected [64, 64, 3]" in problems
    assert "fog/4/n02/stranger.JPEG: is not on record" in problems


def test_verification_sees_a_tree_that_was_never_finished(source, tmp_path):
    out = tmp_path / "c"

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tree(source, out, FOG, workers=1, progress=stop)
    assert "no condition is complete" in verify_tree(out, workers=1).problems[0]


def test_workers_write_the_same_tree(source, tmp_path):
    write_tree(source, tmp_path / "one", FOG, workers=1)
    write_tree(source, tmp_path / "two", FOG, workers=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_cifar_arrays_have_the_official_layout(cifar, tmp_path):
    out = tmp_path / "CIFAR-C"
    spec = TreeSpec(layout="cifar-c", conditions=("fog", "shot_noise"), size=32, seed=1)
    report = write_tree(cifar, out, spec, workers=1)
    assert report.written == 3
    labels = np.load(out / "labels.npy")
    assert labels.dtype == np.uint8
    assert labels.tolist() == [0, 0, 1, 2] * 5
    images = np.stack([np.asarray(read(cifar / f"{name}.png")) for name in ("cat/0", "cat/1", "dog/0", "frog/0")])
    for name in ("fog", "shot_noise"):
        array = np.load(out / f"{name}.npy")
        assert array.shape == (20, 32, 32, 3)
        for severity in range(1, 6):
            expected = corruptions.corrupt(images, name, severity, seed=1, ids=["cat/0", "cat/1", "dog/0", "frog/0"])
            assert (array[4 * severity - 4 : 4 * severity] == expected).all()
    assert verify_tree(out, workers=1) == verify_tree(out, workers=1)
    assert verify_tree(out, workers=1).problems == ()
    (out / "fog.npy").unlink()
    again = write_tree(cifar, out, spec, workers=1)
    assert (again.written, again.kept) == (1, 2)


def test_cifar_sequences_are_arrays_too_and_leave_out_broken_images(cifar, tmp_path):
    (cifar / "dog/broken.png").write_bytes(b"x")
    Image.new("RGB", (40, 40)).save(cifar / "dog/large.png")
    out = tmp_path / "CIFAR-P"
    spec = TreeSpec(layout="cifar-p", conditions=("motion_blur", "gaussian_noise"), levels=(1, 3), size=32)
    report = write_tree(cifar, out, spec, workers=1)
    assert [failure.path for failure in report.failed] == ["dog/broken.png", "dog/large.png"]
    assert np.load(out / "labels.npy").tolist() == [0, 0, 1, 2]
    assert np.load(out / "motion_blur.npy").shape == (4, 21, 32, 32, 3)
    noise = np.load(out / "gaussian_noise_3.npy")
    image = np.asarray(read(cifar / "dog/0.png"))
    expected = corruptions.perturb(image, "gaussian_noise", difficulty=3, ids=["dog/0"])
    assert (noise[2] == expected).all()
    assert verify_tree(out, workers=1).problems == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "imagenet"}, "unknown layout 'imagenet'. Did you mean 'imagenet-"),
        ({"conditions": ("fogg",)}, "unknown corruption 'fogg'. Did you mean 'fog'"),
        ({"layout": "imagenet-p", "conditions": ("fog",)}, "unknown perturbation 'fog'"),
        ({"levels": (6,)}, "severities are 1..5"),
        ({"layout": "cifar-p", "levels": (4,)}, "difficulties are 1..3"),
        ({"conditions": ("fog", "fog")}, "named twice: fog, fog"),
        ({"size": 128}, "choose 224, 299, 64 or 32"),
        ({"variant": "hendrycks"}, "unknown variant 'hendrycks'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(CorruptionError, match=message):
        TreeSpec(**options)


def test_folders_that_cannot_be_used_are_one_clear_error(source, tmp_path):
    with pytest.raises(CorruptionError, match="is not a folder"):
        write_tree(tmp_path / "nowhere", tmp_path / "c", FOG, workers=1)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CorruptionError, match=r"holds no class folders with images \(it is empty\)"):
        write_tree(empty, tmp_path / "c", FOG, workers=1)
    with pytest.raises(CorruptionError, match="images lie directly in it: put each class in a folder"):
        write_tree(source / "n01", tmp_path / "c", FOG, workers=1)
    a_file = tmp_path / "file"
    a_file.touch()
    with pytest.raises(CorruptionError, match="lies inside the source folder"):
        write_tree(source, source / "c", FOG, workers=1)
    with pytest.raises(CorruptionError, match="cannot be written"):
        write_tree(source, a_file / "c", FOG, workers=1)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("precious")
    with pytest.raises(CorruptionError, match=r"holds files but no manifest.json"):
        write_tree(source, foreign, FOG, workers=1)
    assert [p.name for p in foreign.iterdir()] == ["thesis.tex"]
    with pytest.raises(CorruptionError, match=r"holds no manifest\.json"):
        verify_tree(foreign)
    with pytest.raises(CorruptionError, match="0 workers"):
        write_tree(source, tmp_path / "c", FOG, workers=0)


def test_trees_of_other_settings_or_images_are_not_mixed(source, tmp_path):
    out = tmp_path / "c"
    write_tree(source, out, FOG, workers=1)
    before = digests(out)
    other = TreeSpec(conditions=("fog",), levels=(1,), size=64, seed=4)
    with pytest.raises(CorruptionError, match=r"seed 3.*asked for now:.*seed 4"):
        write_tree(source, out, other, workers=1)
    with pytest.raises(CorruptionError, match="another set of 5 images"):
        write_tree(source, out, FOG, workers=1, limit=1)
    (out / "manifest.json").write_text("{")
    with pytest.raises(CorruptionError, match="cannot be read"):
        write_tree(source, out, FOG, workers=1)
    (out / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(CorruptionError, match="another format"):
        write_tree(source, out, FOG, workers=1)
    assert digests(out) == before


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_file(source, tmp_path, monkeypatch):
    out = tmp_path / "c"
    written = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if ".partial" in self.parts and content[:2] == b"\xff\xd8":
            written(self, content[:10])
            raise OSError(28, "No space left on device")
        return written(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CorruptionError, match=r"cannot be written \(No space left on device\).*goes on from there"):
        write_tree(source, out, FOG, workers=1)
    assert not list(out.rglob("*.JPEG"))
    monkeypatch.undo()
    assert write_tree(source, out, FOG, workers=1).written == 20


def test_two_writers_of_one_tree_are_refused(source, tmp_path):
    out = tmp_path / "c"
    complaints = []

    def second(done: int, total: int) -> None:
        if not complaints:
            with pytest.raises(CorruptionError, match="another process is writing into") as caught:
                write_tree(source, out, FOG, workers=1)
            complaints.append(caught.value)

    assert write_tree(source, out, FOG, workers=1, progress=second).written == 20
    assert complaints


def test_shares_written_side_by_side_are_the_tree_of_one_job(source, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    write_tree(source, whole, FOG, workers=1)
    inner = []

    def meanwhile(done: int, total: int) -> None:
        if not inner:
            inner.append(write_tree(source, out, FOG, workers=1, share=(2, 3)))

    first = write_tree(source, out, FOG, workers=1, share=(1, 3), progress=meanwhile)
    assert (first.images, first.written, inner[0].images, inner[0].written) == (2, 8, 2, 8)
    assert "3 files on record, expected 5" not in str(verify_tree(out, workers=1).problems)
    assert any("4 files on record, expected 5" in problem for problem in verify_tree(out, workers=1).problems)
    assert write_tree(source, out, FOG, workers=1, share=(3, 3)).written == 4
    assert digests(out) == digests(whole)
    assert verify_tree(out, workers=1).problems == ()
    assert write_tree(source, out, FOG, workers=1).kept == 20
    with pytest.raises(CorruptionError, match=r"share 4/3 does not exist: i/n goes from 1/n to n/n"):
        write_tree(source, out, FOG, share=(4, 3))


def test_what_a_killed_share_left_on_record_is_kept_by_the_next_job(source, tmp_path):
    out = tmp_path / "out"

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tree(source, out, FOG, workers=1, share=(1, 2), progress=stop)
    report = write_tree(source, out, FOG, workers=1)
    assert (report.written, report.kept) == (8, 12)
    assert not list(out.rglob("*.part"))
    assert verify_tree(out, workers=1).problems == ()


def test_shares_of_arrays_are_whole_arrays(cifar, tmp_path):
    spec = TreeSpec(layout="cifar-c", conditions=("fog", "contrast"), levels=(1, 2), size=32)
    write_tree(cifar, tmp_path / "whole", spec, workers=1)
    for index in (1, 2):
        write_tree(cifar, tmp_path / "out", spec, workers=1, share=(index, 2))
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert verify_tree(tmp_path / "out", workers=1).problems == ()


def test_a_writer_that_was_killed_before_its_first_manifest_can_begin_again(source, tmp_path, monkeypatch):
    out = tmp_path / "c"
    rename = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if ".partial" in self.parts:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    monkeypatch.setattr("shutil.rmtree", lambda *_args, **_options: None)  # as after SIGKILL
    with pytest.raises(KeyboardInterrupt):
        write_tree(source, out, FOG, workers=1)
    assert sorted(entry.name for entry in out.iterdir()) == [".checksums", ".partial"]
    monkeypatch.undo()
    assert write_tree(source, out, FOG, workers=1).written == 20
    assert verify_tree(out, workers=1).problems == ()


def test_names_that_are_not_utf_8_are_written_and_verified(tmp_path):
    root = tmp_path / "val" / os.fsdecode(b"c\xff")
    root.mkdir(parents=True)
    Image.fromarray(skimage.data.chelsea()[:64, :64].copy()).save(root / os.fsdecode(b"k\xe4se.png"))
    (root / os.fsdecode(b"broken\xfe.png")).write_bytes(b"no")
    report = write_tree(tmp_path / "val", tmp_path / "out", FOG, workers=1)
    assert (report.written, len(report.failed)) == (4, 1)
    assert verify_tree(tmp_path / "out", workers=1).problems == ()
    assert write_tree(tmp_path / "val", tmp_path / "out", FOG, workers=1).kept == 4


def test_two_sources_of_one_name_are_refused(source):
    Image.new("RGB", (32, 32)).save(source / "n01/a.png")
    with pytest.raises(CorruptionError, match=r"n01/a.JPEG and n01/a.png would be written to the same file"):
        scan(source)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_device_is_refused(source, tmp_path):
    with pytest.raises(CorruptionError, match="sees no CUDA device"):
        write_tree(source, tmp_path / "c", FOG, device="cuda")
