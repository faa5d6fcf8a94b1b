"""Transport on a circle, against linear programmes with the cost of the shorter arc, and what theory says."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import howfar

D = torch.float64


def arcs(x, y, period):
    gap = (x[:, None] - y).abs() % period
    return torch.minimum(gap, period - gap)


def programme(matrix, a, b):
    n, m = matrix.shape
    sums = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    return linprog(matrix.flatten().numpy(), A_eq=sums[:-1], b_eq=torch.cat([a, b])[:-1].numpy()).fun


@pytest.mark.parametrize("trial", range(24))
def test_the_least_cost_of_all_couplings(trial):
    torch.manual_seed(trial)
    n, m = 1 + trial % 7, 1 + trial % 5
    period = 0.5 + 3 * torch.rand(()).item()
    x, y = 2 * torch.randn(n, dtype=D), 2 * torch.randn(m, dtype=D)
    if trial % 3 == 0:  # points on points, and opposite each other
        x, y = x.round() * period / 4, y.round() * period / 4
    a, b = (torch.ones(k, dtype=D) if trial % 4 == 0 else torch.rand(k, dtype=D) for k in (n, m))
    a[0] = 0 if n > 1 and trial % 5 == 0 else a[0]
    a, b = a / a.sum(), b / b.sum()
    for p in (1.0, 1.5, 2.0, 3.0):
        value = howfar.circle_wasserstein(x, y, p=p, period=period, a=a, b=b).item()
        assert_close(value**p, programme(arcs(x, y, period) ** p, a, b), atol=1e-12, rtol=1e-9)


def test_the_shift_of_a_regular_polygon_is_paid_by_all():
    """With uniform weights on as many points the optimum is one of n cyclic matchings: all of them, by hand."""
    x, y = (torch.rand(30, dtype=D).sort().values for _ in range(2))
    for p in (1.0, 2.0):
        best = min((arcs(x, y.roll(k), 1.0).diagonal() ** p).mean().item() for k in range(30))
        assert_close(howfar.circle_wasserstein(x, y, p=p).item() ** p, best, rtol=1e-12, atol=0)


def test_a_point_against_the_uniform_law():
    """W_1 = 1/4, W_2^2 = 1/12, up to the grid of 2000 points, on which both are a sum."""
    t = (torch.arange(2000, dtype=D) + 0.5) / 2000
    centre = torch.zeros(1, dtype=D)
    assert_close(howfar.circle_wasserstein(centre, t, p=1).item(), 0.25, rtol=1e-12, atol=0)
    assert_close(howfar.circle_wasserstein(centre, t).item() ** 2, 1 / 12 - 1 / (12 * 2000**2), rtol=1e-12, atol=0)


def test_it_agrees_with_pot():
    ot = pytest.importorskip("ot")
    x, y = torch.rand(60, dtype=D), torch.rand(45, dtype=D)
    a, b = torch.rand(60, dtype=D), torch.rand(45, dtype=D)
    a, b = a / a.sum(), b / b.sum()
    for p in (1, 2):
        arrays = [t.numpy() for t in (x, y, a, b)]
        theirs = ot.wasserstein_circle(arrays[0], arrays[1], arrays[2], arrays[3], p=p)
        assert_close(howfar.circle_wasserstein(x, y, p=p, a=a, b=b).item() ** p, float(theirs[0]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0])
def test_derivatives_in_places_and_weights(p):
    x, y = torch.randn(2, 5, 1, dtype=D).requires_grad_(), torch.randn(2, 4, 1, dtype=D).requires_grad_()
    a, b = torch.randn(2, 5, dtype=D).requires_grad_(), torch.randn(2, 4, dtype=D).requires_grad_()

    def value(x, y, a, b):
        return howfar.circle_wasserstein(x, y, p=p, period=2.0, a=a.softmax(-1), b=b.softmax(-1))

    assert gradcheck(value, (x, y, a, b))
    assert p == 1 or gradgradcheck(value, (x, y, a, b), atol=1e-5)


def test_turning_both_or_adding_turns_changes_nothing():
    x, y = torch.rand(9, dtype=D), torch.rand(7, dtype=D)
    value = howfar.circle_wasserstein(x, y)
    assert_close(howfar.circle_wasserstein(x + 0.37, y + 0.37), value)
    assert_close(howfar.circle_wasserstein(x + torch.arange(9), y - 5), value)
    assert_close(howfar.circle_wasserstein(24 * x, 24 * y, period=24.0), 24 * value)
    # On a circle much longer than the data it is the line.
    assert_close(howfar.circle_wasserstein(x, y, period=10.0), howfar.wasserstein(x, y))


def test_a_hundred_thousand_points_take_no_matrix():
    x, y = torch.rand(100_000), torch.rand(90_000)
    started = time.process_time()
    assert 0 < howfar.circle_wasserstein(x, y) < 0.01
    assert time.process_time() - started < 10
