"""Every kernel compiles for cards that this machine need not have, and its registers hold what it works on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("triton is built for Linux only", allow_module_level=True)

MOST_STACK = 400
"""Bytes of a thread that may lie in slow memory: a few hundred, beside thousands of operations, cost a few percent.

A kernel whose registers do not suffice at all takes thousands, and is slow a hundredfold."""


def compiled(capabilities: str, wanted: str, tmp_path: Path) -> list[dict[str, int]]:
    # The compiler and the interpreter exclude each other in one process.
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("compile_kernels.py")
    command = [sys.executable, "-W", "error", str(script), capabilities, wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_few_features(tmp_path: Path) -> None:
    lines = compiled("90", "float32, d = 3", tmp_path)
    assert {line["kernel"] for line in lines} == {"_kernel", "_gradient", "_weighted"}
    spilled = [line for line in lines if line["stack"] > MOST_STACK]
    assert not spilled


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["80", "90"])
def test_everything(capability: str, tmp_path: Path) -> None:
    lines = compiled(capability, "", tmp_path)
    assert len(lines) > 60
    spilled = [line for line in lines if line["stack"] > MOST_STACK]
    assert not spilled
