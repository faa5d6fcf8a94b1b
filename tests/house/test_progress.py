"""Progress: a line on a terminal once a task has lasted, silence elsewhere."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time

import pytest

from howfar import _progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_a_long_task_shows_its_stage_and_a_short_one_is_silent(patience, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(_progress, "_PATIENCE", patience)
    with _progress.Progress("exact transport") as progress:
        progress("network simplex")
        progress("pricing", 0.5)
    shown = terminal.getvalue()
    assert ("exact transport: network simplex" in shown) == (patience == 0)
    assert ("exact transport: pricing" in shown) == (patience == 0)


def test_nothing_is_shown_or_loaded_elsewhere():
    program = """
import sys
from howfar import _progress
_progress._PATIENCE = 0
with _progress.Progress("a task") as progress:
    progress("a stage")
sys.exit("rich" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stderr == out.stdout == ""


class Lines:
    """Stands for the bar of rich."""

    task_ids = (0,)

    def __init__(self) -> None:
        self.shown: list[tuple[str, float | None]] = []
        self.stopped = 0

    def update(self, _task, *, description, total, completed):
        self.shown.append((description, completed if total else None))

    def stop(self):
        self.stopped += 1


def watched(monkeypatch) -> list[Lines]:
    """The bars that are opened, each with what it showed; the patience is over at once."""
    opened: list[Lines] = []
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(_progress, "_PATIENCE", 0.0)
    monkeypatch.setattr(_progress, "_opened", lambda _: opened.append(Lines()) or opened[-1])
    return opened


def test_a_task_inside_of_another_has_no_line_of_its_own(monkeypatch):
    lines = watched(monkeypatch)
    with _progress.Progress("outer") as outer:
        with _progress.Progress("inner"):
            _progress.tell("first")
        outer("second")
    _progress.tell("nobody listens")
    assert [line.shown for line in lines] == [[("outer: inner: first", None), ("outer: second", None)]]
    assert lines[0].stopped == 1


def test_a_task_that_tells_its_share_speaks_alone(monkeypatch):
    lines = watched(monkeypatch)
    with _progress.Progress("outer") as outer:
        outer("half", 0.5)
        with _progress.Progress("inner") as inner:
            inner("first")
    assert [line.shown for line in lines] == [[("outer: half", 0.5)]]
    with _progress.silence(), _progress.Progress("inner") as inner:
        inner("second")
    assert len(lines) == 1


def test_patience_is_about_a_second():
    assert 0.5 <= _progress._PATIENCE <= 1.5


def test_telling_costs_nothing_measurable():
    with _progress.Progress("a task"):
        start = time.process_time()
        for n in range(10_000):
            _progress.tell(f"iteration {n}")
        assert time.process_time() - start < 0.1, "10 microseconds each would be a tenth of the smallest iteration"


LONG = """
import warnings, torch, howfar
from howfar import _progress
warnings.simplefilter("ignore")
_progress._PATIENCE = 0.05
torch.manual_seed(0)
x, y = torch.rand(300, 2), torch.rand(300, 2)
"""
TASKS = {
    "entropic transport: iteration ": "howfar.transport(x.double(), y.double(), eps=1e-4, tol=1e-300, max_iter=200)",
    "permutation test: labelling ": (
        "import time; howfar.two_sample_test(x, y, statistic=lambda u, v: time.sleep(0.02) or 0.0, n_permutations=9)"
    ),
    "permutation test: pairs of points": "howfar.two_sample_test(x.repeat(3, 1), y.repeat(3, 1), n_permutations=99)",
}


@pytest.mark.parametrize("line", TASKS)
def test_long_tasks_show_a_line_on_a_terminal_and_take_it_away(line):
    pty = pytest.importorskip("pty", reason="no pseudo-terminals here")
    shown, out = on_a_terminal(pty, LONG + TASKS[line])
    assert line in shown
    assert out == ""
    # The last thing written clears the line and shows the cursor again.
    assert shown.rstrip().endswith("\x1b[2K")


def on_a_terminal(pty, program: str) -> tuple[str, str]:
    """What the program writes to standard error, which is a terminal, and to standard output, which is none."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:
        # So Linux says that the other end is closed.
        pass
    os.close(ours)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0, shown.decode()
    return shown.decode(), out.decode()
