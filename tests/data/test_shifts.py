"""Suites beside ImageNet-C and natural shifts: published layouts, masks, and folders that are other ones'."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from robustbench_lift import LoadedModel, Request, Settings, evaluate
from robustbench_lift.data.base import Outputs, outputs_of
from robustbench_lift.data.check import check_data
from robustbench_lift.data.classes import wnids
from robustbench_lift.data.kinds import KINDS, open_images, open_tree
from robustbench_lift.data.laion import super_classes
from robustbench_lift.data.suites import SUITES
from robustbench_lift.errors import DataError, IncompleteError, UsageError
from robustbench_lift.runs import Cell, Predictions

SOME = wnids()[3:1000:5]
"""200 classes."""


def colours(images: torch.Tensor) -> torch.Tensor:
    """1,000 logits that depend on the image, the largest for class 0, which no small set below has."""
    mean = images.mean(dim=(1, 2, 3))[:, None]
    logits = torch.sin(torch.arange(1000) * (1.7 + mean))
    return torch.cat([torch.full_like(logits[:, :1], 9.0), logits[:, 1:]], dim=1)


def network() -> LoadedModel:
    return LoadedModel.of(colours, name="colours", num_classes=1000)


def test_outputs_mask_and_join_by_their_formulas() -> None:
    logits = torch.randn(7, 10, generator=torch.Generator().manual_seed(0))
    masked = Outputs(10, ((2,), (5,), (7,)))(logits)
    assert torch.equal(masked, logits[:, [2, 5, 7]])
    groups = ((0, 4), (1,), (2, 3, 9))
    largest = Outputs(10, groups, "max")(logits)
    assert torch.equal(largest, torch.stack([logits[:, list(g)].amax(1) for g in groups], 1))
    mean = Outputs(10, groups, "mean")(logits)
    expected = torch.stack([logits.softmax(1)[:, list(g)].mean(1) for g in groups], 1)
    torch.testing.assert_close(mean.exp(), expected)
    with pytest.raises(ValueError, match="0 to 3"):
        Outputs(4, ((1,), (4,)))
    with pytest.raises(ValueError, match="at least one"):
        Outputs(4, ((1,), ()))


def test_imagenet_r_is_scored_among_the_classes_of_its_folders(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "r", make.validation(SOME, each=1, side=64))
    images = open_images(f"imagenet-r:{root}")
    assert images.class_names == SOME
    assert images.labels.tolist() == list(range(200))
    request = Request(data=f"imagenet-r:{root}?resize=64&crop=64", limit=40)
    assert request.protocols == ("clean",)
    (clean,) = request.build()
    run = evaluate(network(), clean, run=tmp_path / "run", settings=Settings(device="cpu", allow_chance=True))
    found = run.read(Cell("clean", "clean", 0))
    for k, name in enumerate(found.ids):
        row = images.ids.index(str(name))
        frame = torch.from_numpy(clean.prepare(images.read(row)).transpose(2, 0, 1).copy())[None]
        logits = network().logits(frame)[0, [wnids().index(wnid) for wnid in SOME]]
        assert found.top1[k, 0] == int(logits.argmax())
        assert found.labels[k] == images.labels[row]
        assert found.confidence[k, 0] == pytest.approx(float(logits.softmax(0).max()), rel=1e-5)
    assert run.manifest.signature["common"]["outputs"] == "200of1000"
    assert run.manifest.data["classes"] == 200


def test_a_part_of_the_classes_is_refused_where_answers_are_among_them(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "a", make.validation(SOME[:150], each=1))
    with pytest.raises(IncompleteError, match=r"has 150 class folders, imagenet-a has 200.*easier"):
        open_images(f"imagenet-a:{root}")
    with pytest.raises(DataError, match="corruptions or perturbations"):
        open_images(f"imagenet-a:{make.write(tmp_path / 'c', make.corrupted(severities=(1,)))}")
    findings = check_data(f"imagenet-r:{make.write(tmp_path / 'r', make.validation(SOME, each=1))}", samples=1)
    assert any("30,000" in problem for problem in findings[0].problems)


def test_an_adversarial_set_may_be_worse_than_guessing(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "a", make.validation(SOME, each=1, side=64))

    def always_first(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.zeros(len(images), dtype=torch.long), 1000).float()

    model = LoadedModel.of(always_first, name="first", num_classes=1000)
    settings = Settings(device="cpu")
    with pytest.raises(DataError, match="allow-chance"):
        evaluate(model, f"imagenet-r:{root}?resize=64&crop=64", run=tmp_path / "r", settings=settings)
    run = evaluate(model, f"imagenet-a:{root}?resize=64&crop=64", run=tmp_path / "run", settings=settings)
    assert run.scores()["clean_error"] > 0.99


def test_a_network_of_other_classes_does_not_fit_a_mask(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "r", make.validation(SOME, each=1, side=64))
    small = LoadedModel.of(lambda x: colours(x)[:, :200], name="small", num_classes=200)
    with pytest.raises(DataError, match=r"200 outputs.*1000"):
        evaluate(small, f"imagenet-r:{root}?resize=64&crop=64", run=tmp_path / "run", settings=Settings(device="cpu"))


def test_imagenet_on_the_classes_of_another_set(make: SimpleNamespace, tmp_path: Path) -> None:
    val = make.write(tmp_path / "val", make.validation(wnids()[:12], each=2))
    like = make.write(tmp_path / "some", make.validation(wnids()[2:12:3], each=1))
    images = open_images(f"imagenet:{val}?classes=partial&like={like}")
    assert images.class_names == wnids()[2:12:3]
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert images.name == "imagenet-partial-like-some"
    outputs = outputs_of(images)
    assert outputs is not None
    assert outputs.groups == ((2,), (5,), (8,), (11,))


def test_partial_classes_say_that_all_outputs_compete(make: SimpleNamespace, tmp_path: Path) -> None:
    val = make.write(tmp_path / "val", make.validation(each=1))
    (note,) = open_images(f"imagenet:{val}?classes=partial").notes  # type: ignore[attr-defined]
    assert "among all 1,000" in note
    assert "imagenet-r:" in note


def test_the_variant_of_imagenet_v2_is_in_its_name(make: SimpleNamespace, tmp_path: Path) -> None:
    numbers = {f"{k}/{k}.jpeg": make.jpeg(make.picture(k % 50)) for k in range(1000)}
    root = make.write(tmp_path / "imagenetv2-threshold0.7-format-val", numbers)
    images = open_images(f"imagenet-v2:{root}")
    assert images.name == "imagenet-v2-threshold-0.7"
    assert images.labels[images.ids.index("10/10")] == 10
    with pytest.raises(UsageError, match=r"variant=top-images.*threshold-0\.7"):
        open_images(f"imagenet-v2:{root}?variant=top-images")
    plain = root.rename(tmp_path / "v2")
    with pytest.raises(UsageError, match=r"\?variant="):
        open_images(f"imagenet-v2:{plain}")
    assert open_images(f"imagenet-v2:{plain}?variant=top-images").name == "imagenet-v2-top-images"


def objectnet(make: SimpleNamespace, root: Path) -> Path:
    """Three objects, two of them ImageNet classes, the second one of two classes."""
    files = {
        f"images/{name}/{name}{n}.png": make.jpeg(make.picture(n, 40, 40), "PNG") for n in (0, 1) for name in "abc"
    }
    labels = [f"class {number}" for number in range(1000)]
    mappings = {
        "folder_to_objectnet_label.json": {"a": "Alarm", "b": "Bench", "c": "Cube"},
        "objectnet_to_imagenet_1k.json": {"Alarm": "class 7", "Cube": "class 3; class 900"},
        "pytorch_to_imagenet_2012_id.json": {str(999 - number): number for number in range(1000)},
    }
    files |= {f"mappings/{name}": json.dumps(content).encode() for name, content in mappings.items()}
    files["mappings/imagenet_to_label_2012_v2"] = "\n".join(labels).encode()
    return make.write(root, files)


def test_objectnet_takes_its_classes_from_its_own_mappings(make: SimpleNamespace, tmp_path: Path) -> None:
    root = objectnet(make, tmp_path / "objectnet-1.0")
    images = open_images(f"objectnet:{root}")
    assert images.class_names == ("a", "c")
    assert images.ids == ("a/a0", "a/a1", "c/c0", "c/c1")
    outputs = outputs_of(images)
    assert outputs is not None
    assert outputs.groups == ((992,), (996, 99))
    (clean,) = Request(data=f"objectnet:{root}?resize=none&crop=36").build()
    inner = np.asarray(images.read(0))[2:-2, 2:-2]
    assert np.array_equal(clean.prepare(images.read(0)), inner)
    assert clean.fields()["geometry"].startswith("border2-")
    (root / "mappings" / "imagenet_to_label_2012_v2").write_text("class 7\n")
    with pytest.raises(DataError, match="do not fit together"):
        open_images(f"objectnet:{root}")
    with pytest.raises(IncompleteError, match="images` and `mappings"):
        open_images(f"objectnet:{root / 'images'}")


@pytest.mark.parametrize("strengths", [False, True])
def test_c_bar_in_both_layouts(make: SimpleNamespace, tmp_path: Path, strengths: bool) -> None:
    files = make.corrupted(("sparkles", "plasma_noise"), (1, 4))
    if strengths:
        for condition, level, name in (("sparkles", 1, "1.00"), ("sparkles", 4, "5.00"), ("plasma_noise", 1, "4.75")):
            old = f"{condition}/{level}/"
            files = {key.replace(old, f"{condition}/{name}/"): value for key, value in files.items()}
    root = make.write(tmp_path / "cbar", files)
    data = f"imagenet-c-bar:{root}?classes=partial"
    tree = open_tree(data)
    assert tree.holds("sparkles", 4)
    assert not tree.holds("sparkles", 2)
    images = tree.images("sparkles", 4)
    assert len(images.ids) == 6
    request = Request(data=data, corruptions=("sparkles", "plasma_noise"), severities=(1, 4))
    (protocol,) = request.build()
    assert protocol.name == "corruption"
    assert protocol.fields()["files"] == "imagenet-c-bar-jpeg"
    with pytest.raises(UsageError, match="AlexNet"):
        request.normaliser("alexnet")
    with pytest.raises(IncompleteError, match="blue_noise_sample"):
        Request(data=data).build()


def test_a_suite_of_another_name_is_named(make: SimpleNamespace, tmp_path: Path) -> None:
    cbar = make.write(tmp_path / "cbar", make.corrupted(("sparkles",), (1,)))
    with pytest.raises(IncompleteError, match="ImageNet-C-bar: say imagenet-c-bar:"):
        open_tree(f"imagenet-c:{cbar}?classes=partial")
    plain = make.write(tmp_path / "c", make.corrupted(("fog", "snow"), (1,)))
    with pytest.raises(IncompleteError, match="ImageNet-C: say imagenet-c:"):
        open_tree(f"imagenet-3dcc:{plain}?classes=partial")
    findings = check_data(f"imagenet-c-bar:{cbar}?classes=partial", samples=1)
    assert any("1 of the 10 corruptions of ImageNet-C-bar" in problem for problem in findings[0].problems)


def test_cifar_c_bar_and_cifar_p(tmp_path: Path) -> None:
    labels = np.arange(20) % 10
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    for name in SUITES["cifar10-c-bar"].conditions:
        np.save(tmp_path / f"{name}.npy", np.zeros((100, 32, 32, 3), np.uint8))
    (protocol,) = Request(data=f"cifar10-c-bar:{tmp_path}").build()
    assert {cell.condition for cell in protocol.cells()} == set(SUITES["cifar10-c-bar"].conditions)
    assert protocol.fields()["set"] == "cifar10-c-bar"
    with pytest.raises(IncompleteError, match=r"fog.*conditions of CIFAR-10-C-bar"):
        Request(data=f"cifar10-c:{tmp_path}", corruptions=("fog",)).build()
    assert KINDS["cifar10-p"].suites["perturbation"] == KINDS["cifar100"].suites["perturbation"] == "cifar-p"
    assert "spatter" in SUITES["cifar-p"].conditions
    assert "snow" not in SUITES["cifar-p"].conditions


def test_laion_c_by_super_classes(make: SimpleNamespace, tmp_path: Path) -> None:
    names = tuple(super_classes())
    for distortion, folder in (("mosaic", "intensity_level_2"), ("stickers", "2")):
        files = {
            f"{k}/{k}-{n}_{distortion}_2.JPEG": make.jpeg(make.picture(n, 224, 224)) for k in names for n in (1, 10)
        }
        make.write(tmp_path / distortion / folder, files)
    data = f"laion-c:{tmp_path}"
    request = Request(data=data, corruptions=("mosaic", "stickers"), severities=(2,))
    run = evaluate(network(), request, run=tmp_path / "run", settings=Settings(device="cpu", allow_chance=True))
    cells = [run.record(Cell("corruption", name, 2), Predictions) for name in ("mosaic", "stickers")]
    assert cells[0].ids.tolist() == cells[1].ids.tolist()
    assert cells[0].ids[0] == f"{names[0]}/{names[0]}-1"
    assert run.manifest.signature["common"]["outputs"] == "16of1000-mean"
    image = open_tree(data).images("mosaic", 2).read(0)
    logits = network().logits(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])[0]
    means = [logits.softmax(0)[list(group)].mean() for group in super_classes().values()]
    assert cells[0].top1[0, 0] == int(torch.stack(means).argmax())
    make.write(tmp_path / "mosaic" / "3" / "zebra", {"a.JPEG": b""})
    with pytest.raises(DataError, match="no super-classes"):
        open_tree(data).images("mosaic", 3)
