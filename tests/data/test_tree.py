"""ImageNet-C, ImageNet-P and Tiny-ImageNet in every layout: the same cells, and holes are named."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from robustbench_lift.data.kinds import open_images, open_tree
from robustbench_lift.errors import DataError, IncompleteError

SPEC = "imagenet-c:{}?classes=partial"


def expected(files: dict[str, bytes], condition: str, severity: int) -> dict[str, np.ndarray]:
    top = f"{condition}/{severity}/"
    return {
        name.removeprefix(top).removesuffix(".JPEG"): np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        for name, content in files.items()
        if name.startswith(top)
    }


@pytest.fixture(scope="module")
def files(make: SimpleNamespace) -> dict[str, bytes]:
    return make.corrupted(("fog", "snow", "gaussian_noise"), side=48)


def layouts(make: SimpleNamespace, root: Path, files: dict[str, bytes]) -> dict[str, Path]:
    groups = {"fog": "weather", "snow": "weather", "gaussian_noise": "noise"}
    grouped = {f"{groups[name.partition('/')[0]]}/{name}": content for name, content in files.items()}
    (root / "tars").mkdir()
    for group in ("weather", "noise"):
        chosen = {k: v for k, v in files.items() if groups[k.partition("/")[0]] == group}
        make.pack(root / "tars" / f"{group}.tar", chosen, prefix="")
    (root / "grouped-tars").mkdir()
    return {
        "plain": make.write(root / "plain", files),
        "grouped": make.write(root / "grouped", grouped),
        "tars": root / "tars",
        "one tar": make.pack(root / "all.tar", grouped),
        "wrapped": make.write(root / "wrapped", {f"ImageNet-C/{k}": v for k, v in grouped.items()}),
    }


def small(spec: str, **keywords: object) -> object:
    tree = open_tree(spec, **keywords)
    tree.size = 48
    return tree


def test_every_layout_shows_the_same_cells(make: SimpleNamespace, tmp_path: Path, files: dict[str, bytes]) -> None:
    for name, root in layouts(make, tmp_path, files).items():
        tree = small(SPEC.format(root))
        for condition, severity in (("fog", 1), ("snow", 5), ("gaussian_noise", 3)):
            cell = tree.images(condition, severity)
            wanted = expected(files, condition, severity)
            assert list(cell.ids) == sorted(wanted), name
            assert cell.labels.tolist() == [0, 0, 1, 1, 2, 2]
            assert len(cell.class_names) == 1000
            assert all(np.array_equal(cell.read(k), wanted[cell.ids[k]]) for k in range(6)), name
            copy = pickle.loads(pickle.dumps(cell))
            assert np.array_equal(copy.read(1), cell.read(1))


def test_cells_share_one_list_of_names(make: SimpleNamespace, tmp_path: Path, files: dict[str, bytes]) -> None:
    tree = small(SPEC.format(make.write(tmp_path / "c", files)))
    first, second = tree.images("fog", 1), tree.images("snow", 2)
    assert first.ids is second.ids
    assert tree.images("fog", 1) is first
    assert first.blobs.paths is second.blobs.paths
    size = len(pickle.dumps(tree))
    tree.images("snow", 3)
    assert len(pickle.dumps(tree)) == size, "what travels to a worker does not grow with the number of cells"


def test_the_subset_is_the_same_in_every_cell(make: SimpleNamespace, tmp_path: Path, files: dict[str, bytes]) -> None:
    tree = small(SPEC.format(make.write(tmp_path / "c", files)), limit=3)
    cells = [tree.images(c, s) for c, s in (("fog", 1), ("snow", 4))]
    assert cells[0].ids == cells[1].ids
    assert cells[0].labels.tolist() == [0, 1, 2]
    assert cells[0].name == "imagenet-partial-limit3"
    wanted = expected(files, "snow", 4)
    assert all(np.array_equal(cells[1].read(k), wanted[name]) for k, name in enumerate(cells[1].ids))


def test_holes_are_named(make: SimpleNamespace, tmp_path: Path, files: dict[str, bytes]) -> None:
    root = make.write(tmp_path / "c", {k: v for k, v in files.items() if not k.startswith("snow/4")})
    tree = small(SPEC.format(root))
    with pytest.raises(IncompleteError, match=r"lacks 3 of the folders.*snow/4, frost, contrast"):
        tree.require(("fog", "snow", "frost", "contrast"), (4,))
    gone = next(root.glob("fog/2/*/*.JPEG"))
    gone.unlink()
    tree.images("fog", 1)
    with pytest.raises(
        IncompleteError, match=f"fog/2 lacks 1 of the 6 images of .*fog/1: {gone.parent.name}/{gone.stem}"
    ):
        tree.images("fog", 2)
    (root / "fog/3" / gone.parent.name / "new.JPEG").write_bytes(b"x")
    with pytest.raises(IncompleteError, match=r"fog/3 has 1 of its 7 images beyond those of .*fog/1: .*new\. .*if "):
        tree.images("fog", 3)
    tree = small(SPEC.format(root))
    tree.images("fog", 2)  # the first that is read is the one with the hole
    with pytest.raises(IncompleteError, match=r"fog/1 has 1 .*if .*fog/2 should have them, extract that archive"):
        tree.images("fog", 1)


def test_archives_that_are_missing_are_named(make: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match=r"lacks 2 .*They come in blur\.tar, weather\.tar"):
        open_tree(f"imagenet-c:{make.write(tmp_path, {'fog/1/x/y.JPEG': b''})}").require(("frost", "glass_blur"), (1,))


def test_an_archive_extracted_twice_is_refused(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "c", {"weather/fog/1/n01440764/a.JPEG": b"", "fog/1/n01440764/a.JPEG": b""})
    with pytest.raises(DataError, match=r"fog lies in two folders, .*c/fog and .*c/weather/fog.*extracted twice"):
        open_tree(f"imagenet-c:{root}")


def test_a_cell_named_instead_of_the_tree(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "c", {"fog/1/n01440764/a.JPEG": b""})
    with pytest.raises(IncompleteError, match="These are class folders: name the folder above"):
        open_tree(f"imagenet-c:{root}/fog/1")
    with pytest.raises(IncompleteError, match=f"severities of one corruption: name the folder above, {root}"):
        open_tree(f"imagenet-c:{root}/fog")


def test_trees_of_the_other_kind(make: SimpleNamespace, tmp_path: Path) -> None:
    images = make.write(tmp_path / "c", {"snow/1/n01440764/a.JPEG": b""})
    with pytest.raises(DataError, match=r"severities of ImageNet-C.*imagenet-c: instead of imagenet-p:"):
        open_tree(f"imagenet-p:{images}")
    clips = make.write(tmp_path / "p", {"snow/n01440764/a.mp4": b""})
    with pytest.raises(DataError, match=r"holds class folders .*say imagenet-p:"):
        open_tree(f"imagenet-c:{clips}")


def test_images_of_another_size_are_refused_with_the_file(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "c", make.corrupted(("fog",), (1,), side=256))
    cell = open_tree(SPEC.format(root)).images("fog", 1)
    with pytest.raises(DataError, match=r"fog/1/.*\.JPEG is 256x256 pixels, expected 224x224.*re-save"):
        cell.read(0)


def test_clean_images_and_corrupted_ones_must_be_the_same(make: SimpleNamespace, tmp_path: Path) -> None:
    clean = open_images(f"imagenet:{make.write(tmp_path / 'val', make.validation(each=3))}?classes=partial")
    root = make.write(tmp_path / "c", make.corrupted(("fog",), (1,), side=48, each=2))
    with pytest.raises((IncompleteError, DataError), match="of the clean images"):
        open_tree(SPEC.format(root), clean=clean).images("fog", 1)


def test_clips_are_read_as_opencv_reads_them(make: SimpleNamespace, tmp_path: Path) -> None:
    import cv2

    files = make.clips(("tilt",), side=224)
    root = make.write(tmp_path / "p", {f"digital/{k}": v for k, v in files.items()})
    cell = open_tree(f"imagenet-p:{root}?classes=partial").images("tilt", 1)
    assert cell.labels.tolist() == [0, 1]
    clip = cell.read(1)
    assert clip.shape == (31, 224, 224, 3)
    video = cv2.VideoCapture(str(next(root.glob(f"digital/tilt/{cell.ids[1]}.mp4"))))
    frames = []
    while (answer := video.read())[0]:
        frames.append(answer[1][..., ::-1])
    assert np.array_equal(clip, np.stack(frames))


def test_difficulty_is_a_folder_for_noise_only(make: SimpleNamespace, tmp_path: Path) -> None:
    files = make.clips(("tilt", "shot_noise", "shot_noise_3"), frames=2, side=32)
    tree = open_tree(f"imagenet-p:{make.pack(tmp_path / 'noise.tar', files)}?classes=partial")
    for condition, difficulty, folder in (("tilt", 3, "tilt"), ("shot_noise", 3, "shot_noise_3")):
        assert f"/{folder}/" in f"/{tree.images(condition, difficulty).blobs.name(0).partition(':')[2]}"
    with pytest.raises(IncompleteError, match=r"shot_noise_2.*folders for noise only"):
        tree.require(("tilt", "shot_noise"), (2,))


def test_a_clip_that_is_cut_short_is_named(make: SimpleNamespace, tmp_path: Path) -> None:
    files = make.clips(("tilt",), frames=30, side=224)
    cell = open_tree(f"imagenet-p:{make.write(tmp_path, files)}?classes=partial").images("tilt", 1)
    with pytest.raises(DataError, match=r"\.mp4 has 30 frames, expected 31"):
        cell.read(0)


TINY = tuple(f"n{k:08d}" for k in range(200))


@pytest.mark.parametrize("layout", ["published", "sorted", "train"])
def test_tiny_imagenet_as_published_and_sorted(make: SimpleNamespace, tmp_path: Path, layout: str) -> None:
    content = make.jpeg(make.picture(5, 64, 64))
    shuffled = [TINY[(7 * k) % 200] for k in range(200)]
    if layout == "published":
        lines = "".join(f"val_{k}.JPEG\t{wnid}\t0\t0\t9\t9\n" for k, wnid in enumerate(shuffled))
        files = {f"val/images/val_{k}.JPEG": content for k in range(200)} | {"val/val_annotations.txt": lines.encode()}
        files["wnids.txt"] = "\n".join(shuffled).encode()
    else:
        inner = "images/" if layout == "train" else ""
        files = {f"{wnid}/{inner}val_{k}.JPEG": content for k, wnid in enumerate(shuffled)}
    root = make.write(tmp_path / "tiny", files)
    images = open_images(f"tiny-imagenet:{root}")
    assert images.class_names == TINY
    assert images.ids == tuple(sorted(f"{wnid}/val_{k}" for k, wnid in enumerate(shuffled)))
    assert all(TINY[label] == name.partition("/")[0] for name, label in zip(images.ids, images.labels, strict=True))
    assert images.read(0).shape == (64, 64, 3)
    for prefix in ("", "tiny-imagenet-200/"):
        archive = make.pack(tmp_path / f"tiny{len(prefix)}.tar", files, prefix=prefix)
        packed = open_images(f"tiny-imagenet:{archive}")
        assert packed.ids == images.ids
        assert packed.labels.tolist() == images.labels.tolist()
        assert np.array_equal(packed.read(7), images.read(7))


def test_tiny_imagenet_mistakes(make: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="3 class folders, Tiny-ImageNet has 200"):
        open_images(f"tiny-imagenet:{make.write(tmp_path / 'a', make.validation())}")
    bad = {"val/images/val_0.JPEG": b"x", "val/val_annotations.txt": b"../../x\tn01440764\t0\n"}
    with pytest.raises(DataError, match="a line that is not understood"):
        open_images(f"tiny-imagenet:{make.write(tmp_path / 'b', bad)}")
    gone = {"val/images/x": b"", "val/val_annotations.txt": b"val_0.JPEG\tn01440764\t0\n"}
    with pytest.raises(IncompleteError, match=r"lacks 1 images: images/val_0\.JPEG"):
        open_images(f"tiny-imagenet:{make.write(tmp_path / 'c', gone)}")


def test_tiny_imagenet_c_has_its_own_images(make: SimpleNamespace, tmp_path: Path) -> None:
    content = make.jpeg(make.picture(5, 64, 64))
    files = {f"Tiny-ImageNet-C/fog/2/{wnid}/test_{k}.JPEG": content for k, wnid in enumerate(TINY)}
    cell = open_tree(f"tiny-imagenet-c:{make.write(tmp_path, files)}").images("fog", 2)
    assert len(cell.ids) == 200
    assert cell.read(7).shape == (64, 64, 3)
