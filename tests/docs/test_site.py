"""The documentation as a site: built strictly, with the command line and the API from the code."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there_and_found(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages | {"index", "changelog", "contributing", "security"} <= {path.stem for path in site.glob("*.html")}
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    left_out = [page for page in sorted(pages) if f"{page}.md" not in navigation]
    assert not left_out, f"name {left_out} in the nav of mkdocs.yml"


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    fetched = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?://[^"]+)"', page)
    assert not [url for url in fetched if not url.startswith("https://squidfunk.github.io/mkdocs-material")]


def test_the_command_line_is_the_one_that_there_is(site: Path) -> None:
    import typer.main

    from robustbench_lift.cli import app

    page = (site / "cli.html").read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f'<h2 id="{name}">' in page
        for parameter in command.params:
            if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False):
                assert f"<code>{parameter.opts[0]}</code>" in page, parameter.opts


def test_the_api_shows_examples_as_code(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    for name in ("evaluate", "load_model", "LoadedModel", "Policy", "corrupt", "mean_corruption_error"):
        assert re.search(rf'id="[\w.]*\.{name}"', page), name
    assert "<blockquote>" not in page


def test_pages_of_the_root_lead_into_the_site() -> None:
    moved = script("site").moved
    assert moved("[a](docs/gate.md#x) [b](CHANGELOG.md) [c](Dockerfile) ![d](docs/e.png)") == (
        "[a](gate.md#x) [b](changelog.md) c ![d](e.png)"
    )


def test_examples_are_fenced() -> None:
    fenced = script("doctests").fenced
    assert fenced(">>> 1\n1\n\nmore") == "```pycon\n>>> 1\n1\n```\n\nmore"
    assert fenced("    >>> f(\n    ...     1)\n    1\nSource") == (
        "    ```pycon\n    >>> f(\n    ...     1)\n    1\n    ```\nSource"
    )
    assert fenced("none") == "none"
