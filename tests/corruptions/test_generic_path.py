"""What an accelerator runs of every corruption and sequence, run on the CPU before a GPU ever sees it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from corruptions import CORRUPTIONS, SEQUENCES, corrupt, perturb
from corruptions.randomness import Draws, image_keys, philox_words

THERE, HERE = torch.device("cuda", 0), torch.device("cpu")


class Pretended(TorchFunctionMode):
    """Every tensor says that it is on a CUDA device, and what is asked for on that device is made on the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.device.__get__:  # type: ignore[attr-defined]
            return THERE
        args = tuple(HERE if isinstance(one, torch.device) else one for one in args)
        return func(*args, **{k: HERE if isinstance(v, torch.device) else v for k, v in (kwargs or {}).items()})


def photographs(count: int, side: int) -> torch.Tensor:
    coarse = torch.rand(count, 3, side // 8, side // 8, generator=torch.Generator().manual_seed(4))
    return (torch.nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_corruption_by_tensors_is_that_of_the_cpu(name):
    images = photographs(3, 64)
    for severity in (1, 3, 5):
        expected = corrupt(images, name, severity).int()
        with Pretended():
            found = corrupt(images, name, severity)
        off = (found.int() - expected).abs()
        assert float((off <= 1).float().mean()) >= 0.999
        assert float((off == 0).float().mean()) >= 0.998


@pytest.mark.parametrize("name", sorted(SEQUENCES))
def test_a_sequence_by_tensors_is_that_of_the_cpu(name):
    images = photographs(2, 64)
    expected = perturb(images, name, seed=2).int()
    with Pretended():
        found = perturb(images, name, seed=2)
    off = (found.int() - expected).abs()
    assert off.max() <= 1
    assert float((off == 0).float().mean()) >= 0.999


def test_draws_by_tensors_are_those_of_the_cpu_and_compile():
    keys = torch.from_numpy(image_keys(5, "fog", 3, ["a", "b"]).view("int64").copy())
    with Pretended():
        by_tensors = Draws(5, "fog", 3, ["a", "b"], THERE).words(37)
    assert torch.equal(by_tensors, Draws(5, "fog", 3, ["a", "b"], HERE).words(37))
    compiled = torch.compile(philox_words, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(keys, 0, 37), philox_words(keys, 0, 37))
