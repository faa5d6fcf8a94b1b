"""Every example of README, CONTRIBUTING and docs runs, in the order of its page, and prints what the page says.

`python` blocks are run; `pycon` blocks are doctests; `console` blocks are calls of `howfar`, run in a folder where
`make demo` has written its tables. The blocks of a page share their names, as a reader who types them along would.
"""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from markdown_pages import PAGES, ROOT, Block, blocks

from howfar.cli.application import run
from scripts import demo

LANGUAGES = {"python", "pycon", "console", "shell", "text"}
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        demo.FOLDER.mkdir()
        for make in (demo.wine_cultivars, demo.wine_halves, demo.digits):
            make()
    return folder


@pytest.fixture
def reader(demo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder and the random state of someone who starts to read; a terminal's width must not show in a pipe."""
    monkeypatch.chdir(demo_folder)
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def with_examples() -> list[Path]:
    return [page for page in PAGES if any(block.language in {"python", "pycon", "console"} for block in blocks(page))]


@pytest.mark.parametrize("page", with_examples(), ids=lambda page: page.name)
@pytest.mark.usefixtures("reader")
def test_examples(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, str(page), "exec"), names)  # noqa: S102 - the pages are ours
        elif block.language == "pycon":
            check_session(block, names, where)
        elif block.language == "console":
            check_console(block, capsys, where)


def check_session(block: Block, names: dict[str, Any], where: str) -> None:
    """A doctest whose names the following blocks see."""
    test = doctest.DocTestParser().get_doctest(block.text, names, where, where, block.line)
    test.globs = names
    assert test.examples, f"{where}: no prompt"
    report: list[str] = []
    doctest.DocTestRunner(optionflags=_FLAGS).run(test, out=report.append, clear_globs=False)
    assert not report, "".join(report)


def check_console(block: Block, capsys: pytest.CaptureFixture[str], where: str) -> None:
    """Calls of `howfar`, each followed by what it prints; `echo $?` prints the exit code of the call before."""
    code = 0
    for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, expected = step.partition("\n")
        capsys.readouterr()
        if command == "echo $?":
            printed = f"{code}\n"
        else:
            program, *arguments = shlex.split(command)
            assert program == "howfar", f"{where}: only howfar runs here"
            code = run(arguments)
            captured = capsys.readouterr()
            printed = captured.out + captured.err
        assert printed.strip() == expected.strip(), where


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_fences_say_what_they_hold(page: Path) -> None:
    """A fence in a language that no test knows would never run."""
    assert {block.language for block in blocks(page)} <= LANGUAGES


def test_a_wrong_number_fails() -> None:
    block = Block("pycon", ">>> 1 + 1\n3\n", 1)
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        check_session(block, {}, "here")


def test_wrong_output_of_a_command_fails(capsys: pytest.CaptureFixture[str]) -> None:
    block = Block("console", "$ howfar --version\nhowfar 99\n", 1)
    with pytest.raises(AssertionError, match="here"):
        check_console(block, capsys, "here")
