"""Memory grows with n + m, never with n m: the peak of a process of its own, above its inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

PREPARATION = """
import torch
from howfar import costs, kernels, ops

n, d, grad = {n}, {d}, {grad}
backend = "reference"
torch.manual_seed(0)
x, y = torch.randn(n, d), torch.randn(n, d)
h = torch.randn(n) / 10
for t in (x, y, h):
    t.requires_grad_(grad)

def reduce(x, y, h):
    calls = {calls}
    for call in calls:
        out = call()
        if grad:
            out.sum().backward()

# What the first call of every kind brings with it is no memory of the reduction.
reduce(x[:64], y[:64], h[:64])
"""

THREE = """[
        lambda: ops.softmin(x, y, h, eps=0.1, backend=backend),
        lambda: ops.kernel_sum(x, y, h, kernel="gaussian", backend=backend),
        lambda: ops.nearest(x, y, h, k=4, backend=backend)[0],
    ]"""
MANY_FEATURES = """[
        lambda: ops.softmin(x, y, h, eps=10.0, cost="cityblock", backend=backend),
        lambda: ops.softmin(x, y, h, eps=10.0, cost=costs.Minkowski(3), backend=backend),
        lambda: ops.kernel_sum(x, y, h, kernel=kernels.Laplacian(10.0, "cityblock"), backend=backend),
        lambda: ops.softmin(x, y, h, eps=10.0, backend=backend),
    ]"""

Peak = Callable[..., float]


@pytest.fixture
def peak(peak_growth: Callable[[str, str], float]) -> Peak:
    """MiB that calls on n points a side add to the peak of a process."""

    def measure(n: int, *, d: int = 3, grad: bool = False, calls: str = THREE) -> float:
        return peak_growth(PREPARATION.format(n=n, d=d, grad=grad, calls=calls), "reduce(x, y, h)")

    return measure


def test_no_matrix_is_stored(peak: Peak) -> None:
    """One matrix of the pairs would take 381 MiB."""
    assert peak(10_000) < 150


def test_no_matrix_is_stored_for_a_derivative(peak: Peak) -> None:
    """One matrix of the pairs would take 137 MiB, and autograd would hold several."""
    assert peak(6_000, grad=True) < 137


def test_many_features_do_not_multiply_the_block_of_a_derivative(peak: Peak) -> None:
    """A block of plain values whose pairs hold a number for each of 300 features would take half a gigabyte."""
    assert peak(500, d=300, grad=True, calls=MANY_FEATURES) < 150


@pytest.mark.slow
@pytest.mark.parametrize("grad", [False, True])
def test_fifty_thousand_points_a_side_stay_under_a_gibibyte(grad: bool, peak: Peak) -> None:
    """One matrix of the pairs would take 9.3 GiB."""
    assert peak(50_000, grad=grad) < 1024
