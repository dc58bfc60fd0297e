"""`train` and `sweep` from the command line: what they print, how they end, what they leave behind."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from robustbench_lift.commands import train as command
from robustbench_lift.errors import CheckpointError, IncomparableError, UsageError
from robustbench_lift.training import state
from robustbench_lift.weights import load_model

runner = CliRunner()
SMALL = ["--set", "size=32", "--set", "epochs=2", "--set", "batch_size=10", "--set", "learning_rate=0.01"]


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    command.register(made)
    return made


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Thirty images of 32 pixels in three classes."""
    generator = np.random.default_rng(0)
    labels = np.arange(30) % 3
    images = generator.integers(0, 200, (30, 32, 32, 3), dtype=np.uint8)
    images[np.arange(30), :, :, labels] += 55
    np.savez(tmp_path / "small.npz", x=images, y=labels)
    return tmp_path / "small.npz"


def arguments(archive: Path, out: Path) -> list[str]:
    return [
        *("train", "cifar-resnet", "--model", "resnet8/lift", "--data", str(archive), "--hold-out", "0.2"),
        *("--device", "cpu", "--out", str(out), *SMALL),
    ]


def test_train_prints_plain_lines_and_leaves_weights(app: typer.Typer, archive: Path, tmp_path: Path) -> None:
    answer = runner.invoke(app, arguments(archive, tmp_path / "out"), catch_exceptions=False)
    assert answer.exit_code == 0
    assert "epoch 2 of 2: train loss" in answer.stdout
    assert "on 6 test images after 2 epochs" in answer.stdout
    assert "\x1b" not in answer.stdout
    result = json.loads((tmp_path / "out" / state.RESULT).read_text())
    assert result["identity"]["network"]["pooling"] == "lift"
    again = runner.invoke(app, arguments(archive, tmp_path / "out"), catch_exceptions=False)
    assert again.exit_code == 0
    assert "epoch" not in again.stdout.replace("epochs", "")


def test_time_limit_ends_with_three_and_goes_on(app: typer.Typer, archive: Path, tmp_path: Path) -> None:
    answer = runner.invoke(app, [*arguments(archive, tmp_path / "out"), "--stop-after", "0s"])
    assert answer.exit_code == 3
    assert "stopped after 0 complete epochs; the same command goes on from" in answer.stdout.replace("\n", " ")
    assert runner.invoke(app, arguments(archive, tmp_path / "out")).exit_code == 0


def test_sweep_ends_with_the_table(app: typer.Typer, archive: Path, tmp_path: Path) -> None:
    common = ["--data", str(archive), "--hold-out", "0.2", "--device", "cpu", "--out", str(tmp_path), *SMALL]
    call = ["sweep", "cifar-resnet", "--models", "resnet8/max,resnet8/skip", "--seeds", "0,1", *common]
    half = runner.invoke(app, [*call, "--shard", "1/2"], catch_exceptions=False)
    assert half.exit_code == 0
    assert "resnet8/skip" in half.stdout
    assert "incomplete" in half.stdout
    whole = runner.invoke(app, call, catch_exceptions=False)
    assert whole.exit_code == 0
    assert "incomplete" not in whole.stdout
    assert whole.stdout.count("2 of 2") >= 2


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--set", "epochz=3"], "unknown recipe setting 'epochz'"),
        (["--stop-after", "soon"], "'soon' is no span of time; write 25m, 90s or 1h30m."),
        (["--stop-after", "9" * 5000], "is no span of time"),
        (["--set", "name=../../evil"], "name must be letters, digits"),
        (["--set", "epochs=1\nseed=2"], "holds more than one value"),
        (["--device", "meta"], "only cpu and cuda"),
        (["--device", "mps"], "only cpu and cuda"),
        (["--set", "classes=100"], "is for 100 classes, small has 3"),
        (["--model", "resnet8"], None),
        (["--model", "resnet8/lift@weights.pt"], "is not a network to train"),
        (["--recipe-file", "none.toml"], "recipe file none.toml cannot be read"),
    ],
)
def test_mistakes_are_told(app: typer.Typer, archive: Path, tmp_path: Path, extra: list[str], message: str) -> None:
    answer = runner.invoke(app, [*arguments(archive, tmp_path / "out"), *extra])
    if message is None:
        assert answer.exit_code == 0  # without a pooling the network keeps its strided convolutions
    else:
        assert isinstance(answer.exception, UsageError)
        assert message in str(answer.exception)
        assert not (tmp_path / "out").exists()


def test_signals_ask_for_a_stop_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with command.interruptible() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_sweep_tells_a_mistake_before_the_first_training(app: typer.Typer, archive: Path, tmp_path: Path) -> None:
    given = ["sweep", *arguments(archive, tmp_path / "out")[1:]]
    given[given.index("--model")] = "--models"
    given[given.index("resnet8/lift")] = "resnet8/lift,resnet8/lifft"
    with pytest.raises(UsageError, match="Did you mean 'lift'"):
        runner.invoke(app, given, catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_a_negative_number_of_workers_is_refused(app: typer.Typer, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="workers must be 0 or more"):
        runner.invoke(app, [*arguments(archive, tmp_path / "out"), "--workers", "-1"], catch_exceptions=False)


def test_shares_of_a_sweep_count_from_one(app: typer.Typer, archive: Path, tmp_path: Path) -> None:
    common = ["--data", str(archive), "--hold-out", "0.2", "--device", "cpu", "--out", str(tmp_path), *SMALL]
    call = ["sweep", "cifar-resnet", "--models", "resnet8/max,resnet8/skip", *common]
    with pytest.raises(UsageError, match="the first share is 1/2"):
        runner.invoke(app, [*call, "--shard", "0/2"], catch_exceptions=False)
    last = runner.invoke(app, [*call, "--shard", "2/2"], catch_exceptions=False)
    assert last.exit_code == 0
    assert (tmp_path / "cifar-resnet" / "resnet8-skip" / "seed0" / state.RESULT).exists()


def test_a_precision_that_there_is_not_is_refused(app: typer.Typer, archive: Path, tmp_path: Path) -> None:
    answer = runner.invoke(app, [*arguments(archive, tmp_path / "out"), "--precision", "fp8"])
    assert answer.exit_code == 2
    assert "fp8" in answer.output
    assert not (tmp_path / "out").exists()


def test_every_setting_is_an_option_of_both_commands(app: typer.Typer) -> None:
    from robustbench_lift.commands.options import options_of
    from robustbench_lift.training.settings import TrainingImages, TrainingSettings

    for name in ("train", "sweep"):
        command = typer.main.get_command(app).commands[name]
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert {option.flag for kind in (TrainingImages, TrainingSettings) for option in options_of(kind)} <= flags
        assert {"--set", "--recipe-file", "--out"} <= flags


def test_the_options_need_no_torch() -> None:
    import subprocess
    import sys

    program = "import robustbench_lift.commands.train, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_held_out_part_is_named_for_run(app: typer.Typer, archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    for kind in ("cat", "dog"):
        (folder / kind).mkdir(parents=True)
        for k in range(8):
            Image.fromarray(np.full((40, 40, 3), 20 * k, np.uint8)).save(folder / kind / f"{k}.png")
    call = ["train", "imagenette-64", "--model", "resnet8/max", "--data", str(folder), "--hold-out", "0.25"]
    call += ["--device", "cpu", "--out", str(tmp_path / "out"), "--set", "resize=36", *SMALL, "--set", "epochs=1"]
    answer = runner.invoke(app, call, catch_exceptions=False)
    assert answer.exit_code == 0
    assert f"--data 'folder:{folder}?part=test&hold_out=0.25'" in answer.stdout
    unnamed = runner.invoke(app, arguments(archive, tmp_path / "other"), catch_exceptions=False)
    assert "no data spec of `run` names them" in unnamed.stdout


def test_a_training_begins_from_other_weights_and_says_what_it_left_out(
    app: typer.Typer, archive: Path, tmp_path: Path
) -> None:
    from robustbench_lift.networks import build_model

    weights = tmp_path / "ten.pt"
    torch.save(build_model("resnet20", "max", num_classes=10).state_dict(), weights)
    arguments = ["train", "cifar-resnet", "--model", "resnet20/max", "--data", str(archive), "--hold-out", "0.2"]
    arguments += [*SMALL, "--out", str(tmp_path / "run"), "--start", str(weights)]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "begins from ten.pt" in done.output
    assert "left out: fc.weight, fc.bias; untrained: fc" in done.output
    card = load_model(f"@{tmp_path / 'run' / 'final.safetensors'}").card
    assert card["start"].startswith("begins from ten.pt (sha256 ")
    identity = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert len(identity["network"]["start"]) == 64
    other = runner.invoke(app, [*arguments[:-2]])
    assert isinstance(other.exception, IncomparableError), "without the weights it is another training"
    broken = runner.invoke(app, [*arguments[:-1], str(tmp_path / "nowhere.pt")])
    assert isinstance(broken.exception, CheckpointError)
