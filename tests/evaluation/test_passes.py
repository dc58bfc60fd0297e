"""Forward passes side by side: the same answers, for networks that allow it, and nothing of it stays behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from robustbench_lift import load_model
from robustbench_lift.errors import UsageError
from robustbench_lift.evaluation.passes import Answers, Passes, is_stateless
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.networks import build_model
from robustbench_lift.pooling import PoolingLayer, make_pooling
from robustbench_lift.weights import LoadedModel, Preprocessing

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def of(network: nn.Module) -> LoadedModel:
    return LoadedModel.of(network, num_classes=5, preprocessing=Preprocessing(), name="net")


def small(seed: int = 0, last: nn.Module | None = None) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), make_pooling("lift", 8), last or nn.Identity()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


def frames(n: int = 22) -> Tensor:
    return torch.randint(0, 256, (n, 2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def answers(models: list[LoadedModel], *, batch_size: int = 8) -> list[Answers]:
    passes = Passes(Settings(device="cpu", batch_size=batch_size), CPU)
    try:
        return passes.predict(models, frames(), torch.arange(22) % 5)
    finally:
        passes.close()


def assert_equal(one: list[Answers], other: list[Answers]) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


class Meeting:
    """Lets a pass go on when another is under way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self.barrier = threading.Barrier(2)
        logits = Passes._logits

        def met(passes: Passes, model: LoadedModel, images: Tensor) -> Tensor:
            self.names.add(threading.current_thread().name)
            self.barrier.wait(timeout=30)
            return logits(passes, model, images)

        monkeypatch.setattr(Passes, "_logits", met)


@pytest.mark.parametrize("count", [1, 3])
def test_threads_change_no_byte(count: int) -> None:
    # AlexNet's linear layers order their sums by the number of threads that share them
    models = [of(small()), load_model("photos/resnet-lift"), load_model("photos/alexnet")]
    wanted = answers(models)
    torch.set_num_threads(count)
    assert_equal(answers(models), wanted)
    assert_equal([answers([model])[0] for model in models], wanted)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("batch_size", "least"), [(7, 7), (8, 8), (40, 8), (64, 44)])
def test_the_last_pass_is_filled_up(count: int, batch_size: int, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, logits = [], Passes._logits

    def seen(passes: Passes, model: LoadedModel, images: Tensor) -> Tensor:
        sizes.append(len(images))
        return logits(passes, model, images)

    monkeypatch.setattr(Passes, "_logits", seen)
    torch.set_num_threads(count)
    answers([of(small())], batch_size=batch_size)  # 44 frames
    assert min(sizes) == least


def test_passes_of_one_network_go_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = Meeting(monkeypatch)
    answers([of(small())], batch_size=11)  # four passes, two and two
    assert len(meeting.names) == 2
    assert "MainThread" not in meeting.names


def test_networks_with_a_pass_each_go_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = Meeting(monkeypatch)
    answers([of(small()), of(small(1))], batch_size=64)
    assert len(meeting.names) == 2


class Keeps(nn.Module):
    """Reads in one line what it wrote in another, as a user's network may."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.kept = x
        self.threads.add(threading.current_thread().name)
        return 2 * self.kept


class KeepingPool(PoolingLayer):
    idea = "A pooling from outside."

    def pool(self, x: Tensor) -> Tensor:
        return x[..., ::2, ::2]


def test_a_network_that_may_keep_something_is_shown_one_pass_at_a_time() -> None:
    keeps = Keeps()
    both = answers([of(small(last=keeps)), of(small())])
    assert keeps.threads == {"MainThread"}
    torch.set_num_threads(1)
    assert_equal(answers([of(small(last=keeps)), of(small())]), both)


def test_which_networks_may_keep_something() -> None:
    assert is_stateless(small())
    assert is_stateless(build_model("resnet18", "lift", num_classes=5))
    assert is_stateless(load_model("torchvision:resnet18@random").module)
    assert not is_stateless(small(last=Keeps()))
    assert not is_stateless(small(last=KeepingPool(8)))
    assert not is_stateless(of(lambda x: x.mean((2, 3))).module)  # type: ignore[arg-type]
    hooked = small()
    hooked[0].register_forward_hook(lambda *_: None)
    assert not is_stateless(hooked)
    everywhere = register_module_forward_hook(lambda *_: None)
    assert not is_stateless(small())
    everywhere.remove()
    patched = small()
    patched[1].forward = torch.relu_
    assert not is_stateless(patched)


def test_memory_that_is_too_small_for_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [of(small()), of(small(1))]
    wanted, logits, tried = answers(models), Passes._logits, []

    def in_turn_only(passes: Passes, model: LoadedModel, images: Tensor) -> Tensor:
        if threading.current_thread() is not threading.main_thread():
            tried.append(len(images))
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return logits(passes, model, images)

    monkeypatch.setattr(Passes, "_logits", in_turn_only)
    assert_equal(answers(models), wanted)
    assert tried


def test_the_error_of_a_pass_is_the_callers() -> None:
    narrow = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(7, 5)).eval()
    model = LoadedModel.of(narrow, num_classes=5, preprocessing=Preprocessing(), name="narrow")
    with pytest.raises(UsageError, match="narrow"):
        answers([of(small()), model])
    assert torch.get_num_threads() == 2


def test_the_number_of_threads_is_what_it_was() -> None:
    answers([of(small())])
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 2


@pytest.mark.parametrize(
    ("settings", "device", "side", "expected"),
    [({}, "cpu", 64, 2), ({}, "cpu", 1024, 1), ({"compile": True}, "cpu", 64, 1), ({}, "cuda", 64, 1)],
)
def test_how_many_go_side_by_side(settings: dict[str, bool], device: str, side: int, expected: int) -> None:
    passes = Passes(Settings(device="cpu", **settings), torch.device(device))  # type: ignore[arg-type]
    assert passes.threads(side, side) == expected
