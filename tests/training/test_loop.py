"""The loop: exact after a stop or a kill, the same gradient however a batch is cut, no state lost."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustbench_lift.data.memory import MemoryImages
from robustbench_lift.errors import CheckpointError, IncomparableError, StorageError, UsageError
from robustbench_lift.pooling import collect_losses
from robustbench_lift.training import (
    ArraySource,
    DivergedError,
    Network,
    Recipe,
    TrainingOutcome,
    TrainingProgress,
    TrainingSettings,
    state,
    train,
)
from robustbench_lift.training.measure import measure
from robustbench_lift.training.objective import cutmix, parameter_groups
from robustbench_lift.training.samples import TestImages, normalise

Train = Callable[..., TrainingOutcome]
Arrays = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def run(
    tmp_path: Path,
    recipe: Recipe,
    source: ArraySource,
    images: MemoryImages,
    network: Network,
    cpu: TrainingSettings,
    tiny_build,
) -> Train:
    """`train` on the tiny task; keywords replace any argument."""

    def call(out: str = "out", **changes: Any) -> TrainingOutcome:
        arguments = {"network": network, "recipe": recipe, "source": source, "images": images, **changes}
        first = [arguments.pop(name) for name in ("network", "recipe", "source", "images")]
        return train(*first, out=tmp_path / out, **{"settings": cpu, "builder": tiny_build, **arguments})

    return call


def stop_at(step: int) -> Callable[[], bool]:
    calls = iter(range(1, 10**6))
    return lambda: next(calls) == step


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def without_time(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in history]


# --- exactness


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9, "cutmix": 1.0, "label_smoothing": 0.1, "clip_norm": 1.0}])
def test_stopped_training_ends_with_the_same_weights(run: Train, recipe: Recipe, weights_of, changes) -> None:
    """BatchNorm, dropout, momentum, c_u and c_p: stopped within epochs and at every step, bit for bit."""
    recipe = dataclasses.replace(recipe, **changes)
    whole = run("whole", recipe=recipe)
    sessions = 0
    while True:
        parts = run("parts", recipe=recipe, stop=stop_at(4))
        sessions += 1
        if parts.finished:
            break
    assert sessions >= 3
    assert same(weights_of(whole.folder), weights_of(parts.folder))
    assert same(weights_of(whole.folder, state.BEST), weights_of(parts.folder, state.BEST))
    assert without_time(whole.history) == without_time(parts.history)
    assert (parts.folder / state.LOG).read_text().count("\n") == 3


@pytest.mark.parametrize("moment", ["step", "weights", "state", "log"])
def test_killed_training_goes_on_from_the_last_state(run: Train, weights_of, moment: str, monkeypatch) -> None:
    """A kill between any two writes leaves a folder from which the same weights are reached."""
    whole = run("whole")

    class Killed(BaseException):
        pass

    count = 0

    def kill(*_: object, **__: object) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise Killed

    with monkeypatch.context() as patch:
        from robustbench_lift.training import state as record

        where = {"weights": (record, "save_checkpoint"), "state": (state, "write_state"), "log": (state, "write_log")}
        progress = None
        if moment == "step":
            progress = lambda now: kill() if now.step == 3 else None  # noqa: E731
        else:
            holder, name = where[moment]
            original = getattr(holder, name)

            def killing(*args: object, **kwargs: object) -> object:
                kill()
                return original(*args, **kwargs)

            patch.setattr(holder, name, killing)
        try:
            run("parts", progress=progress)
            reached = moment == "weights"  # the first epoch may stay the best one
        except Killed:
            reached = True
        assert reached
    parts = run("parts")
    assert parts.finished
    assert same(weights_of(whole.folder), weights_of(parts.folder))
    assert without_time(whole.history) == without_time(parts.history)


def test_seed_decides_and_nothing_else(run: Train, weights_of) -> None:
    torch.manual_seed(1)
    first = weights_of(run("a").folder)
    torch.manual_seed(2)
    torch.rand(7)
    assert same(first, weights_of(run("b").folder))
    assert not same(first, weights_of(run("c", seed=1).folder))


def test_global_random_state_is_left_alone(run: Train) -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected, expected_numpy = torch.rand(3), np.random.random(3)  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    run()
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(np.random.random(3), expected_numpy)  # noqa: NPY002


def test_a_stop_during_the_test_keeps_the_steps(run: Train, recipe: Recipe, source: ArraySource, weights_of) -> None:
    """The fifth question of an epoch of five steps is asked by the test; nothing is trained twice."""
    whole = run("whole")
    assert not run("parts", stop=stop_at(5)).finished
    position = json.loads(torch.load(whole.folder.parent / "parts" / state.STATE, weights_only=True)["words"])
    assert (position["position"]["epoch"], position["position"]["step"]) == (0, 5)
    seen: list[TrainingProgress] = []
    parts = run("parts", progress=seen.append)
    assert seen[0].finished is not None  # the test of the first epoch came first
    assert math.isnan(seen[0].seconds_left)
    assert same(weights_of(whole.folder), weights_of(parts.folder))
    assert without_time(whole.history) == without_time(parts.history)


def test_leftovers_of_a_killed_write_are_removed(run: Train, tmp_path: Path) -> None:
    run(stop=stop_at(3))
    leftover, other = tmp_path / "out" / f".{state.STATE}.4711.partial", tmp_path / "out" / ".mine.partial"
    leftover.write_bytes(b"half")
    other.write_bytes(b"not ours")
    run()
    assert not leftover.exists()
    assert other.exists()


# --- gradients


def test_accumulated_pieces_equal_the_whole_batch(run: Train, cpu: TrainingSettings, weights_of) -> None:
    """Without BatchNorm a batch of 10 and pieces of 4, 3 and 3 give one gradient, c_u and c_p included."""
    plain = Network("plain", "lift")
    whole = run("whole", network=plain)
    pieces = run("pieces", network=plain, settings=dataclasses.replace(cpu, micro_batch=4))
    a, b = weights_of(whole.folder), weights_of(pieces.folder)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)
    assert whole.history[-1]["train_loss"] == pytest.approx(pieces.history[-1]["train_loss"], rel=1e-5)
    assert whole.history[-1]["auxiliary_loss"] == pytest.approx(pieces.history[-1]["auxiliary_loss"], rel=1e-5)


def test_liftpool_losses_are_in_the_gradient(
    run: Train, recipe: Recipe, source: ArraySource, tiny_build, tiny_arrays: Arrays, weights_of
) -> None:
    """One step of plain SGD with and without c_u and c_p differs by 0.01 grad(c_u) + 0.1 grad(c_p), computed apart."""
    one = dataclasses.replace(
        recipe,
        epochs=1,
        batch_size=50,
        schedule="constant",
        learning_rate=1.0,
        momentum=0.0,
        weight_decay=0.0,
        augmentation="none",
    )
    images, labels = tiny_arrays(50, 1)
    whole = ArraySource(images, labels, class_names=source.class_names, recipe=one)
    network = Network("plain", "lift")
    none = dataclasses.replace(one, auxiliary={"c_u": 0.0, "c_p": 0.0})
    without = weights_of(run("without", recipe=none, source=whole, network=network).folder)
    with_both = weights_of(run("with", recipe=one, source=whole, network=network).folder)

    module = network.build(3, seed=0, builder=tiny_build).train()
    batch, _ = whole.batch(torch.arange(50), 0, 0, torch.device("cpu"))
    module(normalise(batch, one))
    losses = collect_losses(module)
    assert losses.keys() == {"c_u", "c_p"}
    names, parameters = zip(*module.named_parameters(), strict=True)
    gradients = torch.autograd.grad(0.01 * losses["c_u"] + 0.1 * losses["c_p"], parameters, allow_unused=True)
    moved = 0
    for name, gradient in zip(names, gradients, strict=True):
        expected = torch.zeros_like(without[name]) if gradient is None else -gradient
        torch.testing.assert_close(with_both[name] - without[name], expected, rtol=1e-3, atol=2e-6)
        moved += bool(expected.abs().max() > 1e-5)
    assert moved >= 3  # the convolution before the pool, P and U


def test_auxiliary_losses_can_wait(run: Train, recipe: Recipe) -> None:
    """Before `auxiliary_start` the task alone counts, with full weight."""
    late = dataclasses.replace(recipe, auxiliary={"c_u": 1.0, "c_p": 1.0}, auxiliary_start=0.99, task_weight=0.5)
    never = dataclasses.replace(recipe, auxiliary={"c_u": 0.0, "c_p": 0.0})
    first, second = run("late", recipe=late).history[0], run("never", recipe=never).history[0]
    assert first["train_loss"] == second["train_loss"]
    assert first["auxiliary_loss"] > second["auxiliary_loss"] == 0


def test_temperature_falls_by_epoch_also_after_a_stop(run: Train, recipe: Recipe, tiny_build) -> None:
    from robustbench_lift.training.objective import temperature

    recipe = dataclasses.replace(recipe, temperature=(1.0, 0.1), temperature_at=(0.0, 0.5))
    seen: dict[int, set[float]] = {}
    layers: list[nn.Module] = []

    def builder(*args: Any, **kwargs: Any) -> nn.Module:
        module = tiny_build(*args, **kwargs)
        layers[:] = [module[-1]]
        module[-1].temperature = 1.0
        return module

    def look(now: TrainingProgress) -> None:
        if not now.finished:
            seen.setdefault(now.epoch, set()).add(layers[0].temperature)

    run(recipe=recipe, builder=builder, progress=look, stop=stop_at(7))
    run(recipe=recipe, builder=builder, progress=look)
    assert seen == {epoch: {temperature(recipe, epoch / 3)} for epoch in range(3)}


def test_a_loss_without_weight_is_refused(run: Train, recipe: Recipe) -> None:
    with pytest.raises(UsageError, match=r"auxiliary loss 'c_p'.*--set auxiliary.c_p=0.1"):
        run(recipe=dataclasses.replace(recipe, auxiliary={"c_u": 0.1}))


def test_weight_decay_groups(recipe: Recipe, tiny_build) -> None:
    module = tiny_build("norm", "lift", num_classes=3)

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sharpness = nn.Parameter(torch.ones(2, 2))

        def no_weight_decay(self) -> tuple[str, ...]:
            return ("sharpness",)

    module.append(Bare())
    everything = {id(p) for p in module.parameters()}
    for decay_all, free in ((True, 1), (False, 1 + sum(p.ndim < 2 for p in module.parameters()))):
        groups = parameter_groups(module, dataclasses.replace(recipe, decay_all=decay_all))
        assert {id(p) for g in groups for p in g["params"]} == everything
        assert [len(g["params"]) for g in groups] == [len(everything) - free, free]
        assert [g["weight_decay"] for g in groups] == [1e-3, 0.0]


def test_cutmix_pastes_one_box_of_the_neighbour() -> None:
    images = torch.arange(5.0)[:, None, None, None].expand(5, 3, 16, 12).clone()
    labels = torch.arange(5)
    areas = []
    for step in range(20):
        mixed, others, own = cutmix(images, labels, alpha=1.0, parts=(0, 0, step))
        assert others.tolist() == [4, 0, 1, 2, 3]
        kept = (mixed == images).float().mean((1, 2, 3))
        assert kept.tolist() == pytest.approx([own] * 5)
        assert torch.equal(mixed[1][mixed[1] != 1], torch.zeros_like(mixed[1][mixed[1] != 1]))
        areas.append(own)
    assert min(areas) < 0.5 < max(areas)


def test_averaged_weights_are_tested_and_handed_over(run: Train, recipe: Recipe, weights_of, tiny_build) -> None:
    """One epoch of five steps: the average by its definition, from the weights after each step."""
    recipe = dataclasses.replace(recipe, epochs=1, ema_decay=0.6)
    seen: list[torch.Tensor] = []
    built: list[nn.Module] = []

    def builder(*args: Any, **kwargs: Any) -> nn.Module:
        built.append(tiny_build(*args, **kwargs))
        seen.append(built[0][0].weight.detach().clone())
        return built[0]

    def look(now: TrainingProgress) -> None:
        if not now.finished:
            seen.append(built[0][0].weight.detach().clone())

    outcome = run(recipe=recipe, builder=builder, progress=look)
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.6 * expected + 0.4 * weight
    assert len(seen) == 6
    torch.testing.assert_close(weights_of(outcome.folder)["0.weight"], expected.contiguous())


# --- metrics


def test_every_test_image_counts_once(recipe: Recipe, images: MemoryImages, tiny_build) -> None:
    """23 images in batches of 4: the error is that of all images at once, for any batch size."""
    module = tiny_build("norm", "lift", num_classes=3).train()
    device = torch.device("cpu")
    pixels = torch.from_numpy(images.images.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        wrong = module.eval()(normalise(pixels, recipe)).argmax(1) != torch.from_numpy(images.labels)
    module.train()
    for size in (1, 4, 23, 100):
        got = measure(module, TestImages(images, recipe=recipe, batch_size=size), recipe=recipe, device=device)
        assert got.images == 23
        assert got.error == pytest.approx(float(wrong.double().mean()), abs=1e-12)
    assert module.training


def test_log_result_and_figure(run: Train, recipe: Recipe) -> None:
    outcome = run()
    lines = [json.loads(line) for line in (outcome.folder / state.LOG).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(line["train_images"] == 50 and line["test_images"] == 23 for line in lines)
    assert lines[-1]["test_error"] < 0.34  # learned something; guessing errs in two of three
    result = json.loads((outcome.folder / state.RESULT).read_text())
    assert result["clean_error"] == lines[-1]["test_error"]
    assert result["identity"]["recipe"] == json.loads((outcome.folder / state.IDENTITY).read_text())["recipe"]
    assert (outcome.folder / state.CURVES).read_bytes()[:4] == b"\x89PNG"


def test_weights_carry_their_card(run: Train) -> None:
    from safetensors import safe_open

    outcome = run()
    with safe_open(outcome.folder / state.FINAL, "pt") as stored:
        card = stored.metadata()
    assert (card["architecture"], card["pooling"], card["recipe"], card["seed"]) == ("norm", "lift", "tiny", "0")
    assert float(card["clean_error"]) == pytest.approx(outcome.result["clean_error"], abs=1e-6)
    assert json.loads(card["recipe_settings"])["auxiliary"] == {"c_u": 0.01, "c_p": 0.1}


# --- what goes wrong


def test_best_weights_that_are_gone_are_told(run: Train, recipe: Recipe) -> None:
    best = dataclasses.replace(recipe, keep="best")
    outcome = run(recipe=best)
    for name in (state.FINAL, state.BEST):
        (outcome.folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"best\.safetensors cannot be read .* to train again"):
        run(recipe=best)


def test_a_complete_training_is_not_repeated(run: Train) -> None:
    first = run()
    before = (first.folder / state.FINAL).stat().st_mtime_ns
    again = run(progress=lambda now: pytest.fail("trained again"))
    assert again.finished
    assert (first.folder / state.FINAL).stat().st_mtime_ns == before
    assert again.result == first.result


@pytest.mark.parametrize("finished", [True, False])
def test_another_recipe_network_or_seed_is_refused(run: Train, recipe: Recipe, finished: bool) -> None:
    run(stop=None if finished else stop_at(7))
    for changes, words in (
        ({"recipe": dataclasses.replace(recipe, learning_rate=0.5)}, "recipe.learning_rate: 0.05 != 0.5"),
        ({"network": Network("norm", "max")}, "network.pooling: lift != max"),
        ({"seed": 4}, "seed: 0 != 4"),
    ):
        with pytest.raises(IncomparableError) as caught:
            run(**changes)
        assert words in str(caught.value)
        assert "Nothing was changed." in str(caught.value)


def test_other_classes_in_the_test_images_are_refused(run: Train, images: MemoryImages) -> None:
    images.class_names = ("red", "green", "yellow")
    with pytest.raises(UsageError, match="the first that differ are blue and yellow"):
        run()


def test_divergence_says_when_and_keeps_the_state(run: Train, recipe: Recipe, tiny_build) -> None:
    exploding = dataclasses.replace(recipe, learning_rate=1e6, schedule="step", warmup_epochs=1.0, epochs=3)
    with pytest.raises(
        DivergedError, match=r"diverged: the loss was .* in epoch 1, step \d of 5 .*No state was stored"
    ):
        run("fast", recipe=exploding)

    finished = run("kept", stop=stop_at(7))
    kept = (finished.folder / state.STATE).read_bytes()

    def poison(now: TrainingProgress) -> None:
        if now.step == 4 and not now.finished:
            built[-1][0].weight.data.fill_(math.nan)

    built: list[nn.Module] = []

    def builder(*args: Any, **kwargs: Any) -> nn.Module:
        built.append(tiny_build(*args, **kwargs))
        return built[-1]

    with pytest.raises(
        DivergedError, match=r"in epoch 2, step 5 of 5 .*The state after epoch 1 and 2 steps of the next is kept in"
    ):
        run("kept", progress=poison, builder=builder)
    assert (finished.folder / state.STATE).read_bytes() == kept
    assert run("kept").finished


def test_full_disk_keeps_the_last_state(run: Train, weights_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up while the second state is written."""
    from pathlib import Path as PathType

    whole = run("whole")
    count = 0
    original = PathType.open

    def full(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        if self.name.startswith(f".{state.STATE}") and mode[0] in "wx":
            count += 1
            if count == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(PathType, "open", full)
        with pytest.raises(StorageError, match="No space left on device"):
            run("parts")
    parts = run("parts")
    assert same(weights_of(whole.folder), weights_of(parts.folder))
    assert not list(parts.folder.glob(".*partial*"))


def test_damaged_state_is_told(run: Train) -> None:
    folder = run(stop=stop_at(7)).folder
    content = (folder / state.STATE).read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"<html>"):
        (folder / state.STATE).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"state\.pt is damaged .*delete .* to start again") as caught:
            run()
        assert "weights_only" not in str(caught.value)  # torch advises to run what the file holds


def test_state_holds_no_code(run: Train) -> None:
    folder = run(stop=stop_at(7)).folder
    stored = torch.load(folder / state.STATE, weights_only=True)
    assert set(stored) == {"schema", "words", "module", "optimizer", "scaler", "average"}


def test_a_state_of_another_network_under_the_same_name_is_told(run: Train, tiny_build) -> None:
    run(stop=stop_at(3))

    def wider(*args: Any, **kwargs: Any) -> nn.Module:
        return nn.Sequential(*tiny_build(*args, **kwargs), nn.Linear(3, 3))

    with pytest.raises(CheckpointError, match="does not fit the network as this version builds it"):
        run(builder=wider)


def failing(tiny_build, error: BaseException) -> Callable[..., nn.Module]:
    """A builder of a network whose forward pass raises."""

    class Failing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise error

    return lambda *args, **kwargs: nn.Sequential(tiny_build(*args, **kwargs), Failing())


def test_a_full_memory_of_the_computer_is_no_bug(run: Train, tiny_build) -> None:
    error = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
    with pytest.raises(UsageError, match="--micro-batch 5"):
        run(builder=failing(tiny_build, error))


def test_a_layer_of_the_users_that_fails_is_named(run: Train, tiny_build) -> None:
    with pytest.raises(UsageError, match=r"your layer Failing raised KeyError: 'gain' \(test_loop.py, line \d+\)"):
        run(builder=failing(tiny_build, KeyError("gain")))


def test_a_last_batch_of_one_image_is_refused(run: Train, recipe: Recipe, source: ArraySource) -> None:
    with pytest.raises(UsageError, match="the last batch of an epoch has 1 of 7 images"):
        run(recipe=dataclasses.replace(recipe, batch_size=7, drop_last=False))


def test_too_little_memory_says_what_to_do(run: Train, tiny_build) -> None:
    def builder(*args: Any, **kwargs: Any) -> nn.Module:
        class Greedy(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        return nn.Sequential(tiny_build(*args, **kwargs), Greedy())

    with pytest.raises(UsageError, match=r"memory for 10 images of 8 pixels .* --micro-batch 5\."):
        run(builder=builder)


def test_time_limit_stops_with_a_state(run: Train, cpu: TrainingSettings) -> None:
    outcome = run(settings=dataclasses.replace(cpu, stop_after=0.0))
    assert (outcome.finished, outcome.epochs) == (False, 0)
    assert (outcome.folder / state.STATE).exists()
    assert run().finished


def test_best_weights_can_be_asked_for(run: Train, recipe: Recipe, weights_of) -> None:
    outcome = run(recipe=dataclasses.replace(recipe, keep="best"))
    best = min(outcome.history, key=lambda line: line["test_error"])
    assert outcome.result["sha256"] == hashlib.sha256((outcome.folder / state.FINAL).read_bytes()).hexdigest()
    assert outcome.result["clean_error"] == best["test_error"]
    assert outcome.result["epochs"] == best["epoch"]
    assert same(weights_of(outcome.folder), weights_of(outcome.folder, state.BEST))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_autocast_learns_too(run: Train, cpu: TrainingSettings, precision: str) -> None:
    outcome = run(settings=dataclasses.replace(cpu, precision=precision))
    assert outcome.history[-1]["test_error"] < 0.5


def test_adamw_resumes_too(run: Train, recipe: Recipe, weights_of) -> None:
    recipe = dataclasses.replace(recipe, optimizer="adamw", learning_rate=1e-2)
    whole = run("whole", recipe=recipe)
    run("parts", recipe=recipe, stop=stop_at(8))
    assert same(weights_of(whole.folder), weights_of(run("parts", recipe=recipe).folder))
