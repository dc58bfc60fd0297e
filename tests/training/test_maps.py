"""Training with a class for every pixel: samples, loss, error, and a whole short training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import metrics
from metrics import VOID
from robustbench_lift.data.scenes import Scenes
from robustbench_lift.errors import UsageError
from robustbench_lift.training import RECIPES, Network, override, train
from robustbench_lift.training.data import open_data
from robustbench_lift.training.maps import MapSource, cropped, map_accuracy, map_counts, map_error, map_loss, scaled
from robustbench_lift.training.objective import parameter_groups
from robustbench_lift.training.recipe import learning_rate
from robustbench_lift.weights import load_model

SHORT = override(RECIPES["scenes"], {"epochs": 2, "batch_size": 8, "class_weights": "none"})


def sixteen() -> MapSource:
    return MapSource(Scenes("train", 16), recipe=SHORT)


def test_a_training_ends_with_a_network_that_is_evaluated(tmp_path: Path) -> None:
    network = Network.parse("segnet/lift?width=0.0625")
    outcome = train(network, SHORT, sixteen(), Scenes(count=4), out=tmp_path / "t")
    assert outcome.finished
    first = train(network, SHORT, sixteen(), Scenes(count=4), out=tmp_path / "u", stop=lambda: True)
    assert not first.finished
    assert train(network, SHORT, sixteen(), Scenes(count=4), out=tmp_path / "u").finished
    finals = [(tmp_path / name / "final.safetensors").read_bytes() for name in "tu"]
    assert finals[0] == finals[1]
    model = load_model(f"@{tmp_path / 't' / 'final.safetensors'}")
    assert (model.task, model.num_classes, model.preprocessing.crop) == ("segmentation", 6, None)
    scenes = Scenes(count=4)
    counts = np.zeros((6, 3), dtype=np.int64)
    for row in range(4):
        logits = model.logits(torch.from_numpy(scenes.read(row).transpose(2, 0, 1).copy())[None])
        counts += metrics.pixel_counts(logits.argmax(1)[0].numpy(), scenes.target(row, (72, 72)), 6)
    assert outcome.result is not None
    assert outcome.result["clean_error"] == pytest.approx(1 - float(metrics.mean_iou(counts)), abs=1e-6)


def test_image_and_labels_move_together() -> None:
    source = MapSource(Scenes("train", 4), recipe=override(SHORT, {"size": 40, "classes": 6}))
    images, targets = source.batch(torch.arange(4), 0, 0, torch.device("cpu"))
    assert images.shape == (4, 3, 40, 40)
    again = source.batch(torch.tensor([2]), 0, 0, torch.device("cpu"))
    assert torch.equal(again[0][0], images[2])
    scenes = Scenes("train", 4)
    for row in range(4):
        whole, labels = scenes.read(row), scenes.target(row, (72, 72))
        found = False
        for flip in (1, -1):
            windows = np.lib.stride_tricks.sliding_window_view(whole[:, ::flip, 0], (40, 40))
            wanted = images[row, 0].numpy()
            places = np.argwhere((windows == wanted).all(axis=(2, 3)))
            for top, left in places:
                found |= np.array_equal(labels[:, ::flip][top : top + 40, left : left + 40], targets[row].numpy())
        assert found


def test_scaling_invents_no_class_and_padding_is_void() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)
    target = rng.choice(np.array([0, 7, VOID], np.uint8), (30, 20))
    for factor in (0.5, 1.3, 2.0):
        larger, labels = scaled(image, target, factor)
        assert larger.shape[:2] == labels.shape == (round(30 * factor), round(20 * factor))
        assert set(labels.ravel().tolist()) <= {0, 7, VOID}
    square, labels = cropped(image, target, 32, colour=(0.5, 0, 1), generator=rng)
    assert (labels[30:] == VOID).all()
    assert (labels[:, 20:] == VOID).all()
    assert np.array_equal(labels[:30, :20], target)
    assert (square[30:] == (128, 0, 255)).all()


def test_the_loss_is_a_mean_over_known_pixels() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5)
    targets = torch.randint(0, 3, (2, 4, 5))
    targets[0, :2] = VOID
    expected = nn.functional.cross_entropy(logits[:1, :, 2:], targets[:1, 2:])
    losses = map_loss(logits, targets, weights=None)
    assert losses[0] == pytest.approx(float(expected))
    nothing = torch.full((1, 4, 5), VOID)
    empty = map_loss(logits[:1].requires_grad_(), nothing, weights=None)
    assert empty.tolist() == [0.0]
    empty.sum().backward()
    counts = map_counts(logits, targets)
    assert np.array_equal(counts.numpy(), metrics.pixel_counts(logits.argmax(1), targets, 3).sum(axis=0))
    assert map_error(counts) == pytest.approx(1 - float(metrics.mean_iou(counts.numpy())))
    assert map_accuracy(logits, targets)[1] == pytest.approx(float((logits[1].argmax(0) == targets[1]).float().mean()))


def test_median_frequency_weights() -> None:
    class Two(Scenes):
        def __init__(self) -> None:
            super().__init__("train", 2)
            self.class_names = ("a", "b")

        def target(self, index: int, size: tuple[int, int]) -> np.ndarray:
            return np.array([[0, 0, 0, 1], [0, 0, 0, 0]], np.uint8)[index : index + 1]

    # a: 7 of 8 pixels; b: 1 of the 4 pixels of the image that shows it; median 0.5625
    assert MapSource(Two(), recipe=SHORT).class_weights("median-frequency") == pytest.approx([0.5625 / 0.875, 2.25])


def test_the_encoder_learns_at_its_own_rate() -> None:
    recipe = override(RECIPES["voc-segnet"], {"decay_all": False})
    module = Network.parse("segnet/lift?width=0.0625").build(4, seed=0)
    groups = parameter_groups(module, recipe)
    rates = {id(p): g["rate"] for g in groups for p in g["params"]}  # type: ignore[attr-defined]
    assert len(rates) == len(list(module.parameters()))
    assert all(rates[id(p)] == 0.1 for p in module.features.parameters())  # type: ignore[union-attr]
    assert all(rates[id(p)] == 1.0 for p in module.decoder.parameters())  # type: ignore[union-attr]


def test_balanced_classes_train(tmp_path: Path) -> None:
    recipe = override(SHORT, {"class_weights": "median-frequency", "epochs": 1})
    source = MapSource(Scenes("train", 8), recipe=recipe)
    assert train(Network.parse("segnet/max?width=0.0625"), recipe, source, Scenes(count=2), out=tmp_path).finished


def test_poly_falls_to_zero() -> None:
    recipe = RECIPES["voc-deeplabv3plus"]
    rates = [learning_rate(recipe, step=step, steps_per_epoch=10) for step in (0, 225, 450)]
    assert rates == pytest.approx([0.01, 0.01 * 0.5**0.9, 0.0])


def test_what_does_not_go_together_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="resnet8/lift is a network for classification"):
        train(Network("resnet8", "lift"), SHORT, sixteen(), Scenes(count=2), out=tmp_path)
    with pytest.raises(UsageError, match="needs --data: voc"):
        open_data(RECIPES["voc-segnet"])
    with pytest.raises(UsageError, match="takes no --data"):
        open_data(RECIPES["scenes"], data="voc:/x")
    with pytest.raises(UsageError, match="cutmix"):
        train(
            Network.parse("segnet/max?width=0.0625"),
            override(SHORT, {"cutmix": 1.0}),
            sixteen(),
            Scenes(count=2),
            out=tmp_path,
        )
    data = open_data(SHORT)
    assert (len(data.source), len(data.images.ids)) == (1800, 60)
