"""Exact transport on a shortlist of arcs: the optimum of the dense problem, proved, with few entries."""

from __future__ import annotations

import resource

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import howfar
from howfar import _native
from howfar.optimal_transport import exact

D = torch.float64
needs_library = pytest.mark.skipif(_native.why_unavailable() is not None, reason="the compiled library is not there")


def problem(trial):
    """Sizes 1 to 300; weighted, unequal, degenerate, with ties and zero weights in turn."""
    n, m = (int(k) for k in np.random.default_rng(trial).integers(1, 300 if trial % 10 == 0 else 60, 2))
    torch.manual_seed(trial)
    d = 1 + trial % 4
    x, y = torch.randn(n, d, dtype=D), torch.randn(m, d, dtype=D)
    if trial % 3 == 0:
        x, y = x.round(), y.round()
    if trial % 2 == 0:
        return x, y, torch.full((n,), 1 / n, dtype=D), torch.full((m,), 1 / m, dtype=D)
    a, b = torch.rand(n, dtype=D), torch.rand(m, dtype=D)
    if trial % 5 == 0 and n > 2:
        a[: n // 2] = 0
    return x, y, a / a.sum(), b / b.sum()


def check(x, y, a, b, cost="sqeuclidean"):
    ot = pytest.importorskip("ot")
    r = howfar.transport(x, y, a=a, b=b, cost=cost)
    matrix = howfar.costs.resolve(cost).matrix(x, y)
    expected = ot.emd2(a.numpy(), (b * (a.sum() / b.sum())).numpy(), matrix.numpy(), numItermax=10**7)
    assert_close(r.value.item(), expected, rtol=1e-10, atol=1e-12)
    lower, upper = r.bounds
    assert_close(lower, upper, rtol=1e-10, atol=1e-12)
    f, g = r.potentials
    assert (f.unsqueeze(-1) + g <= matrix + 1e-12 * matrix.amax()).all()
    plan = r.plan()
    assert (plan >= 0).all()
    assert (plan > 0).sum() <= len(x) + len(y) - 1
    assert_close(plan.sum(1), a, atol=1e-14, rtol=0)
    assert_close(plan.sum(0), b, atol=1e-14, rtol=0)


@pytest.mark.parametrize("trial", range(200))
def test_every_kind_of_problem(trial):
    check(*problem(trial))


@needs_library
@pytest.mark.parametrize("trial", range(20))
def test_few_arcs_and_rounds_of_pricing_find_the_same(trial, monkeypatch):
    """A shortlist of one or two arcs for each point forces pricing to find the rest."""
    monkeypatch.setattr(exact, "_ALL_ARCS", 0)
    monkeypatch.setattr(exact, "_SHORTLIST", 1 + trial % 2)
    monkeypatch.setattr(exact, "_PRICED", 1)
    check(*problem(trial), cost=("sqeuclidean", "euclidean", "cityblock")[trial % 3])


@needs_library
def test_two_thousand_points_against_the_dense_solver():
    torch.manual_seed(0)
    x, y = torch.rand(2000, 3, dtype=D), torch.rand(1500, 3, dtype=D) * 0.9
    check(x, y, torch.full((2000,), 1 / 2000, dtype=D), torch.full((1500,), 1 / 1500, dtype=D))


@needs_library
@pytest.mark.slow
def test_ten_thousand_points_in_little_memory():
    torch.manual_seed(0)
    x, y = torch.rand(10_000, 3, dtype=D), torch.rand(10_000, 3, dtype=D) * 0.9
    howfar.transport(x[:1000], y[:1000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lower, upper = howfar.transport(x, y).bounds
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert_close(lower, upper, rtol=1e-9, atol=0)
    assert grown < 500, f"{grown:.0f} MiB"
