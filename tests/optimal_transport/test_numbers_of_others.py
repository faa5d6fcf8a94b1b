"""The recipes of docs/transport.md: how a number of another library is made here."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch.testing import assert_close

import howfar

ot = pytest.importorskip("ot")
D = torch.float64
EPS = 0.5
POT = {"numItermax": 100_000, "stopThr": 1e-13}


@pytest.fixture
def case():
    x, y = torch.randn(9, 2, dtype=D), torch.randn(7, 2, dtype=D) + 1
    a, b = torch.rand(9, dtype=D) + 0.1, torch.rand(7, dtype=D) + 0.1
    return x, y, a / a.sum(), b / b.sum()


def close(ours, theirs, rtol=1e-8):
    assert_close(float(ours), float(theirs), rtol=rtol, atol=0)


def test_pot_with_a_temperature(case):
    x, y, a, b = case
    matrix = ot.dist(x.numpy(), y.numpy())
    r = howfar.transport(x, y, a=a, b=b, eps=EPS, tol=1e-12)
    close(r.cost, ot.sinkhorn2(a.numpy(), b.numpy(), matrix, EPS, method="sinkhorn_log", **POT))
    solve = lambda kind: ot.solve_sample(
        *(t.numpy() for t in case), reg=EPS, reg_type=kind, tol=1e-13, max_iter=100_000
    )
    close(r.value, solve("KL").value)
    close(r.cost, solve("KL").value_linear)
    close(r.value + EPS * ((a * a.log()).sum() + (b * b.log()).sum()), solve("entropy").value)


def test_pot_without_one(case):
    x, y, a, b = case
    matrix = ot.dist(x.numpy(), y.numpy())
    close(howfar.transport(x, y, a=a, b=b).value, ot.emd2(a.numpy(), b.numpy(), matrix))


def test_pot_unbalanced(case):
    x, y, a, b = case
    r = howfar.transport(x, y, a=a, b=2 * b, eps=EPS, reach=1.2**0.5, tol=1e-12)
    matrix = ot.dist(x.numpy(), y.numpy())
    plan = ot.unbalanced.sinkhorn_unbalanced(a.numpy(), 2 * b.numpy(), matrix, EPS, 1.2, reg_type="kl", **POT)
    assert_close(r.plan(), torch.from_numpy(plan), rtol=1e-7, atol=1e-12)


def test_pot_debiases_the_cost_alone(case):
    x, y, a, b = case
    cost = lambda u, v, p, q: howfar.sinkhorn_distance(u, v, a=p, b=q, eps=EPS, tol=1e-12)
    ours = cost(x, y, a, b) - 0.5 * cost(x, x, a, a) - 0.5 * cost(y, y, b, b)
    arrays = [t.numpy() for t in case]
    theirs = ot.bregman.empirical_sinkhorn_divergence(
        *arrays[:2], EPS, a=arrays[2], b=arrays[3], numIterMax=100_000, stopThr=1e-13
    )
    close(ours, theirs, rtol=1e-6)


def test_pot_sliced(case):
    x, y, a, b = case
    axes = torch.linalg.qr(torch.randn(2, 2, dtype=D)).Q
    theirs = ot.sliced_wasserstein_distance(*(t.numpy() for t in case), projections=axes.T.numpy())
    close(howfar.sliced_wasserstein(x, y, a=a, b=b, directions=axes), theirs)


def test_scipy(case):
    x, y, a, b = case
    line, other, p, q = x[:, 0].numpy(), y[:, 0].numpy(), a.numpy(), b.numpy()
    close(howfar.wasserstein(line, other, p=1, a=a, b=b), scipy.stats.wasserstein_distance(line, other, p, q))
    close(howfar.wasserstein(x, y, p=1, a=a, b=b), scipy.stats.wasserstein_distance_nd(x.numpy(), y.numpy(), p, q))
    close(howfar.energy_distance(line, other, a=a, b=b).sqrt(), scipy.stats.energy_distance(line, other, p, q))


def dual(matrix, a, b, eps, rho=None):
    """The entropic objective by plain alternation in numpy, with KL against a b^T: the definition and nothing else."""
    f, g = np.zeros(len(a)), np.zeros(len(b))
    damping = 1.0 if rho is None else rho / (rho + eps)
    for _ in range(3000):
        f = -damping * eps * np.log(np.exp((g - matrix) / eps) @ b)
        g = -damping * eps * np.log(np.exp((f[:, None] - matrix) / eps).T @ a)
    mass = a @ np.exp((f[:, None] + g - matrix) / eps) @ b
    reward = (lambda t: t) if rho is None else (lambda t: rho * (1 - np.exp(-t / rho)))
    return a @ reward(f) + b @ reward(g) - eps * (mass - a.sum() * b.sum())


@pytest.mark.parametrize("reach", [None, 2.0])
def test_the_halved_cost_with_a_blur(case, reach):
    """GeomLoss, p=2: |x - y|^2 / 2, eps = blur^2, rho = reach^2; then p=1."""
    x, y, a, b = case
    blur = 0.7

    def theirs(order):
        cost = lambda u, v: torch.cdist(u, v).pow(order).div(order).numpy()
        rho = None if reach is None else reach**order
        one = lambda u, v, p, q: dual(cost(u, v), p.numpy(), q.numpy(), blur**order, rho)
        return one(x, y, a, b) - 0.5 * one(x, x, a, a) - 0.5 * one(y, y, b, b)

    options = {"a": a, "b": b, "tol": 1e-11}
    wide = None if reach is None else 2**0.5 * reach
    close(howfar.sinkhorn_divergence(x, y, eps=2 * blur**2, reach=wide, **options) / 2, theirs(2))
    close(howfar.sinkhorn_divergence(x, y, cost="euclidean", blur=blur, reach=reach, **options), theirs(1))


def test_the_objective_of_ott(case):
    """OTT's reg_ot_cost: |x - y|^2, KL against a b^T, epsilon as given."""
    x, y, a, b = case
    theirs = dual(torch.cdist(x, y).square().numpy(), a.numpy(), b.numpy(), EPS)
    close(howfar.transport(x, y, a=a, b=b, eps=EPS, tol=1e-12).value, theirs)
