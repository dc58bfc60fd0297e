"""The layout keeps its promises: which package may import which, what is public, what the source may contain."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("robustbench_lift", "corruptions", "metrics", "checkpoints")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_imports_follow_the_contracts(capsys: pytest.CaptureFixture[str]) -> None:
    from importlinter.cli import lint_imports

    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out


def test_a_class_name_means_one_thing() -> None:
    homes: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert not {name: files for name, files in homes.items() if len(files) > 1}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_command_line_prints(path: Path) -> None:
    inside = path.relative_to(ROOT).parts
    if inside[:2] == ("robustbench_lift", "commands") or inside[-1] in ("cli.py", "__main__.py", "gallery.py"):
        return
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "print" not in calls


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sources_are_ascii_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.isascii()
    assert ast.get_docstring(ast.parse(text)), "a module begins with a sentence that says what it is"


@pytest.mark.parametrize("module", ["robustbench_lift.cli", "metrics"])
def test_light_modules_do_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_exported_names_are_frozen() -> None:
    import corruptions
    import metrics
    import robustbench_lift

    assert sorted(robustbench_lift.__all__) == [
        "LoadedModel",
        "Policy",
        "Request",
        "Run",
        "Settings",
        "__version__",
        "compare",
        "evaluate",
        "gate",
        "load_model",
        "replace_pooling",
    ]
    public = {"corrupt", "perturb", "BENCHMARK", "EXTRA", "PERTURBATIONS", "EXTRA_PERTURBATIONS", "CorruptionError"}
    assert public <= set(corruptions.__all__)
    entry_points = {
        "ALEXNET",
        "Baseline",
        "consistency",
        "corruption_error",
        "flip_probability",
        "mean_corruption_error",
        "mean_flip_rate",
        "relative_mean_corruption_error",
        "top5_distance",
    }
    assert entry_points <= set(metrics.__all__)


def test_the_two_lists_of_the_benchmark_agree() -> None:
    import corruptions
    import metrics

    assert corruptions.BENCHMARK == metrics.CORRUPTIONS
    assert corruptions.PERTURBATIONS == metrics.PERTURBATIONS
