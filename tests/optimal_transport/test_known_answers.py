"""Answers that theory or other solvers give."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog
from scipy.stats import wasserstein_distance, wasserstein_distance_nd
from torch.testing import assert_close

import howfar

D = torch.float64


def weights(n):
    w = torch.rand(n, dtype=D) + 0.05
    return w / w.sum()


def linear_programme(matrix, a, b):
    n, m = matrix.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    found = linprog(matrix.flatten(), A_eq=np.vstack([rows, columns])[:-1], b_eq=np.concatenate([a, b])[:-1])
    return found.fun


def test_a_single_point_each_is_the_cost_at_every_temperature():
    x, y = torch.tensor([[0.0, 0.0]], dtype=D), torch.tensor([[3.0, 4.0]], dtype=D)
    for eps in (1e-3, 1.0, 1e3):
        assert_close(howfar.transport(x, y, eps=eps).value.item(), 25.0)
        assert_close(howfar.sinkhorn_divergence(x, y, eps=eps).item(), 25.0)
    assert_close(howfar.wasserstein(x, y, p=1).item(), 5.0)
    assert_close(howfar.wasserstein(x, y, p=3).item(), 5.0)


def test_two_by_two_in_closed_form():
    r = howfar.transport_matrix(torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=D), eps=1.0, tol=1e-12)
    assert_close(r.plan()[0], torch.tensor([0.36552929, 0.13447071], dtype=D), atol=1e-8, rtol=0)
    assert_close(r.cost.item(), 0.26894142, atol=1e-8, rtol=0)


def test_two_by_two_unbalanced():
    r = howfar.transport_matrix(torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=D), eps=1.0, reach=1.0, tol=1e-12)
    expected = torch.tensor([[0.3220536, 0.1184769], [0.1184769, 0.3220536]], dtype=D)
    assert_close(r.plan(), expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("shift", [10.0, -0.25])
def test_a_shift_costs_its_length(shift):
    x = torch.randn(40, 3, dtype=D)
    move = torch.tensor([shift, 0, 0], dtype=D)
    for p in (1, 2, 3.5):
        assert_close(howfar.wasserstein(x, x + move, p=p).item(), abs(shift))
    assert_close(howfar.sinkhorn_divergence(x, x + move, eps=0.5, tol=1e-11).item(), shift**2, rtol=1e-9, atol=0)


def test_a_shift_adds_to_the_centred_cost():
    x, y = torch.randn(30, 2, dtype=D), torch.randn(30, 2, dtype=D) * 2
    y = y - y.mean(0) + x.mean(0)
    t = torch.tensor([3.0, -1.0], dtype=D)
    assert_close(howfar.wasserstein(x, y + t) ** 2, howfar.wasserstein(x, y) ** 2 + t.square().sum())


def test_large_temperature_leaves_the_distance_of_the_means():
    x, y = torch.randn(20, 2, dtype=D), torch.randn(15, 2, dtype=D) + 1
    s = howfar.sinkhorn_divergence(x, y, eps=1e6, tol=1e-13)
    assert_close(s, (x.mean(0) - y.mean(0)).square().sum(), rtol=1e-4, atol=0)


def test_small_temperature_approaches_the_exact_cost():
    x, y = torch.rand(20, 2, dtype=D), torch.rand(20, 2, dtype=D)
    exact = howfar.transport(x, y).value
    gaps = [(howfar.sinkhorn_distance(x, y, eps=e, max_iter=20_000) - exact).item() for e in (1e-2, 1e-3, 1e-4)]
    assert gaps[0] > gaps[1] > gaps[2] > -1e-6
    assert gaps[2] < 1e-3 * exact


def test_maps_that_are_gradients_of_convex_functions_are_optimal():
    """Brenier: y_i = grad phi(x_i) is the optimal assignment, whatever the points."""
    x = torch.randn(60, 3, dtype=D)
    root = torch.randn(3, 3, dtype=D)
    y = x @ (root @ root.T) + x.pow(3)
    expected = (x - y).square().sum(-1).mean().sqrt()
    assert_close(howfar.wasserstein(x, y[torch.randperm(60)]), expected)


@pytest.mark.parametrize("trial", range(12))
def test_exact_transport_against_a_linear_programme(trial):
    torch.manual_seed(trial)
    n, m = int(torch.randint(1, 12, ())), int(torch.randint(1, 12, ()))
    x, y = torch.randn(n, 2, dtype=D).round(decimals=trial % 3), torch.randn(m, 2, dtype=D).round(decimals=trial % 3)
    a, b = weights(n), weights(m)
    if trial % 4 == 3 and n > 2:
        a[0] = 0
        a = a / a.sum()
    r = howfar.transport(x, y, a=a, b=b, cost="euclidean")
    expected = linear_programme(torch.cdist(x, y).numpy(), a.numpy(), b.numpy())
    assert_close(r.value.item(), expected, rtol=1e-9, atol=1e-12)
    plan = r.plan()
    assert (plan >= 0).all()
    assert_close(plan.sum(1), a, atol=1e-12, rtol=0)
    assert_close(plan.sum(0), b, atol=1e-12, rtol=0)
    assert (plan > 0).sum() <= n + m - 1
    f, g = r.potentials
    assert (f[:, None] + g <= torch.cdist(x, y) + 1e-9).all()
    lower, upper = r.bounds
    assert_close(lower, upper, rtol=1e-9, atol=1e-9)


def test_exact_transport_against_the_assignment_problem():
    x, y = torch.randn(80, 5, dtype=D), torch.randn(80, 5, dtype=D)
    cost = torch.cdist(x, y).square().numpy()
    i, j = linear_sum_assignment(cost)
    assert_close(howfar.transport(x, y).value.item(), cost[i, j].mean(), rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("u", "v", "uw", "vw", "expected"),
    [
        ([0, 1], [0], None, None, 0.5),
        ([0, 1], [0], [3, 1], None, 0.25),
        ([0, 2], [0], None, None, 1.0),
        ([0, 1, 2], [1, 2, 3], None, None, 1.0),
        ([4.5, 6.7, 2.1], [4.6, 7, 9.2], [3, 1, 1], [1, 3, 1], 2.5),
    ],
)
def test_published_values_on_the_line(u, v, uw, vw, expected):
    a, b = (None if w is None else torch.tensor(w, dtype=D) / sum(w) for w in (uw, vw))
    got = howfar.wasserstein(torch.tensor(u, dtype=D), torch.tensor(v, dtype=D), p=1, a=a, b=b)
    assert_close(got.item(), expected)


def test_a_flow_of_integers_in_the_plane():
    """An optimal flow known by hand, printed in SciPy's suite for its n-dimensional distance."""
    u = torch.tensor([[0, 2], [1, 2], [2, 2], [1, 1]], dtype=D)
    v = torch.tensor([[1, 1], [0, 0], [2, 1]], dtype=D)
    a, b = torch.tensor([2, 3, 5, 3], dtype=D) / 13, torch.tensor([6, 4, 3], dtype=D) / 13
    expected = wasserstein_distance_nd(u.numpy(), v.numpy(), a.numpy(), b.numpy())
    assert_close(howfar.wasserstein(u, v, p=1, a=a, b=b).item(), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("trial", range(8))
def test_the_line_agrees_with_scipy_and_with_the_general_solver(trial):
    torch.manual_seed(trial)
    n, m = 1 + trial, 9 - trial
    x, y = torch.randn(n, dtype=D).round(decimals=1), torch.randn(m, dtype=D).round(decimals=1)
    a, b = weights(n), weights(m)
    one = howfar.wasserstein(x, y, p=1, a=a, b=b).item()
    assert_close(one, wasserstein_distance(x.numpy(), y.numpy(), a.numpy(), b.numpy()), atol=1e-12, rtol=1e-10)
    for p in (1.0, 1.5, 2.0, 3.0):
        line = howfar.wasserstein(x, y, p=p, a=a, b=b) ** p
        cost = (x[:, None] - y).abs() ** p
        assert_close(line, howfar.transport_matrix(cost, a, b).value, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("cost", ["sqeuclidean", howfar.costs.Power(howfar.costs.CityBlock(), 1.5)])
def test_the_line_takes_every_power_of_the_distance_as_a_cost(cost):
    x, y, a, b = torch.randn(3, 8, dtype=D), torch.randn(3, 6, dtype=D), weights(8), weights(6)
    ground = howfar.costs.resolve(cost)
    for p in (1.0, 2.0):
        columns = howfar.wasserstein(x.unsqueeze(-1), y.unsqueeze(-1), p=p, cost=cost, a=a, b=b)
        for k in range(3):
            matrix = ground.matrix(x[k].unsqueeze(-1), y[k].unsqueeze(-1)) ** p
            assert_close(columns[k] ** p, howfar.transport_matrix(matrix, a, b).value, atol=1e-12, rtol=1e-9)


def test_uniform_laws_on_the_line():
    t = (torch.arange(1000, dtype=D) + 0.5) / 1000
    assert_close(howfar.wasserstein(t, t + 0.3, p=1).item(), 0.3)
    assert_close(howfar.wasserstein(t, t + 0.3, p=2).item(), 0.3)


def test_bounds_hold_and_tighten():
    for trial in range(40):
        torch.manual_seed(trial)
        n, m = int(torch.randint(1, 25, ())), int(torch.randint(1, 25, ()))
        x, y, a, b = torch.randn(n, 2, dtype=D), torch.randn(m, 2, dtype=D) + 0.5, weights(n), weights(m)
        exact = howfar.transport(x, y, a=a, b=b).value
        for eps in (1.0, 0.1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", howfar.NotConverged)
                r = howfar.transport(x, y, a=a, b=b, eps=eps, max_iter=5)
            lower, upper = r.bounds
            assert lower <= exact + 1e-9
            assert exact <= upper + 1e-9


def test_accuracy_is_proved():
    x, y = torch.rand(60, 2, dtype=D), torch.rand(50, 2, dtype=D) * 0.8
    r = howfar.transport(x, y, accuracy=0.01)
    lower, upper = r.bounds
    exact = howfar.transport(x, y).value
    assert lower <= exact <= upper <= 1.01 * lower


def test_over_the_value_of_the_plan_the_objective_adds_its_divergence():
    x, y = torch.randn(9, 2, dtype=D), torch.randn(7, 2, dtype=D)
    a, b = weights(9), weights(7)
    r = howfar.transport(x, y, a=a, b=b, eps=0.4, tol=1e-12)
    plan, product = r.plan(), torch.outer(a, b)
    kl = (plan * (plan / product).log() - plan + product).sum()
    assert_close(r.value, r.cost + 0.4 * kl, rtol=1e-9, atol=0)
    assert_close(r.cost, (plan * torch.cdist(x, y).square()).sum(), rtol=1e-9, atol=0)
    v, w = torch.randn(7, 3, dtype=D), torch.randn(9, dtype=D)
    assert_close(r.apply(v), plan @ v, atol=1e-10, rtol=0)
    assert_close(r.apply(w, side="y"), plan.T @ w, atol=1e-10, rtol=0)
    assert_close(r.map(), plan @ y / plan.sum(1, keepdim=True), atol=1e-10, rtol=0)


def test_a_circle():
    """Length one, a point against the uniform law: W_1 = 1/4, W_2^2 = 1/12, from the matrix of arc lengths."""
    t = (torch.arange(2000, dtype=D) + 0.5) / 2000
    arc = torch.minimum(t, 1 - t).unsqueeze(0)
    assert_close(howfar.transport_matrix(arc).value.item(), 0.25, rtol=1e-6, atol=0)
    assert_close(howfar.transport_matrix(arc**2).value.item(), 1 / 12, rtol=1e-6, atol=0)


def test_pot_at_float64_agrees_on_entropic_plans():
    ot = pytest.importorskip("ot")
    x, y = torch.randn(30, 3, dtype=D), torch.randn(20, 3, dtype=D)
    a, b = weights(30), weights(20)
    matrix = torch.cdist(x, y).square()
    expected = ot.sinkhorn(a.numpy(), b.numpy(), matrix.numpy(), 0.5, method="sinkhorn_log", stopThr=1e-12)
    r = howfar.transport(x, y, a=a, b=b, eps=0.5, tol=1e-12)
    assert_close(r.plan(), torch.from_numpy(expected), atol=1e-10, rtol=0)


def test_moons_have_an_optimum_that_no_coupling_beats():
    datasets = pytest.importorskip("sklearn.datasets")
    points, label = datasets.make_moons(n_samples=30)
    x, y = (torch.from_numpy(points[label == k]) for k in (0, 1))
    assert_close(howfar.transport(x, y).value.item(), 1.746, atol=5e-4, rtol=0)
    r = howfar.transport(x, y, eps=0.1)
    assert r.converged
    assert_close(r.cost.item(), 1.7968, atol=5e-5, rtol=0)
    assert math.isclose(r.bounds[0].item(), 1.746, abs_tol=5e-4)
