"""Evaluation: predictions do not depend on batch size, workers, shards or interruptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from robustbench_lift.data.geometry import CenterCrop
from robustbench_lift.errors import DataError, IncomparableError, UsageError
from robustbench_lift.evaluation.engine import evaluate
from robustbench_lift.evaluation.progress import Progress
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.runs import Cell, Predictions, Run
from robustbench_lift.shares import Share
from robustbench_lift.weights import LoadedModel, Preprocessing


class Noise:
    """Images of noise, deterministic by index."""

    name = "noise"

    def __init__(self, n: int = 23) -> None:
        self.ids = tuple(f"image/{i:03d}" for i in range(n))
        self.labels: npt.NDArray[np.int64] = np.arange(n, dtype=np.int64) % 7
        self.class_names = tuple("abcdefg")

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        return np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class Steps(Clean):
    """A protocol with three cells; frames are the image brightened in steps; counts what it renders."""

    name: str = "corruption"
    rendered: list[str] = field(default_factory=list, compare=False)
    fail_at: str = ""

    def cells(self) -> tuple[Cell, ...]:
        return tuple(Cell("corruption", "fog", severity) for severity in (1, 2, 3))

    def frames(self, cell: Cell) -> int:
        return 2

    def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
        if cell.key == self.fail_at:
            raise KeyboardInterrupt
        self.rendered.append(cell.key)
        brighter = (batch.int() + 20 * cell.severity).clamp(0, 255).to(torch.uint8)
        return torch.stack([batch, brighter], dim=1)


def network(seed: int = 0, classes: int = 7) -> LoadedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, classes)).eval()
    return LoadedModel(
        spec=f"net{seed}",
        name=f"net{seed}",
        arch="linear",
        pooling=None,
        placement=None,
        module=module,
        preprocessing=Preprocessing(),
        weights_sha256=f"{seed:064d}",
        parameters=sum(p.numel() for p in module.parameters()),
        num_classes=classes,
    )


def steps(**changes: object) -> Steps:
    return Steps(**({"source": Noise(), "geometry": CenterCrop(32)} | changes))  # type: ignore[arg-type]


def contents(run: Run) -> dict[str, npt.NDArray[np.int16]]:
    return {cell.key: run.read(cell).top5 for cell in run.expected}


def test_batch_size_does_not_change_predictions(tmp_path: Path) -> None:
    reference = contents(evaluate(network(), steps(), run=tmp_path / "a"))
    assert set(reference) == {"corruption/fog/1", "corruption/fog/2", "corruption/fog/3"}
    for batch_size in (1, 5, 64):
        settings = Settings(batch_size=batch_size)
        run = evaluate(network(), steps(), run=tmp_path / str(batch_size), settings=settings)
        for key, top5 in contents(run).items():
            np.testing.assert_array_equal(top5, reference[key])


def test_predictions_are_the_models_own(tmp_path: Path) -> None:
    model, protocol = network(), steps()
    run = evaluate(model, protocol, run=tmp_path)
    cell = Cell("corruption", "fog", 2)
    stored = run.read(cell)
    image = torch.from_numpy(CenterCrop(32)(Noise().read(4)).transpose(2, 0, 1).copy())[None]
    logits = model.logits(protocol.render(cell, image, ["x"])[0])
    assert stored.ids[4] == "image/004"
    assert stored.labels[4] == 4
    np.testing.assert_array_equal(stored.top5[4], logits.argsort(descending=True, dim=1)[:, :5].numpy())
    np.testing.assert_allclose(stored.confidence[4], logits.softmax(1).amax(1).detach().numpy(), rtol=1e-5)


def test_several_models_see_the_same_frames_rendered_once(tmp_path: Path) -> None:
    protocol = steps()
    evaluate([network(0), network(1)], protocol, run=[tmp_path / "0", tmp_path / "1"])
    assert len(protocol.rendered) == 1 + 3  # one image is shown before the first cell
    alone = evaluate(network(1), steps(), run=tmp_path / "alone")
    for key, top5 in contents(Run.open(tmp_path / "1")).items():
        np.testing.assert_array_equal(top5, contents(alone)[key])


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate(network(), steps(fail_at="corruption/fog/3"), run=tmp_path / "run")
    assert [cell.severity for cell in Run.open(tmp_path / "run").missing()] == [3]
    again = steps()
    run = evaluate(network(), again, run=tmp_path / "run")
    assert set(again.rendered[1:]) == {"corruption/fog/3"}
    whole = evaluate(network(), steps(), run=tmp_path / "whole")
    for key, top5 in contents(run).items():
        np.testing.assert_array_equal(top5, contents(whole)[key])


def test_shards_without_padding_merge_to_the_single_process_run(tmp_path: Path) -> None:
    whole = contents(evaluate(network(), steps(), run=tmp_path / "whole"))
    for index in (1, 2, 0):
        run = evaluate(network(), steps(), run=tmp_path / "sharded", settings=Settings(shard=Share(index, 3)))
    assert not run.missing()
    for key, top5 in contents(run).items():
        np.testing.assert_array_equal(top5, whole[key])


def test_a_job_may_have_no_image(tmp_path: Path) -> None:
    clean = Clean(source=Noise(3), geometry=CenterCrop(32))
    alone = contents(evaluate(network(), clean, run=tmp_path / "a"))
    for index in (4, 0, 2, 1, 3):
        settings = Settings(shard=Share(index, 5))
        run = evaluate(network(), clean, run=tmp_path / "b", settings=settings)
    assert run.missing() == ()
    np.testing.assert_array_equal(contents(run)["clean/clean/0"], alone["clean/clean/0"])


def test_other_weights_are_refused(tmp_path: Path) -> None:
    evaluate(network(0), steps(), run=tmp_path)
    with pytest.raises(IncomparableError, match="weights"):
        evaluate(network(1), steps(), run=tmp_path)


def test_progress_reaches_every_cell(tmp_path: Path) -> None:
    seen: list[Progress] = []
    evaluate(network(), steps(), run=tmp_path, settings=Settings(batch_size=8), progress=seen.append)
    assert [state.cells_done for state in seen if state.images_done == state.images_total] == [1, 2, 3]
    assert all(state.cells_total == 3 and state.images_total == 23 for state in seen)
    shares = [(state.cell.severity, state.images_done) for state in seen]
    assert shares == sorted(shares)


def test_nan_is_told_and_nothing_stored(tmp_path: Path) -> None:
    broken = network()
    with torch.no_grad():
        next(broken.module.parameters()).fill_(float("nan"))
    with pytest.raises(DataError, match="NaN"):
        evaluate(broken, steps(), run=tmp_path)
    assert len(Run.open(tmp_path).missing()) == 3


def test_a_model_that_guesses_stops_the_run_with_a_diagnosis(tmp_path: Path) -> None:
    guessing = network()
    clean = Clean(source=Noise(200), geometry=CenterCrop(32))
    with pytest.raises(DataError, match=r"net0: clean/clean/0: .*\n.*--allow-chance"):
        evaluate(guessing, clean, run=tmp_path / "a")
    assert len(Run.open(tmp_path / "a").missing()) == 1
    run = evaluate(guessing, clean, run=tmp_path / "b", settings=Settings(allow_chance=True))
    assert not run.missing()


def test_a_model_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"9 outputs.*7 classes"):
        evaluate(network(classes=9), steps(), run=tmp_path / "a")
    assert not (tmp_path / "a").exists()  # so that the right network can take the folder


def test_memory_shortage_halves_the_batch_and_says_so(tmp_path: Path) -> None:
    class Hungry(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 6:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.inner(x)  # type: ignore[no-any-return]

    notes: list[str] = []
    hungry = replace(network(), module=Hungry(network().module).eval())
    settings = Settings(batch_size=16)
    run = evaluate(hungry, steps(), run=tmp_path / "a", settings=settings, progress=lambda p: notes.append(p.note))
    assert any("batch size is now 4" in note for note in notes)
    whole = evaluate(network(), steps(), run=tmp_path / "b")
    for key, top5 in contents(run).items():
        np.testing.assert_array_equal(top5, contents(whole)[key])


def test_memory_shortage_in_one_default_pass_on_a_cpu_helps_at_once(tmp_path: Path) -> None:
    class Hungry(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner, self.tried = inner, list[int]()

        def forward(self, x: Tensor) -> Tensor:
            self.tried.append(len(x))
            if len(x) > 20:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
            return self.inner(x)  # type: ignore[no-any-return]

    hungry = Hungry(network().module).eval()
    evaluate(replace(network(), module=hungry), Clean(source=Noise(), geometry=CenterCrop(32)), run=tmp_path)
    assert hungry.tried == [2, 2, 2, 1, 23, 12, 11]


def test_memory_shortage_while_rendering_halves_the_batch_and_changes_nothing(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Hungry(Steps):
        most: int = 3

        def render(self, cell: Cell, batch: Tensor, ids: Sequence[str]) -> Tensor:
            if len(ids) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().render(cell, batch, ids)

    notes: list[str] = []
    hungry = Hungry(source=Noise(), geometry=CenterCrop(32))
    run = evaluate(network(), hungry, run=tmp_path / "a", progress=lambda p: notes.append(p.note))
    assert "out of memory: the batch size is now 6" in notes[:4]
    whole = evaluate(network(), steps(), run=tmp_path / "b")
    for key, top5 in contents(run).items():
        np.testing.assert_array_equal(top5, contents(whole)[key])
    never = Hungry(source=Noise(), geometry=CenterCrop(32), most=0)
    with pytest.raises(DataError, match="not enough memory for a single image of"):
        evaluate(network(), never, run=tmp_path / "c")


def test_equal_logits_rank_by_class_index() -> None:
    label = torch.tensor([0])
    found = Predictions.measure(torch.tensor([[1.0, 3.0, 3.0, 0.0, 3.0, 1.0]]), label)
    assert found["top5"].tolist() == [[1, 2, 4, 0, 5]]
    assert Predictions.measure(torch.tensor([[0.0, 1.0]]), label)["top5"].tolist() == [[1, 0, -1, -1, -1]]
    np.testing.assert_allclose(Predictions.measure(torch.tensor([[0.0, 0.0]]), label)["confidence"], [0.5])
    assert found["confidence"].shape == (1,)


def test_probabilities_are_those_of_the_logits() -> None:
    logits, labels = torch.tensor([[1.0, -2.0, 0.5], [0.0, 4.0, 1.0]]), torch.tensor([2, 1])
    found = Predictions.measure(logits, labels)
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    np.testing.assert_allclose(found["label_probability"], [p[0, 2], p[1, 1]], rtol=1e-6)
    np.testing.assert_allclose(found["squared_probability"], (p**2).sum(1), rtol=1e-6)
    np.testing.assert_allclose(found["confidence"], p.max(1), rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"precision": "fp8"},
        {"batch_size": 0},
        {"workers": -1},
        {"batch_size": 1.5},
        {"batch_size": True},
        {"workers": "2"},
        {"shard": "1/2"},
        {"shard": None},
        {"compile": 1},
        {"keep": "no"},
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    clean = Clean(source=Noise(), geometry=CenterCrop(32))
    alone = contents(evaluate(network(), clean, run=tmp_path / "a"))
    settings = Settings(workers=2, batch_size=4)
    shared = contents(evaluate(network(), clean, run=tmp_path / "b", settings=settings))
    np.testing.assert_array_equal(alone["clean/clean/0"], shared["clean/clean/0"])


def test_folded_networks_are_another_signature(tmp_path: Path) -> None:
    plain = evaluate(network(), steps(), run=tmp_path / "a")
    folded = evaluate(network(), steps(), run=tmp_path / "b", settings=Settings(fold=True))
    assert "networks" not in plain.manifest.signature["common"]
    assert folded.manifest.signature["common"]["networks"] == "folded"
    with pytest.raises(IncomparableError, match="networks"):
        evaluate(network(), steps(), run=tmp_path / "a", settings=Settings(fold=True))


def test_an_untrained_model_is_told_its_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"num_classes=7"):
        evaluate(replace(network(classes=9), spec="resnet8/max@random"), steps(), run=tmp_path / "a")
