"""Derivatives: the envelope for values, the implicit function theorem for plans."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.autograd import gradcheck
from torch.testing import assert_close

import howfar

D = torch.float64
TIGHT = {"eps": 0.3, "tol": 1e-12, "max_iter": 5000}


def inputs():
    x, y = torch.randn(5, 2, dtype=D).requires_grad_(), torch.randn(4, 2, dtype=D).requires_grad_()
    a, b = torch.randn(5, dtype=D).requires_grad_(), torch.randn(4, dtype=D).requires_grad_()
    return x, y, a, b


def on_simplex(function):
    return lambda x, y, a, b: function(x, y, a.softmax(-1), b.softmax(-1))


@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean", "cityblock", "cosine", howfar.costs.Minkowski(3)])
def test_the_value_in_points_and_weights(cost):
    function = on_simplex(lambda x, y, a, b: howfar.transport(x, y, a=a, b=b, cost=cost, **TIGHT).value)
    assert gradcheck(function, inputs(), atol=1e-6, rtol=1e-5)


def test_the_value_in_a_matrix():
    matrix = torch.rand(5, 4, dtype=D).requires_grad_()
    assert gradcheck(lambda m: howfar.transport_matrix(m, **TIGHT).value, (matrix,), atol=1e-6, rtol=1e-5)
    plan = howfar.transport_matrix(matrix, **TIGHT).plan()
    (gradient,) = torch.autograd.grad(howfar.transport_matrix(matrix, **TIGHT).value, matrix)
    assert_close(gradient, plan.detach(), atol=1e-10, rtol=0)


def test_a_learned_cost_gets_its_gradient():
    scale = torch.tensor([1.0, 2.0], dtype=D, requires_grad=True)
    x, y = torch.rand(5, 2, dtype=D), torch.rand(4, 2, dtype=D)

    def value(s):
        return howfar.transport_matrix(((x[:, None] - y) * s).square().sum(-1), **TIGHT).value

    through_matrix = torch.autograd.grad(value(scale), scale)[0]
    cost = lambda u, v: ((u[:, None] - v[None]) * scale).square().sum(-1)
    r = howfar.transport(x, y, cost=cost, **TIGHT)
    assert_close(r.value, value(scale))
    with_points = torch.autograd.grad(r.value, scale, allow_unused=True)[0]
    assert_close(with_points, through_matrix, atol=1e-9, rtol=1e-7)


def test_value_and_gradient_agree_before_convergence():
    """The dual functional at fixed potentials is what is differentiated, so stopping early keeps them consistent."""
    x, y = torch.randn(30, 2, dtype=D).requires_grad_(), torch.randn(20, 2, dtype=D)
    (truth,) = torch.autograd.grad(howfar.transport(x, y, eps=0.05, tol=1e-12).value, x)
    errors = []
    for max_iter in (2, 8, 40):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", howfar.NotConverged)
            r = howfar.transport(x, y, eps=0.05, tol=1e-12, max_iter=max_iter)
        (gradient,) = torch.autograd.grad(r.value, x)
        plan = r.plan().detach()
        by_hand = 2 * (plan.sum(1, keepdim=True) * x - plan @ y).detach()
        assert_close(gradient, by_hand, atol=1e-10, rtol=0)
        errors.append((gradient - truth).norm().item())
    assert errors[0] > errors[1] > errors[2]


def test_the_dual_is_a_lower_bound_of_second_order():
    x, y = torch.randn(30, 2, dtype=D), torch.randn(20, 2, dtype=D)
    truth = howfar.transport(x, y, eps=0.2, tol=1e-13)
    for max_iter in (1, 2, 3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", howfar.NotConverged)
            r = howfar.transport(x, y, eps=0.2, tol=1e-13, max_iter=max_iter)
        gap = (truth.value - r.value).item()
        drift = (
            (r.potentials[0] - truth.potentials[0] + r.potentials[1].mean() - truth.potentials[1].mean()).abs().max()
        )
        assert -1e-12 <= gap <= 10 * max(drift.item(), 1e-6) ** 2 / 0.2


def test_plans_costs_and_maps_differentiate_through_the_fixed_point():
    probe = torch.randn(5, 4, dtype=D)
    direction = torch.randn(5, 2, dtype=D)
    for read in (
        lambda r: r.cost,
        lambda r: (r.plan() * probe).sum(),
        lambda r: (r.map() * direction).sum(),
        lambda r: (r.apply(probe.sum(0)) * probe[:, 0]).sum(),
    ):
        function = on_simplex(lambda x, y, a, b, read=read: read(howfar.transport(x, y, a=a, b=b, **TIGHT)))
        assert gradcheck(function, inputs(), atol=1e-5, rtol=1e-4)


def test_plans_differentiate_when_unbalanced():
    probe = torch.randn(5, 4, dtype=D)

    def function(x, y, a, b):
        r = howfar.transport(x, y, a=a.exp(), b=b.exp(), reach=0.9, **TIGHT)
        return (r.plan() * probe).sum()

    assert gradcheck(function, inputs(), atol=1e-5, rtol=1e-4)


def test_zero_weights_have_one_sided_derivatives():
    x, y = torch.randn(5, 2, dtype=D), torch.randn(4, 2, dtype=D)
    a = torch.tensor([0.0, 0.25, 0.25, 0.25, 0.25], dtype=D).requires_grad_()
    move = torch.tensor([1.0, -0.25, -0.25, -0.25, -0.25], dtype=D)
    h = 1e-6
    for read in (lambda r: r.value, lambda r: r.cost):
        base = read(howfar.transport(x, y, a=a, **TIGHT))
        (gradient,) = torch.autograd.grad(base, a)
        assert torch.isfinite(gradient).all()
        ahead = read(howfar.transport(x, y, a=a.detach() + h * move, **TIGHT))
        assert_close((gradient @ move).item(), ((ahead - base) / h).item(), atol=1e-4, rtol=1e-3)


def test_exact_transport_in_points_and_weights():
    x, y, a, b = inputs()
    function = on_simplex(lambda x, y, a, b: howfar.transport(x, y, a=a, b=b).value)
    assert gradcheck(function, (x, y, a, b), atol=1e-5, rtol=1e-4)
    assert torch.autograd.gradgradcheck(lambda x, y: howfar.transport(x, y).value, (x, y), atol=1e-5)


def test_the_line_in_points_and_weights():
    x, y = torch.randn(5, dtype=D).requires_grad_(), torch.randn(4, dtype=D).requires_grad_()
    _, _, a, b = inputs()
    for p in (1.0, 1.5, 2.0, 3.0):
        function = on_simplex(lambda x, y, a, b, p=p: howfar.wasserstein(x, y, p=p, a=a, b=b))
        assert gradcheck(function, (x, y, a, b), atol=1e-5, rtol=1e-4)


def test_gradient_descent_brings_the_clouds_together():
    torch.manual_seed(0)
    x, y = torch.randn(40, 2), torch.randn(50, 2) * 0.5 + 2
    x.requires_grad_()
    optimiser = torch.optim.Adam([x], lr=0.1)
    loss = howfar.nn.SinkhornDivergence(blur=0.1)
    for _ in range(60):
        optimiser.zero_grad()
        value = loss(x, y)
        value.backward()
        optimiser.step()
    assert value < 0.03


@pytest.mark.parametrize("reach", [None, 1.0])
def test_the_temperature_beside_points_without_mass(reach):
    x, y = torch.randn(4, 2, dtype=D), torch.randn(3, 2, dtype=D)
    a, b = torch.tensor([0.5, 0.25, 0.0, 0.25], dtype=D), torch.tensor([0.0, 0.5, 0.5], dtype=D)
    matrix = howfar.costs.resolve("sqeuclidean").matrix(x, y)
    options = {"tol": 1e-13, "max_iter": 5000, "reach": reach}
    values = (
        lambda eps: howfar.transport(x, y, a=a, b=b, eps=eps, **options).value,
        lambda eps: howfar.transport_matrix(matrix, a, b, eps=eps, **options).value,
        lambda eps: howfar.sinkhorn_divergence(x, y, a=a, b=b, eps=eps, **options),
        lambda eps: howfar.transport([x[:2], x], [y, y[:2]], eps=eps, **options).value,
    )
    for value in values:
        assert gradcheck(value, (torch.tensor(0.3, dtype=D, requires_grad=True),), atol=1e-6, rtol=1e-5)


def test_a_density_beyond_float32_beside_points_without_mass():
    x = torch.tensor([[0.0], [0.0], [1.0]])
    a, b = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 0.0])
    for graph in (False, True):
        moving = x.clone().requires_grad_(graph)
        result = howfar.transport(moving, x, a=a, b=b, eps=4.4e-4, reach=0.067)
        assert_close(result.plan().detach(), torch.zeros(3, 3), rtol=0, atol=1e-30)
        assert_close(result.cost.detach(), torch.tensor(0.0))
        for side in ("x", "y"):
            assert_close(result.apply(torch.ones(3), side).detach(), torch.zeros(3), rtol=0, atol=1e-30)
        assert_close(result.map().detach(), x[1].expand(3, 1))
    (gradient,) = torch.autograd.grad(result.value, moving)
    assert_close(gradient, torch.zeros(3, 1), rtol=0, atol=1e-30)
