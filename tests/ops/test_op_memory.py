"""Memory grows with n + m, never with n m: the peak of a process of its own, above its inputs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

resource = pytest.importorskip("resource", reason="this platform does not tell the peak memory of a process")

PROGRAM = """
import json, resource, sys
import torch
from howfar import costs, kernels, ops

n, d, grad = {n}, {d}, {grad}
backend = "reference"
KIB = 1 if sys.platform != "darwin" else 1024
peak = lambda: (int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) if __import__('sys').platform == 'linux' else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / KIB / 1024

torch.manual_seed(0)
x, y = torch.randn(n, d), torch.randn(n, d)
h = torch.randn(n) / 10
for t in (x, y, h):
    t.requires_grad_(grad)

def reduce(x, y, h):
    calls = {calls}
    for name, call in calls.items():
        out = call()
        if grad:
            out.sum().backward()
        yield name

# What the first call of every kind brings with it is no memory of the reduction.
list(reduce(x[:64], y[:64], h[:64]))
base, told = peak(), {{}}
for name in reduce(x, y, h):
    told[name] = peak()
print(json.dumps([base, told]))
"""

THREE = """{
        "softmin": lambda: ops.softmin(x, y, h, eps=0.1, backend=backend),
        "kernel_sum": lambda: ops.kernel_sum(x, y, h, kernel="gaussian", backend=backend),
        "nearest": lambda: ops.nearest(x, y, h, k=4, backend=backend)[0],
    }"""
MANY_FEATURES = """{
        "cityblock": lambda: ops.softmin(x, y, h, eps=10.0, cost="cityblock", backend=backend),
        "minkowski": lambda: ops.softmin(x, y, h, eps=10.0, cost=costs.Minkowski(3), backend=backend),
        "laplacian": lambda: ops.kernel_sum(x, y, h, kernel=kernels.Laplacian(10.0, "cityblock"), backend=backend),
        "sqeuclidean": lambda: ops.softmin(x, y, h, eps=10.0, backend=backend),
    }"""


def peaks(n: int, *, d: int = 3, grad: bool = False, calls: str = THREE) -> dict[str, float]:
    """Peak memory in MiB above what the process held before, after each call in turn."""
    program = PROGRAM.format(n=n, d=d, grad=grad, calls=calls)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    base, told = json.loads(done.stdout)
    return {name: peak - base for name, peak in told.items()}


def test_no_matrix_is_stored() -> None:
    """One matrix of the pairs would take 381 MiB."""
    assert max(peaks(10_000).values()) < 200


def test_no_matrix_is_stored_for_a_derivative() -> None:
    """One matrix of the pairs would take 309 MiB, and autograd would hold several."""
    assert max(peaks(9_000, grad=True).values()) < 250


def test_many_features_do_not_multiply_the_block_of_a_derivative() -> None:
    """A block of plain values whose pairs hold a number for each of 300 features would take half a gigabyte."""
    assert max(peaks(500, d=300, grad=True, calls=MANY_FEATURES).values()) < 150


@pytest.mark.slow
@pytest.mark.parametrize("grad", [False, True])
def test_fifty_thousand_points_a_side_stay_under_a_gibibyte(grad: bool) -> None:
    """One matrix of the pairs would take 9.3 GiB."""
    assert max(peaks(50_000, grad=grad).values()) < 1024
