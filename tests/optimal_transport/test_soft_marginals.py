"""Penalties on the marginals, one for each side: against convex optimisation of the primal, and against the definition."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, minimize, minimize_scalar
from torch.testing import assert_close

import howfar

D = torch.float64
TIGHT = {"tol": 1e-11, "max_iter": 5000}
SIDES = [((None, 0.9), "kl"), ((0.7, None), "kl"), ((0.6, 1.5), "kl"), ((0.8, 0.5), "tv"), ((None, 0.8), "tv")]
EACH = pytest.mark.parametrize(("reach", "penalty"), SIDES)


def masses(n, total):
    raw = torch.rand(n, dtype=D) + 0.2
    return total * raw / raw.sum()


def weight(reach):
    return None if reach is None else reach**2


def paid(got, wanted, rho, penalty):
    """The penalty by its definition; a hard marginal pays nothing where it is met."""
    if rho is None:
        return 0.0
    if penalty == "tv":
        return rho * (got - wanted).abs().sum()
    return rho * (torch.xlogy(got, got / wanted) - got + wanted).sum()


def objective(plan, matrix, a, b, eps, reach, penalty):
    product = a[:, None] * b
    kl = (torch.xlogy(plan, plan / product) - plan + product).sum()
    sides = ((plan.sum(1), a, reach[0]), (plan.sum(0), b, reach[1]))
    return (plan * matrix).sum() + eps * kl + sum(paid(got, w, weight(r), penalty) for got, w, r in sides)


def primal_optimum(matrix, a, b, eps, reach, penalty):
    """The least objective over plans by SLSQP; the absolute values of "tv" are slack variables above both signs."""
    n, m = matrix.shape
    cells = n * m
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    slack = penalty == "tv"
    size = cells + (n + m if slack else 0)
    constraints, product = [], torch.outer(a, b)
    for k, (sums, wanted, r) in enumerate(((rows, a, reach[0]), (columns, b, reach[1]))):
        padded = np.hstack([sums, np.zeros((len(sums), size - cells))])
        if r is None:
            constraints.append(LinearConstraint(padded, wanted.numpy(), wanted.numpy()))
        elif slack:
            at = cells + k * n + np.arange(len(sums))
            for sign in (1, -1):
                above = -sign * padded
                above[np.arange(len(sums)), at] = 1
                constraints.append(LinearConstraint(above, -sign * wanted.numpy(), np.inf))

    def value(z):
        leaf = torch.tensor(z, dtype=D, requires_grad=True)
        plan = leaf[:cells].reshape(n, m)
        total = (plan * matrix).sum() + eps * (torch.xlogy(plan, plan / product) - plan + product).sum()
        spans = leaf[cells : cells + n], leaf[cells + n :]
        for axis, w, r, span in ((1, a, reach[0], spans[0]), (0, b, reach[1], spans[1])):
            if r is not None:
                total = total + (weight(r) * span.sum() if slack else paid(plan.sum(axis), w, weight(r), "kl"))
        (gradient,) = torch.autograd.grad(total, leaf)
        return total.item(), gradient.numpy()

    start = np.concatenate([product.flatten().numpy(), np.ones(size - cells)])
    bounds = [(1e-12, None)] * cells + [(0, None)] * (size - cells)
    options = {"maxiter": 2000, "ftol": 1e-15}
    return minimize(value, start, jac=True, method="SLSQP", bounds=bounds, constraints=constraints, options=options).fun


@EACH
@pytest.mark.parametrize("eps", [0.5, 0.1])
def test_the_optimum_is_that_of_the_primal(reach, penalty, eps):
    matrix = torch.cdist(torch.randn(3, 2, dtype=D), torch.randn(4, 2, dtype=D)).square()
    a, b = masses(3, 1.0), masses(4, 1.6)
    r = howfar.transport_matrix(matrix, a, b, eps=eps, reach=tuple(weight(t) for t in reach), penalty=penalty, **TIGHT)
    assert r.converged
    assert_close(r.value.item(), primal_optimum(matrix, a, b, eps, reach, penalty), rtol=1e-6, atol=0)


@EACH
@pytest.mark.parametrize("eps", [0.5, 0.02])
def test_no_gap_between_the_value_and_what_the_plan_pays(reach, penalty, eps):
    x, y = torch.randn(40, 2, dtype=D), torch.randn(30, 2, dtype=D) + 0.5
    a, b = masses(40, 1.3), masses(30, 1.0)
    r = howfar.transport(x, y, a=a, b=b, eps=eps, reach=reach, penalty=penalty, **TIGHT)
    assert r.converged
    matrix = torch.cdist(x, y).square()
    assert_close(r.value, objective(r.plan(), matrix, a, b, eps, reach, penalty), rtol=1e-8, atol=0)
    for got, wanted, side in ((r.plan().sum(1), a, reach[0]), (r.plan().sum(0), b, reach[1])):
        if side is None:
            assert_close(got, wanted, atol=1e-10, rtol=0)


def test_a_low_temperature_converges_where_masses_differ_and_the_reach_is_long():
    """Potentials have to travel many eps, and rewards of slope one do not say how far."""
    x, y = torch.randn(7, 2, dtype=D), torch.randn(9, 2, dtype=D) + 0.5
    a, b = masses(7, 1.3), masses(9, 1.0)
    r = howfar.transport(x, y, a=a, b=b, eps=0.01, reach=2.5, penalty="tv", **TIGHT)
    assert r.converged
    assert r.n_iter < 1000
    matrix = torch.cdist(x, y).square()
    assert_close(r.value, objective(r.plan(), matrix, a, b, 0.01, (2.5, 2.5), "tv"), rtol=1e-8, atol=0)


@pytest.mark.parametrize("cost", [0.3, 1.0, 5.0])
def test_two_points_that_meet_or_stay(cost):
    """One number is left to minimise over, the mass that moves; at a low temperature it is all or nothing at 2 rho."""
    rho, a, b = 0.8, 1.0, 1.7
    matrix = torch.tensor([[cost]], dtype=D)
    weights = torch.tensor([a], dtype=D), torch.tensor([b], dtype=D)
    for eps in (0.5, 0.05):
        kl = lambda p, eps=eps: eps * (p * np.log(p / (a * b)) - p + a * b)
        whole = lambda p, kl=kl: p * cost + kl(p) + rho * (abs(p - a) + abs(p - b))
        best = minimize_scalar(whole, bounds=(1e-12, 2 * b), method="bounded", options={"xatol": 1e-12}).fun
        r = howfar.transport_matrix(matrix, *weights, eps=eps, reach=rho, penalty="tv", **TIGHT)
        assert_close(r.value.item(), best, rtol=1e-7, atol=0)
    moved = howfar.transport_matrix(matrix, *weights, eps=1e-3, reach=rho, penalty="tv", **TIGHT).plan().item()
    assert_close(moved, a if cost < 2 * rho else 0.0, atol=1e-6, rtol=0)


def test_no_plan_of_pot_is_better():
    ot = pytest.importorskip("ot")
    x, y = torch.randn(6, 2, dtype=D), torch.randn(5, 2, dtype=D)
    a, b = masses(6, 1.0), masses(5, 1.4)
    matrix = torch.cdist(x, y).square()
    arrays = a.numpy(), b.numpy(), matrix.numpy()
    # Its quasi-Newton method stops above the optimum, most of all where the penalty has corners.
    for reach, penalty, short in (((0.8, 0.8), "tv", 0.05), ((0.6, 1.5), "kl", 0.005)):
        r = howfar.transport(x, y, a=a, b=b, eps=0.3, reach=reach, penalty=penalty, **TIGHT)
        weights = tuple(weight(t) for t in reach)
        kind = {"c": np.outer(*arrays[:2]), "reg_div": "kl", "regm_div": penalty}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            theirs = ot.unbalanced.lbfgsb_unbalanced(*arrays, 0.3, weights, numItermax=20_000, stopThr=1e-14, **kind)
        theirs = objective(torch.from_numpy(theirs), matrix, a, b, 0.3, reach, penalty)
        assert r.value <= theirs + 1e-9
        assert_close(r.value, theirs, rtol=short, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("penalty", ["kl", "tv"])
def test_a_pair_of_equal_reaches_is_one_and_batches_are_loops(penalty, dtype):
    x, y = torch.randn(3, 12, 2, dtype=dtype), torch.randn(3, 9, 2, dtype=dtype)
    a = torch.rand(3, 12, dtype=dtype) + 0.1
    one = howfar.transport(x, y, a=a, eps=0.1, reach=0.9, penalty=penalty)
    pair = howfar.transport(x, y, a=a, eps=0.1, reach=(0.9, 0.9), penalty=penalty)
    assert_close(one.value, pair.value, rtol=0, atol=0)
    tol = 1e-4 if dtype == torch.float32 else 1e-6
    for k in range(3):
        alone = howfar.transport(x[k], y[k], a=a[k], eps=0.1, reach=0.9, penalty=penalty)
        assert_close(one.value[k], alone.value, rtol=tol, atol=tol)
    assert one.value.dtype is dtype


def test_beyond_reach_all_mass_is_destroyed_and_that_is_convergence():
    x = torch.zeros(2, 1, dtype=D)
    r = howfar.transport(x, x + 100, eps=0.01, reach=1.0, penalty="tv")
    assert r.converged
    assert_close(r.value.item(), 2.0, rtol=0.02, atol=0)
    assert r.plan().sum() == 0


@pytest.mark.parametrize("penalty", ["kl", "tv"])
def test_the_divergence_is_zero_on_equal_measures_and_positive_else(penalty):
    x, y = torch.rand(20, 2, dtype=D), torch.rand(15, 2, dtype=D) + 0.2
    a, b = masses(20, 1.0), masses(15, 1.5)
    options = {"eps": 0.05, "reach": 0.4, "penalty": penalty, **TIGHT}
    assert_close(howfar.sinkhorn_divergence(x, x.flip(0), a=a, b=a.flip(0), **options).item(), 0.0, atol=1e-9, rtol=0)
    value = howfar.sinkhorn_divergence(x, y, a=a, b=b, **options)
    assert value > 0.05
    assert_close(value, howfar.sinkhorn_divergence(y, x, a=b, b=a, **options), rtol=1e-8, atol=0)
    whole = lambda u, v, p, q: howfar.transport(u, v, a=p, b=q, **options).value
    by_hand = whole(x, y, a, b) - 0.5 * whole(x, x, a, a) - 0.5 * whole(y, y, b, b)
    assert_close(value, by_hand + 0.5 * 0.05 * (a.sum() - b.sum()) ** 2, rtol=1e-8, atol=0)


def test_hard_marginals_by_a_pair_are_hard():
    x, y = torch.randn(6, 2, dtype=D), torch.randn(5, 2, dtype=D)
    hard = howfar.transport(x, y, eps=0.3, reach=(None, None))
    assert_close(hard.value, howfar.transport(x, y, eps=0.3).value, rtol=0, atol=0)
    assert hard.bounds[0] <= hard.bounds[1]
    with pytest.raises(howfar.DomainError, match=r"^a: expected weights that sum to 1"):
        howfar.transport(x, y, a=torch.ones(6, dtype=D), eps=0.3, reach=(None, None))


def test_images_take_the_same_penalties():
    a, b = torch.rand(5, 4, dtype=D), torch.rand(5, 4, dtype=D)
    grid = torch.cartesian_prod(torch.arange(5, dtype=D), torch.arange(4, dtype=D))
    for reach, penalty in (((1.0, None), "kl"), (1.2, "tv")):
        options = {"eps": 0.4, "reach": reach, "penalty": penalty, **TIGHT}
        flat = howfar.transport(grid, grid, a=a.flatten(), b=b.flatten(), **options)
        assert_close(howfar.transport_grid(a, b, **options).value, flat.value, rtol=1e-9, atol=0)
    flat = howfar.sinkhorn_divergence(grid, grid, a=a.flatten(), b=b.flatten(), **options)
    assert_close(howfar.sinkhorn_divergence_grid(a, b, **options), flat, rtol=1e-8, atol=1e-12)
