"""torch.distributions: tables, closed forms, and draws with their standard error."""

import math
from itertools import pairwise, product

import pytest
import torch
import torch.distributions as td
from scipy.integrate import quad

from howfar import f_divergences as fd
from howfar.f_divergences import closed_forms

NAMES = [name for name in fd.GENERATORS if name != "gan"]
CLOSED = [name for name in NAMES if fd.GENERATORS[name].powers]


def t(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def integral(f, p, q, ends):
    """f(p(x), q(x)) integrated piece by piece, densities by torch, the quadrature by SciPy."""

    def integrand(x):
        point = t(x)
        return f(p.log_prob(point).exp().item(), q.log_prob(point).exp().item())

    return sum(quad(integrand, *piece, epsabs=1e-13, epsrel=1e-11, limit=200)[0] for piece in pairwise(ends))


CONTINUOUS = {
    "normal": (td.Normal(t(0.0), t(1.0)), td.Normal(t(1.0), t(1.3)), (-12.0, 0.0, 14.0)),
    "gamma": (td.Gamma(t(2.5), t(1.2)), td.Gamma(t(3.0), t(2.0)), (0.0, 2.0, 60.0)),
    "chi2": (td.Chi2(t(5.0)), td.Gamma(t(3.0), t(0.6)), (0.0, 5.0, 160.0)),
    "exponential": (td.Exponential(t(1.0)), td.Exponential(t(1.6)), (0.0, 2.0, 60.0)),
    "beta": (td.Beta(t(2.5), t(3.0)), td.Beta(t(3.5), t(2.2)), (0.0, 0.5, 1.0)),
    "lognormal": (td.LogNormal(t(0.2), t(0.5)), td.LogNormal(t(0.0), t(0.6)), (1e-9, 1.0, 80.0)),
    "continuous bernoulli": (td.ContinuousBernoulli(t(0.2)), td.ContinuousBernoulli(t(0.7)), (0.0, 1.0)),
}  # fmt: skip


@pytest.mark.parametrize("family", CONTINUOUS)
@pytest.mark.parametrize("order", [-0.4, 0.3, 0.5, 1.4])
def test_affinity_of_exponential_families_by_quadrature(family, order):
    p, q, ends = CONTINUOUS[family]
    expected = integral(lambda a, b: a**order * b ** (1 - order) if a and b else 0.0, p, q, ends)
    assert closed_forms.log_affinity(p, q, order).item() == pytest.approx(math.log(expected), rel=1e-7, abs=1e-9)
    if order > 0:
        estimate = fd.renyi(p, q, order)
        assert estimate.method == "closed form"
        assert estimate.value.item() == pytest.approx(math.log(expected) / (order - 1), rel=1e-7)
    power = fd.alpha_divergence(p, q, order)
    assert power.value.item() == pytest.approx((expected - 1) / (order * (order - 1)), rel=1e-6)


@pytest.mark.parametrize("family", CONTINUOUS)
def test_kullback_leibler_by_quadrature(family):
    p, q, ends = CONTINUOUS[family]
    expected = integral(lambda a, b: a * math.log(a / b) if a and b else 0.0, p, q, ends)
    backward = integral(lambda a, b: b * math.log(b / a) if a and b else 0.0, p, q, ends)
    assert fd.kl(p, q).value.item() == pytest.approx(expected, rel=1e-7)
    assert fd.reverse_kl(p, q).value.item() == pytest.approx(backward, rel=1e-7)
    assert fd.jeffreys(p, q).value.item() == pytest.approx(expected + backward, rel=1e-7)
    assert fd.renyi(p, q, 1.0).value.item() == pytest.approx(expected, rel=1e-7)
    assert fd.alpha_divergence(p, q, 1.0).value.item() == pytest.approx(expected, rel=1e-7)


def test_unit_normals():
    p, q = td.Normal(t(0.0), t(1.0)), td.Normal(t(1.0), t(1.0))
    known = {
        "kl": 0.5,
        "hellinger": -math.expm1(-1 / 8),
        "chi2": math.e - 1,
        "neyman_chi2": math.e - 1,
        "jeffreys": 1.0,
    }
    for name, expected in known.items():
        estimate = fd.f_divergence(p, q, name)
        assert estimate.value.item() == pytest.approx(expected, rel=1e-13)
        assert estimate.standard_error.item() == 0
        assert [end.item() for end in estimate.interval] == [estimate.value.item()] * 2
    for name, expected in {
        "js": 0.11142148218473616,
        "tv": 0.38292492254802624,
        "triangular": 0.40810853126700053,
    }.items():
        estimate = fd.f_divergence(p, q, name, n_samples=200_000, generator=seeded())
        assert estimate.method == "Monte Carlo, 200000 draws from each side"
        assert 0 < estimate.standard_error.item() < 3e-3 * expected
        assert abs(estimate.value.item() - expected) < 4 * estimate.standard_error.item()


def test_poisson_by_summation():
    p, q = td.Poisson(t(2.0)), td.Poisson(t(3.1))
    counts = torch.arange(80, dtype=torch.float64)
    a, b = p.log_prob(counts), q.log_prob(counts)
    for name in CLOSED:
        exact = fd.f_divergence(a, b, name, from_logits=True).item()
        assert fd.f_divergence(p, q, name).value.item() == pytest.approx(exact, rel=1e-10)


PAIRS = [
    (td.Normal(t(0.0), t(1.0)), td.Normal(t(0.5), t(2.0))),
    (td.Laplace(t(0.0), t(1.0)), td.Laplace(t(0.5), t(2.0))),
    (td.Uniform(t(0.0), t(1.0)), td.Uniform(t(-1.0), t(2.0))),
    (td.Uniform(t(-1.0), t(2.0)), td.Uniform(t(0.0), t(1.0))),
    (td.Gumbel(t(0.0), t(1.0)), td.Gumbel(t(0.5), t(2.0))),
    (td.Exponential(t(1.0)), td.Gamma(t(2.0), t(1.0))),
    (td.Beta(t(1.0), t(2.0)), td.Uniform(t(0.0), t(1.0))),
    (td.Dirichlet(t(1.0, 2.0, 0.5)), td.Dirichlet(t(2.0, 1.0, 1.0))),
    (td.Pareto(t(1.0), t(3.0)), td.Pareto(t(0.5), t(2.0))),
    (td.HalfNormal(t(1.0)), td.HalfNormal(t(2.0))),
    (td.Cauchy(t(0.0), t(1.0)), td.Cauchy(t(1.0), t(2.0))),
    (td.Geometric(t(0.3)), td.Geometric(t(0.6))),
    (td.Bernoulli(t(0.3)), td.Bernoulli(t(0.6))),
    (td.Categorical(t(0.3, 0.3, 0.4)), td.Categorical(t(0.5, 0.2, 0.3))),
    (td.Binomial(4, t(0.3)), td.Binomial(4, t(0.6))),
    (td.Independent(td.Normal(t(0.0, 1.0), t(1.0)), 1), td.Independent(td.Normal(t(0.5, 0.0), t(2.0)), 1)),
    (td.MultivariateNormal(t(0.0, 1.0), torch.eye(2).double()), td.MultivariateNormal(t(1.0, 1.0), 2 * torch.eye(2).double())),
    (
        td.LowRankMultivariateNormal(t(0.0, 1.0), t([1.0], [0.5]), t(1.0, 2.0)),
        td.LowRankMultivariateNormal(t(1.0, 1.0), t([0.2], [0.5]), t(2.0, 1.0)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("p", "q"), PAIRS, ids=[f"{type(p).__name__}-{i}" for i, (p, _) in enumerate(PAIRS)])
def test_torch_knows_the_same_kl(p, q):
    expected = td.kl_divergence(p, q)
    estimate = fd.kl(p, q)
    assert estimate.method in {"closed form", "enumeration"}
    assert estimate.value.dtype == torch.float64
    torch.testing.assert_close(estimate.value, expected, rtol=1e-12, atol=1e-14)


def gaussians(d=3, seed=0):
    generator = seeded(seed)
    out = []
    for _ in range(2):
        root = torch.randn(d, d, generator=generator, dtype=torch.float64) / 2
        mean = torch.randn(d, generator=generator, dtype=torch.float64)
        out.append(td.MultivariateNormal(mean, root @ root.T + torch.eye(d, dtype=torch.float64)))
    return out


@pytest.mark.parametrize("order", [-0.2, 0.3, 0.5, 0.8, 1.3, 2.0])
def test_gaussians_agree_with_each_other(order):
    """One dimension, independent dimensions and full covariances, in closed form."""
    mean, other = t(0.3, -0.2, 1.0), t(0.0, 0.4, 0.9)
    scale, second = t(1.0, 0.8, 1.2), t(0.9, 1.1, 1.0)
    single = [
        closed_forms.log_affinity(td.Normal(*a), td.Normal(*b), order)
        for a, b in zip(zip(mean, scale, strict=True), zip(other, second, strict=True), strict=True)
    ]
    together = closed_forms.log_affinity(
        td.Independent(td.Normal(mean, scale), 1), td.Independent(td.Normal(other, second), 1), order
    )
    full = closed_forms.log_affinity(
        td.MultivariateNormal(mean, torch.diag(scale**2)), td.MultivariateNormal(other, torch.diag(second**2)), order
    )
    torch.testing.assert_close(together, sum(single))
    torch.testing.assert_close(full, together)
    low_rank = closed_forms.log_affinity(
        td.LowRankMultivariateNormal(mean, torch.zeros(3, 1).double(), scale**2),
        td.MultivariateNormal(other, torch.diag(second**2)),
        order,
    )
    torch.testing.assert_close(low_rank, together)


def test_renyi_of_gaussians_tends_to_kl_and_beats_sampling():
    p, q = gaussians()
    kl = fd.kl(p, q).value.item()
    assert fd.renyi(p, q, 1 - 1e-7).value.item() == pytest.approx(kl, rel=1e-5)
    orders = [0.1, 0.5, 0.9, 1.0, 1.05]
    values = [fd.renyi(p, q, order).value.item() for order in orders]
    assert values == sorted(values)
    exact = fd.hellinger(p, q).value.item()
    row = fd.Generator.of(lambda u: 0.5 * (u.sqrt() - 1) ** 2, at_zero=0.5, at_infinity=0.5)
    drawn = fd.f_divergence(p, q, row, generator=seeded(1), n_samples=40_000)
    assert abs(drawn.value.item() - exact) < 4 * drawn.standard_error.item()


@pytest.mark.parametrize(
    ("p", "q", "order"),
    [
        (td.Normal(t(0.0), t(2.0)), td.Normal(t(0.0), t(1.0)), 2.0),
        (td.Normal(t(0.0), t(1.0)), td.Normal(t(0.0), t(2.0)), -1.0),
        (td.Exponential(t(1.0)), td.Exponential(t(3.0)), 2.0),
        (td.Gamma(t(1.0), t(1.0)), td.Gamma(t(4.5), t(1.0)), 2.0),
        (td.Beta(t(1.0), t(1.0)), td.Beta(t(4.5), t(1.0)), 2.0),
        (td.Dirichlet(t(1.0, 1.0)), td.Dirichlet(t(4.5, 1.0)), 2.0),
        (
            td.MultivariateNormal(t(0.0, 0.0), torch.diag(t(1.0, 4.0))),
            td.MultivariateNormal(t(0.0, 0.0), torch.eye(2).double()),
            2.0,
        ),
    ],
)
def test_infinite_where_the_integral_diverges(p, q, order):
    assert fd.alpha_divergence(p, q, order).value.item() == math.inf
    if order > 0:
        assert fd.renyi(p, q, order).value.item() == math.inf


def test_close_and_distant_gaussians_in_float32():
    p, q = td.Normal(1e4, 1.0), td.Normal(1e4 + 1e-2, 1.0)
    gap = (q.loc.double() - p.loc.double()).item()
    assert fd.hellinger(p, q).value.item() == pytest.approx(-math.expm1(-(gap**2) / 8), rel=1e-6)
    assert fd.kl(p, q).value.item() == pytest.approx(gap**2 / 2, rel=1e-6)
    assert fd.kl(p, q).value.dtype == torch.float32
    wider = td.Normal(0.0, 1.0 + 1e-4)
    spread = wider.scale.double().item() - 1
    assert fd.kl(td.Normal(0.0, 1.0), wider).value.item() == pytest.approx(spread**2, rel=1e-3, abs=0)
    assert fd.hellinger(td.Normal(0.0, 1.0), wider).value.item() == pytest.approx(spread**2 / 4, rel=1e-3, abs=0)
    sharp, wide = (
        td.MultivariateNormal(torch.ones(3), scale_tril=torch.eye(3) * scale) for scale in (1.0, wider.scale)
    )
    assert fd.kl(sharp, wide).value.item() == pytest.approx(3 * spread**2, rel=1e-3, abs=0)
    for other in (p, td.Gamma(3e4, 1.0), td.MultivariateNormal(torch.ones(3), torch.eye(3))):
        for name in CLOSED:
            assert fd.f_divergence(other, other, name).value.item() == 0


def test_closed_forms_are_differentiable():
    mean = t(0.3, -0.2).requires_grad_()
    scale = t(0.9, 1.1).requires_grad_()
    shape = t(2.0, 3.0).requires_grad_()

    def normal(mean, scale):
        return fd.hellinger(td.Normal(mean, scale), td.Normal(t(0.0, 0.1), t(1.0))).value

    def full(mean, scale):
        return fd.renyi(td.MultivariateNormal(mean, torch.diag(scale)), gaussians(2)[0], 0.6).value

    def gamma(shape, scale):
        return fd.chi2(td.Gamma(shape, scale), td.Gamma(t(2.0), t(1.0))).value

    def divergence(mean, scale):
        return fd.kl(td.Normal(mean, scale), td.Normal(t(0.0), t(1.0))).value

    assert torch.autograd.gradcheck(normal, (mean, scale))
    assert torch.autograd.gradcheck(full, (mean, scale))
    assert torch.autograd.gradcheck(gamma, (shape, scale))
    assert torch.autograd.gradcheck(divergence, (mean, scale))


def test_finite_supports_are_enumerated():
    a, b = t(0.3, 0.3, 0.4), t(0.5, 0.25, 0.25)
    for name in NAMES:
        exact = fd.f_divergence(a, b, name)
        for p, q in [
            (td.Categorical(a), td.Categorical(b)),
            (td.Categorical(a), td.Categorical(logits=b.log() + 2)),
            (td.OneHotCategorical(a), td.OneHotCategorical(b)),
        ]:
            estimate = fd.f_divergence(p, q, name)
            assert estimate.method == "enumeration"
            torch.testing.assert_close(estimate.value, exact, rtol=1e-10, atol=1e-13)
        p, q = td.Bernoulli(t(0.3)), td.Bernoulli(logits=t(0.4))
        exact = fd.f_divergence(torch.stack((1 - p.probs, p.probs)), torch.stack((1 - q.probs, q.probs)), name)
        torch.testing.assert_close(fd.f_divergence(p, q, name).value, exact, rtol=1e-10, atol=1e-13)


def test_zero_probabilities_survive_torch_clamping_them():
    p, q = td.Categorical(torch.tensor([0.5, 0.5, 0.0])), td.Categorical(torch.tensor([0.5, 0.0, 0.5]))
    assert fd.kl(p, q).value == math.inf
    assert fd.js(p, q).value.item() == pytest.approx(math.log(2) / 2)
    batch = td.Categorical(torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.5, 0.25]]))
    assert fd.kl(batch, q).value.tolist() == [math.inf, math.inf]
    assert fd.kl(q, batch).value[1].isfinite()
    assert fd.kl(td.Bernoulli(torch.tensor(0.5)), td.Bernoulli(torch.tensor(0.0))).value == math.inf
    assert fd.renyi(
        td.Bernoulli(torch.tensor(0.0)), td.Bernoulli(torch.tensor(0.5)), math.inf
    ).value.item() == pytest.approx(math.log(2))


def test_independent_classes_are_enumerated_jointly():
    generator = seeded(2)
    a, b = torch.rand((2, 2, 4), generator=generator, dtype=torch.float64)
    p, q = td.Independent(td.Bernoulli(a), 1), td.Independent(td.Bernoulli(b), 1)
    for row in range(2):
        tables = []
        for side in (a[row], b[row]):
            table = [
                math.prod(x if hit else 1 - x for x, hit in zip(side.tolist(), hits, strict=True))
                for hits in product((0, 1), repeat=4)
            ]
            tables.append(torch.tensor(table, dtype=torch.float64))
        for name in NAMES:
            estimate = fd.f_divergence(p, q, name)
            assert estimate.method == "enumeration"
            assert estimate.value[row].item() == pytest.approx(fd.f_divergence(*tables, name).item(), rel=1e-9)


def test_many_independent_classes_go_by_closed_form_or_draws():
    a, b = torch.rand((2, 30), generator=seeded(3)).double() * 0.2 + 0.4
    p, q = td.Independent(td.Bernoulli(a), 1), td.Independent(td.Bernoulli(b), 1)
    assert fd.kl(p, q).method == "closed form"
    singles = fd.kl(td.Bernoulli(a), td.Bernoulli(b)).value
    torch.testing.assert_close(fd.kl(p, q).value, singles.sum(), rtol=1e-9, atol=0)
    affinity = (1 - fd.hellinger(td.Bernoulli(a), td.Bernoulli(b)).value).prod()
    torch.testing.assert_close(fd.hellinger(p, q).value, 1 - affinity, rtol=1e-9, atol=0)
    assert fd.js(p, q, generator=seeded()).method.startswith("Monte Carlo")


def mixture(means, weights=None, scale=0.7):
    means = torch.as_tensor(means, dtype=torch.float64)
    weights = torch.ones_like(means) if weights is None else weights
    return td.MixtureSameFamily(td.Categorical(weights), td.Normal(means, scale))


SAMPLED = {
    "gumbel and laplace": (td.Gumbel(t(0.0), t(1.0)), td.Laplace(t(0.5), t(1.0)), (-30.0, 0.0, 0.5, 60.0)),
    "mixtures": (mixture([-1.0, 2.0]), mixture([0.0, 1.0]), (-9.0, 0.5, 10.0)),
    "normal and student": (td.Normal(t(0.0), t(1.0)), td.StudentT(t(3.0)), (-30.0, 0.0, 30.0)),
    "uniform in student": (td.Uniform(t(-1.0), t(2.0)), td.StudentT(t(3.0)), (-1.0, 2.0)),
}


@pytest.mark.parametrize("case", ["gumbel and laplace", "mixtures", "normal and student"])
@pytest.mark.parametrize("name", ["kl", "js", "tv", "hellinger", "triangular"])
def test_draws_within_four_standard_errors(case, name):
    p, q, ends = SAMPLED[case]
    row = fd.GENERATORS[name]

    def summand(a, b):
        return b * float(row.f(t(a / b))) if a > 0 and b > 0 else 0.0

    exact = integral(summand, p, q, ends)
    estimate = fd.f_divergence(p, q, name, n_samples=20_000, generator=seeded(7))
    assert estimate.method.startswith("Monte Carlo")
    assert 0 < estimate.standard_error.item() < 0.05 * exact
    assert abs(estimate.value.item() - exact) < 4 * estimate.standard_error.item() + 1e-6
    lower, upper = estimate.interval
    width = 2 * 1.959964 * estimate.standard_error
    assert (upper - lower).item() == pytest.approx(width.item(), rel=1e-6)
    assert estimate.warnings == ()


def test_a_support_inside_the_other():
    """KL is finite one way, and infinite the other; torch would raise on draws outside a support."""
    p, q, ends = SAMPLED["uniform in student"]
    exact = integral(lambda a, b: a * math.log(a / b), p, q, ends)
    estimate = fd.kl(p, q, generator=seeded())
    assert abs(estimate.value.item() - exact) < 4 * estimate.standard_error.item()
    backward = fd.kl(q, p, generator=seeded())
    assert backward.value.item() == math.inf
    assert backward.standard_error.item() == 0
    assert [end.item() for end in backward.interval] == [math.inf] * 2
    normal, positive = td.Normal(t(0.0), t(1.0)), td.Exponential(t(1.0))
    half = integral(lambda a, b: 0.5 * abs(a - b), normal, positive, (0.0, 1.0, 40.0)) + 0.25
    estimate = fd.tv(normal, positive, generator=seeded())
    assert abs(estimate.value.item() - half) < 4 * estimate.standard_error.item()
    apart = fd.js(p, td.Uniform(t(5.0), t(6.0)), generator=seeded())
    assert apart.value.item() == pytest.approx(math.log(2))
    assert fd.renyi(p, td.Uniform(t(5.0), t(6.0)), 0.5, generator=seeded()).value.item() == math.inf
    assert fd.f_divergence(p, td.Uniform(t(5.0), t(6.0)), "gan", generator=seeded()).value.item() == pytest.approx(
        0, abs=1e-12
    )


def test_renyi_by_draws():
    p, q, ends = SAMPLED["mixtures"]
    for order in (0.4, 1.5):
        affinity = integral(lambda a, b, order=order: a**order * b ** (1 - order) if a and b else 0.0, p, q, ends)
        exact = math.log(affinity) / (order - 1)
        estimate = fd.renyi(p, q, order, n_samples=40_000, generator=seeded(5))
        assert abs(estimate.value.item() - exact) < 4 * estimate.standard_error.item()
        lower, upper = (end.item() for end in estimate.interval)
        assert lower < estimate.value.item() < upper
        assert upper - lower == pytest.approx(2 * 1.96 * estimate.standard_error.item(), rel=0.05)


def test_draws_are_reproducible_and_leave_the_global_state_alone():
    p, q = SAMPLED["mixtures"][:2]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = fd.js(p, q, generator=seeded(11))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(fd.js(p, q, generator=seeded(11)).value, first.value)
    assert not torch.equal(fd.js(p, q, generator=seeded(12)).value, first.value)
    generator = seeded(11)
    values = {fd.js(p, q, generator=generator).value.item() for _ in range(2)}
    assert len(values) == 2
    torch.manual_seed(3)
    one = fd.js(p, q).value
    torch.manual_seed(3)
    assert torch.equal(fd.js(p, q).value, one)


def test_heavy_tails_are_named():
    p, q = td.StudentT(t(5.0)), td.Normal(t(0.0), t(1.0))
    estimate = fd.chi2(p, q, generator=seeded())
    assert "One draw carries" in estimate.warnings[0]
    assert fd.js(p, q, generator=seeded()).warnings == ()
    assert fd.js(p, p, generator=seeded()).value.item() == 0


def test_batches_broadcast_and_keep_their_dtype():
    p = td.Normal(torch.zeros(3, 1), 1.0)
    q = td.Normal(torch.ones(2), 2.0)
    for name in ("kl", "js"):
        estimate = fd.f_divergence(p, q, name, generator=seeded())
        assert estimate.value.shape == estimate.standard_error.shape == estimate.interval[0].shape == (3, 2)
        assert estimate.value.dtype == torch.float32
    assert fd.kl(td.Categorical(torch.ones(3, 1, 4) / 4), td.Categorical(torch.ones(2, 4) / 4)).value.shape == (3, 2)
    assert fd.renyi(
        td.MultivariateNormal(torch.zeros(3, 2), torch.eye(2)), td.MultivariateNormal(torch.zeros(2), torch.eye(2)), 2.0
    ).value.shape == (3,)


def _mean_gradient(value, parameter, repeats=40):
    gradients = torch.stack([torch.autograd.grad(value(seeded(seed)), parameter)[0] for seed in range(repeats)])
    return gradients.mean(0), gradients.std(0) / math.sqrt(repeats)


def test_pathwise_gradients_are_unbiased():
    loc = t(0.4).requires_grad_()
    q = td.Laplace(t(0.0), t(1.0))
    mean, error = _mean_gradient(lambda g: fd.js(td.Normal(loc, t(1.0)), q, n_samples=2000, generator=g).value, loc)

    def exact(at):
        return integral(
            lambda a, b: 0.5 * a * math.log(2 * a / (a + b)) + 0.5 * b * math.log(2 * b / (a + b)),
            td.Normal(t(at), t(1.0)),
            q,
            (-18.0, 0.0, 18.0),
        )

    slope = (exact(0.4001) - exact(0.3999)) / 2e-4
    assert abs(mean.item() - slope) < 4 * error.item()
    assert error.item() < 0.05 * abs(slope)


def test_score_function_gradients_are_unbiased():
    """A mixture has no rsample, and its weights none that could exist."""
    logits = t(0.3, -0.3).requires_grad_()
    q = mixture([0.0, 1.0])

    def p(logits):
        return td.MixtureSameFamily(td.Categorical(logits=logits), td.Normal(t(-1.0, 2.0), t(0.7)))

    assert not p(logits).has_rsample
    mean, error = _mean_gradient(lambda g: fd.kl(p(logits), q, n_samples=3000, generator=g).value, logits)

    def exact(first):
        return integral(lambda a, b: a * math.log(a / b) if a else 0.0, p(t(first, -0.3)), q, (-9.0, 0.5, 10.0))

    slope = (exact(0.301) - exact(0.299)) / 2e-3
    assert abs(mean[0].item() - slope) < 4 * error[0].item()
    assert error[0].item() < 0.2 * abs(slope)
    assert mean.sum().abs() < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kl", "js", "tv"])
def test_intervals_cover(name):
    p, q, ends = SAMPLED["gumbel and laplace"]
    row = fd.GENERATORS[name]
    exact = integral(lambda a, b: b * float(row.f(t(a / b))) if a and b else 0.0, p, q, ends)
    hits = 0
    for seed in range(400):
        lower, upper = fd.f_divergence(p, q, name, n_samples=1000, level=0.9, generator=seeded(seed)).interval
        hits += lower.item() <= exact <= upper.item()
    assert 0.85 < hits / 400 < 0.95
