"""docs/examples/black_boxes.py with stand-ins of the libraries, so that the examples run where none is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustbench_lift import evaluate, load_model

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
WEIGHT = np.random.default_rng(0).normal(size=(3, 15)).astype(np.float32)


def answers(images: np.ndarray) -> np.ndarray:
    """Logits out of mean colours, [N, 3, H, W] -> [N, 15]."""
    return np.asarray(images.mean(axis=(2, 3)) @ WEIGHT)


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the examples."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "black_boxes", raising=False)
    import black_boxes

    return black_boxes


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    """A module of another library."""
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


def pixels() -> Tensor:
    return torch.randint(0, 256, (9, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_onnx_by_its_file(boxes: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Session:
        def __init__(self, file: str, providers: list[str]) -> None:
            assert providers == ["CPUExecutionProvider"]

        def get_inputs(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(name="x")]

        def run(self, wanted: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [answers(feeds["x"])]

    stand_in(monkeypatch, "onnxruntime", InferenceSession=Session)
    for name in ("a", "b"):
        (tmp_path / f"{name}.onnx").write_bytes(name.encode())
    one, two = (load_model(f"black_boxes:onnx?file={tmp_path}/{name}.onnx&input_size=64") for name in "ab")
    assert one.num_classes == 15
    assert one.weights_sha256 != two.weights_sha256, "files are told apart"
    expected = answers(one.preprocessing.normalize(pixels()).numpy())
    np.testing.assert_allclose(one.logits(pixels()).numpy(), expected, rtol=1e-4, atol=1e-5)
    run = evaluate(one, "photos", run=tmp_path / "run", protocols=("clean",), limit=15, device="cpu", allow_chance=True)
    assert run.scores()["clean_error"] <= 1


def test_transformers_by_its_logits(boxes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.from_numpy(WEIGHT.copy()))

        def forward(self, x: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=x.mean(dim=(2, 3)) @ self.weight)

    def from_pretrained(folder: str, local_files_only: bool) -> Network:
        assert (folder, local_files_only) == ("vit", True)
        return Network()

    processor = SimpleNamespace(image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5])
    stand_in(
        monkeypatch, "transformers",
        AutoModelForImageClassification=SimpleNamespace(from_pretrained=from_pretrained),
        AutoImageProcessor=SimpleNamespace(from_pretrained=lambda folder, local_files_only: processor),
    )  # fmt: skip
    model = load_model("black_boxes:transformers?folder=vit")
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    expected = answers(pixels().numpy() / 127.5 - 1)
    np.testing.assert_allclose(model.logits(pixels()).detach().numpy(), expected, rtol=1e-3, atol=1e-5)


def test_clip_by_the_texts_of_classes(boxes: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Clip(nn.Module):
        def encode_text(self, texts: Tensor) -> Tensor:
            return nn.functional.one_hot(texts, 3).float()

        def encode_image(self, x: Tensor) -> Tensor:
            return x.mean(dim=(2, 3))

    def tokens(texts: list[str]) -> Tensor:
        return torch.tensor([["red", "green", "blue"].index(text.split()[-1].rstrip(".")) for text in texts])

    normalise = SimpleNamespace(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    transform = SimpleNamespace(transforms=[normalise])
    stand_in(
        monkeypatch, "open_clip",
        create_model_and_transforms=lambda name, pretrained: (Clip(), None, transform),
        get_tokenizer=lambda name: tokens,
    )  # fmt: skip
    (tmp_path / "names.txt").write_text("blue\nred\n")
    model = load_model(f"black_boxes:clip?name=tiny&weights=none-at-all&classes={tmp_path}/names.txt")
    colours = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    colours[0, 0], colours[1, 2] = 200, 200  # red, blue
    assert model.logits(colours).argmax(dim=1).tolist() == [1, 0]


def test_jax_and_plain_functions(boxes: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tree = SimpleNamespace(tree_leaves=lambda parameters: list(parameters.values()))
    stand_in(monkeypatch, "jax", tree_util=tree, jit=lambda function: function)
    network = boxes.jax(lambda p, x: x.mean(axis=(1, 2)) @ p["w"], {"w": WEIGHT})
    other = boxes.jax(lambda p, x: x.mean(axis=(1, 2)) @ p["w"], {"w": 2 * WEIGHT})
    assert not torch.equal(network.sha256, other.sha256)
    options: dict[str, Any] = {"protocols": ("clean",), "limit": 15, "device": "cpu", "allow_chance": True}
    run = evaluate(network, "photos", run=tmp_path / "jax", **options)

    def plain(x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) @ torch.from_numpy(WEIGHT)

    plain.preprocessing = boxes.PIXELS  # type: ignore[attr-defined]
    same = evaluate(plain, "photos", run=tmp_path / "plain", **options)
    cell = run.expected[0]
    np.testing.assert_allclose(run.read(cell).confidence, same.read(cell).confidence, rtol=1e-4)
