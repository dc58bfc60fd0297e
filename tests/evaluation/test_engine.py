"""What an evaluation promises beside its numbers: which models it takes, what it refuses, and what it goes on after."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from robustbench_lift.data.geometry import CenterCrop
from robustbench_lift.errors import (
    DataError,
    IncomparableError,
    IncompleteError,
    RobustbenchError,
    StorageError,
    UsageError,
)
from robustbench_lift.evaluation.engine import evaluate
from robustbench_lift.evaluation.progress import Progress
from robustbench_lift.protocols import Request
from robustbench_lift.protocols.clean import Clean
from robustbench_lift.runs import Cell, Record, Run, record
from robustbench_lift.shares import Share
from robustbench_lift.weights import LoadedModel, Preprocessing

SIDE, CLASSES = 32, 7
PLAIN = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), resize=None, crop=SIDE)


class Noise:
    """Images of noise, deterministic by index; some cannot be read."""

    name = "noise"
    class_names = tuple("abcdefg")

    def __init__(self, n: int = 23, broken: tuple[int, ...] = ()) -> None:
        self.ids = tuple(f"image/{i:03d}" for i in range(n))
        self.labels: npt.NDArray[np.int64] = np.arange(n, dtype=np.int64) % CLASSES
        self.broken = broken

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        if index in self.broken:
            raise DataError(f"{index}.jpg is truncated. Replace it.")
        return np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class Brighter(Clean):
    """Three cells of one frame over one image set, and one of another."""

    name: ClassVar[str] = "brighter"
    other: Noise

    def cells(self) -> tuple[Cell, ...]:
        return tuple(Cell("brighter", condition, 1) for condition in ("a", "b", "other", "c"))

    def images(self, cell: Cell) -> Any:
        return self.other if cell.condition == "other" else self.source


def clean(images: Noise | None = None) -> Clean:
    return Clean(source=images or Noise(), geometry=CenterCrop(SIDE))


def net(*layers: nn.Module) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES))


def test_a_module_in_memory_is_evaluated_and_gets_its_modes_back(tmp_path: Path) -> None:
    module = net(nn.Dropout(0.5), nn.BatchNorm2d(3))
    module[1].eval()
    run = evaluate(module, clean(), run=tmp_path / "a")
    assert (module.training, module[0].training, module[1].training) == (True, True, False)
    found = run.manifest.model
    assert (found["num_classes"], found["arch"]) == (CLASSES, "Sequential")
    assert any("ImageNet's defaults, assumed" in note for note in found["notes"])
    same = evaluate(LoadedModel.of(module, num_classes=CLASSES), clean(), run=tmp_path / "b")
    np.testing.assert_array_equal(run.read(run.expected[0]).top5, same.read(same.expected[0]).top5)
    with torch.no_grad():
        module[3].bias += 1
    with pytest.raises(IncomparableError, match="weights"):
        evaluate(module, clean(), run=tmp_path / "a")


def test_networks_in_memory_need_names_that_tell_them_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(UsageError, match=r'2 of the networks are called Sequential.*name="\.\.\."'):
        evaluate([net(nn.Identity()), net(nn.ReLU())], clean(), run=paths)
    assert not any(path.exists() for path in paths)
    named = [LoadedModel.of(net(nn.Identity()), name=name, num_classes=CLASSES) for name in ("a", "b")]
    assert [run.name for run in evaluate(named, clean(), run=paths)] == ["a", "b"]


def test_a_callable_is_evaluated_on_normalised_images(tmp_path: Path) -> None:
    def mine(x: Tensor) -> Tensor:
        return torch.stack([x.mean((1, 2, 3)) * k for k in range(CLASSES)], dim=1)

    run = evaluate(LoadedModel.of(mine, preprocessing=PLAIN, num_classes=CLASSES), clean(), run=tmp_path)
    assert run.name == "mine"
    assert (run.read(run.expected[0]).top1 == CLASSES - 1).all()  # pixels from 0 to 1: the largest multiple of a mean


def test_data_may_be_a_spec_a_request_or_protocols_and_options_are_keywords(tmp_path: Path) -> None:
    options: dict[str, Any] = {"protocols": ("clean",), "limit": 15, "device": "cpu", "batch_size": 8}
    one = evaluate("photos/resnet-lift", "photos", run=tmp_path / "a", **options)
    request = Request(protocols=("clean",), limit=15)
    several = evaluate(["photos/resnet-lift"], request, run=[tmp_path / "b"], device="cpu")
    assert isinstance(one, Run)
    assert [run.signature for run in several] == [one.signature]
    np.testing.assert_array_equal(one.read(one.expected[0]).top5, several[0].read(one.expected[0]).top5)
    with pytest.raises(UsageError, match=r"unknown option 'batchsize'\. Did you mean 'batch_size'"):
        evaluate("photos/resnet-lift", "photos", run=tmp_path / "c", batchsize=8)
    with pytest.raises(UsageError, match="unknown option 'limit'"):
        evaluate("photos/resnet-lift", request, run=tmp_path / "c", limit=3)
    with pytest.raises(UsageError, match="2 models need as many run folders, not 1"):
        evaluate(["photos/resnet-lift", "photos/alexnet"], request, run=tmp_path / "c")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"run": None}, "run must be the path of a folder"),
        ({"run": ""}, "run is empty; name a folder"),
        ({"run": "a\0b"}, r"a\\x00b cannot be a run folder"),
        ({"run": "n" * 300}, "cannot be a run folder: File name too long"),
        ({"settings": {"batch_size": 3}}, r"settings must be Settings\(...\), not a dict"),
        ({"progress": 3}, "progress must be a function"),
        ({"normaliser": net()}, "normaliser must be `alexnet` or the path of a run"),
        ({"provenance": {"who": {1, 2}}}, "provenance holds what run.json cannot"),
        ({"provenance": [1]}, "provenance must be a mapping"),
        ({"device": None}, "unknown device 'None'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_a_call_that_means_nothing_is_refused(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(RobustbenchError, match=words):
        evaluate(net(), clean(), **({"run": tmp_path / "r"} | wrong))
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_two_models_do_not_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    pair = [LoadedModel.of(net(), name="a", num_classes=7), LoadedModel.of(net(), name="b", num_classes=7)]
    for folders in (["a", "a"], ["a", "x/../a"], ["a", "link"]):
        with pytest.raises(UsageError, match="not one folder twice"):
            evaluate(pair, clean(), run=[tmp_path / name for name in folders])
    with pytest.raises(UsageError, match="name one model or more"):
        evaluate([], clean(), run=[])


def test_the_public_evaluate_is_a_function_at_every_access(tmp_path: Path) -> None:
    from robustbench_lift import evaluate as first
    from robustbench_lift import evaluate as second

    assert first is second
    for number, one in enumerate((first, second)):
        assert not one(net(), clean(), run=tmp_path / str(number)).missing()


class BatchStatistics(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)


class AlwaysDropout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.2, training=True)


@pytest.mark.parametrize(
    ("layer", "found"), [(BatchStatistics, "other images of the batch"), (AlwaysDropout, "change from call to call")]
)
def test_a_network_that_is_no_function_of_one_image_is_refused_or_marked(
    layer: type[nn.Module], found: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=found):
        evaluate(net(layer()), clean(), run=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    marked = evaluate(net(layer()), clean(), run=tmp_path / "a", allow_dependent=True, batch_size=4)
    assert "|dependent:batch4" in marked.signature
    plain = evaluate(net(), clean(), run=tmp_path / "b", allow_dependent=True)
    assert "dependent" not in plain.signature


def test_an_error_in_the_users_network_names_it_and_the_size_of_the_images(tmp_path: Path) -> None:
    class Adapting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("momentum")

    with pytest.raises(UsageError, match=r"Adapting failed on images of 32 x 32 pixels: KeyError: 'momentum'"):
        evaluate(Adapting(), clean(), run=tmp_path)
    with pytest.raises(UsageError, match="32 x 32"):
        evaluate(nn.Sequential(nn.Flatten(), nn.Linear(5, CLASSES)), clean(), run=tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_cannot_be_read_are_named_and_the_rest_is_stored(workers: int, tmp_path: Path) -> None:
    protocol = Brighter(source=Noise(broken=(3, 20)), other=Noise(), geometry=CenterCrop(SIDE))
    with pytest.raises(IncompleteError) as caught:
        evaluate(net(), protocol, run=tmp_path, workers=workers, batch_size=4)
    message = str(caught.value)
    assert message.startswith("2 images cannot be read")
    assert "3.jpg is truncated" in message
    assert "20.jpg is truncated" in message
    assert "3 of 4 cells" in message
    assert {cell.condition for cell in Run.open(tmp_path).missing()} == {"a", "b", "c"}
    mended = Brighter(source=Noise(), other=Noise(), geometry=CenterCrop(SIDE))
    assert not evaluate(net(), mended, run=tmp_path).missing()


def test_when_no_image_can_be_read_the_first_says_why_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^0\.jpg is truncated"):
        evaluate(net(), clean(Noise(broken=tuple(range(23)))), run=tmp_path)


def test_exchanged_pictures_are_another_image_set(tmp_path: Path) -> None:
    def write(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for name in ("a/0", "a/1", "b/0"):
            (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(tmp_path / "t" / f"{name}.png")

    def run(*protocols: str) -> Run:
        request = Request(data=f"folder:{tmp_path / 't'}?resize=none&crop={SIDE}", protocols=protocols)
        model = LoadedModel.of(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2)), num_classes=2)
        with torch.no_grad():
            model.module[1].weight.zero_()  # type: ignore[index, union-attr, operator]
        return evaluate(LoadedModel.of(model.module, num_classes=2, weights_sha256="ab"), request, run=tmp_path / "r")

    write(0)
    signature = run("clean").signature
    write(1)
    with pytest.raises(IncomparableError, match=r"data\.sets\.clean\.files"):
        run("clean")
    write(0)
    assert run("clean").signature == signature


def test_the_device_in_run_json_is_the_one_that_was_used(tmp_path: Path) -> None:
    run = evaluate(net(), clean(), run=tmp_path, device="auto")
    assert run.manifest.provenance["device"] == ("cuda:0" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_frames_are_never_made_with_tf32(precision: str, tmp_path: Path) -> None:
    made: list[bool] = []
    shown: list[bool] = []
    inside = threading.Semaphore(1)

    @dataclass(frozen=True, kw_only=True)
    class Watching(Clean):
        def render(self, cell: Cell, batch: Tensor, ids: Any) -> Tensor:
            for _ in range(20):  # the forward passes of earlier batches go on meanwhile
                made.append(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
                time.sleep(1e-4)
            return batch.unsqueeze(1)

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x: Tensor) -> Tensor:
            with inside:
                time.sleep(1e-3)
                shown.append(torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32)
            answer: Tensor = self.inner(x)
            return answer

    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    protocol = Watching(source=Noise(), geometry=CenterCrop(SIDE))
    evaluate(Watched(), protocol, run=tmp_path, precision=precision, batch_size=2)
    assert not any(made)
    assert set(shown[4:]) == {precision == "tf32"}  # four passes ask whether it is a function of one image, in float32
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before


def test_progress_is_a_share_of_all_frames_and_lists_no_cell(tmp_path: Path) -> None:
    seen: list[Progress] = []
    protocol = Brighter(source=Noise(), other=Noise(), geometry=CenterCrop(SIDE))
    evaluate(net(), protocol, run=tmp_path, batch_size=8, progress=seen.append)
    fractions = [state.fraction for state in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert [state.fraction for state in seen if state.images_done == state.images_total] == [0.25, 0.5, 0.75, 1.0]


@record("test-counts")
@dataclass(frozen=True)
class Counts(Record):
    """As a segmentation network's: of each class, pixels of intersection, target and prediction."""

    counts: npt.NDArray[np.int32]

    ARRAYS: ClassVar[Mapping[str, tuple[str, tuple[int | str, ...]]]] = {"counts": ("<i4", ("K", 3))}

    @classmethod
    def measure(cls, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        classes = torch.arange(logits.shape[1])
        predicted = logits.argmax(1)[:, None] == classes  # one pixel an image
        wanted = targets[:, :1] == classes
        return {"counts": torch.stack([predicted & wanted, wanted, predicted], dim=2).int()}

    def check(self, classes: int) -> None:
        if int(self.counts.min()) < 0:
            raise DataError("counts are negative")


@dataclass(frozen=True, kw_only=True)
class Maps(Clean):
    """A protocol with a target of its own and another record."""

    name: ClassVar[str] = "maps"
    record: ClassVar[type[Record]] = Counts

    def target(self, images: Noise, row: int, size: tuple[int, int]) -> npt.NDArray[np.int64]:
        return np.full(2, (row + 1) % CLASSES)


def test_a_protocol_may_store_another_record(tmp_path: Path) -> None:
    protocol = Maps(source=Noise(), geometry=CenterCrop(SIDE))
    whole = evaluate(net(), protocol, run=tmp_path / "whole", workers=1, batch_size=5)
    for index in range(2):
        shared = evaluate(net(), protocol, run=tmp_path / "shared", shard=Share(index, 2), batch_size=8)
    cell = Cell("maps", "maps", 0)
    found = whole.record(cell, Counts)
    assert found.counts.shape == (23, CLASSES, 3)
    assert found.counts[:, :, 1].argmax(1).tolist() == [(row + 1) % CLASSES for row in range(23)]
    np.testing.assert_array_equal(shared.record(cell, Counts).counts, found.counts)
    with pytest.raises(DataError, match="is a test-counts record, not a classification one"):
        whole.read(cell)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="torchrun's processes")
def test_two_ranks_of_torchrun_store_the_bytes_of_one_process(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    common = (
        *("run", "photos/resnet-lift", "--protocols", "clean,shift", "--limit", "30", "--normaliser", "none"),
        *("--no-report", "--device", "cpu", "--out"),
    )
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    one = [sys.executable, "-m", "robustbench_lift", *common, str(tmp_path / "one")]
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "robustbench_lift")
    two = [sys.executable, *launcher, *common, str(tmp_path / "two")]
    for call in (one, two):
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.npz"))
    assert len(files) == 2
    assert files == sorted(path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*.npz"))
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_sigterm_ends_an_evaluation_with_130_and_says_what_is_kept(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    call = [
        sys.executable,
        "-m",
        "robustbench_lift",
        "run",
        "photos/resnet-lift",
        "--normaliser",
        "none",
        "--no-report",
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*call, "--out", str(tmp_path / "r")],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "r").rglob("*.npz")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 130, said
    assert "the same command goes on from there" in said
    assert list((tmp_path / "r").rglob("*.npz"))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (lambda x: x > 0, r"torch\.bool"),
        (lambda x: x.long(), r"torch\.int64"),
        (lambda x: x.to(torch.complex64), r"torch\.complex64"),
        (lambda x: x.to_sparse(), r"torch\.sparse_coo"),
    ],
)
def test_answers_that_are_no_floating_point_numbers_are_refused(answer: Any, found: str, tmp_path: Path) -> None:
    inner = net().eval()
    model = LoadedModel.of(lambda x: answer(inner(x)), preprocessing=PLAIN, num_classes=CLASSES, name="mine")
    with pytest.raises(UsageError, match=rf"mine answers with a tensor of .*{found}.*logits were expected"):
        evaluate(model, clean(), run=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_network_that_ends_the_process_is_a_network_that_fails(tmp_path: Path) -> None:
    def leaves(x: Tensor) -> Tensor:
        raise SystemExit(0)

    model = LoadedModel.of(leaves, preprocessing=PLAIN, num_classes=CLASSES)
    with pytest.raises(UsageError, match="leaves failed on images of 32 x 32 pixels: SystemExit: 0"):
        evaluate(model, clean(), run=tmp_path / "a")


def test_probabilities_in_place_of_logits_are_noted(tmp_path: Path) -> None:
    said: list[str] = []
    for module in (net(), nn.Sequential(net(), nn.Softmax(dim=1))):
        model = LoadedModel.of(module, preprocessing=PLAIN, num_classes=CLASSES, name="mine")
        run = evaluate(model, clean(), run=tmp_path / str(len(said)), progress=lambda state: said.append(state.note))
        noted = [note for note in run.manifest.model["notes"] if "probabilities, which sum to 1" in note]
        assert len(noted) == ("Softmax" in repr(module))
    assert [note for note in said if "note on mine: its answers are no logits" in note] != []


def test_a_network_that_changes_its_input_changes_nobodys_answers(tmp_path: Path) -> None:
    inner = net().eval()

    def changing(x: Tensor) -> Tensor:
        answer: Tensor = inner(x)
        x.zero_()
        return answer

    functions = {"changing": changing, "after": inner}
    models = [
        LoadedModel.of(f, preprocessing=PLAIN, num_classes=CLASSES, name=name, weights_sha256=name)
        for name, f in functions.items()
    ]
    first, second = evaluate(models, clean(), run=[tmp_path / "a", tmp_path / "b"], batch_size=4)
    cell = first.expected[0]
    for name, array in first.read(cell).arrays().items():
        np.testing.assert_array_equal(second.read(cell).arrays()[name], array)
    assert len(np.unique(first.read(cell).top1)) > 1


def test_an_image_that_the_geometry_refuses_is_named(tmp_path: Path) -> None:
    class Narrow(Noise):
        def read(self, index: int) -> npt.NDArray[np.uint8]:
            return super().read(index)[:20] if index == 7 else super().read(index)

    with pytest.raises(IncompleteError, match=r"image/007: an image of 20x40 pixels is smaller than the 32-pixel crop"):
        evaluate(net(), clean(Narrow()), run=tmp_path)


class Acting(nn.Module):
    """A network during whose n-th call something happens."""

    def __init__(self, call: int, act: Callable[[], object]) -> None:
        super().__init__()
        self.inner, self.call, self.act, self.calls = net(), call, act, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.call:
            self.act()
        answer: Tensor = self.inner(x)
        return answer


def pictures(folder: Path, seed: int) -> None:
    for k in range(2 * CLASSES):
        file = folder / f"{k % CLASSES}" / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng([seed, k]).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file.with_suffix(".new"), "PNG")
        file.with_suffix(".new").replace(file)  # a reader ahead never meets half of a picture


def interrupted(tmp_path: Path, call: int, act: Callable[[], object]) -> Run:
    """The run of three cells, 14 images each in 4 passes of 4, after 4 passes that ask what the network is."""
    request = Request(
        data=f"folder:{tmp_path / 'd'}?resize=none&crop={SIDE}",
        protocols=("clean", "corruption"),
        corruptions=("fog", "snow"),
        severities=(1,),
    )
    model = LoadedModel.of(Acting(call, act), preprocessing=PLAIN, num_classes=CLASSES, name="net", weights_sha256="ab")
    return evaluate(model, request, run=tmp_path / "r", batch_size=4)


@pytest.mark.parametrize(("call", "cell", "stored"), [(5, "clean/clean/0", 0), (10, "corruption/fog/1", 1)])
def test_pictures_that_change_under_way_are_scored_in_no_cell(
    tmp_path: Path, call: int, cell: str, stored: int
) -> None:
    pictures(tmp_path / "d", 0)
    with pytest.raises(DataError, match=f"the images of d were changed while {cell} was evaluated"):
        interrupted(tmp_path, call, lambda: pictures(tmp_path / "d", 1))
    assert len(Run.open(tmp_path / "r").missing()) == 3 - stored
    with pytest.raises(IncomparableError, match="files"):
        interrupted(tmp_path, 0, lambda: None)
    pictures(tmp_path / "d", 0)
    assert not interrupted(tmp_path, 0, lambda: None).missing()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="pixels are kept on Linux")
def test_pictures_that_go_when_all_are_read_are_missed_by_nobody(tmp_path: Path) -> None:
    pictures(tmp_path / "d", 0)
    assert not interrupted(tmp_path, 12, lambda: shutil.rmtree(tmp_path / "d")).missing()


@pytest.mark.parametrize("call", [5, 10])
def test_a_run_folder_that_goes_under_way_is_no_result(tmp_path: Path, call: int) -> None:
    pictures(tmp_path / "d", 0)
    with pytest.raises(StorageError, match=r"r was removed or emptied while the run was written"):
        interrupted(tmp_path, call, lambda: shutil.rmtree(tmp_path / "r"))
    assert not (tmp_path / "r").exists()
    assert not interrupted(tmp_path, 0, lambda: None).missing()
