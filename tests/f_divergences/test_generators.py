"""The table: f, its derivative, its conjugate, and the maps that a critic uses."""

import math

import pytest
import torch

from howfar import f_divergences as fd
from howfar._errors import DerivativeUnavailable, DomainError, UnknownName

ROWS = [
    *fd.GENERATORS.values(),
    *(fd.alpha(order) for order in (-1.5, 0.3, 0.9, 1.7, 3.0)),
    fd.weighted_js(0.3),
]
SMOOTH = [row for row in ROWS if row.name != "tv"]
u = torch.logspace(-3, 3, 301, dtype=torch.float64)
v = torch.linspace(-6.0, 6.0, 241, dtype=torch.float64)


def named(row):
    return row.name


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_convex_with_the_limits_it_declares(row):
    slopes = row.derivative(u)
    assert bool((slopes.diff() >= 0).all())
    assert float(row.f(torch.ones((), dtype=torch.float64))) == pytest.approx(row.at_one, abs=1e-15)
    near, far = torch.tensor([1e-150, 1e150], dtype=torch.float64)
    if math.isfinite(row.at_zero):
        assert float(row.f(near)) == pytest.approx(row.at_zero, abs=1e-3)
    else:
        assert float(row.f(near)) > 20
    if math.isfinite(row.at_infinity):
        assert float(row.f(far) / far) == pytest.approx(row.at_infinity, abs=1e-3)
    else:
        assert float(row.f(far) / far) > 20


@pytest.mark.parametrize("row", SMOOTH, ids=named)
def test_derivative_is_that_of_f(row):
    leaf = u.clone().requires_grad_()
    (slope,) = torch.autograd.grad(row.f(leaf).sum(), leaf)
    torch.testing.assert_close(row.derivative(u), slope, rtol=1e-8, atol=1e-10)
    assert row.threshold == pytest.approx(float(row.derivative(torch.tensor(1.0, dtype=torch.float64))))


@pytest.mark.parametrize("row", SMOOTH, ids=named)
def test_fenchel_equality_at_the_best_critic(row):
    """f(u) + f*(f'(u)) = u f'(u)."""
    inner = u[(u > 0.02) & (u < 50)]
    slope = row.derivative(inner)
    torch.testing.assert_close(row.f(inner) + row.conjugate(slope), inner * slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_fenchel_inequality(row):
    """u t - f*(t) <= f(u) for every score."""
    t = row.activation(v)
    gap = row.f(u)[:, None] + row.conjugate(t)[None] - u[:, None] * t[None]
    assert float(gap.min()) > -1e-8


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_activation_increases_and_fuses_with_the_conjugate(row):
    t = row.activation(v)
    assert bool((t.diff() > 0).all())
    torch.testing.assert_close(row.conjugate_of_activation(v), row.conjugate(t), rtol=1e-8, atol=1e-8)
    wide = torch.linspace(-70.0, 70.0, 33, dtype=torch.float64, requires_grad=True)
    fused = row.conjugate_of_activation(wide)
    (gradient,) = torch.autograd.grad(fused.sum(), wide)
    assert bool(fused.isfinite().all())
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_variational_bound_is_reached(row):
    """E_p T - E_q f*(T) <= D_f, with equality at T = f'(p / q)."""
    generator = torch.Generator().manual_seed(0)
    p, q = torch.rand((2, 9), generator=generator, dtype=torch.float64) + 0.1
    p, q = p / p.sum(), q / q.sum()
    best = row.derivative(p / q)
    divergence = fd.f_divergence(p, q, row).item()
    assert float((p * best).sum() - (q * row.conjugate(best)).sum()) == pytest.approx(divergence, abs=1e-9)
    scores = torch.randn(50, 9, generator=generator, dtype=torch.float64)
    bounds = (p * row.activation(scores)).sum(-1) - (q * row.conjugate_of_activation(scores)).sum(-1)
    assert float(bounds.max()) <= divergence + 1e-12


TABLE = {
    "kl": (lambda u: u * math.log(u), lambda t: math.exp(t - 1), 1.0),
    "reverse_kl": (lambda u: -math.log(u), lambda t: -1 - math.log(-t), -1.0),
    "chi2": (lambda u: (u - 1) ** 2, lambda t: t * t / 4 + t, 0.0),
    "neyman_chi2": (lambda u: (1 - u) ** 2 / u, lambda t: 2 - 2 * math.sqrt(1 - t), 0.0),
    "fgan_hellinger": (lambda u: (math.sqrt(u) - 1) ** 2, lambda t: t / (1 - t), 0.0),
    "fgan_js": (
        lambda u: u * math.log(u) - (u + 1) * math.log((u + 1) / 2),
        lambda t: -math.log(2 - math.exp(t)),
        0.0,
    ),
    "gan": (
        lambda u: u * math.log(u) - (u + 1) * math.log(u + 1),
        lambda t: -math.log(1 - math.exp(t)),
        -math.log(2),
    ),
    "tv": (lambda u: 0.5 * abs(u - 1), lambda t: t, 0.0),
}


@pytest.mark.parametrize("name", TABLE)
def test_rows_as_the_paper_lists_them(name):
    f, conjugate, threshold = TABLE[name]
    row = fd.GENERATORS[name]
    for ratio in (0.2, 0.9, 1.0, 3.0):
        x = torch.tensor(ratio, dtype=torch.float64)
        assert float(row.f(x)) == pytest.approx(f(ratio), abs=1e-14)
        slope = float(row.derivative(x))
        assert float(row.conjugate(torch.tensor(slope, dtype=torch.float64))) == pytest.approx(
            conjugate(slope), abs=1e-12
        )
    assert row.threshold == pytest.approx(threshold, abs=1e-15)


@pytest.mark.parametrize(
    ("name", "outside"),
    [("reverse_kl", 0.1), ("neyman_chi2", 1.1), ("fgan_hellinger", 1.0), ("fgan_js", 0.7), ("gan", 0.0), ("tv", 0.6)],
)
def test_conjugates_are_infinite_outside_their_domain(name, outside):
    t = torch.tensor([outside, -0.3], dtype=torch.float64, requires_grad=True)
    value = fd.GENERATORS[name].conjugate(t)
    assert value[0] == math.inf
    (gradient,) = torch.autograd.grad(value[1], t)
    assert bool(gradient.isfinite().all())


def test_scores_of_little_weight_keep_their_digits():
    """log(1 + e^-30), where a softplus that turns linear at 20 would lose six digits or all."""
    score = torch.tensor(-30.0, dtype=torch.float64)
    expected = math.log1p(math.exp(-30.0))
    assert fd.GENERATORS["gan"].conjugate_of_activation(score).item() == pytest.approx(expected, rel=1e-14, abs=0)
    score = torch.tensor(25.0, dtype=torch.float64)
    expected = math.log1p(math.exp(-25.0))
    assert -fd.GENERATORS["gan"].activation(score).item() == pytest.approx(expected, rel=1e-14, abs=0)
    assert fd.GENERATORS["gan"].conjugate_of_activation(score).item() == pytest.approx(25 + expected, rel=1e-16, abs=0)


def test_jeffreys_conjugate_where_naive_formulas_overflow():
    row = fd.GENERATORS["jeffreys"]
    t = torch.tensor([-1e6, -1e3, -50.0, 0.0, 30.0, 600.0], dtype=torch.float64, requires_grad=True)
    value = row.conjugate(t)
    (best,) = torch.autograd.grad(value.sum(), t, create_graph=True)
    torch.testing.assert_close(row.derivative(best), t, rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradgradcheck(
        row.conjugate, torch.tensor([-3.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    )


def test_a_generator_of_ones_own():
    """Given f and its two limits alone, it agrees with the row written by hand."""
    own = fd.Generator.of(lambda u: (u - 1) ** 2 / (u + 1), at_zero=1.0, at_infinity=1.0)
    p = torch.tensor([[0.5, 0.3, 0.2, 0.0], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([[0.1, 0.3, 0.2, 0.4], [0.0, 0.5, 0.25, 0.25]], dtype=torch.float64)
    value = fd.f_divergence(p, q, own)
    torch.testing.assert_close(value, fd.triangular(p, q))
    (gradient,) = torch.autograd.grad(value.sum(), p)
    assert bool(gradient.isfinite().all())
    inner = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([[0.1, 0.3, 0.6]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: own.summands(fd.terms.Ratio.of_probabilities(x, other)), inner)
    with pytest.raises(DerivativeUnavailable, match="conjugate"):
        own.conjugate(value)


def test_a_generator_of_ones_own_with_a_value_and_a_slope_at_one():
    own = fd.Generator.of(lambda u: torch.exp(-u) + 3 * u, at_zero=1.0, at_infinity=3.0)
    p, q = torch.tensor([0.2, 0.8]), torch.tensor([0.6, 0.4])
    expected = 0.6 * math.exp(-1 / 3) + 0.4 * math.exp(-2) + 3
    assert fd.f_divergence(p, q, own).item() == pytest.approx(expected, rel=1e-6)


def test_unknown_names_and_parameters():
    with pytest.raises(UnknownName, match="'hellinger'"):
        fd.f_divergence([1.0], [1.0], "helinger")
    for bad in (math.inf, math.nan, "two"):
        with pytest.raises(DomainError, match="alpha: expected a"):
            fd.alpha(bad)
    for bad in (0.0, 1.0, -0.2):
        with pytest.raises(DomainError, match=r"weight: expected a number in \(0, 1\)"):
            fd.weighted_js(bad)
