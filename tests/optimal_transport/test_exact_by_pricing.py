"""Exact transport on a shortlist of arcs: the optimum of the dense problem, proved, with few entries."""

from __future__ import annotations

import subprocess
import sys

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
    n, m = (int(k) for k in np.random.default_rng(trial).integers(1, 301, 2))
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
    assert r.converged
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


def lattice():
    points = torch.cartesian_prod(torch.arange(30.0), torch.arange(20.0)).to(D)
    return points, 1.5 * points


TIES = {
    "all equal": lambda: (torch.ones(600, 2, dtype=D), torch.zeros(500, 2, dtype=D)),
    "two sites": lambda: ((torch.randn(600, 1) > 0).to(D), (torch.randn(600, 1) > 0.2).to(D)),
    "a few sites": lambda: (torch.randn(600, 2, dtype=D).round(), torch.randn(500, 2, dtype=D).round()),
    "the same in another order": lambda: ((x := torch.randn(600, 3, dtype=D)), x[torch.randperm(600)]),
    "lattice": lattice,
}


@pytest.mark.parametrize("kind", TIES)
def test_ties_are_solved_and_do_not_starve_the_search(kind):
    x, y = TIES[kind]()
    a, b = (torch.full((len(z),), 1 / len(z), dtype=D) for z in (x, y))
    check(x, y, a, b, "cityblock")


@needs_library
@pytest.mark.parametrize("p", [3, 10, 50])
@pytest.mark.parametrize("cloud", [torch.rand, torch.randn])
def test_high_orders_are_proved_though_their_costs_differ_by_many_digits(p, cloud):
    """The dual proves the value; the gap is relative to it, not to the largest cost."""
    x, y = cloud(500, 2, dtype=D), cloud(500, 2, dtype=D)
    lower, upper = howfar.transport(x, y, cost=howfar.costs.Power(howfar.costs.resolve("euclidean"), float(p))).bounds
    assert upper > 0
    assert_close(lower / upper, torch.ones((), dtype=D), rtol=1e-9, atol=0)


@needs_library
def test_weights_at_scale_and_without_mass_are_proved():
    x, y, a = torch.rand(3000, 3, dtype=D), torch.rand(2000, 3, dtype=D), torch.rand(3000, dtype=D) ** 8
    a[::3] = 0
    r = howfar.transport(x, y, a=a / a.sum())
    lower, upper = r.bounds
    assert_close(lower, upper, rtol=1e-12, atol=0)
    f, g = r.potentials
    assert (f.unsqueeze(-1) + g <= torch.cdist(x, y) ** 2 + 1e-12).all()
    ((i, _, mass),) = r.sparse.entries
    assert len(mass) <= 2000 + 2000 - 1
    assert (a[i] > 0).all()


def test_hardly_any_mass_takes_no_digits_from_the_proof():
    """The costs of the tiny masses are 1e11 times those that are paid, and one of them is undercut by their rounding."""
    x, y = torch.tensor([[1, 0], [2, 1e-8]], dtype=D), torch.tensor([[-2, 1e-4], [0, 0], [1, 5.2098e-6]], dtype=D)
    a, b = torch.tensor([1e-30, 1], dtype=D), torch.tensor([1e-30, 0, 1], dtype=D)
    r = howfar.transport(x, y, a=a, b=b, cost="cosine")
    assert r.status is howfar.Status.CONVERGED
    assert r.value == pytest.approx(1.354497e-11, rel=1e-5)


@needs_library
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_is_answered_within_a_second():
    """Millions of random arcs without a guide: the simplex alone runs for seconds."""
    program = """
import os, signal, threading, time, torch
from howfar._progress import Progress
from howfar.optimal_transport.network_simplex import NetworkSimplex
count = 3000
share = torch.full((count,), 1000)
i, j = torch.cartesian_prod(torch.arange(count), torch.arange(0, count, 2)).unbind(-1)
sent = []
def interrupt():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
with NetworkSimplex(share + torch.arange(count), share + torch.arange(count), 2.0) as simplex:
    simplex.add(i, j, torch.rand(len(i)).double())
    simplex.start(torch.rand(len(i)).double())
    threading.Timer(0.3, interrupt).start()
    try:
        with Progress("test") as progress:
            while True:
                simplex.solve(1e-13, progress)
    except KeyboardInterrupt:
        print(time.monotonic() - sent[0])
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert float(out.stdout) < 1


@needs_library
@pytest.mark.slow
def test_ten_thousand_points_in_little_memory(peak_growth):
    preparation = """
import torch, howfar
x, y = torch.rand(10_000, 3).double(), torch.rand(10_000, 3).double() * 0.9
howfar.transport(x[:1000], y[:1000])
"""
    proved = "lower, upper = howfar.transport(x, y).bounds; assert abs(upper - lower) <= 1e-9 * upper"
    assert peak_growth(preparation, proved) < 450, "MiB: the matrix alone has 763"
