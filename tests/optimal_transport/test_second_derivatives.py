"""Second derivatives, derivatives in eps, and derivatives of solves that stopped early."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.autograd import grad, gradcheck, gradgradcheck
from torch.testing import assert_close

import howfar
from howfar.ops import streaming

D = torch.float64
TIGHT = {"tol": 1e-13, "max_iter": 5000}
SOFT = [{}, {"reach": 0.9}, {"reach": (None, 0.9)}, {"reach": (0.9, 0.88), "penalty": "tv"}]


def inputs(n=4, m=3, *batch):
    """Points of both sides, logarithms of weights, logarithm of eps."""
    shapes = (*batch, n, 2), (*batch, m, 2), (*batch, n), (*batch, m)
    drawn = [torch.randn(*shape, dtype=D).requires_grad_() for shape in shapes]
    return (*drawn, torch.full(batch, -0.7, dtype=D).requires_grad_())


def problem(options, call=howfar.transport):
    """The solve as a function of `inputs`; on the simplex where marginals are hard."""

    def solved(x, y, a, b, e):
        a, b = ((0.3 * t).exp() if "reach" in options else t.softmax(-1) for t in (a, b))
        return call(x, y, a=a, b=b, eps=e.exp(), **options, **TIGHT)

    return solved


def check(function, at, *, whole=False):
    """Both derivatives by differences, along random directions or entry by entry."""
    assert gradcheck(function, at, atol=1e-6, rtol=1e-4, fast_mode=not whole)
    assert gradgradcheck(function, at, atol=1e-5, rtol=1e-4, fast_mode=not whole)


@pytest.mark.parametrize("options", SOFT, ids=str)
def test_the_value_twice_in_points_weights_and_temperature(options):
    check(lambda *t: problem(options)(*t).value, inputs())


def test_the_cases_have_potentials_at_the_bound_and_within():
    r = problem(SOFT[3])(*inputs())
    for potential, marginal in zip(r.potentials, r.problem.marginals, strict=True):
        at_bound = potential.abs() == marginal.rho
        assert at_bound.any()
        assert not at_bound.all()


@pytest.mark.slow
@pytest.mark.parametrize("options", SOFT, ids=str)
def test_the_value_twice_entry_by_entry(options):
    check(lambda *t: problem(options)(*t).value, inputs(5, 4), whole=True)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"reach": 0.9}, {"reach": 0.9, "penalty": "tv"}], ids=str)
def test_the_divergence_twice(options):
    check(problem(options, howfar.sinkhorn_divergence), inputs(), whole=True)


def test_the_value_of_a_batch_at_several_temperatures_twice():
    x, y, a, b, _ = inputs(3, 3, 2)
    e = torch.tensor([-1.5, 0.5], dtype=D).requires_grad_()
    check(lambda *t: problem({})(*t).value, (x, y, a, b, e))


def test_the_value_of_a_matrix_twice():
    matrix = torch.rand(4, 3, dtype=D).requires_grad_()
    a, e = torch.randn(4, dtype=D).requires_grad_(), torch.tensor(-1.0, dtype=D).requires_grad_()
    check(lambda m, a, e: howfar.transport_matrix(m, a.softmax(-1), eps=e.exp(), **TIGHT).value, (matrix, a, e))


READINGS = {
    "cost": lambda r: r.cost,
    "plan": lambda r: (r.plan() * torch.arange(12, dtype=D).reshape(4, 3).cos()).sum(),
    "map": lambda r: (r.map() * torch.arange(8, dtype=D).reshape(4, 2).cos()).sum(),
    "apply": lambda r: r.apply(torch.arange(3, dtype=D).cos())[1],
    "potentials": lambda r: r.potentials[0][0] + r.potentials[1][1],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", READINGS)
@pytest.mark.parametrize("options", [SOFT[0], SOFT[1], SOFT[3]], ids=str)
def test_what_is_read_from_a_plan_twice(name, options):
    check(lambda *t: READINGS[name](problem(options)(*t)), inputs(), whole=True)


def test_the_plan_in_the_temperature():
    check(lambda *t: READINGS["plan"](problem({})(*t)), inputs())


def test_losses_as_modules_have_hessian_vector_products():
    x, y, *_ = inputs(6, 5)
    direction = torch.randn_like(x)
    for loss in (
        howfar.nn.SinkhornDivergence(eps=0.3, **TIGHT),
        howfar.nn.SinkhornDivergence(blur=0.5, reach=1.0, **TIGHT),
    ):
        first = lambda t, loss=loss: grad(loss(t, y), t, create_graph=True)[0]
        (product,) = grad((first(x) * direction).sum(), x)
        ahead, behind = ((x + sign * 1e-5 * direction).detach().requires_grad_() for sign in (1, -1))
        assert_close(product, (first(ahead) - first(behind)).detach() / 2e-5, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("options", SOFT, ids=str)
def test_blocks_have_the_second_derivatives_of_the_whole(options, monkeypatch):
    at = inputs(30, 20)
    directions = [torch.randn_like(t) for t in at]

    def products():
        first = grad(problem(options)(*at).value, at, create_graph=True)
        return grad(sum((g * d).sum() for g, d in zip(first, directions, strict=True)), at)

    whole = products()
    monkeypatch.setattr(streaming, "BLOCK_ELEMENTS", 64)
    for one, other in zip(products(), whole, strict=True):
        assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_third_derivatives_in_blocks_are_refused(monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_ELEMENTS", 64)
    x, y, *_ = inputs(12, 10)
    (first,) = grad(howfar.transport(x, y, eps=0.5).value, x, create_graph=True)
    (second,) = grad(first.square().sum(), x, create_graph=True)
    with pytest.raises(howfar.DerivativeUnavailable, match="third derivatives are not available"):
        grad(second.sum(), x)


def test_third_derivatives_of_a_plan_are_refused():
    matrix = torch.rand(4, 3, dtype=D).requires_grad_()
    (first,) = grad(howfar.transport_matrix(matrix, eps=0.5).plan()[0, 0], matrix, create_graph=True)
    (second,) = grad(first.square().sum(), matrix, create_graph=True)
    with pytest.raises(howfar.DerivativeUnavailable, match="third derivatives are not available"):
        grad(second.sum(), matrix)


@pytest.mark.parametrize("dtype", [torch.float32, D])
@pytest.mark.parametrize("options", SOFT, ids=str)
def test_points_without_mass_leave_every_derivative_finite(options, dtype):
    x, y = (torch.randn(n, 2, dtype=dtype).requires_grad_() for n in (6, 5))
    a = torch.tensor([0, 0.2, 0.2, 0.2, 0.4, 0], dtype=dtype).requires_grad_()
    b = torch.tensor([0.5, 0.5, 0, 0, 0], dtype=dtype).requires_grad_()
    at = (x, y, a, b, torch.tensor(0.3, dtype=dtype).requires_grad_())
    r = howfar.transport(*at[:2], a=a, b=b, eps=at[4], **options)
    for value in (r.value, r.cost, r.plan().square().sum()):
        first = grad(value, at, create_graph=True)
        second = grad(sum(t.square().sum() for t in first), at)
        assert all(bool(torch.isfinite(t).all()) for t in (*first, *second))


def test_images_twice_in_their_masses_and_the_temperature():
    a, b = (torch.randn(3, 4, dtype=D).requires_grad_() for _ in range(2))
    e = torch.tensor(-0.3, dtype=D).requires_grad_()
    options = {"reach": 1.0, **TIGHT}
    check(lambda a, b, e: howfar.transport_grid(a.exp(), b.exp(), eps=e.exp(), **options).value, (a, b, e))


def functional(matrix, a, b, eps, f, g, options):
    """The dual objective at any potentials, by its definition."""
    reach, penalty = options.get("reach"), options.get("penalty", "kl")
    reach = reach if isinstance(reach, tuple) else (reach, reach)
    total = 0.0
    for r, potential, w in zip(reach, (f, g), (a, b), strict=True):
        if r is None:
            reward = potential
        elif penalty == "tv":
            reward = torch.minimum(potential, torch.tensor(r**2, dtype=D))
        else:
            reward = r**2 * (1 - torch.exp(-potential / r**2))
        total = total + (w * reward).sum()
    plan = a[:, None] * b * torch.exp((f[:, None] + g - matrix) / eps)
    return total - eps * (plan.sum() - a.sum() * b.sum())


@pytest.mark.parametrize("options", SOFT, ids=str)
def test_stopped_early_the_gradient_is_that_of_the_functional_at_the_potentials_there_are(options):
    torch.manual_seed(4)
    x, y, a, b, e = inputs(12, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", howfar.NotConverged)
        made = [t.exp() if "reach" in options else t.softmax(-1) for t in (a, b)]
        values = [t.detach().requires_grad_() for t in (x, y, *made, 0.05 * e.exp())]
        r = howfar.transport(*values[:2], a=values[2], b=values[3], eps=values[4], max_iter=2, tol=1e-13, **options)
    assert r.marginal_error > 1e-3
    f, g = (t.detach() for t in r.potentials)
    gradients = grad(r.value, values)

    def at(x, y, a, b, eps):
        return functional((x[:, None] - y).square().sum(-1), a, b, eps, f, g, options)

    assert_close(r.value.detach(), at(*(t.detach() for t in values)), rtol=1e-10, atol=1e-12)
    for k, gradient in enumerate(gradients):
        direction = torch.randn_like(values[k])
        h = 1e-6 * values[k].detach().abs().min().clamp(max=1)
        moved = [
            [t.detach() + sign * h * direction if i == k else t.detach() for i, t in enumerate(values)]
            for sign in (1, -1)
        ]
        assert_close((gradient * direction).sum(), (at(*moved[0]) - at(*moved[1])) / (2 * h), rtol=1e-5, atol=1e-6)


def test_the_derivative_in_eps_is_the_divergence_of_the_plan_from_independence():
    x, y, *_ = inputs(20, 15)
    for options in ({}, {"reach": 1.0}):
        eps = torch.tensor(0.3, dtype=D, requires_grad=True)
        r = howfar.transport(x, y, eps=eps, **options, **TIGHT)
        plan, product = r.plan().detach(), torch.full((20, 15), 1 / 300, dtype=D)
        kl = (torch.xlogy(plan, plan / product) - plan + product).sum()
        assert_close(grad(r.value, eps)[0], kl, rtol=1e-9, atol=0)


def test_the_derivative_in_eps_survives_an_offset_in_float32():
    x, y = torch.rand(40, 2) + 1e4, torch.rand(30, 2) + 1e4
    slopes = []
    for left, right in ((x, y), (x.double(), y.double())):
        eps = torch.tensor(0.1, dtype=left.dtype, requires_grad=True)
        slopes.append(grad(howfar.transport(left, right, eps=eps).value, eps)[0].double())
    assert_close(*slopes, rtol=1e-4, atol=0)


@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_the_ops_differentiate_in_the_temperature(backend):
    x, y, _, h, e = inputs(5, 4, 2)
    v = torch.randn(2, 4, 3, dtype=D).requires_grad_()
    options = {"cost": howfar.costs.Power(howfar.costs.Euclidean(), 1.5), "backend": backend}
    check(lambda x, y, h, e: howfar.ops.softmin(x, y, h, eps=e.exp(), **options), (x, y, h, e))
    for op in (
        lambda e: howfar.ops.softmin(x, y, h, eps=e, **options),
        lambda e: howfar.ops.softmin_apply(x, y, h, v, eps=e, **options)[1],
    ):
        assert_close(op(e.exp()), op(e.exp().detach()))
    assert gradcheck(
        lambda x, y, h, v, e: howfar.ops.softmin_apply(x, y, h, v, eps=e.exp(), **options)[1], (x, y, h, v, e)
    )


def test_a_point_taken_out_leaves_the_derivative_in_the_temperature():
    x, y, _, h, _ = inputs(5, 4)
    eps = torch.tensor(0.4, dtype=D, requires_grad=True)
    out = torch.where(torch.arange(4) == 2, -torch.inf, h.detach())
    (slope,) = grad(howfar.ops.softmin(x, y, out, eps=eps).sum(), eps)
    kept = [0, 1, 3]
    (expected,) = grad(howfar.ops.softmin(x, y[kept], h[kept].detach(), eps=eps).sum(), eps)
    assert_close(slope, expected)


def test_a_cost_without_a_degree_has_no_derivative_in_the_temperature():
    eps = torch.tensor(0.4, requires_grad=True)
    with pytest.raises(howfar.DerivativeUnavailable, match=r"^eps: the derivative needs a cost that scales"):
        howfar.transport(torch.randn(4, 2), torch.randn(3, 2), eps=eps, cost="cosine").value.backward()
