"""What a stranger reads first agrees with the code: citation, changelog, workflows, container, environments."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import robustbench_lift

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = ("action.yml", "docs/examples/robustness.yml", ".github/workflows/tests.yml")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {PROJECT["version"], citation["version"], robustbench_lift.__version__} == {PROJECT["version"]}
    assert f"\n## {PROJECT['version']}\n" in read("CHANGELOG.md")
    assert f"version = {{{PROJECT['version']}}}" in read("docs/cite.md")


def test_the_citation_names_what_is_implemented() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    titles = {reference["title"] for reference in citation["references"]}
    plain = read("docs/cite.md").replace("{", "").replace("}", "")
    assert len(titles) == 3
    for title in titles:
        assert title in plain


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit(name: str) -> None:
    content = read(name)
    assert yaml.safe_load(content)
    used = re.findall(r"uses: (\S+)", content)
    assert used
    for action in used:
        assert action == "./" or re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action


def test_snippets_of_workflows_are_pinned_too() -> None:
    used = re.findall(r"uses: ([^\s,]+)", read("docs/gate.md"))
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action) for action in used)


def test_the_matrix_is_the_one_that_is_promised() -> None:
    pythons = next(
        ast.literal_eval(node.value)
        for node in ast.parse(read("noxfile.py")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "PYTHONS"
    )
    named = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    assert set(pythons) == named
    assert f">={pythons[0]}" == PROJECT["requires-python"]
    include = yaml.safe_load(read(".github/workflows/tests.yml"))["jobs"]["tests"]["strategy"]["matrix"]["include"]
    assert {one["session"] for one in include} == {*(f"tests-{one}" for one in pythons), "floors"}
    for one in include:
        assert one["session"] in (f"tests-{one['python']}", "floors")


def test_every_dependency_has_a_floor_that_is_tested() -> None:
    optional = PROJECT["optional-dependencies"]
    (extras,) = re.findall(r"^EXTRAS = (\(.*\))$", read("noxfile.py"), re.MULTILINE)
    assert optional["all"] == [f"robustbench-lift[{','.join(ast.literal_eval(extras))}]"]
    given = [*PROJECT["dependencies"], *(one for name in ast.literal_eval(extras) for one in optional[name])]
    floored = [one for one in given if re.fullmatch(r"[\w.-]+>=[\d.]+", one)]
    assert len(floored) >= len(given) - 1
    assert r"([\w.-]+)>=([\d.]+)" in read("noxfile.py")


def test_the_container_is_a_slim_image_that_runs_the_command() -> None:
    lines = read("Dockerfile").splitlines()
    assert [line for line in lines if line.startswith("FROM ")] == ["FROM python:3.12-slim-bookworm"]
    assert 'ENTRYPOINT ["robustbench-lift"]' in lines


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_between_files_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", read(page)):
        if "://" not in target:
            assert (ROOT / target).exists(), target
