"""The numbers that copied modules print, and where they are wrong."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import howfar
from howfar.geometry import PointCloud
from howfar.nn import MMDLoss, SinkhornDistance
from howfar.optimal_transport import LinearProblem, Sinkhorn, Status


def five_points(*heights):
    row = torch.arange(5.0)
    x = torch.stack([row, torch.zeros(5)], -1)
    return x, torch.stack([torch.stack([row, torch.full((5,), float(h))], -1) for h in heights])


@pytest.mark.parametrize(("eps", "expected"), [(0.1, 1.000), (1.0, 1.408)])
def test_five_points_and_their_neighbours(eps, expected):
    x, y = five_points(1)
    cost, plan, matrix = SinkhornDistance(eps=eps, max_iter=100)(x, y[0])
    assert_close(cost.item(), expected, atol=5e-4, rtol=0)
    assert plan.shape == matrix.shape == (5, 5)
    assert_close((plan * matrix).sum(), cost)
    assert_close(matrix, torch.cdist(x, y[0]).square(), atol=1e-5, rtol=0)


def test_a_batch_of_four():
    x, y = five_points(1, 2, 3, 4)
    cost, plan, matrix = SinkhornDistance(eps=0.1, max_iter=100)(x.expand(4, 5, 2), y)
    assert_close(cost, torch.tensor([1.0001, 4.0001, 9.0001, 16.0001]), atol=6e-5, rtol=0)
    assert plan.shape == matrix.shape == (4, 5, 5)


@pytest.mark.parametrize(
    ("reduction", "expected"), [("none", [1.0, 4.0]), (None, [1.0, 4.0]), ("mean", 2.5), ("sum", 5.0)]
)
def test_reductions(reduction, expected):
    x, y = five_points(1, 2)
    cost = SinkhornDistance(0.1, 100, reduction)(x.expand(2, 5, 2), y)[0]
    assert_close(cost, torch.tensor(expected), atol=3e-4, rtol=0)


def test_an_unknown_reduction_is_named():
    with pytest.raises(howfar.UnknownName, match="Did you mean 'mean'"):
        SinkhornDistance(0.1, 100, "maen")


def moons():
    datasets = pytest.importorskip("sklearn.datasets")
    points, label = datasets.make_moons(n_samples=30)
    return (torch.from_numpy(points[label == k]).float() for k in (0, 1))


def test_moons_converge_to_a_coupling():
    x, y = moons()
    cost, plan, _ = SinkhornDistance(eps=0.1, max_iter=100, tol=1e-5)(x, y)
    assert_close(cost.item(), 1.7968, atol=5e-5, rtol=0)
    assert_close(plan.sum(0), torch.full((15,), 1 / 15), atol=1e-5, rtol=0)
    assert_close(plan.sum(1), torch.full((15,), 1 / 15), atol=1e-5, rtol=0)


def test_moons_keep_the_promise_on_marginals():
    _, plan, _ = SinkhornDistance(eps=0.1, max_iter=100)(*moons())
    assert sum((plan.sum(k) - 1 / 15).abs().sum() for k in (0, 1)) <= 1e-4


def test_the_quoted_number_belongs_to_no_coupling():
    x, y = moons()
    cost, plan, _ = SinkhornDistance(eps=0.1, max_iter=100, potential_tol=0.1)(x, y)
    assert_close(cost.item(), 1.714, atol=5e-4, rtol=0)
    assert cost < howfar.transport(x, y).value
    assert (plan.sum(1) - 1 / 15).abs().sum() > 0.05


def test_potentials_at_rest_are_not_called_converged():
    x, y = moons()
    geometry = PointCloud(x, y)
    a = torch.full((15,), 1 / 15)
    problem = LinearProblem(geometry, a, a, torch.tensor(0.1))
    solution = Sinkhorn(potential_tol=0.1).solve(problem)
    assert solution.status is Status.RESTED
    assert solution.marginal_error > 0.05
    assert Sinkhorn(potential_tol=0.1, max_iter=3).solve(problem).status is Status.MOVING


def test_all_three_results_carry_gradients():
    x, y = (t.double() for t in moons())
    x.requires_grad_()
    for k, value in enumerate(SinkhornDistance(eps=0.5, max_iter=500, tol=1e-12)(x, y)):
        (gradient,) = torch.autograd.grad(value.square().sum(), x)
        assert gradient.abs().max() > 0
        step = torch.randn_like(x)
        ahead, behind = (
            SinkhornDistance(eps=0.5, max_iter=500, tol=1e-12)(x + s * 1e-5 * step, y)[k].square().sum()
            for s in (1, -1)
        )
        assert_close((gradient * step).sum(), (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ([[1, 2, 3]], [[1, 1, 2]], 6.1863),
        ([[2, 3, 66]], [[1, 5, 6]], 6.1863),
        ([[1, 2, 3], [2, 3, 66]], [[1, 1, 2], [1, 5, 6]], 1.8873),
        ([[1, 2, 3], [2, 3, 66]], [[1, 2, 2], [1, 5, 60]], 0.0621),
        ([[1, 2, 3]], [[1, 2, 2], [2, 3, 6]], 2.0059),
    ],
)
def test_mmd_loss_numbers(source, target, expected):
    loss = MMDLoss(kernel_mul=2.0, kernel_num=5, fix_sigma=None)
    assert_close(loss(torch.tensor(source), torch.tensor(target)).item(), expected, atol=5e-5, rtol=0)


def test_one_point_against_one_point_is_always_the_same_number():
    """The bandwidths follow the only distance there is, which cancels: 2 sum_i (1 - exp(-2 ** (2 - i)) / ...)."""
    torch.manual_seed(0)
    values = {round(MMDLoss()(torch.randn(1, 3), torch.randn(1, 3)).item(), 4) for _ in range(5)}
    assert values == {6.1863}


def test_mmd_loss_is_the_catalogue_function():
    x, y = torch.randn(7, 3), torch.randn(5, 3) + 1
    assert_close(MMDLoss()(x, y), howfar.multi_kernel_mmd(x, y))
    fixed = MMDLoss(kernel_mul=3.0, kernel_num=3, fix_sigma=2.0)(x, y)
    assert_close(fixed, howfar.mmd2(x, y, estimator="biased", bandwidth=howfar.MultiBandwidth(3.0, 3, 2.0)))
