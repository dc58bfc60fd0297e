"""Networks of other libraries as model specs: factories of a few lines, to copy and change.

    robustbench-lift run "black_boxes:onnx?file=net.onnx" --data imagenet:/data/val          (in this file's folder)

A factory returns a `torch.nn.Module` that takes normalised images [N, 3, H, W] and answers logits [N, K] (or something
with `.logits`); its attribute `preprocessing` says how images are normalised. A network without weights of torch keeps
the sha256 of its file as a buffer, so that a run tells two files apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_lift.weights import Preprocessing

PIXELS = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
"""For networks that take pixels in 0..1 and normalise inside."""


class BlackBox(nn.Module):
    """A function from images to logits, numpy arrays in and out, with a mark of its weights."""

    def __init__(self, function: Callable[[np.ndarray], Any], mark: bytes, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.function, self.preprocessing = function, preprocessing
        self.register_buffer("sha256", torch.tensor(list(hashlib.sha256(mark).digest()), dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        answer = np.array(self.function(x.contiguous().cpu().numpy()), dtype=np.float32)
        return torch.from_numpy(answer).to(x.device)


def transformers(folder: str) -> nn.Module:
    """An image classifier of Hugging Face's transformers, saved in a folder: its `.logits` are taken."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    network = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    network.preprocessing = Preprocessing(mean=tuple(processor.image_mean), std=tuple(processor.image_std))
    return network


class ZeroShot(nn.Module):
    """CLIP as a classifier: logits are scaled cosines between an image and the texts of the classes."""

    def __init__(self, clip: nn.Module, texts: Tensor, preprocessing: Preprocessing, scale: float = 100.0) -> None:
        super().__init__()
        self.clip, self.preprocessing, self.scale = clip, preprocessing, scale
        with torch.no_grad():
            features = nn.functional.normalize(clip.encode_text(texts), dim=-1)
        self.register_buffer("classes", features)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * nn.functional.normalize(self.clip.encode_image(x), dim=-1) @ self.classes.T


def clip(name: str, weights: str, classes: str, prompt: str = "a photo of a {}.") -> nn.Module:
    """A CLIP of open_clip; `classes` is a text file with the name of a class a line, in index order."""
    import open_clip

    network, _, transform = open_clip.create_model_and_transforms(name, pretrained=weights)
    names = Path(classes).read_text(encoding="utf-8").splitlines()
    texts = open_clip.get_tokenizer(name)([prompt.format(one) for one in names])
    normalise = transform.transforms[-1]
    return ZeroShot(network.eval(), texts, Preprocessing(mean=tuple(normalise.mean), std=tuple(normalise.std)))


def onnx(file: str) -> nn.Module:
    """An ONNX file through onnxruntime; it takes images normalised as ImageNet's usually are."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return BlackBox(lambda x: session.run(None, {name: x})[0], Path(file).read_bytes(), Preprocessing())


def jax(apply: Callable[..., Any], parameters: Any, *, preprocessing: Preprocessing = PIXELS) -> nn.Module:
    """A network of JAX: `apply(parameters, images [N, H, W, 3])` -> logits; a factory for a spec calls it."""
    import jax as library

    leaves = library.tree_util.tree_leaves(parameters)
    compiled = library.jit(apply)
    mark = b"".join(np.asarray(leaf).tobytes() for leaf in leaves)
    return BlackBox(lambda x: compiled(parameters, x.transpose(0, 2, 3, 1)), mark, preprocessing)
