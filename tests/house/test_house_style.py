"""What the house refuses in its files: length, leftovers, prints, asserts on input, and traces of one machine."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LONGEST = 500


def tracked() -> list[Path]:
    """The text files of the repository, as git knows them; every file beside the caches where git does not."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        refused = re.compile(r"(^|/)(\.venv|\.git|build|demo|__pycache__|\.\w+_cache)/")
        files = [p for p in ROOT.rglob("*") if p.is_file() and not refused.search(p.relative_to(ROOT).as_posix())]
    return [p for p in sorted(files) if p.is_file() and b"\0" not in p.read_bytes()[:1024]]


def too_long(text: str) -> bool:
    return len(text.splitlines()) > LONGEST


LEFTOVERS = re.compile(
    r"\b(TODO|FIXME|XXX|HACK|WIP)\b|\b(for now|placeholder|simplified version|quick fix|temporary hack)\b"
    r"|^\s*#\s*[-=#*~]{4,}|^\s*#\s*(import |from \w+ import|def |return |if .*:$|for .*:$)",
    re.MULTILINE,
)


def statements(source: str) -> list[str]:
    """What a file of the package does not do, with its line: print, unpickle, assert something of an argument."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)} - {"self", "cls"}
            found += [
                f"{part.lineno}: assert on an argument"
                for part in ast.walk(node)
                if isinstance(part, ast.Assert)
                and arguments & {name.id for name in ast.walk(part.test) if isinstance(name, ast.Name)}
            ]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "breakpoint"):
            found.append(f"{node.lineno}: {node.func.id}")
        if isinstance(node, ast.ImportFrom | ast.Import):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            found += [f"{node.lineno}: import {m}" for m in modules if m.split(".")[0] in ("pdb", "pickle", "shelve")]
    return sorted(found)


MACHINE = re.compile(
    r"(?<![\w.])/(?:home|root|Users|work|mnt|workspace|repo)/\w"
    r"|(?<![\w.])/tmp/\w"
    r"|[A-Z]:\\\\?Users"
    r"|\bhttps?://(?:localhost|127\.0\.0\.1|10\.\d+|192\.168)"
    r"|--(?:extra-)?index-url|\bdownload\.pytorch\.org\b|\bfiles\.pythonhosted\.org\b|\bPIP_INDEX_URL\b"
)


@pytest.mark.parametrize("file", SOURCES, ids=lambda p: p.relative_to(ROOT / "src").as_posix())
def test_a_source_file_is_short_finished_and_silent(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not too_long(text)
    assert [m[0] for m in LEFTOVERS.finditer(text)] == []
    assert statements(text) == []
    assert text.startswith('"""') or not text
    assert text.endswith("\n") or not text


def test_no_test_or_script_is_left_unfinished() -> None:
    files = [p for p in tracked() if p.suffix in (".py", ".cpp", ".h", ".toml", ".yml", ".md")]
    marks = re.compile(r"\b(TODO|FIXME)\b")
    own = Path(__file__).name
    assert [p.name for p in files if p.name != own and marks.search(p.read_text(encoding="utf-8"))] == []


def test_no_tracked_file_knows_the_machine_it_was_written_on() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if path.name != Path(__file__).name
        for match in MACHINE.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_nothing_that_is_made_is_tracked() -> None:
    made = re.compile(
        r"(^|/)(__pycache__|\.venv|build|dist|demo|\.\w+_cache|\.hypothesis)/|\.(pyc|so|dylib|whl|egg-info)$"
    )
    assert [p for p in tracked() if made.search(p.relative_to(ROOT).as_posix())] == []


@pytest.mark.parametrize(
    "text",
    [
        "x = 1  # TODO later",
        "# ======== section",
        "# return x",
        "we do it by hand for now",
        "# for i in range(3):",
    ],
)
def test_leftovers_are_seen(text: str) -> None:
    assert LEFTOVERS.search(text)


def test_statements_are_seen() -> None:
    source = (
        "import pickle\ndef f(x):\n    assert x > 0, 'positive'\n    print(x)\n    y = x\n    assert y is not None\n"
    )
    assert statements(source) == ["1: import pickle", "3: assert on an argument", "4: print"]
    assert too_long("\n" * 501)
    assert not too_long("\n" * 500)


@pytest.mark.parametrize(
    "text",
    [
        "open('/home/me/data.csv')",
        "/work/main/src",
        "pip install --index-url x torch",
        "http://localhost:8080",
        "see /tmp/out.txt",
        r"C:\Users\me",
    ],
)
def test_traces_of_a_machine_are_seen(text: str) -> None:
    assert MACHINE.search(text)


def test_what_is_no_trace_is_not_seen() -> None:
    for text in ("src/howfar/work/x", "a/b/home", "https://pypi.org/project/howfar", "n / m", "tests/repo/x.py"):
        assert not MACHINE.search(text)
