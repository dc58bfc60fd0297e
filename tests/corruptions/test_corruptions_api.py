"""What users meet: shapes, kinds and layouts, errors that teach, results that depend on the image alone."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import corruptions
from corruptions import BENCHMARK, CORRUPTIONS, EXTRA, CorruptionError, corrupt
from corruptions.kernels import frost
from corruptions.kernels.defocus_blur import disk
from corruptions.randomness import Draws
from corruptions.registry import SIZES

EVERY = [*BENCHMARK, *EXTRA]
CHEAP = ["gaussian_noise", "defocus_blur", "frost", "brightness", "contrast", "pixelate"]


def test_names_are_the_benchmarks_in_its_order():
    assert len(BENCHMARK) == 15
    assert BENCHMARK[:3] == ("gaussian_noise", "shot_noise", "impulse_noise")
    assert BENCHMARK[-1] == "jpeg_compression"
    assert EXTRA == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert tuple(CORRUPTIONS)[:19] == (*BENCHMARK, *EXTRA)
    for name in EVERY:
        assert set(CORRUPTIONS[name].rows) == set(SIZES)


@pytest.mark.parametrize("name", EVERY)
def test_any_batch_size_order_and_split_gives_the_same_images(batch, name):
    images = batch.repeat(5, 1, 1, 1)
    ids = [f"n{i:02}.png" for i in range(len(images))]
    whole = corrupt(images, name, 3, seed=9, ids=ids)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    shuffled = corrupt(images[order], name, 3, seed=9, ids=[ids[i] for i in order])
    assert torch.equal(shuffled, whole[order])
    split = [
        corrupt(part, name, 3, seed=9, ids=ids[start : start + 7])
        for start, part in ((0, images[:7]), (7, images[7:14]), (14, images[14:]))
    ]
    assert torch.equal(torch.cat(split), whole)
    assert torch.equal(corrupt(images[:1], name, 3, seed=9, ids=ids[:1]), whole[:1])


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in EVERY
        if name
        not in (
            "defocus_blur",
            "zoom_blur",
            "brightness",
            "contrast",
            "pixelate",
            "jpeg_compression",
            "gaussian_blur",
            "saturate",
        )
    ],
)
def test_random_corruptions_differ_by_image_and_by_seed(batch, name):
    images = batch[:1].expand(2, -1, -1, -1)
    first = corrupt(images, name, 3, ids=["a", "b"])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, corrupt(images, name, 3, ids=["a", "b"], seed=1))
    assert torch.equal(first, corrupt(images, name, 3, ids=["a", "b"], seed=0))


@pytest.mark.parametrize("name", EVERY)
def test_torch_and_numpy_agree_in_every_layout_and_leave_the_input_alone(batch, name):
    before = batch.clone()
    expected = corrupt(batch, name, 2)
    assert expected.dtype == torch.uint8
    assert expected.shape == batch.shape
    assert torch.equal(corrupt(batch.contiguous(memory_format=torch.channels_last), name, 2), expected)
    arrays = np.ascontiguousarray(batch.permute(0, 2, 3, 1).numpy())
    arrays.flags.writeable = False
    found = corrupt(arrays, name, 2)
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, expected.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(corrupt(arrays[1], name, 2, ids=1), found[1])
    assert np.array_equal(corrupt(arrays[:, ::-1][:, ::-1], name, 2), found)
    assert torch.equal(batch, before)


@pytest.mark.parametrize("name", EVERY)
def test_every_size_with_a_table_and_an_empty_batch(photograph, name):
    for side in (32, 64):
        image = photograph("coffee", side, side)
        assert corrupt(image, name, 5).shape == image.shape
    empty = torch.zeros(0, 3, 64, 64, dtype=torch.uint8)
    assert corrupt(empty, name, 1).shape == empty.shape


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(32, 70),
    width=st.integers(32, 70),
    severity=st.integers(1, 5),
    variant=st.sampled_from(["imagenet-c", "imagecorruptions"]),
    name=st.sampled_from(EVERY),
    level=st.integers(0, 255),
)
def test_any_size_from_32_up_works(height, width, severity, variant, name, level):
    rows = np.arange(height)[:, None, None] * 3 + np.arange(width)[None, :, None] + level + np.arange(3) * 40
    image = (rows % 256).astype(np.uint8)
    table = "nearest" if variant == "imagenet-c" else None
    result = corrupt(image, name, severity, variant=variant, table=table)
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    again = corrupt(torch.from_numpy(image).permute(2, 0, 1)[None], name, severity, variant=variant, table=table)
    assert np.array_equal(again[0].permute(1, 2, 0).numpy(), result)


@pytest.mark.parametrize("level", [0, 1, 100, 254, 255])
@pytest.mark.parametrize(
    "name",
    [
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "contrast",
        "pixelate",
        "elastic_transform",
        "gaussian_blur",
    ],
)
def test_a_flat_image_stays_flat(name, level):
    image = np.full((64, 64, 3), level, dtype=np.uint8)
    result = corrupt(image, name, 3).astype(int)
    assert np.ptp(result) == 0
    assert abs(int(result.flat[0]) - level) <= 1


def test_defocus_sums_and_flat_levels_are_the_originals():
    sums = [round(float(disk(*pair).sum(dtype=np.float64)), 5) for pair in CORRUPTIONS["defocus_blur"].rows[224]]
    assert sums == [1.0, 1.0, 1.0, 1.01298, 1.01079]
    flat = np.full((224, 224, 3), 100, dtype=np.uint8)
    assert [int(corrupt(flat, "defocus_blur", s)[112, 112, 0]) for s in range(1, 6)] == [99, 99, 99, 101, 101]


@pytest.mark.parametrize("severity", range(1, 6))
def test_contrast_scales_the_standard_deviation(photograph, severity):
    image = photograph("astronaut", 224, 224)
    result = corrupt(image, "contrast", severity)
    ratio = result.std(axis=(0, 1)) / image.std(axis=(0, 1))
    assert np.allclose(ratio, CORRUPTIONS["contrast"].parameters(severity, 224), atol=0.006)
    # Truncation takes half a level from the mean.
    assert np.abs(result.mean(axis=(0, 1)) - image.mean(axis=(0, 1)) + 0.5).max() < 0.2


# Not monotone in squared distance by their tables: alternating scales (elastic, glass), desaturation then saturation,
# equal strengths with another map (fog), water then mud, flakes of another size, and a drawn photograph (frost).
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in EVERY
        if name not in ("elastic_transform", "glass_blur", "saturate", "fog", "spatter", "snow", "frost")
    ],
)
def test_severity_moves_away_from_the_clean_image(photograph, name):
    images = np.stack([photograph(picture, 224, 224) for picture in ("astronaut", "coffee")])
    distance = [float(((corrupt(images, name, s) - images.astype(float)) ** 2).mean()) for s in range(1, 6)]
    assert all(a < b for a, b in itertools.pairwise(distance)), distance


def test_float32_kernels_agree_with_float64(batch):
    """Production arithmetic against float64 on the very same draws."""

    class Exact(Draws):
        def __init__(self, *args):
            super().__init__(*args)
            self.dtype = torch.float64

        def uniform(self, *args):
            return super().uniform(*args).double()

        def normal(self, shape):
            return super().normal(shape).double()

    for name in ("elastic_transform", "snow", "fog", "spatter"):
        for severity in (1, 3, 5):
            pair = [
                CORRUPTIONS[name]
                .apply(batch, kind(0, name, severity, range(4)), severity, variant="imagenet-c", table=64)
                .int()
                for kind in (Draws, Exact)
            ]
            off = (pair[0] - pair[1]).abs()
            assert float((off == 0).float().mean()) > 0.998, name
            assert float((off > 1).float().mean()) < 1e-4, name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", EVERY)
def test_cuda_agrees_with_the_cpu(batch, name):
    for severity in range(1, 6):
        here = corrupt(batch, name, severity).int()
        there = corrupt(batch.cuda(), name, severity)
        assert there.is_cuda
        off = (here - there.cpu().int()).abs()
        assert float((off <= 1).float().mean()) >= 0.999


IMAGE = np.zeros((64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, "3", None, True, np.float64(3)])
def test_severity_must_be_an_integer_from_1_to_5(severity):
    with pytest.raises(CorruptionError, match=r"from 1 .* to 5"):
        corrupt(IMAGE, "fog", severity)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGE.astype(np.float32), "uint8 with levels 0..255, found float32"),
        (torch.zeros(1, 3, 64, 64), "found torch.float32"),
        (IMAGE[..., 0], "grey image has no channel axis"),
        (IMAGE[..., :1], "repeated to three channels"),
        (np.zeros((64, 64, 4), np.uint8), "drop the alpha"),
        (np.zeros((2, 3, 64, 64), np.uint8), "permute it"),
        (torch.zeros(2, 64, 64, 3, dtype=torch.uint8), "permute it"),
        (torch.zeros(3, 64, 64, dtype=torch.uint8), r"images\[None\]"),
        (IMAGE[:31], "at least 32 x 32 pixels, found 31 x 64"),
        ([[1, 2, 3]], "found list"),
        (IMAGE[:50, :50], "no severity table for images of 50 x 50 .* table=224"),
        (IMAGE[:32], "no severity table for images of 32 x 64"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8).to_sparse(), r"must be dense .* images\.to_dense"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8, device="meta"), "must be dense and have pixels"),
        (np.ma.array(IMAGE, mask=IMAGE == 0), "some pixels are masked"),
    ],
)
def test_bad_images_get_one_clear_error(images, message):
    with pytest.raises(CorruptionError, match=message) as caught:
        corrupt(images, "fog", 1)
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"table": 128}, "one of 32, 64, 224, 299 or 'nearest', found 128"),
        ({"table": "closest"}, "found 'closest'"),
        ({"variant": "imagenet"}, "Did you mean 'imagenet-c'"),
        ({"variant": "imagecorruptions", "table": 64}, "table of 224 at every size"),
        ({"ids": ["a", "b"]}, "found 2 ids for 1 images"),
        ({"ids": [1.5]}, "must be a str or an int, found 1.5"),
        ({"ids": 1.5}, "must be a str or an int, found 1.5"),
        ({"ids": ["\ud800"]}, "holds half a character"),
        ({"ids": {"a"}}, "in the order of the images, and a set has none"),
        ({"table": np.array([64, 32])}, "table must be one of 32, 64, 224, 299"),
        ({"variant": "imagecorruptions", "table": np.array([64, 32])}, "table of 224 at every size"),
        ({"seed": 1.5}, "seed must be an integer, found 1.5"),
        ({"random_state": 3}, "numpy.random.RandomState, found int"),
    ],
)
def test_bad_keywords_get_one_clear_error(keywords, message):
    with pytest.raises(CorruptionError, match=message):
        corrupt(IMAGE, "fog", 1, **keywords)


@pytest.mark.parametrize(
    ("name", "near"), [("gausian_noise", "gaussian_noise"), ("Motion Blur", "motion_blur"), (3, ""), (["fog"], "")]
)
def test_unknown_names_list_the_near_ones(name, near):
    with pytest.raises(CorruptionError, match=f"unknown corruption .*{near}.*Known: gaussian_noise"):
        corrupt(IMAGE, name, 1)


def test_tables_are_chosen_by_the_caller():
    image = np.full((96, 96, 3), 120, dtype=np.uint8)
    image[:48] = 90
    assert np.array_equal(corrupt(image, "contrast", 1, table="nearest"), corrupt(image, "contrast", 1, table=64))
    assert not np.array_equal(corrupt(image, "contrast", 1, table=32), corrupt(image, "contrast", 1, table=64))
    assert SIZES == (32, 64, 224, 299)


def test_missing_or_changed_frost_photographs_say_what_to_do(monkeypatch, tmp_path):
    frost.textures.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(CorruptionError, match=r"pip install imagecorruptions==1\.1\.2"):
        frost.textures()
    path = tmp_path / "frost1.png"
    with pytest.raises(CorruptionError, match="is missing"):
        frost._read(path, "0")
    path.write_bytes(b"no picture")
    with pytest.raises(CorruptionError, match="expected 6ead634a"):
        frost._read(path, frost.FILES["frost1.png"])


def test_frost_does_not_import_the_package():
    code = (
        "import sys, numpy as np, corruptions;"
        "corruptions.corrupt(np.zeros((32, 32, 3), np.uint8), 'frost', 1);"
        "assert not any(name.startswith('imagecorruptions') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_there():
    names = {"BENCHMARK", "EXTRA", "EXTRA_PERTURBATIONS", "PERTURBATIONS", "CorruptionError", "corrupt", "perturb"}
    assert names | {"CORRUPTIONS", "SEQUENCES", "corruption", "perturbation"} <= set(corruptions.__all__)
    assert all(hasattr(corruptions, name) for name in corruptions.__all__)
