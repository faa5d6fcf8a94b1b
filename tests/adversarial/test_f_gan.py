"""Every row of the f-GAN table: a numeric Legendre transform, tightness, domains, thresholds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import lambertw

from howfar.adversarial import FGAN, stable, variational_form
from howfar.adversarial.f_gan import VARIATIONAL_FORMS

BY_ID = {
    **VARIATIONAL_FORMS,
    **{f"alpha={a}": variational_form("alpha", alpha=a) for a in (-1.0, -0.3, 0.2, 0.5, 0.7, 1.1, 2.0, 3.5)},
    **{f"pi={pi}": variational_form("weighted_js", pi=pi) for pi in (0.1, 0.5, 0.8)},
}
FORMS, IDS = list(BY_ID.values()), list(BY_ID)
SCORES = torch.linspace(-6, 6, 49, dtype=torch.float64)

THRESHOLDS = {
    "kl": 1.0,
    "reverse_kl": -1.0,
    "pearson": 0.0,
    "neyman": 0.0,
    "squared_hellinger": 0.0,
    "js": 0.0,
    "gan": -math.log(2),
    "weighted_js": 0.0,
    "alpha": 0.0,
    "jeffreys": 0.0,
}


def legendre(form, t):
    """sup over u > 0 of u t - f(u), searched over log u."""

    def loss(log_u):
        u = math.exp(log_u)
        return form.f(torch.tensor(u, dtype=torch.float64)).item() - u * t

    grid = np.linspace(-40, 40, 401)
    start = grid[np.argmin([loss(z) for z in grid])]
    best = minimize_scalar(loss, bounds=(start - 0.4, start + 0.4), method="bounded", options={"xatol": 1e-10})
    return -min(best.fun, loss(0.0))


@pytest.mark.parametrize("form", FORMS, ids=IDS)
def test_the_conjugate_is_the_legendre_transform_of_f(form):
    for v in SCORES[::4]:
        t = form.activation(v).item()
        assert form.conjugate(v).item() == pytest.approx(legendre(form, t), rel=1e-7, abs=1e-9), v


@pytest.mark.parametrize("form", FORMS, ids=IDS)
def test_the_activation_increases_within_the_domain(form):
    v = torch.linspace(-30, 30, 601, dtype=torch.float64)
    t = form.activation(v)
    assert (t <= form.supremum).all()
    assert (t.diff() >= 0).all()
    assert (form.activation(SCORES).diff() > 0).all()
    assert (form.conjugate(v).diff() >= -1e-12).all(), "a generator must never be paid for a lower score"


@pytest.mark.parametrize("name", [name for name in BY_ID if name != "tv"])
def test_the_optimum_is_the_slope_of_f_and_the_bound_is_tight_there(name):
    """Fenchel and Young: u f'(u) - f(u) = f*(f'(u)), and f'(1) is the threshold."""
    form = BY_ID[name]
    r = torch.linspace(-4, 4, 33, dtype=torch.float64)
    u = r.exp().requires_grad_()
    (slope,) = torch.autograd.grad(form.f(u).sum(), u)
    v = form.optimum(r)
    torch.testing.assert_close(form.activation(v), slope, rtol=1e-9, atol=1e-10)
    gap = u * form.activation(v) - form.f(u) - form.conjugate(v)
    assert (gap.abs() <= 1e-9 * (1 + form.conjugate(v).abs())).all()
    one = form.activation(form.optimum(torch.zeros(1, dtype=torch.float64)))
    assert one.item() == pytest.approx(THRESHOLDS[form.name], abs=1e-12)


def test_the_optimum_of_total_variation_is_the_sign():
    form = variational_form("tv")
    t = form.activation(form.optimum(torch.tensor([-3.0, 2.0])))
    assert t.tolist() == [-0.5, 0.5]


@pytest.mark.parametrize("form", FORMS, ids=IDS)
def test_the_bound_is_tight_at_the_optimum_and_a_bound_elsewhere(form, pair):
    weights = {"real": pair.weights["real_weights"], "fake": pair.weights["fake_weights"]}
    u = pair.log_ratio.exp()
    exact = (weights["fake"] * form.f(u)).sum().item()

    def bound(v):
        return ((weights["real"] * form.activation(v)).sum() - (weights["fake"] * form.conjugate(v)).sum()).item()

    best = form.optimum(pair.log_ratio)
    assert bound(best) == pytest.approx(exact, rel=1e-9)
    generator = torch.Generator().manual_seed(0)
    for size in (0.01, 0.3, 3.0):
        noise = size * torch.randn(best.shape, generator=generator, dtype=torch.float64)
        assert bound(noise) <= exact + 1e-12
        assert bound(best.clamp(-40, 40) + noise) <= exact + 1e-12


def test_scales_of_the_table(pair):
    def value(name, **options):
        game = FGAN(name, **options)
        d = game.optimal_critic(pair.log_ratio)
        return game.estimate(real=d, fake=d, **pair.weights).item()

    assert value("js") == pytest.approx(2 * pair.js(), rel=1e-10)
    assert value("gan") == pytest.approx(2 * pair.js() - 2 * math.log(2), rel=1e-10)
    assert value("weighted_js", pi=0.5) == pytest.approx(pair.js(), rel=1e-10)
    assert value("weighted_js", pi=0.2) == pytest.approx(pair.js(0.2), rel=1e-10)
    assert value("alpha", alpha=2.0) == pytest.approx(value("pearson") / 2, rel=1e-10)
    assert value("alpha", alpha=-1.0) == pytest.approx(value("neyman") / 2, rel=1e-8)
    assert value("alpha", alpha=0.5) == pytest.approx(2 * value("squared_hellinger"), rel=1e-10)
    assert value("jeffreys") == pytest.approx(value("kl") + value("reverse_kl"), rel=1e-10)
    assert value("tv") == pytest.approx(pair.integral(np.abs(pair.p - pair.q)) / 2, rel=1e-10)
    assert value("alpha", alpha=1 + 1e-6) == pytest.approx(value("kl"), rel=1e-5)
    assert value("alpha", alpha=1e-6) == pytest.approx(value("reverse_kl"), rel=1e-5)


def test_kl_has_the_data_first(gaussians):
    game = FGAN("kl")
    d = game.optimal_critic(gaussians.log_ratio)
    estimate = game.estimate(real=d, fake=d, **gaussians.weights).item()
    assert estimate == pytest.approx(gaussians.kl(gaussians.p, gaussians.q), rel=1e-9)
    assert abs(estimate - gaussians.kl(gaussians.q, gaussians.p)) > 0.1


@pytest.mark.parametrize("name", ["kl", "reverse_kl", "squared_hellinger", "jeffreys"])
def test_the_generators_heuristic_is_minus_the_activation(name):
    v = torch.tensor([-1.5, 0.0, 2.0], dtype=torch.float64)
    form = variational_form(name)
    assert FGAN(name).generator(fake=v).item() == pytest.approx(-form.conjugate(v).mean().item(), rel=1e-12)
    heuristic = FGAN(name, non_saturating=True).generator(fake=v)
    assert heuristic.item() == pytest.approx(-form.activation(v).mean().item(), rel=1e-12)


def test_lambert_w_in_the_log_domain():
    """z = -log W(exp(1 - slope)), solved where the exponential does not exist."""
    slope = torch.linspace(-600, 40, 2001, dtype=torch.float64)
    expected = -np.log(lambertw(np.exp(1 - slope.numpy())).real)
    np.testing.assert_allclose(stable.jeffreys_log_ratio(slope).numpy(), expected, rtol=1e-12, atol=1e-13)
    for dtype, precision in ((torch.float64, 1e-12), (torch.float32, 3e-6)):
        slope = torch.tensor([-1e8, -1e4, -300.0, -1.0, -1e-3, 0.0, 1e-3, 0.5, 1.0, 3.0, 300.0, 1e4], dtype=dtype)
        z = stable.jeffreys_log_ratio(slope)
        back = z.double() - torch.expm1(-z.double())
        # An error of one unit in z is one of 1 + exp(-z) in the slope.
        assert ((back - slope.double()).abs() <= precision * (1 + z.abs()) * (1 + torch.exp(-z.double()))).all()


def test_lambert_w_is_differentiable_twice_and_under_vmap():
    slope = torch.tensor([-20.0, -1.0, 0.0, 0.7, 5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stable.jeffreys_log_ratio, (slope,))
    assert torch.autograd.gradgradcheck(stable.jeffreys_log_ratio, (slope,))
    each = torch.func.vmap(torch.func.grad(stable.jeffreys_log_ratio))(slope.detach())
    torch.testing.assert_close(each, torch.sigmoid(stable.jeffreys_log_ratio(slope.detach())))


def test_softplus_is_exact_where_torchs_is_a_line():
    s = torch.tensor([-700.0, -30.0, 0.0, 19.9, 20.1, 30.0, 1e4], dtype=torch.float64)
    np.testing.assert_allclose(stable.softplus(s).numpy(), np.logaddexp(0, s.numpy()), rtol=1e-15)
    assert stable.softplus(s)[4] > 20.1
    with np.errstate(divide="ignore"):
        expected = np.log(np.logaddexp(0, s.numpy()))
    expected[0] = -700.0
    np.testing.assert_allclose(stable.log_softplus(s).numpy(), expected, rtol=1e-14)
    around = torch.linspace(-18.001, -17.999, 101, dtype=torch.float64)
    np.testing.assert_allclose(stable.log_softplus(around).numpy(), np.log(np.logaddexp(0, around.numpy())), rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponentials_are_exact_to_the_limit_and_a_tangent_beyond(dtype):
    limit = stable.exponent_limit(dtype)
    s = torch.tensor([-50.0, -1e-8, 1e-8, 1.0, limit - 1], dtype=dtype)
    torch.testing.assert_close(stable.exp(s), torch.exp(s), rtol=0, atol=0)
    torch.testing.assert_close(stable.expm1(s), torch.expm1(s), rtol=0, atol=0)
    beyond = torch.tensor([limit + 5, 1e4], dtype=dtype, requires_grad=True)
    for function in (stable.exp, stable.expm1):
        (slope,) = torch.autograd.grad(function(beyond).sum(), beyond)
        torch.testing.assert_close(slope, torch.full_like(slope, math.exp(limit)), rtol=1e-4, atol=0)
        assert torch.isfinite(slope.square()).all(), "Adam's second moment"
