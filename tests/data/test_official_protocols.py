"""From a data spec to predictions on disk: official frames as they lie, generated ones where there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import corruptions
from corruptions.preparation import prepared, sequence
from corruptions.storage import round_trip
from robustbench_lift.data.classes import wnids
from robustbench_lift.data.kinds import open_images, open_tree
from robustbench_lift.errors import IncompleteError, UsageError
from robustbench_lift.evaluation.engine import evaluate
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.protocols import Corruption, Perturbation, Request
from robustbench_lift.protocols.sources import StoredCells
from robustbench_lift.runs import Cell
from robustbench_lift.weights import LoadedModel, Preprocessing


class Colours(nn.Module):
    """Answers by the mean colour: cheap, and different for different frames."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        weight = torch.randn(classes, 3, generator=torch.Generator().manual_seed(3))
        self.register_buffer("weight", weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)) @ self.weight.T


def model(classes: int) -> LoadedModel:
    return LoadedModel(
        spec="colours",
        name="colours",
        arch="colours",
        pooling=None,
        placement=None,
        module=Colours(classes).eval(),
        preprocessing=Preprocessing(),
        weights_sha256="0" * 64,
        parameters=0,
        num_classes=classes,
    )


@pytest.fixture(scope="module")
def files(make: SimpleNamespace) -> dict[str, dict[str, bytes]]:
    """Three classes of two images: clean, ImageNet-C (fog and snow) and ImageNet-P (tilt, brightness)."""
    return {
        "val": make.validation(side=260),
        "c": make.corrupted(("fog", "snow"), (1, 3)),
        "p": make.clips(("tilt", "brightness")),
    }


@pytest.fixture
def data(make: SimpleNamespace, tmp_path: Path, files: dict[str, dict[str, bytes]]) -> dict[str, Path]:
    """The same on disk."""
    return {name: make.write(tmp_path / name, content) for name, content in files.items()}


def spec(data: dict[str, Path], *kinds: str) -> str:
    place = {"imagenet": "val", "imagenet-c": "c", "imagenet-p": "p"}
    return ",".join(f"{kind}:{data[place[kind]]}?classes=partial" for kind in kinds)


def test_official_frames_reach_the_network_unchanged(data: dict[str, Path], tmp_path: Path) -> None:
    request = Request(
        data=spec(data, "imagenet", "imagenet-c"),
        protocols=("clean", "corruption"),
        corruptions=("fog", "snow"),
        severities=(1, 3),
    )
    network = model(1000)
    run = evaluate(network, request.build(), run=tmp_path / "run", settings=Settings(device="cpu", batch_size=4))
    assert not run.missing()
    found = run.read(Cell("corruption", "snow", 3))
    for k, name in enumerate(found.ids):
        image = np.asarray(Image.open(data["c"] / "snow" / "3" / f"{name}.JPEG").convert("RGB"))
        logits = network.logits(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])
        assert found.top5[k, 0, 0] == int(logits.argmax())
        assert found.labels[k] == wnids().index(name.partition("/")[0])
    clean = run.read(Cell("clean", "clean", 0))
    assert clean.ids.tolist() == found.ids.tolist()
    fields = run.manifest.signature
    assert fields["clean"] == {"geometry": "resize256-bilinear-antialias-crop224"}
    assert fields["corruption"]["source"] == "official"
    assert fields["corruption"]["files"] == "imagenet-c-jpeg"
    assert fields["corruption"]["geometry"] == "as-stored224"
    assert "imagenet-partial@" in run.signature


def test_a_tree_of_our_own_is_not_taken_for_the_official_one(make: SimpleNamespace, tmp_path: Path) -> None:
    from corruptions.tree import TreeSpec, write_tree

    val = make.write(tmp_path / "val", make.validation(each=1, side=260))
    write_tree(val, tmp_path / "c", TreeSpec(conditions=("contrast",), levels=(2,), seed=7), workers=1)
    request = Request(
        data=f"imagenet:{val}?classes=partial,imagenet-c:{tmp_path / 'c'}?classes=partial",
        corruptions=("contrast",),
        severities=(2,),
        protocols=("corruption",),
        seed=7,
    )
    (written,) = request.build()
    assert {k: written.fields()[k] for k in ("source", "seed", "variant")} == {
        "source": "written",
        "seed": "7",
        "variant": "imagenet-c",
    }
    (generated,) = replace(request, data=f"imagenet:{val}?classes=partial").build()
    cell = generated.cells()[0]
    images = generated.images(cell)
    for k, name in enumerate(images.ids):
        base = torch.from_numpy(generated.prepare(images.read(k)).transpose(2, 0, 1).copy())[None]
        frame = generated.render(cell, base, [name])[0, 0].permute(1, 2, 0).numpy()
        assert np.array_equal(written.images(cell).read(k), frame), "generated on the fly and written to disk are one"
    (tmp_path / "c" / "manifest.json").write_text("[" * 100_000)
    assert written.fields()["source"] == "official"


def test_clips_become_frames(data: dict[str, Path], tmp_path: Path) -> None:
    request = Request(
        data=spec(data, "imagenet-p"), protocols=("perturbation",), perturbations=("tilt", "brightness"), difficulty=2
    )
    (protocol,) = request.build()
    assert isinstance(protocol, Perturbation)
    assert isinstance(protocol.source, StoredCells)
    assert protocol.frames(protocol.cells()[0]) == 31
    run = evaluate(model(1000), protocol, run=tmp_path / "run", settings=Settings(device="cpu", batch_size=31))
    assert run.read(Cell("perturbation", "tilt", 2)).top5.shape == (2, 31, 5)
    assert run.manifest.signature["perturbation"]["n"] == "2"


def test_generated_cells_are_marked_and_are_the_reference_chain(data: dict[str, Path]) -> None:
    request = Request(data=spec(data, "imagenet"), corruptions=("fog",), severities=(2,), seed=5)
    clean, corruption, perturbation, shift = request.build()
    images = clean.images(clean.cells()[0])
    source = images.read(0)
    base = np.asarray(prepared(Image.fromarray(source), 224))
    assert np.array_equal(clean.prepare(source), base)
    assert np.array_equal(corruption.prepare(source), base)
    batch = torch.from_numpy(base.transpose(2, 0, 1).copy())[None]
    cell = corruption.cells()[0]
    expected = round_trip(corruptions.corrupt(batch, "fog", 2, seed=5, ids=[images.ids[0]]), "jpeg85")
    assert torch.equal(corruption.render(cell, batch, [images.ids[0]])[:, 0], expected)
    assert corruption.fields()["source"] == perturbation.fields()["source"] == "generated"
    assert (corruption.fields()["storage"], perturbation.fields()["storage"]) == ("jpeg85", "h264")
    assert shift.prepare(source).shape == (256, 256, 3)


def test_generated_sequences_warp_the_whole_image(data: dict[str, Path]) -> None:
    request = Request(
        data=spec(data, "imagenet"), protocols=("perturbation",), perturbations=("brightness",), storage="none", seed=2
    )
    (protocol,) = request.build()
    cell = protocol.cells()[0]
    images = protocol.images(cell)
    whole = Image.fromarray(open_images(spec(data, "imagenet")).read(1))
    clip = images.read(1)
    expected = sequence(whole, "brightness", size=224, difficulty=1, seed=2, image_id=images.ids[1], device="cpu")
    assert np.array_equal(clip, expected)
    assert len(clip) == protocol.frames(cell)
    batch = torch.from_numpy(protocol.prepare(clip).transpose(0, 3, 1, 2).copy())[None]
    assert torch.equal(protocol.render(cell, batch, [images.ids[1]]), batch)


def test_a_limit_takes_the_same_images_everywhere(data: dict[str, Path]) -> None:
    request = Request(
        data=spec(data, "imagenet", "imagenet-c"),
        protocols=("clean", "corruption", "shift"),
        corruptions=("fog",),
        severities=(1,),
        limit=3,
    )
    sets = [protocol.images(protocol.cells()[0]) for protocol in request.build()]
    assert {images.ids for images in sets} == {sets[0].ids}
    assert len(sets[0].ids) == 3
    assert {images.name for images in sets} == {"imagenet-partial-limit3"}


def test_cifar_needs_no_resizing_and_no_codec(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "c.npz", x=rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8), y=np.arange(12) % 10)
    request = Request(data=f"cifar10:{tmp_path / 'c.npz'}", corruptions=("contrast",), severities=(1,), draws=1)
    clean, corruption, perturbation, shift = request.build()
    assert (clean.fields()["geometry"], corruption.fields()["storage"]) == ("as-stored32", "none")
    assert (perturbation.fields()["storage"], shift.fields()["window"]) == ("none", "32")
    assert shift.fields()["geometry"] == "as-stored32-zeropad4"
    run = evaluate(model(10), [clean, corruption, shift], run=tmp_path / "run", settings=Settings(device="cpu"))
    assert not run.missing()


def test_what_cannot_be_evaluated_says_what_is_needed(data: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"protocol clean .* needs clean images.*:PATH.*--protocols corruption"):
        Request(data=spec(data, "imagenet-c"), protocols=("clean",)).build()
    with pytest.raises(IncompleteError, match=r"lacks 13 of the folders.*gaussian_noise"):
        Request(data=spec(data, "imagenet-c"), protocols=("corruption",), severities=(1,)).build()
    with pytest.raises(UsageError, match="one data set, not over cifar10 and imagenet"):
        Request(data=f"{spec(data, 'imagenet')},cifar10-c:{tmp_path}").build()
    with pytest.raises(UsageError, match="one set of clean images"):
        Request(data=f"{spec(data, 'imagenet')},{spec(data, 'imagenet')}").build()
    with pytest.raises(UsageError, match="to every part"):
        Request(data=f"{spec(data, 'imagenet')},imagenet-c:{data['c']}").build()
    with pytest.raises(UsageError, match="--storage none is for generated frames"):
        Request(data=spec(data, "imagenet-c"), protocols=("corruption",), storage="none").build()
    with pytest.raises(UsageError, match="leaves none"):
        Request(data=f"{spec(data, 'imagenet')}&resize=224", protocols=("shift",)).build()
    with pytest.raises(UsageError, match="unknown corruption 'frog'"):
        Corruption(source=StoredCells(tree=open_tree(spec(data, "imagenet-c"))), conditions=("frog",))
    with pytest.raises(UsageError, match="severity 0"):
        Corruption(source=StoredCells(tree=open_tree(spec(data, "imagenet-c"))), severities=(0,))


def test_a_broken_file_is_named_and_its_cell_left_out(data: dict[str, Path], tmp_path: Path) -> None:
    broken = next((data["c"] / "fog" / "1").glob("*/*.JPEG"))
    broken.write_bytes(broken.read_bytes()[:300])
    request = Request(data=spec(data, "imagenet-c"), protocols=("corruption",), corruptions=("fog",), severities=(1,))
    with pytest.raises(IncompleteError, match=rf"1 image cannot be read:\n.*{broken.name}"):
        evaluate(model(1000), request.build(), run=tmp_path / "run", settings=Settings(device="cpu"))


def test_a_models_geometry_in_the_spec(data: dict[str, Path]) -> None:
    given = f"{spec(data, 'imagenet')}&resize=232&crop=128&interpolation=bicubic&table=nearest"
    clean, corruption, perturbation, shift = Request(data=given).build()
    assert clean.fields()["geometry"] == "resize232-bicubic-antialias-crop128"
    assert corruption.fields()["table"] == perturbation.fields()["table"] == "nearest"
    assert (shift.fields()["geometry"], shift.fields()["window"]) == ("resize232-bicubic-antialias-crop232", "128")
    for protocol in ("corruption", "perturbation"):
        with pytest.raises(UsageError, match=rf"{protocol}s have severity tables .* not of 160\. .*\?table=nearest"):
            Request(data=f"{spec(data, 'imagenet')}&crop=160", protocols=(protocol,)).build()
    other = Request(data=f"{spec(data, 'imagenet')}&crop=160", protocols=("corruption",), variant="imagecorruptions")
    assert other.build()[0].fields()["variant"] == "imagecorruptions"
