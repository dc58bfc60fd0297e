"""`check` finds what is wrong before a long run, and chance level is explained."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from robustbench_lift.commands import check as command
from robustbench_lift.data import check
from robustbench_lift.data.check import Archive, CheckReport, check_data, published_archives
from robustbench_lift.data.classes import wnids
from robustbench_lift.errors import IncompleteError, UsageError
from robustbench_lift.evaluation.diagnosis import diagnose_chance
from robustbench_lift.runs import Cell


def texts(spec: str, level: str, **keywords: object) -> str:
    (report,) = check_data(spec, **keywords)
    return "\n".join(finding.text for finding in report.findings if finding.level == level)


def test_a_good_folder_is_told_in_numbers(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "val", make.validation(each=4))
    assert texts(f"imagenet:{root}?classes=partial", "problem") == ""
    assert "12 images in 3 classes, 4 to 4 a class\n12 files decoded, all 24x32 pixels" in texts(f"folder:{root}", "ok")


def test_files_that_cannot_be_decoded_are_found(make: SimpleNamespace, tmp_path: Path) -> None:
    files = make.validation(each=40)
    victim = sorted(files)[17]
    files[victim] = files[victim][:100]
    root = make.write(tmp_path / "val", files)
    found = texts(f"folder:{root}", "problem")
    assert found.startswith("1 of 120 files cannot be used.")
    assert victim in found
    few = [texts(f"folder:{root}", "ok", samples=5) for _ in range(2)]
    assert few[0] == few[1]
    assert "5 files decoded" in few[0]
    assert texts(f"folder:{root}", "problem", samples=None) == found


def test_classic_mistakes_are_explained(make: SimpleNamespace, tmp_path: Path) -> None:
    flat = make.write(tmp_path / "flat", {f"ILSVRC2012_val_{k:08d}.JPEG": b"x" for k in range(3)})
    assert "flat folder" in texts(f"imagenet:{flat}", "problem")
    numbers = make.write(tmp_path / "numbers", {f"{k}/a.JPEG": b"x" for k in range(30)})
    assert "named by numbers" in texts(f"imagenet:{numbers}", "problem")
    apple = make.write(
        tmp_path / "apple", make.validation() | {f"{wnids()[0]}/._a.JPEG": b"x", f"{wnids()[0]}/b.txt": b""}
    )
    notes = texts(f"imagenet:{apple}?classes=partial", "note")
    assert "1 files are left out: AppleDouble" in notes
    assert "b.txt" in notes
    assert "24x32: this is a resized copy" in notes


def test_val_with_a_missing_image(make: SimpleNamespace, tmp_path: Path) -> None:
    content = make.jpeg(make.picture(1))
    files = {f"{wnid}/{k}.JPEG": content for wnid in wnids() for k in range(50 if wnid == wnids()[0] else 1)}
    found = texts(f"imagenet:{make.pack(tmp_path / 'val.tar', files)}", "problem", samples=10)
    assert "999 classes have fewer" in found


def test_a_tree_is_checked_cell_by_cell(make: SimpleNamespace, tmp_path: Path) -> None:
    files = make.corrupted(("fog", "snow", "spatter"), each=1)
    root = make.write(tmp_path / "c", {k: v for k, v in files.items() if not k.startswith("snow/5")})
    (root / "fog/2" / wnids()[1] / "ILSVRC2012_val_00000002.JPEG").unlink()
    big = make.jpeg(make.picture(3, 256, 256))
    for path in (root / "spatter/4").glob("*/*.JPEG"):
        path.write_bytes(big)
    spec = f"imagenet-c:{root}?classes=partial"
    problems = texts(spec, "problem")
    assert "2 of the 15 corruptions of ImageNet-C and 1 of the 4 extra ones; missing: gaussian_noise" in problems
    assert "snow/5" in problems
    assert "fog/2" in problems
    assert "spatter/4" in problems
    assert "256x256 pixels, expected 224x224" in problems
    assert "13 cells of 3 images" in texts(spec, "ok")
    assert "all 224x224 pixels (12 cells)" in texts(spec, "ok")


def test_what_is_wrong_with_many_cells_is_one_line(make: SimpleNamespace, tmp_path: Path) -> None:
    files = make.corrupted(("fog", "snow", "frost"), each=1)
    gone = ("snow/3", "snow/4", "fog/5")
    root = make.write(tmp_path / "some where" / "c", {k: v for k, v in files.items() if not k.startswith(gone)})
    for place in root.glob(f"frost/*/{wnids()[1]}/*.JPEG"):
        place.unlink()
        place.with_name("other.JPEG").write_bytes(files[f"frost/1/{wnids()[0]}/ILSVRC2012_val_00000001.JPEG"])
    for place in root.glob(f"fog/*/{wnids()[0]}/*.JPEG"):
        place.write_bytes(make.jpeg(make.picture(3, 256, 256)))
    problems = texts(f"imagenet-c:{root}?classes=partial", "problem", samples=None).splitlines()
    assert len(problems) == 4
    assert "lacks 3 of the folders that were asked for: snow/3, snow/4, fog/5." in problems[1]
    assert "frost/1 lacks 1 of the 3 images of" in problems[2]
    assert problems[2].endswith("The same in 4 more, in all: frost/1-5.")
    assert problems[3].startswith("fog/1: 1 of 3 files cannot be used.")
    assert problems[3].endswith("The same in 3 more, in all: fog/1-4.")
    classes = texts(f"imagenet-c:{root}", "problem", samples=None).splitlines()
    assert len(classes) == 3
    assert "3 of the 1,000 class folders" in classes[2]
    assert classes[2].endswith("The same in 11 more, in all: snow/1+2+5, frost/1-5, fog/1-4.")


def test_files_that_are_broken_alike_are_counted(make: SimpleNamespace, tmp_path: Path) -> None:
    files = dict.fromkeys(make.validation(each=4), b"<!doctype html>") | {f"{wnids()[0]}/z.JPEG": b""}
    found = texts(f"folder:{make.write(tmp_path / 'val', files)}", "problem")
    assert found.startswith("13 of 13 files cannot be used.")
    assert found.count("web page") == 1
    assert "(12 files of this kind) | " in found
    assert "is empty" in found


def test_pictures_that_lie_in_two_classes_are_noted(make: SimpleNamespace, tmp_path: Path) -> None:
    files = make.validation(["a", "b", "c"], each=4)
    root = make.write(tmp_path / "val", files)
    assert texts(f"folder:{root}", "note", samples=None) == ""
    names = sorted(files)
    (root / "b" / "copy.JPEG").write_bytes(files[names[0]])
    (root / "a" / "again.JPEG").write_bytes(files[names[1]])  # in its own class: nobody is wrong
    found = texts(f"folder:{root}", "note", samples=None)
    assert found.startswith(f"1 of these pictures lie in another class too ({names[0][:-5]} and b/copy)")
    (root / "d").symlink_to("c")
    assert texts(f"folder:{root}", "note", samples=None).startswith("5 of these pictures")


def test_sequences_explain_their_difficulties(make: SimpleNamespace, tmp_path: Path) -> None:
    root = make.write(tmp_path / "p", make.clips(("shot_noise", "shot_noise_2"), side=224))
    spec = f"imagenet-p:{root}?classes=partial"
    assert "folders for noise only (shot_noise_2)" in texts(spec, "note", samples=1)
    assert "all 31 frames of 224x224 pixels (1 cell)" in texts(spec, "ok", samples=1)


def test_archives_are_compared_with_what_was_published(
    make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make.pack(tmp_path / "weather.tar", make.corrupted(("fog",), (1,)))
    whole = path.read_bytes()
    known = Archive(hashlib.md5(whole).hexdigest(), len(whole))
    monkeypatch.setattr(check, "published_archives", lambda: {"imagenet-c": {"weather.tar": known}})
    spec = f"imagenet-c:{tmp_path}?classes=partial"
    told: list[float] = []
    assert "md5" in texts(spec, "ok", md5=True, progress=lambda share, doing: told.append(share))
    assert max(told) == 1.0
    assert f"{len(whole):,} bytes, as published" in texts(spec, "ok")
    path.write_bytes(whole[:-1024])
    assert "weather.tar is cut short" in texts(f"imagenet-c:{tmp_path}", "problem")
    assert "weather.tar is cut short" not in texts(spec, "problem")
    assert "taken for an archive of your own" in texts(spec, "note")
    path.write_bytes(whole[:-1] + b"x")
    assert "published is" in texts(f"imagenet-c:{tmp_path}", "problem", md5=True)


def test_the_published_archives_cover_the_nineteen() -> None:
    import corruptions
    from robustbench_lift.data.tree import ARCHIVE_OF

    assert sorted(ARCHIVE_OF) == sorted((*corruptions.BENCHMARK, *corruptions.EXTRA))
    assert set(published_archives()["imagenet-c"]) == set(ARCHIVE_OF.values())
    assert all(len(archive.md5) == 32 for files in published_archives().values() for archive in files.values())


def app() -> typer.Typer:
    made = typer.Typer()
    command.register(made)
    made.callback()(lambda: None)
    return made


def test_the_command_prints_and_ends_with_the_number_of_problems(make: SimpleNamespace, tmp_path: Path) -> None:
    good = CliRunner().invoke(app(), ["check", "photos", "photos/resnet-lift"])
    assert good.exit_code == 0, good.output
    assert "480 images in 15 classes" in good.output
    assert "81,055 parameters" in good.output
    root = make.write(tmp_path / "x\x1b[31m", {"a/b.JPEG": b"broken"})
    bad = CliRunner().invoke(app(), ["check", f"folder:{root}", "resnet50/lift@/nowhere.safetensors"])
    assert isinstance(bad.exception, IncompleteError)
    assert "2 problems" in str(bad.exception)
    assert "\x1b[31m" not in bad.output
    with pytest.raises(UsageError, match="say what it holds"):
        command.is_data(str(tmp_path))


def test_a_network_that_cannot_be_shown_an_image_hides_no_other_target(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustbench_lift.networks.resnet import ResNet

    def fail(network: object, images: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x9 and 4x2)\nmore")

    monkeypatch.setattr(ResNet, "forward", fail)
    shown = CliRunner().invoke(app(), ["check", "photos/resnet-lift", "photos"])
    assert "failed on images of 64 x 64 pixels: RuntimeError: mat1 and mat2 shapes" in shown.output
    assert "480 images in 15 classes" in shown.output
    assert "1 problem" in str(shown.exception)


def test_numbers_of_samples() -> None:
    with pytest.raises(UsageError, match="--samples 0"):
        check_data("photos", samples=0)
    assert isinstance(check_data("photos")[0], CheckReport)


RNG = np.random.default_rng(0)
LABELS = np.arange(5000) % 1000


@pytest.mark.parametrize(
    ("top1", "words"),
    [
        (np.full(5000, 7), "answers class 7 for 100 % .*not loaded"),
        (LABELS + 1, "one class above: the model counts a background class"),
        (LABELS - 1, "one class below"),
        (np.argsort(np.array(sorted(range(1000), key=str)))[LABELS], "string order"),
        (np.array(sorted(range(1000), key=str))[LABELS], "string order"),
        (np.random.default_rng(1).permutation(1000)[LABELS], "another order"),
        (RNG.integers(0, 1000, 5000), "Usual causes: class folders"),
    ],
)
def test_chance_is_diagnosed(top1: np.ndarray, words: str) -> None:
    error = float(np.mean(top1 != LABELS))
    message = diagnose_chance(error, 1000, images=5000, labels=LABELS, top1=top1)
    assert message is not None
    assert re.search(words, message)


@pytest.mark.parametrize(
    ("error", "classes", "images", "cell", "stops"),
    [
        (0.98, 1000, 50_000, ("clean", "clean", 0), False),
        (0.991, 1000, 50_000, ("clean", "clean", 0), True),
        (0.89, 10, 10_000, ("clean", "clean", 0), False),
        (0.90, 10, 10_000, ("clean", "clean", 0), True),
        (1.0, 10, 20, ("clean", "clean", 0), False),
        # luck on few images: a network that is right one time in ten
        (0.94, 50, 100, ("clean", "clean", 0), False),
        (0.94, 100, 100, ("clean", "clean", 0), False),
        (0.85, 10, 100, ("clean", "clean", 0), False),
        (0.90, 10, 100, ("clean", "clean", 0), True),
        (0.99, 100, 100, ("clean", "clean", 0), True),
        # AlexNet's hardest cells of ImageNet-C are honest
        (0.99548, 1000, 50_000, ("corruption", "impulse_noise", 5), False),
        (0.99452, 1000, 5_000, ("corruption", "gaussian_noise", 5), False),
        (0.999, 1000, 50_000, ("corruption", "impulse_noise", 5), True),
        (0.999, 1000, 5_000, ("corruption", "impulse_noise", 5), False),
        (0.999, 1000, 5_000, ("corruption", "brightness", 1), True),
        (0.9, 10, 10_000, ("corruption", "gaussian_noise", 5), False),
        (0.9, 10, 10_000, ("corruption", "brightness", 1), True),
        (0.999, 1000, 50_000, ("perturbation", "tilt", 1), False),
    ],
)
def test_only_what_is_never_honest_stops_a_run(
    error: float, classes: int, images: int, cell: tuple[str, str, int], stops: bool
) -> None:
    assert (diagnose_chance(error, classes, images=images, cell=Cell(*cell)) is not None) == stops
