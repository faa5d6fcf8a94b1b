"""Known answers: closed forms, quadrature, SciPy, and the relations between the divergences."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import norm

from howfar import f_divergences as fd

LOG2 = math.log(2.0)


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def random_pair(seed=0, shape=(5, 12)):
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.rand((2, *shape), generator=generator, dtype=torch.float64) ** 3
    return p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)


INTEGRANDS = {
    "kl": lambda p, q: p * math.log(p / q),
    "reverse_kl": lambda p, q: q * math.log(q / p),
    "js": lambda p, q: 0.5 * p * math.log(2 * p / (p + q)) + 0.5 * q * math.log(2 * q / (p + q)),
    "tv": lambda p, q: 0.5 * abs(p - q),
    "hellinger": lambda p, q: 0.5 * (math.sqrt(p) - math.sqrt(q)) ** 2,
    "chi2": lambda p, q: (p - q) ** 2 / q,
    "neyman_chi2": lambda p, q: (p - q) ** 2 / p,
    "jeffreys": lambda p, q: (p - q) * math.log(p / q),
    "triangular": lambda p, q: (p - q) ** 2 / (p + q),
    "gan": lambda p, q: p * math.log(p / (p + q)) + q * math.log(q / (p + q)),
    "fgan_js": lambda p, q: p * math.log(2 * p / (p + q)) + q * math.log(2 * q / (p + q)),
    "fgan_hellinger": lambda p, q: (math.sqrt(p) - math.sqrt(q)) ** 2,
}
UNIT_NORMALS = {
    "kl": 0.5,
    "reverse_kl": 0.5,
    "js": 0.11142148218473616,
    "tv": 0.38292492254802624,
    "hellinger": 0.11750309741540466,
    "chi2": math.e - 1,
    "neyman_chi2": math.e - 1,
    "jeffreys": 1.0,
    "triangular": 0.40810853126700053,
    "gan": 2 * 0.11142148218473616 - 2 * LOG2,
    "fgan_js": 2 * 0.11142148218473616,
    "fgan_hellinger": 2 * 0.11750309741540466,
}


def test_every_generator_has_an_integrand_and_a_known_answer():
    assert set(INTEGRANDS) == set(UNIT_NORMALS) == set(fd.GENERATORS)


@pytest.mark.parametrize("name", INTEGRANDS)
def test_unit_normals_on_a_grid(name):
    """The trapezoidal rule on 20 001 points is exact to the last digits for smooth integrands."""
    x = torch.linspace(-14.0, 15.0, 29_001, dtype=torch.float64)  # the midpoint 1/2, a kink of tv, is a grid point
    p, q = (torch.softmax(torch.distributions.Normal(mean, 1.0).log_prob(x), -1) for mean in (0.0, 1.0))
    tolerance = 1e-6 if name == "tv" else 1e-12
    assert fd.f_divergence(p, q, name).item() == pytest.approx(UNIT_NORMALS[name], rel=tolerance)


@pytest.mark.parametrize("name", INTEGRANDS)
def test_unit_normals_by_quadrature(name):
    """The facts themselves, by an independent integral."""
    value = sum(
        quad(lambda x: INTEGRANDS[name](norm.pdf(x), norm.pdf(x, 1.0)), *ends, epsabs=1e-13)[0]
        for ends in ((-12.0, 0.5), (0.5, 13.0))
    )
    assert value == pytest.approx(UNIT_NORMALS[name], rel=1e-9)


@pytest.mark.parametrize("name", INTEGRANDS)
@pytest.mark.parametrize("from_logits", [False, True])
def test_sums_of_the_definition(name, from_logits):
    p, q = random_pair()
    expected = [
        sum(INTEGRANDS[name](a, b) for a, b in zip(left, right, strict=True))
        for left, right in zip(p.tolist(), q.tolist(), strict=True)
    ]
    left, right = (p.log() + 3.0, q.log() - 2.0) if from_logits else (p, q)
    value = fd.f_divergence(left, right, name, from_logits=from_logits)
    torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "name", ["kl", "reverse_kl", "js", "tv", "hellinger", "chi2", "neyman_chi2", "jeffreys", "triangular"]
)
def test_named_function_is_its_row(name):
    p, q = random_pair(1)
    assert torch.equal(getattr(fd, name)(p, q), fd.f_divergence(p, q, name))


def test_scipy_agrees():
    p, q = random_pair(2)
    left, right = p.numpy(), q.numpy()
    np.testing.assert_allclose(fd.kl(p, q).numpy(), rel_entr(left, right).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(fd.reverse_kl(p, q).numpy(), rel_entr(right, left).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(fd.js(p, q).sqrt().numpy(), jensenshannon(left, right, axis=-1), rtol=1e-12)


@pytest.mark.parametrize(
    ("t", "kl", "js", "root_hellinger", "bhattacharyya", "renyi", "tsallis"),
    [
        (0.05, 0.49463, 0.14234, 0.39075, 0.16568, 0.33136, 0.81),
        (0.25, 0.13081, 0.03382, 0.18459, 0.03467, 0.06934, 0.25),
    ],
)
def test_bernoulli_table(t, kl, js, root_hellinger, bhattacharyya, renyi, tsallis):
    p, q = rows(t, 1 - t), rows(0.5, 0.5)
    half_a_digit = 0.51e-5
    assert fd.kl(p, q).item() == pytest.approx(kl, abs=half_a_digit)
    assert fd.js(p, q).item() == pytest.approx(js, abs=half_a_digit)
    assert fd.hellinger(p, q).sqrt().item() == pytest.approx(root_hellinger, abs=half_a_digit)
    assert -torch.log1p(-fd.hellinger(p, q)).item() == pytest.approx(bhattacharyya, abs=half_a_digit)
    assert fd.renyi(p, q, 0.5).item() == pytest.approx(renyi, abs=half_a_digit)
    assert fd.chi2(p, q).item() == pytest.approx(tsallis, rel=1e-12)
    assert math.expm1(fd.renyi(p, q, 2.0).item()) == pytest.approx(tsallis, rel=1e-12)


def test_hellinger_has_the_half():
    p, q = rows(1.0, 0.0), rows(0.0, 1.0)
    assert fd.hellinger(p, q).item() == 1.0
    assert fd.f_divergence(p, q, "fgan_hellinger").item() == 2.0


def test_orders_of_the_power_divergence():
    p, q = random_pair(3)
    for order, factor, name in [
        (1, 1, "kl"),
        (0, 1, "reverse_kl"),
        (0.5, 4, "hellinger"),
        (2, 0.5, "chi2"),
        (-1, 0.5, "neyman_chi2"),
    ]:
        torch.testing.assert_close(
            fd.alpha_divergence(p, q, order), factor * fd.f_divergence(p, q, name), rtol=1e-12, atol=0
        )
    for order in (-1.7, 0.2, 3.5):
        expected = ((p**order * q ** (1 - order)).sum(-1) - 1) / (order * (order - 1))
        torch.testing.assert_close(fd.alpha_divergence(p, q, order), expected, rtol=1e-11, atol=0)
        torch.testing.assert_close(fd.alpha_divergence(q, p, 1 - order), expected, rtol=1e-11, atol=0)


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_power_divergence_and_renyi_are_continuous_at_their_limits(limit):
    p, q = random_pair(4)
    for step in (1e-3, 1e-7, 1e-12, 1e-16):
        near = fd.alpha_divergence(p, q, limit + step)
        torch.testing.assert_close(near, fd.alpha_divergence(p, q, limit), rtol=30 * step + 1e-13, atol=0)
        if limit == 1.0:
            torch.testing.assert_close(fd.renyi(p, q, limit + step), fd.kl(p, q), rtol=30 * step + 1e-13, atol=0)


def test_renyi_by_definition_and_at_its_ends():
    p, q = random_pair(5)
    for order in (0.1, 0.5, 0.999, 1.5, 2.0, 7.0):
        expected = (p**order * q ** (1 - order)).sum(-1).log() / (order - 1)
        torch.testing.assert_close(fd.renyi(p, q, order), expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(fd.renyi(p, q, math.inf), (p / q).amax(-1).log(), rtol=1e-12, atol=0)
    assert fd.renyi(rows(0.5, 0.5, 0.0), rows(0.25, 0.5, 0.25), 0.0).item() == pytest.approx(-math.log(0.75))
    assert fd.renyi(p, q, 0.0).abs().max() == 0


def test_renyi_grows_with_its_order():
    p, q = random_pair(6, (20, 7))
    orders = [0.0, 1e-6, 0.3, 0.5, 0.9, 0.999999, 1.0, 1.000001, 1.1, 2.0, 5.0, 50.0, math.inf]
    values = torch.stack([fd.renyi(p, q, order) for order in orders])
    assert bool((values.diff(dim=0) >= -1e-12).all())


def test_bounds_between_divergences():
    p, q = random_pair(7, (200, 6))
    tv, kl, js, hellinger, chi2 = (fd.f_divergence(p, q, name) for name in ("tv", "kl", "js", "hellinger", "chi2"))
    triangular = fd.triangular(p, q)
    assert bool((2 * tv**2 <= kl).all())  # Pinsker
    assert bool((js <= LOG2 * tv).all())
    assert bool((hellinger <= tv).all())
    assert bool((tv <= (hellinger * (2 - hellinger)).sqrt()).all())
    assert bool((kl <= torch.log1p(chi2)).all())
    assert bool((2 * tv**2 <= triangular).all())
    assert bool((triangular <= 2 * tv).all())


@pytest.mark.parametrize("name", ["js", "hellinger", "triangular"])
def test_roots_are_metrics(name):
    p, q = random_pair(8, (200, 5))
    r = random_pair(9, (200, 5))[0]
    pq, qr, pr = (fd.f_divergence(*pair, name).sqrt() for pair in ((p, q), (q, r), (p, r)))
    assert bool((pr <= pq + qr + 1e-12).all())


@pytest.mark.parametrize(
    "generator", [row for row in fd.GENERATORS.values() if row.name != "gan"], ids=lambda g: g.name
)
def test_disjoint_supports_reach_the_supremum(generator):
    p, q = rows(0.3, 0.7, 0.0), rows(0.0, 0.0, 1.0)
    assert fd.f_divergence(p, q, generator).item() == pytest.approx(generator.supremum)


def test_js_of_disjoint_supports_is_constant():
    """log 2 with a zero gradient, wherever the mass lies: no signal for a generator far from its data."""
    logits = torch.tensor([0.3, -0.2, -math.inf, -math.inf], dtype=torch.float64, requires_grad=True)
    for other in (2, 3):
        q = torch.nn.functional.one_hot(torch.tensor(other), 4).double()
        p = torch.softmax(logits, -1)
        value = fd.js(p, q)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.item() == pytest.approx(LOG2, rel=1e-15)
        assert gradient.abs().max() < 1e-16


def test_cross_entropy_of_the_best_critic_is_js():
    """E_p softplus(-d) + E_q softplus(d) at d = log p / q is 2 log 2 - 2 JS, and the gan row minus that."""
    p, q = random_pair(10)
    d = p.log() - q.log()
    softplus = torch.nn.functional.softplus
    loss = (p * softplus(-d)).sum(-1) + (q * softplus(d)).sum(-1)
    torch.testing.assert_close(loss, 2 * LOG2 - 2 * fd.js(p, q), rtol=1e-9, atol=0)
    torch.testing.assert_close(fd.f_divergence(p, q, "gan"), 2 * fd.js(p, q) - 2 * LOG2, rtol=1e-13, atol=0)


def test_least_squares_critic_is_triangular():
    """The optimal least-squares critic with targets -1, 1 has the generator loss triangular / 2."""
    p, q = random_pair(11)
    d = (p - q) / (p + q)
    torch.testing.assert_close(0.5 * ((p + q) * d**2).sum(-1), 0.5 * fd.triangular(p, q), rtol=1e-12, atol=0)


@pytest.mark.parametrize("weight", [0.02, 0.3, 0.5, 0.97])
def test_weighted_js(weight):
    p, q = random_pair(12)
    m = weight * p + (1 - weight) * q
    expected = weight * fd.kl(p, m) + (1 - weight) * fd.kl(q, m)
    torch.testing.assert_close(fd.f_divergence(p, q, fd.weighted_js(weight)), expected, rtol=1e-11, atol=0)
    if weight == 0.5:
        torch.testing.assert_close(expected, fd.js(p, q), rtol=1e-12, atol=0)


ZEROS = [
    ("kl", (0.0, 1.0), (0.25, 0.75), math.log(4 / 3)),
    ("kl", (0.25, 0.75), (0.0, 1.0), math.inf),
    ("reverse_kl", (0.0, 1.0), (0.25, 0.75), math.inf),
    ("js", (0.0, 1.0), (1.0, 0.0), LOG2),
    ("js", (0.0, 1.0), (0.5, 0.5), 0.5 * math.log(4 / 3) + 0.25 * math.log(2) + 0.25 * math.log(2 / 3)),
    ("tv", (0.0, 1.0), (0.5, 0.5), 0.5),
    ("hellinger", (0.0, 1.0), (0.5, 0.5), 1 - math.sqrt(0.5)),
    ("chi2", (0.0, 1.0), (0.5, 0.5), 1.0),
    ("chi2", (0.5, 0.5), (0.0, 1.0), math.inf),
    ("neyman_chi2", (0.0, 1.0), (0.5, 0.5), math.inf),
    ("neyman_chi2", (0.5, 0.5), (0.0, 1.0), 1.0),
    ("jeffreys", (0.0, 1.0), (0.5, 0.5), math.inf),
    ("triangular", (0.0, 1.0), (0.5, 0.5), 0.5 + 0.25 / 1.5),
    ("gan", (0.0, 1.0), (1.0, 0.0), 0.0),
]


@pytest.mark.parametrize(("name", "p", "q", "expected"), ZEROS)
@pytest.mark.parametrize("from_logits", [False, True])
def test_zero_probabilities(name, p, q, expected, from_logits):
    left, right = rows(*p, 0.0), rows(*q, 0.0)
    if from_logits:
        left, right = left.log(), right.log()
    value = fd.f_divergence(left, right, name, from_logits=from_logits).item()
    assert value == pytest.approx(expected, rel=1e-13, abs=1e-15)


@pytest.mark.parametrize(
    ("order", "p", "q", "expected"),
    [
        (0.5, (1.0, 0.0), (0.0, 1.0), math.inf),
        (0.5, (1.0, 0.0), (0.5, 0.5), LOG2),
        (2.0, (0.5, 0.5), (1.0, 0.0), math.inf),
        (2.0, (1.0, 0.0), (0.5, 0.5), LOG2),
        (0.0, (1.0, 0.0), (0.0, 1.0), math.inf),
        (0.0, (1.0, 0.0), (0.5, 0.5), LOG2),
        (math.inf, (0.5, 0.5), (1.0, 0.0), math.inf),
        (math.inf, (1.0, 0.0), (0.5, 0.5), LOG2),
        (1.0, (1.0, 0.0), (0.5, 0.5), LOG2),
    ],
)
def test_renyi_at_zeros(order, p, q, expected):
    assert fd.renyi(rows(*p), rows(*q), order).item() == pytest.approx(expected)
    assert fd.renyi(rows(*p).log(), rows(*q).log(), order, from_logits=True).item() == pytest.approx(expected)


def test_shapes_broadcast_and_batches_equal_loops():
    p, q = random_pair(13, (3, 4))
    for name in fd.GENERATORS:
        table = fd.f_divergence(p[:, None], q[None], name)
        assert table.shape == (3, 3)
        loop = torch.stack([torch.stack([fd.f_divergence(a, b, name) for b in q]) for a in p])
        torch.testing.assert_close(table, loop, rtol=1e-14, atol=0)
        logits = fd.f_divergence(p.log()[:, None], q.log()[None], name, from_logits=True)
        torch.testing.assert_close(logits, loop, rtol=1e-12, atol=0)
    assert fd.kl(p, q[0]).shape == (3,)
    assert fd.kl(p[0], q[0]).shape == ()


def test_arrays_lists_and_integers_are_taken():
    assert fd.kl(np.array([0.5, 0.5]), np.array([0.25, 0.75])).dtype == torch.float64
    assert fd.kl([0.5, 0.5], [0.25, 0.75]).item() == pytest.approx(
        fd.kl(rows(0.5, 0.5), rows(0.25, 0.75)).item(), rel=1e-6
    )
    assert fd.tv(torch.tensor([0, 1]), torch.tensor([1, 0])).item() == 1.0
