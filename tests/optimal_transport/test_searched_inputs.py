"""A search for inputs that give NaN, never end, or give a result that claims a convergence it has not."""

import math
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import howfar

D = torch.float64
COSTS = ("sqeuclidean", "euclidean", "cityblock", "cosine")
NASTY = (0.0, 1.0, -1.0, 0.5, 1.0 + 2.0**-20, 1e-3, 1e-8, 3.0, 100.0)
QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
LONG = settings(QUICK, max_examples=1500)


def clouds(n, d, dtype):
    coordinate = st.one_of(st.sampled_from(NASTY), st.floats(-4, 4, width=32))
    return st.lists(coordinate, min_size=n * d, max_size=n * d).map(
        lambda v: torch.tensor(v, dtype=dtype).reshape(n, d)
    )


def weights(n, dtype, *, normalised):
    mass = st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-6, 1.0), st.just(1e-30))
    drawn = st.lists(mass, min_size=n, max_size=n).filter(lambda v: sum(v) > 1e-3)
    return drawn.map(lambda v: torch.tensor(v, dtype=dtype) / (sum(v) if normalised else 1.0))


@st.composite
def problems(draw):
    dtype = draw(st.sampled_from((torch.float32, D)))
    n, m, d = draw(st.integers(1, 8)), draw(st.integers(1, 8)), draw(st.integers(1, 3))
    shift, scale = draw(st.sampled_from((0.0, 0.0, 1e4, -1e2))), draw(st.sampled_from((1.0, 1.0, 1e-4, 1e4)))
    x = scale * draw(clouds(n, d, dtype)) + shift
    y = x.clone() if draw(st.booleans()) and draw(st.booleans()) else scale * draw(clouds(m, d, dtype)) + shift
    cost = draw(st.sampled_from(COSTS))
    size = howfar.costs.resolve(cost).matrix(x.double(), y.double()).mean().item() or 1.0
    eps = size * 10.0 ** draw(st.floats(-6, 3))
    reach = draw(st.sampled_from((None, None, 0.1, 1.0, 100.0))) if cost != "cosine" else None
    if reach is not None:
        reach *= size ** (1 / howfar.costs.resolve(cost).degree)
    a = draw(weights(len(x), dtype, normalised=reach is None))
    b = draw(weights(len(y), dtype, normalised=reach is None))
    return x, y, {"a": a, "b": b, "cost": cost, "eps": eps, "reach": reach}


def solved(x, y, options, **more):
    """The result, or None where the input was refused by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", howfar.NotConverged)
        try:
            return howfar.transport(x, y, **options, **more)
        except howfar.DomainError:
            return None


def marginal_gap(result, problem):
    """L1 distance of the plan's marginals from those promised, relative to the mass, from the plan as a matrix."""
    x, y, options = problem
    f, g = (potential.double() for potential in result.solution)
    a, b, eps = options["a"].double(), options["b"].double(), result.eps.double()
    costs = howfar.costs.resolve(options["cost"]).matrix(x.double(), y.double())
    log_plan = a.log().unsqueeze(-1) + b.log() + (f.unsqueeze(-1) + g - costs) / eps
    plan = log_plan.exp()
    rho = result.problem.marginals[0].rho
    gaps = []
    for has, weight, potential in ((plan.sum(1), a, f), (plan.sum(0), b, g)):
        promised = weight if rho is None else torch.where(weight > 0, weight * torch.exp(-potential / rho), 0)
        gaps.append(((has - promised).abs().sum() / promised.sum()).item())
    return sum(gaps)


def check_entropic(problem):
    x, y, options = problem
    result = solved(x, y, options, max_iter=300)
    if result is None:
        return
    for reading in (result.value, result.cost, result.plan(), *result.potentials, result.marginal_error):
        assert torch.isfinite(reading).all()
    tol = 1e-6 if x.dtype == D else 1e-4
    if result.converged:
        assert result.marginal_error.item() <= tol
        # What a potential is rounded to, divided by eps, is all that a plan computed afresh may add.
        largest = max(p.abs().max().item() for p in result.solution)
        noise = 64 * torch.finfo(result.solution[0].dtype).eps * (1 + largest / result.eps.item())
        assert marginal_gap(result, problem) <= 1.001 * tol + noise
    if result.problem.balanced:
        lower, upper = result.bounds
        assert lower <= upper


def check_gradient(problem):
    x, y, options = problem
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    a, b = (options[k].clone().requires_grad_() for k in "ab")
    result = solved(x, y, {**options, "a": a, "b": b}, max_iter=100)
    if result is None:
        return
    gradients = torch.autograd.grad(result.value, (x, y, a, b))
    assert not any(torch.isnan(gradient).any() for gradient in gradients)
    if all(torch.isfinite(gradient).all() for gradient in gradients):
        return
    # Only what float32 cannot hold may be infinite: beside zero the cosine turns at any speed, and so may the derivative
    # in the weight of a point without mass.
    assert x.dtype == torch.float32
    wide = [t.detach().double().requires_grad_() for t in (x, y, a, b)]
    exact = solved(*wide[:2], {**options, "a": wide[2], "b": wide[3]}, max_iter=100, tol=1e-4)
    for gradient, true in zip(gradients, torch.autograd.grad(exact.value, wide), strict=True):
        beyond = true.abs() > 0.99 * torch.finfo(torch.float32).max
        assert (torch.isfinite(gradient) | beyond).all()


def check_divergence(problem):
    x, y, options = problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", howfar.NotConverged)
        try:
            value = howfar.sinkhorn_divergence(x, y, **options, max_iter=100).item()
        except howfar.DomainError:
            return
    assert math.isfinite(value)


def check_exact(problem):
    x, y, options = problem
    if options["reach"] is not None:
        return
    result = solved(x, y, {name: options[name] for name in ("a", "b", "cost")})
    if result is None:
        return
    lower, upper = result.bounds
    assert torch.isfinite(result.value)
    assert result.converged
    size = howfar.costs.resolve(options["cost"]).matrix(x.double(), y.double()).max().item()
    assert abs((upper - lower).item()) <= (1e-5 if x.dtype == torch.float32 else 1e-12) * size + 1e-40


CHECKS = (check_entropic, check_gradient, check_divergence, check_exact)


@pytest.mark.parametrize("check", CHECKS)
def test_no_input_breaks_it(check):
    QUICK(given(problems())(check))()


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_a_long_search_finds_none(check):
    LONG(given(problems())(check))()
