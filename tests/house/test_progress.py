"""Progress: a line on a terminal once a task has lasted, silence elsewhere."""

from __future__ import annotations

import io
import subprocess
import sys

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
