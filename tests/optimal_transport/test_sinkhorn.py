"""The solver: it stops on what was promised, says so, and every geometry takes the same loop."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

import howfar
from howfar.geometry import PointCloud
from howfar.optimal_transport import LinearProblem, Sinkhorn, Status
from howfar.optimal_transport.dual import dual_value
from howfar.optimal_transport.marginals import HARD, Marginal
from howfar.optimal_transport.sinkhorn import warn_unless_converged

D = torch.float64


def clouds(n=60, m=50, d=2, dtype=D):
    return torch.rand(n, d, dtype=dtype), torch.rand(m, d, dtype=dtype) * 0.9


@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-9])
@pytest.mark.parametrize("reach", [None, 0.5])
def test_the_marginal_error_is_what_the_plan_has(tol, reach):
    x, y = clouds()
    r = howfar.transport(x, y, eps=0.02, tol=tol, reach=reach)
    plan = r.plan()
    wanted = [torch.full((60,), 1 / 60, dtype=D), torch.full((50,), 1 / 50, dtype=D)]
    if reach is not None:
        wanted = [w * torch.exp(-p / reach**2) for w, p in zip(wanted, r.potentials, strict=True)]
    error = (plan.sum(1) - wanted[0]).abs().sum() + (plan.sum(0) - wanted[1]).abs().sum()
    assert r.converged
    assert error / wanted[1].sum() <= 1.01 * tol + 1e-13
    assert_close(error / wanted[1].sum(), r.marginal_error, rtol=1e-2, atol=1e-13)


def test_what_did_not_converge_says_so_with_the_figure_and_the_remedy():
    x, y = clouds()
    with pytest.warns(howfar.NotConverged, match=r"marginal error \d.*after 3 iterations.*Raise max_iter"):
        r = howfar.transport(x, y, eps=1e-3, max_iter=3)
    assert not r.converged
    assert r.status is Status.MAX_ITER
    assert r.n_iter == 3
    assert r.marginal_error > 1e-6


def test_rounding_is_told_from_slowness():
    x, y = clouds()
    with pytest.warns(howfar.NotConverged, match="stopped falling at the rounding of the potentials"):
        r = howfar.transport(x, y, eps=1e-4, tol=1e-17, max_iter=20_000)
    assert r.status is Status.PRECISION
    assert r.marginal_error < 1e-10


def test_the_remedy_is_one_that_helps():
    """More iterations are advised where they suffice, and not where the error rests or lies above what rounding leaves."""
    x, y = clouds()
    hurried = {"eps": 1e-2, "max_iter": 8}
    with pytest.warns(howfar.NotConverged, match=r"Raise max_iter, or eps"):
        assert howfar.transport(x, y, **hurried).status is Status.MAX_ITER
    assert howfar.transport(x, y, **(hurried | {"max_iter": 300})).converged
    with pytest.warns(howfar.NotConverged, match=r"at rest.* Raise eps, or use exact transport; max_iter helps only"):
        r = howfar.transport(x, y, eps=1e-7, max_iter=600)
    assert r.status is Status.SLOW
    assert r.marginal_error > 1e-3
    with pytest.warns(howfar.NotConverged, match=r"below the rounding.* Accept a larger tol, or raise eps; more iter"):
        r = howfar.transport(x, y, eps=1e-3, tol=1e-16, max_iter=200)
    assert r.status is Status.UNREACHABLE


def test_float64_is_advised_where_only_the_rounding_of_float32_is_in_the_way():
    """A device without float64 keeps such a problem in float32."""
    x, y = (cloud.float() for cloud in clouds())
    a, b = x.new_full((len(x),), 1 / len(x)), y.new_full((len(y),), 1 / len(y))
    problem = LinearProblem(PointCloud(x, y), a, b, x.new_tensor(0.01))
    solution = Sinkhorn(tol=1e-10, max_iter=5000).solve(problem)
    assert solution.status is Status.PRECISION
    with pytest.warns(howfar.NotConverged, match=r"rounding of the potentials.* Or pass float64 points"):
        warn_unless_converged(solution, "a problem")
    x, y = x.double(), y.double()
    assert howfar.transport(x, y, eps=0.01, tol=1e-10, max_iter=5000).converged


def test_the_rounding_of_float32_weights_is_no_difference_of_masses():
    x, y = (cloud.float() for cloud in clouds())
    a = torch.rand(60)
    for weights in ({}, {"a": a / a.sum()}):
        assert howfar.transport(x, y, eps=0.05, tol=1e-10, **weights).converged


def test_masses_that_differ_are_told_from_slowness():
    """Weights that sum to one to four digits pass; a plan of both does not exist to more than these."""
    x, y = clouds(3, 4)
    a, b = [0.33335, 0.33335, 0.33335], [0.25, 0.25, 0.25, 0.25]
    with pytest.warns(howfar.NotConverged, match=r"masses of a and b differ by more than tol.* Divide each by its sum"):
        r = howfar.transport(x, y, a=a, b=b, eps=0.05)
    assert r.status is Status.MASSES
    assert r.marginal_error == pytest.approx(5e-5, rel=1e-3)
    assert howfar.transport(x, y, a=a, b=b, eps=0.05, tol=1e-4).converged


@pytest.mark.parametrize("eps", [1e-2, 3e-4])
def test_float32_points_are_solved_as_well_as_they_can_be(eps):
    """Where float32 potentials are too coarse for eps the solver goes to float64, and results keep their dtype."""
    x, y = clouds(dtype=torch.float32)
    x.requires_grad_()
    r = howfar.transport(x, y, eps=eps, max_iter=20_000)
    assert r.converged
    truth = howfar.transport(x.double(), y.double(), eps=eps, max_iter=20_000)
    assert_close(r.value.double(), truth.value, rtol=1e-5, atol=0)
    assert_close(r.cost.double(), truth.cost, rtol=1e-3, atol=0)
    readings = (r.value, r.cost, r.plan(), r.map(), r.apply(y), *r.potentials, *r.bounds, r.marginal_error)
    assert {t.dtype for t in readings} == {torch.float32}
    (gradient,) = torch.autograd.grad(r.value, x)
    (true_gradient,) = torch.autograd.grad(truth.value, x)
    assert_close(gradient, true_gradient, rtol=0, atol=3e-5)


@pytest.mark.parametrize("status", list(Status))
def test_every_status_names_what_to_change(status):
    assert status.message.endswith(".")
    assert any(word in status.message for word in ("tol", "max_iter", "eps"))


def test_acceleration_needs_a_tenth_of_the_plain_iterations():
    x, y = clouds(200, 200)
    accelerated = howfar.transport(x, y, eps=1e-3, tol=1e-6, backend="reference")
    f, g = torch.zeros(200, dtype=D), torch.zeros(200, dtype=D)
    log = -torch.log(torch.tensor(200.0, dtype=D))
    cost = torch.cdist(x, y).square()
    plain, error = 0, 1.0
    while error >= 1e-6 and plain < 10 * accelerated.n_iter:
        plain += 1
        f = -1e-3 * torch.logsumexp((g - cost) / 1e-3 + log, 1)
        new = -1e-3 * torch.logsumexp((f[:, None] - cost) / 1e-3 + log, 0)
        error = (torch.exp((g - new) / 1e-3) - 1).abs().mean()
        g = new
    assert accelerated.converged
    assert plain == 10 * accelerated.n_iter


def test_a_batch_element_does_not_feel_its_neighbours():
    torch.manual_seed(1)
    x, y = (
        torch.rand(3, 40, 2, dtype=D) * torch.tensor([0.1, 1, 10], dtype=D)[:, None, None],
        torch.rand(3, 30, 2, dtype=D),
    )
    eps = torch.tensor([0.001, 0.02, 3.0], dtype=D)
    together = howfar.transport(x, y, eps=eps)
    for k in range(3):
        alone = howfar.transport(x[k], y[k], eps=eps[k].item())
        assert_close(together.potentials[0][k], alone.potentials[0], atol=1e-9, rtol=0)
        assert_close(together.value[k], alone.value, atol=1e-12, rtol=1e-10)


def test_points_a_matrix_and_a_callable_take_the_same_loop():
    x, y = clouds()
    points = howfar.transport(x, y, eps=0.05)
    matrix = howfar.transport_matrix(torch.cdist(x, y).square(), eps=0.05)
    function = howfar.transport(x, y, eps=0.05, cost=lambda u, v: torch.cdist(u, v).square())
    for other in (matrix, function):
        assert other.n_iter == points.n_iter
        assert_close(other.value, points.value)
        assert_close(other.plan(), points.plan(), atol=1e-9, rtol=1e-6)
        assert_close(torch.stack(other.bounds), torch.stack(points.bounds))


def test_an_asymmetric_callable():
    x, y = clouds(7, 5)

    def uphill(u, v):
        return (v[None, :, 0] - u[:, None, 0]).relu() + 0.1 * torch.cdist(u, v)

    r = howfar.transport(x, y, eps=0.05, cost=uphill)
    assert_close(r.plan(), howfar.transport_matrix(uphill(x, y), eps=0.05).plan(), atol=1e-9, rtol=1e-6)
    assert_close(howfar.transport(x, y, cost=uphill).value, howfar.transport_matrix(uphill(x, y)).value)


def test_a_former_result_is_a_start():
    x, y = clouds(200, 200)
    cold = howfar.transport(x, y, eps=1e-3, backend="reference")
    warm = howfar.transport(x, y + 1e-6, eps=1e-3, init=cold, backend="reference")
    assert warm.converged
    assert warm.n_iter < cold.n_iter / 2


def test_blur_is_the_root_of_eps():
    x, y = clouds()
    assert_close(howfar.transport(x, y, blur=0.2).value, howfar.transport(x, y, eps=0.04).value)
    by_blur = howfar.transport(x, y, blur=0.2, cost="euclidean")
    assert_close(by_blur.value, howfar.transport(x, y, eps=0.2, cost="euclidean").value)
    assert_close(by_blur.eps.item(), 0.2)


def test_auto_is_five_percent_of_the_mean_cost():
    x, y = clouds()
    r = howfar.transport(x, y, eps="auto")
    assert_close(r.eps, 0.05 * torch.cdist(x, y).square().mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_scales_and_tiny_temperatures_give_numbers(dtype, scale):
    x, y = clouds(dtype=dtype)
    x, y = x * scale, y * scale
    for share in (1e-6, 1e-2, 10.0):
        eps = share * torch.cdist(x, y).square().mean().item()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", howfar.NotConverged)
            r = howfar.transport(x, y, eps=eps, max_iter=50)
        assert torch.isfinite(r.value)
        assert torch.isfinite(r.cost)
        assert torch.isfinite(torch.stack(r.bounds)).all()


def test_identical_clouds_and_duplicates():
    x = torch.rand(10, 2, dtype=D).repeat(3, 1)
    assert_close(howfar.transport(x, x).value.item(), 0.0, atol=1e-12, rtol=0)
    assert_close(howfar.sinkhorn_divergence(x, x[:20], eps=0.1).item(), 0.0, atol=1e-9, rtol=0)
    same = torch.ones(4, 2, dtype=D)
    assert_close(howfar.transport(same, same, eps=0.1).value.item(), 0.0, atol=1e-12, rtol=0)
    assert_close(howfar.transport(same, same, accuracy=0.01).value.item(), 0.0, atol=1e-12, rtol=0)


def test_unbalanced_divergence_forgets_what_is_out_of_reach():
    x, far = torch.rand(20, 2, dtype=D), torch.full((1, 2), 100.0, dtype=D)
    a = torch.full((20,), 1 / 20, dtype=D)
    with_outlier = torch.cat([x, far]), torch.cat([a, a.new_tensor([0.05])])
    near = howfar.sinkhorn_divergence(x, x, a=a, b=a, blur=0.1, reach=0.5)
    outlier = howfar.sinkhorn_divergence(x, with_outlier[0], a=a, b=with_outlier[1], blur=0.1, reach=0.5)
    assert abs(near) < 1e-9
    # The lost mass 0.05 pays at most rho = reach^2 for each unit.
    assert 0 < outlier < 0.05 * 0.25 * 1.2


def test_reach_needs_no_equal_masses_and_keeps_the_gradient_right():
    x, y = torch.rand(6, 2, dtype=D), torch.rand(5, 2, dtype=D)
    a, b = torch.rand(6, dtype=D) + 0.1, torch.rand(5, dtype=D) + 0.3

    def value(x, y, a, b):
        return howfar.transport(x, y, a=a, b=b, eps=0.3, reach=0.8, tol=1e-12).value

    inputs = tuple(t.requires_grad_() for t in (x, y, a, b))
    assert torch.autograd.gradcheck(value, inputs, atol=1e-6, rtol=1e-5)

    def divergence(x, y, a, b):
        return howfar.sinkhorn_divergence(x, y, a=a, b=b, eps=0.3, reach=0.8, tol=1e-12)

    assert torch.autograd.gradcheck(divergence, inputs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("reach", "penalty"), [(None, "kl"), (0.5, "kl"), (0.1, "tv")])
def test_one_measure_against_itself_takes_few_iterations_and_has_the_same_answer(reach, penalty):
    x = torch.rand(80, 2, dtype=D)
    a = torch.rand(80, dtype=D)
    geometry, a = PointCloud(x, x), a / a.sum()
    marginal = HARD if reach is None else Marginal(reach**2, penalty)
    problem = LinearProblem(geometry, a, a, torch.tensor(0.005, dtype=D), (marginal, marginal))
    solver = Sinkhorn(tol=1e-10)
    plain, own = solver.solve(problem), solver.solve(replace(problem, symmetric=True))
    assert own.status is Status.CONVERGED
    assert own.n_iter <= plain.n_iter / 2
    assert_close(own.f, own.g, atol=0, rtol=0)
    assert_close(dual_value(problem, own.f, own.g), dual_value(problem, plain.f, plain.g), rtol=1e-9, atol=1e-12)


def test_a_result_reads_in_a_few_lines():
    x, y = clouds()
    assert len(repr(howfar.transport(x, y, eps=0.1))) < 300


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_mass_that_has_far_to_go_arrives(backend):
    """The error rests while potentials drift, and a mixture that overshoots may neither hold nor undo the drift."""
    for seed in (1, 5, 16, 17):
        torch.manual_seed(seed)
        x, y, a = torch.randn(4, 2, dtype=D), 2 * torch.randn(4, 2, dtype=D), torch.rand(4, dtype=D)
        a = a / a.sum()
        result = howfar.transport(x, y, a=a, b=a, eps=0.05, backend=backend)
        assert result.converged
        assert_close(result.plan().sum(0), a, atol=1e-6, rtol=0)
