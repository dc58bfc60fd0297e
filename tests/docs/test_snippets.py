"""The README and the pages do what they say: commands parse, Python compiles and imports, and what can run is run.

Before a fenced block a page may say `<!-- slow -->` (run with `make test-slow`) or `<!-- not run: why -->`. Blocks of
one page are run in order, in one folder; a Python block that begins with `# name.py` is written there instead.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

from robustbench_lift.cli import app
from robustbench_lift.commands.listing import LISTS
from robustbench_lift.commands.run import _folder_name

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
SHELL = ("sh", "bash", "console", "")
OURS = ("robustbench_lift", "corruptions", "metrics", "checkpoints")
RUN = ("docs/tutorial.md", "docs/in-memory.md", "docs/coming-from.md")
"""Pages whose Python is run as it stands."""
QUICKER = (
    ("--seeds 0,1,2", "--seeds 0 --set epochs=1"),
    ("--out runs/mine", "--out runs/mine --limit 30 --corruptions fog --severities 3 --protocols clean,corruption"),
    ("--table table-5 --figure figure-9", "--table table-5"),
)  # fmt: skip
"""What the tests make smaller in a tutorial."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = re.compile(r"(?:^<!-- (slow|not run)[^\n]*-->\n+)?^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [
        Block(page, text.count("\n", 0, found.start(2)) + 1, found[2], found[1] or "", found[3])
        for found in fenced.finditer(text)
    ]


ALL = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in ALL if block.language == "python"]


def commands(text: str) -> list[list[str]]:
    """The commands of ours in lines of shell, as words."""
    joined = text.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        words = shlex.split(line, comments=True)
        for start in ("robustbench-lift", "run_benchmark.py"):
            if start in words:
                rest = words[words.index(start) + 1 :]
                end = next((n for n, word in enumerate(rest) if word in ("|", "&&", ";", "||", "\\")), len(rest))
                found.append(rest[:end])
                break
    return found


def all_commands() -> list[tuple[str, list[str], bool]]:
    """Page, words, and whether it is a whole command rather than a mention of one."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        shell = [block.text for block in blocks(page) if block.language in SHELL]
        indented = re.findall(r"(?:^    robustbench-lift .*(?:\\\n.*)*$\n?)+", text, re.MULTILINE)
        inline = re.findall(r"`(robustbench-lift [^`\n]+)`", text)
        for source in (*shell, *indented):
            found += [(page, words, True) for words in commands(source)]
        found += [(page, words, False) for source in inline for words in commands(source)]
    return found


COMMANDS = all_commands()


def parse(words: list[str], *, whole: bool = True) -> None:
    """Parse a command line as the program does, without running it; of a mention, look whether its options exist."""
    group: Any = typer.main.get_command(app)
    words = list(words)
    while words and words[0] == "--plugin":
        words = words[2:]
    if not words or words[0].isupper() or words[0].startswith("--"):
        return
    command = group.get_command(None, words[0])
    assert command is not None, f"no command {words[0]}"
    if not whole or any("..." in word or "$" in word for word in words):
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"} <= options
        return
    command.make_context(words[0], words[1:])


def test_commands_were_found() -> None:
    assert len(COMMANDS) > 60
    assert {words[0] for _, words, _ in COMMANDS if words} >= {
        "run",
        "report",
        "gate",
        "compare",
        "train",
        "check",
        "list",
    }


@pytest.mark.parametrize("page", PAGES)
def test_commands_parse(page: str) -> None:
    for where, words, whole in COMMANDS:
        if where == page:
            try:
                parse(words, whole=whole)
            except Exception as error:
                raise AssertionError(f"{page}: robustbench-lift {shlex.join(words)}: {error}") from error


def test_lists_that_are_named_exist() -> None:
    named = {words[1] for _, words, _ in COMMANDS if words[:1] == ["list"] and len(words) > 1}
    assert len(named) > 4
    assert named <= set(LISTS)


def test_a_command_that_does_not_parse_is_seen() -> None:
    with pytest.raises(AssertionError, match="no command runn"):
        parse(["runn", "x"])
    with pytest.raises(Exception, match="--dta"):
        parse(["run", "x", "--dta", "photos"])


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles_and_imports_what_there_is(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in (alias.name for alias in node.names if alias.name.partition(".")[0] in OURS):
                importlib.import_module(name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}"), alias.name


def run_page(page: str, folder: Path, *, slow: bool) -> None:
    """Run what a page shows, in order."""
    program = [sys.executable, "-c", "from robustbench_lift.cli import main; main()"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    for block in blocks(page):
        if block.mark == "not run" or (block.mark == "slow" and not slow) or "/data/" in block.text:
            continue
        if block.language == "python" and block.text.startswith("# "):
            name = block.text.split()[1]
            (folder / name).write_text(block.text, encoding="utf-8")
            continue
        if block.language == "python":
            todo = [[sys.executable, "-c", block.text]]
        elif block.language in SHELL:
            text = block.text
            for shown, quick in QUICKER:
                text = text.replace(shown, quick)
            todo = [[*program, *words] for words in commands(text)]
        else:
            continue
        for command in todo:
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{block}: {command[2:]}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", RUN)
def test_a_page_runs(page: str, tmp_path: Path) -> None:
    run_page(page, tmp_path, slow=False)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_tutorial_runs_to_its_end(tmp_path: Path) -> None:
    run_page("docs/tutorial.md", tmp_path, slow=True)


def test_the_run_folders_that_the_tutorial_names_are_those_that_it_writes() -> None:
    lines = [words for where, words, whole in COMMANDS if where == "docs/tutorial.md" and whole]
    lines = [words[2:] if words[0] == "--plugin" else words for words in lines]
    written = {
        f"{words[words.index('--out') + 1]}/{_folder_name(word)}"
        for words in lines
        if words[0] == "run" and "--out" in words
        for word in words
        if "@" in word
    }
    named = {word for words in lines for word in words if word.startswith("runs/mine/")}
    assert len(named) == 2
    assert named <= written


NAMES = """
import numpy as np, torch, metrics
images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
names = ["a", "b"]
errors = {name: [0.3, 0.4, 0.5, 0.6, 0.7] for name in metrics.ALEXNET.corruption_errors}
alexnet_errors = errors
flip_probabilities = {name: 0.1 for name in metrics.ALEXNET.flip_probabilities}
alexnet_flips = flip_probabilities
top5 = np.tile(np.arange(5), (3, 4, 1))
confidence, correct = np.array([0.9, 0.8]), np.array([True, False])
"""
"""What the pages' short snippets take as given."""


@pytest.mark.parametrize("page", ["docs/metrics.md", "docs/corruptions.md"])
def test_a_short_snippet_runs_on_what_it_takes_as_given(page: str, tmp_path: Path) -> None:
    for block in blocks(page):
        needs_a_run = "runs/" in block.text or "register_" in block.text
        if block.language == "python" and block.mark != "not run" and not needs_a_run:
            done = subprocess.run(
                [sys.executable, "-c", NAMES + block.text],
                cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{block}\n{done.stderr}"
