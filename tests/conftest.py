"""What every test of the house gets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

if not torch.cuda.is_available():
    # Read when triton is first imported, which torch's compiler does too: no later place is early enough.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _default_dtype():
    yield
    assert torch.get_default_dtype() is torch.float32, "a test left another default dtype behind"


_PEAK = """
import resource, sys
def peak():
    # On Linux the lifetime maximum of resource is inherited from the process that forked; VmHWM is one's own.
    if sys.platform == "linux":
        return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
"""


@pytest.fixture
def peak_growth() -> Callable[[str, str], float]:
    """MiB that `body` adds to the peak memory of a process of its own, in which `preparation` ran before."""
    pytest.importorskip("resource", reason="this platform does not tell the peak memory of a process")

    def measure(preparation: str, body: str) -> float:
        program = f"{_PEAK}\n{preparation}\nbefore = peak()\n{body}\nprint(peak() - before)"
        out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return float(out.stdout)

    return measure
