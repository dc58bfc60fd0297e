"""Protocols: which cells, which frames, and a signature field for everything that changes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import corruptions
from robustbench_lift.data.geometry import CenterCrop, ResizeCrop
from robustbench_lift.data.photos import PhotoTest
from robustbench_lift.errors import DataError, UsageError
from robustbench_lift.protocols import Request
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.protocols.corruption import Corruption, GeneratedCorruptions
from robustbench_lift.protocols.perturbation import GeneratedSequences, Perturbation
from robustbench_lift.protocols.shift import GROUP, MODES, Shift


@pytest.fixture(scope="module")
def regions() -> PhotoTest:
    return PhotoTest(4)


def batch_of(source: PhotoTest, rows: list[int], geometry: CenterCrop) -> torch.Tensor:
    return torch.stack([torch.from_numpy(geometry(source.read(i)).transpose(2, 0, 1).copy()) for i in rows])


def test_the_embedded_benchmark_has_every_cell() -> None:
    cells = [cell for protocol in Request().build() for cell in protocol.cells()]
    assert len(cells) == len(set(cells)) == 1 + 15 * 5 + 10 + 1


def test_corruption_cells_are_the_corruptions(regions: PhotoTest) -> None:
    crop = CenterCrop(64)
    protocol = Corruption(source=GeneratedCorruptions(clean=regions, geometry=crop, storage="none", seed=3))
    batch, ids = batch_of(regions, [0, 1, 2], crop), list(regions.ids[:3])
    cell = protocol.cells()[12]
    frames = protocol.render(cell, batch, ids)
    expected = corruptions.corrupt(batch, cell.condition, cell.severity, seed=3, ids=ids)
    assert torch.equal(frames[:, 0], expected)
    later = protocol.render(cell, batch[2:], ids[2:])
    assert torch.equal(later[0], frames[2])


def test_storage_is_in_the_pixels_and_in_the_signature(regions: PhotoTest) -> None:
    crop = CenterCrop(64)
    plain = Corruption(source=GeneratedCorruptions(clean=regions, geometry=crop, storage="none"))
    stored = Corruption(source=GeneratedCorruptions(clean=regions, geometry=crop))
    batch = batch_of(regions, [0], crop)
    cell = plain.cells()[0]
    assert not torch.equal(plain.render(cell, batch, ["a"]), stored.render(cell, batch, ["a"]))
    assert plain.fields()["storage"] == "none"
    assert stored.fields()["storage"] == "jpeg85"


def test_perturbations_have_their_frames(regions: PhotoTest) -> None:
    crop = CenterCrop(64)
    protocol = Perturbation(source=GeneratedSequences(clean=regions, geometry=crop, storage="none"))
    batch = batch_of(regions, [0, 1], crop)
    for cell in protocol.cells():
        frames = protocol.render(cell, batch, list(regions.ids[:2]))
        assert frames.shape == (2, 31, 3, 64, 64)
        assert frames.dtype == torch.uint8


@pytest.mark.parametrize("mode", ["crop", "parity"])
def test_windows_are_cut_from_the_image(regions: PhotoTest, mode: str) -> None:
    protocol = Shift(source=regions, geometry=CenterCrop(72), window=64, mode=mode, draws=3)
    batch = batch_of(regions, list(range(12)), CenterCrop(72))
    windows = protocol.render(protocol.cells()[0], batch, list(regions.ids[:12]))
    assert windows.shape == (12, 6, 3, 64, 64)
    offsets = protocol._offsets(list(regions.ids[:12]), 8)
    assert int(offsets.min()) >= 0
    assert int(offsets.max()) <= 7
    for image in range(12):
        for frame in range(6):
            top, left = offsets[image, frame].tolist()
            assert torch.equal(windows[image, frame], batch[image, :, top : top + 64, left : left + 64])
    shared = bool((offsets[:GROUP] == offsets[0]).all())
    assert shared == (mode == "parity")
    if mode == "parity":
        assert not torch.equal(offsets[GROUP - 1], offsets[GROUP])


def test_offsets_do_not_depend_on_the_batch(regions: PhotoTest) -> None:
    for mode in ("crop", "parity", "circular"):
        protocol = Shift(source=regions, geometry=CenterCrop(72), window=64, mode=mode)
        together = protocol._offsets(list(regions.ids), 8)
        alone = protocol._offsets([regions.ids[17]], 8)
        assert torch.equal(together[17], alone[0])


def test_offsets_are_uniform(regions: PhotoTest) -> None:
    protocol = Shift(source=regions, geometry=CenterCrop(72), window=64, draws=500)
    counts = torch.bincount(protocol._offsets(list(regions.ids), 32).flatten(), minlength=32).double()
    expected = counts.sum() / 32
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert len(counts) == 32
    assert chi_square < 61.1  # the 99.9 % point with 31 degrees of freedom


def test_circular_windows_are_rolled_centres(regions: PhotoTest) -> None:
    protocol = Shift(source=regions, geometry=CenterCrop(72), window=64, mode="circular", draws=2)
    batch = batch_of(regions, [3, 4], CenterCrop(72))
    windows = protocol.render(protocol.cells()[0], batch, list(regions.ids[3:5]))
    offsets = protocol._offsets(list(regions.ids[3:5]), 8)
    centre = batch[:, :, 4:68, 4:68]
    for image in range(2):
        for frame in range(4):
            top, left = (offsets[image, frame] - 4).tolist()
            assert torch.equal(windows[image, frame], centre[image].roll((-top, -left), (1, 2)))


def test_the_diagonal_has_every_offset(regions: PhotoTest) -> None:
    protocol = Shift(source=regions, geometry=CenterCrop(72), window=64, mode="diagonal")
    batch = batch_of(regions, [0], CenterCrop(72))
    windows = protocol.render(protocol.cells()[0], batch, ["a"])
    assert windows.shape[1] == 9
    assert torch.equal(windows[0, 8], batch[0, :, 8:, 8:])


def test_a_shift_without_margin_is_refused(regions: PhotoTest) -> None:
    protocol = Shift(source=regions, geometry=CenterCrop(64), window=64)
    with pytest.raises(DataError, match="larger squares"):
        protocol.render(protocol.cells()[0], batch_of(regions, [0], CenterCrop(64)), ["a"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda s: Corruption(source=GeneratedCorruptions(clean=s, geometry=CenterCrop(64)), conditions=("fogg",)),
            "Did you mean 'fog'",
        ),
        (
            lambda s: Corruption(source=GeneratedCorruptions(clean=s, geometry=CenterCrop(64)), severities=(0,)),
            "severity 0 does not exist",
        ),
        (
            lambda s: Perturbation(source=GeneratedSequences(clean=s, geometry=CenterCrop(64)), conditions=("tlit",)),
            "Did you mean 'tilt'",
        ),
        (
            lambda s: Perturbation(source=GeneratedSequences(clean=s, geometry=CenterCrop(64)), difficulty=4),
            "difficulty 4",
        ),
        (lambda s: Shift(source=s, geometry=CenterCrop(64), mode="diag"), "unknown shift mode"),
        (lambda s: Shift(source=s, geometry=CenterCrop(64), draws=0), "at least one draw"),
        (lambda s: Request(protocols=("corruptions",)), "Did you mean 'corruption'"),
        (lambda s: Request(storage="png"), "unknown storage"),
        (lambda s: Request(limit=100).build(), "balanced subsets"),
    ],
)
def test_unknown_names_and_numbers_are_told(regions: PhotoTest, make: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(regions)  # type: ignore[operator]


def test_geometry_rounds_half_to_even_like_torchvision() -> None:
    from torchvision.transforms.functional import center_crop

    image = np.random.default_rng(0).integers(0, 256, (71, 75, 3), dtype=np.uint8)
    ours = CenterCrop(64)(image)
    theirs = center_crop(torch.from_numpy(image.transpose(2, 0, 1).copy()), [64, 64]).numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(ours, theirs)


def test_clean_frames_are_the_images(regions: PhotoTest) -> None:
    batch = batch_of(regions, [0, 1], CenterCrop(64))
    protocol = Clean(source=regions, geometry=CenterCrop(64))
    assert torch.equal(protocol.render(protocol.cells()[0], batch, ["a", "b"])[:, 0], batch)


@pytest.mark.parametrize("name", [*corruptions.BENCHMARK, *corruptions.EXTRA])
def test_every_cell_of_a_batch_is_the_cell_of_its_images(regions: PhotoTest, name: str) -> None:
    crop = CenterCrop(64)
    batch, ids = batch_of(regions, [0, 9, 30], crop), [regions.ids[i] for i in (0, 9, 30)]
    for severity in (1, 3, 5):
        together = corruptions.corrupt(batch, name, severity, ids=ids)
        alone = corruptions.corrupt(batch[1:2], name, severity, ids=ids[1:2])
        assert torch.equal(together[1], alone[0])


def test_the_order_of_names_is_no_part_of_the_signature(regions: PhotoTest) -> None:
    def fields(names: tuple[str, ...], severities: tuple[int, ...]) -> dict[str, str]:
        return Corruption(
            source=GeneratedCorruptions(clean=regions, geometry=CenterCrop(64)), conditions=names, severities=severities
        ).fields()

    assert fields(("snow", "fog"), (3, 1)) == fields(("fog", "snow"), (1, 3))
    assert "severities" not in fields(("fog",), (5, 4, 3, 2, 1))
    for repeated in ({"corruptions": ("fog", "fog")}, {"severities": (1, 1)}, {"severities": ()}):
        with pytest.raises(UsageError, match=r"more than once|no severity"):
            Request(**repeated)  # type: ignore[arg-type]


def test_every_protocol_knows_its_frames_before_it_renders(regions: PhotoTest) -> None:
    shifts = [Shift(source=regions, geometry=CenterCrop(72), window=64, mode=mode, draws=3) for mode in MODES]
    two = ("translate", "tilt")
    square = GeneratedSequences(clean=regions, geometry=CenterCrop(64), storage="none")
    for protocol in (*shifts, Perturbation(source=square, conditions=two)):
        batch = torch.from_numpy(protocol.prepare(regions.read(0)).transpose(2, 0, 1).copy())[None]
        for cell in protocol.cells():
            assert protocol.render(cell, batch, ["a"] if cell.condition != "parity" else list(regions.ids[:1])).shape[
                1
            ] == protocol.frames(cell)
    large = Perturbation(
        source=GeneratedSequences(clean=regions, geometry=ResizeCrop()), conditions=("translate", "tilt")
    )
    assert [large.frames(cell) for cell in large.cells()] == [41, 31]
    odd = Perturbation(
        source=GeneratedSequences(clean=regions, geometry=CenterCrop(72), table="nearest"), conditions=("translate",)
    )
    assert odd.frames(odd.cells()[0]) == 31
