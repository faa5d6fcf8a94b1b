"""The files around the package say the same thing: metadata, pins, make targets, workflows."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def pins() -> dict[str, str]:
    """Name to version, for each line of constraints.txt that is not a comment."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    return {str(canonicalize_name(name)): version for name, version in (line.split("==") for line in lines)}


def group(name: str) -> list[str]:
    """The requirements of a dependency group, with the groups that it includes."""
    entries = PROJECT["dependency-groups"][name]
    return [r for e in entries for r in (group(e["include-group"]) if isinstance(e, dict) else [e])]


def test_the_package_is_typed() -> None:
    assert (ROOT / "src/howfar/py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]


def test_there_is_one_version() -> None:
    """Of the metadata, of the package, and of all that the package writes, installed or not."""
    declared = PROJECT["project"]["version"]
    program = """
import importlib.metadata as metadata, io, contextlib, json
def none(name): raise metadata.PackageNotFoundError(name)
metadata.version = none
import howfar, howfar.doctor
from howfar.cli.application import run
out = io.StringIO()
with contextlib.redirect_stdout(out):
    run(["--version"])
table = [[1.0], [2.0], [3.0], [4.0]]
written = howfar.compare(table, table).to_document()["howfar"]
print(json.dumps([howfar.__version__, out.getvalue().split()[1], written, howfar.doctor.report()["versions"]["howfar"]]))
"""
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [declared] * 4


def test_the_command_is_there() -> None:
    module, _, function = PROJECT["project"]["scripts"]["howfar"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_dependencies_are_what_the_package_imports() -> None:
    distributions = {"ot": "pot", "PIL": "pillow"}
    optional = {"torchmetrics", "triton"}
    imported: set[str] = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    outside = imported - set(sys.stdlib_module_names) - {"howfar"} - optional
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"]}
    assert {canonicalize_name(distributions.get(name, name)) for name in outside} == declared


def test_torch_has_a_tested_floor_and_no_ceiling() -> None:
    (torch,) = [r for r in map(Requirement, PROJECT["project"]["dependencies"]) if r.name == "torch"]
    assert [clause.operator for clause in torch.specifier] == [">="]
    assert pins()["torch"] in torch.specifier
    assert pins()["torch"].startswith(next(iter(torch.specifier)).version)
    assert f"torch {pins()['torch']}" in (ROOT / "CHANGELOG.md").read_text()


def test_all_that_make_installs_is_pinned() -> None:
    pinned, seen = pins(), set()
    queue = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"], *group("dev"), "cmake", "ninja"]
    queue += ["pip"]
    while queue:
        requirement = Requirement(queue.pop())
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        assert name in pinned, f"{requirement} is not in constraints.txt"
        assert pinned[name] in requirement.specifier, f"constraints.txt pins {name} outside {requirement}"
        try:
            queue += metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # build tools live in pip's own environment
            assert name in {"cmake", "ninja", "scikit-build-core"}


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {canonicalize_name(d.name): d.version for d in metadata.distributions()}
    others = {n: (installed[n], v) for n, v in pins().items() if n in installed and installed[n].split("+")[0] != v}
    assert not others, f"installed and pinned versions differ: {others}"


def test_make_targets_are_documented() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    documented = re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.MULTILINE)
    assert sorted(phony.split()) == sorted(documented)
    assert {"help", "demo", "test", "test-all", "lint", "docs", "bench"} <= set(documented)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_docs_makes_the_tables_and_the_pictures() -> None:
    """Also where `docs/` exists, which make would take for the target."""
    said = subprocess.run(
        ["make", "-n", "-o", ".venv/.dev", "docs"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.findall(r"-m (scripts\.\w+)", said.stdout) == ["scripts.pages", "scripts.figures"]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_alone_prints_the_targets() -> None:
    printed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.MULTILINE):
        assert re.search(rf"^  make {target} +\S", printed, re.MULTILINE)


@pytest.mark.skipif(shutil.which("make") is None or sys.platform == "win32", reason="there is no make")
def test_make_names_the_python_that_it_needs(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    make, shell = shutil.which("make"), shutil.which("sh")
    done = subprocess.run(
        [str(make), f"SHELL={shell}", ".venv/.python"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "howfar needs Python 3.11 to 3.14; tried python3 " in done.stderr


def test_ci_runs_targets_that_exist() -> None:
    targets = re.findall(r"^make ([a-z-]+)", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert {"lint", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_workflows_pin_actions_and_start_without_rights(workflow: Path) -> None:
    text = workflow.read_text()
    assert re.search(r"^permissions: \{\}$", text, re.MULTILINE)
    actions = re.findall(r"uses: (.+)", text)
    assert actions
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in actions)


def test_ci_tests_every_python_that_the_metadata_claims() -> None:
    claimed = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["project"]["classifiers"]), re.MULTILINE)
    (matrix,) = re.findall(r"python: \[(.+)\]", (ROOT / ".github/workflows/test.yml").read_text())
    assert claimed == re.findall(r"3\.\d+", matrix)
    assert PROJECT["project"]["requires-python"] == f">={claimed[0]}"
