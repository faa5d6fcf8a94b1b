"""Every row of the table of objectives against integrals of the densities."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from howfar import adversarial
from howfar._errors import HowfarError
from howfar.adversarial import FGAN, OBJECTIVES, Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein

LOG_2 = math.log(2)
POINTWISE = [name for name in OBJECTIVES if name not in {"wasserstein", "relativistic-average"}]
ALL = [row.make() for row in OBJECTIVES.values()] + [
    NonSaturating(label_smoothing=0.1),
    NonSaturating(label_smoothing=0.2, two_sided=True),
    LeastSquares(a=-1, b=1, c=0),
    FGAN("alpha", alpha=-1.0),
    FGAN("alpha", alpha=3.0),
    FGAN("alpha", alpha=1.01),
    FGAN("weighted_js", pi=0.1),
    *(FGAN(name, non_saturating=True) for name in ("kl", "reverse_kl", "jeffreys", "neyman")),
]


def divergence(name, pair):
    """The right column of the table, from the densities."""
    p, q = pair.p, pair.q
    tv = pair.integral(np.abs(p - q)) / 2
    hellinger = pair.integral((np.sqrt(p) - np.sqrt(q)) ** 2)
    return {
        "minimax": pair.js(),
        "non-saturating": pair.js(),
        "least-squares": pair.integral((p - q) ** 2 / (p + q)),
        "hinge": tv,
        "energy-based": tv,
        "fgan:kl": pair.kl(p, q),
        "fgan:reverse_kl": pair.kl(q, p),
        "fgan:pearson": pair.integral((p - q) ** 2 / q),
        "fgan:neyman": pair.integral((p - q) ** 2 / p),
        "fgan:squared_hellinger": hellinger,
        "fgan:js": 2 * pair.js(),
        "fgan:gan": 2 * pair.js() - 2 * LOG_2,
        "fgan:tv": tv,
        "fgan:jeffreys": pair.kl(p, q) + pair.kl(q, p),
        "fgan:weighted_js": pair.js(0.5),
        "fgan:alpha": 2 * hellinger,
    }[name]


def every_pair(game, d, p, q):
    """Scores d under the weights p and q; for a paired objective all pairs of them."""
    if isinstance(game, adversarial.RelativisticPaired):
        n = len(d)
        return {
            "real": d.repeat_interleave(n),
            "fake": d.repeat(n),
            "real_weights": p.repeat_interleave(n),
            "fake_weights": q.repeat(n),
        }
    return {"real": d, "fake": d, "real_weights": p, "fake_weights": q}


@pytest.mark.parametrize("name", [name for name in POINTWISE if name != "relativistic-paired"])
def test_the_optimal_critic_measures_the_divergence_of_its_row(name, pair):
    game = OBJECTIVES[name].make()
    d = game.optimal_critic(pair.log_ratio)
    estimate = game.estimate(real=d, fake=d, **pair.weights).item()
    assert estimate == pytest.approx(divergence(name, pair), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in POINTWISE if name != "relativistic-paired"])
def test_no_other_critic_measures_more(name, pair):
    game = OBJECTIVES[name].make()
    generator = torch.Generator().manual_seed(0)
    optimum = game.optimal_critic(pair.log_ratio).clamp(-50, 50)
    most = divergence(name, pair)
    for size in (1e-3, 0.1, 1.0, 5.0):
        noise = torch.randn(optimum.shape, generator=generator, dtype=torch.float64)
        d = optimum + size * noise
        if name == "energy-based":
            d = d.clamp(max=0)  # energies are not negative
        assert game.estimate(real=d, fake=d, **pair.weights).item() <= most + 1e-12
        d = size * noise.clamp(max=0)
        assert game.estimate(real=d, fake=d, **pair.weights).item() <= most + 1e-12


@pytest.mark.parametrize("name", [n for n in POINTWISE if n not in {"hinge", "energy-based", "fgan:tv"}])
def test_the_critics_gradient_vanishes_at_its_optimum(name, gaussians):
    game = OBJECTIVES[name].make()
    coarse = np.abs(gaussians.x) < 7
    coarse[1::2] = False
    p, q = (torch.from_numpy(density[coarse] / density[coarse].sum()) for density in (gaussians.p, gaussians.q))
    d = game.optimal_critic(torch.log(p) - torch.log(q)).requires_grad_()
    loss = game.critic(**every_pair(game, d, p, q))
    (gradient,) = torch.autograd.grad(loss, d)
    assert gradient.abs().max().item() < 1e-12


def test_relativistic_pairs_measure_js_between_the_two_orders(pair):
    game = adversarial.RelativisticPaired()
    p, q = pair.p[::40] / pair.p[::40].sum(), pair.q[::40] / pair.q[::40].sum()
    forward, backward = np.outer(p, q), np.outer(q, p)
    middle = (forward + backward) / 2
    js = 0.5 * np.sum(forward * np.log(forward / middle)) + 0.5 * np.sum(backward * np.log(backward / middle))
    p, q = torch.from_numpy(p), torch.from_numpy(q)
    d = game.optimal_critic(torch.log(p) - torch.log(q)) + 3.0
    assert game.estimate(**every_pair(game, d, p, q)).item() == pytest.approx(js, rel=1e-12)
    assert game.estimate(**every_pair(game, d + torch.sin(3 * d), p, q)).item() < js


def test_relativistic_average_is_zero_for_equal_distributions_and_below_log_2(pair):
    game = adversarial.RelativisticAverage()
    generator = torch.Generator().manual_seed(1)
    d = torch.randn(len(pair.x), generator=generator, dtype=torch.float64)
    same = pair.weights["real_weights"]
    assert game.estimate(real=d, fake=d, real_weights=same, fake_weights=same).item() < 0
    constant = torch.full_like(d, 4.0)
    assert game.critic(real=constant, fake=constant, **pair.weights).item() == pytest.approx(LOG_2, rel=1e-12)
    assert 0 < game.estimate(real=pair.log_ratio, fake=pair.log_ratio, **pair.weights).item() < LOG_2


def test_relativistic_average_by_its_definition():
    x, y = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64), torch.tensor([0.5, -1.0], dtype=torch.float64)

    def sp(v):
        return np.log1p(np.exp(v))

    xs, ys = x.numpy(), y.numpy()
    game = adversarial.RelativisticAverage()
    critic = (sp(-(xs - ys.mean())).mean() + sp(ys - xs.mean()).mean()) / 2
    generator = (sp(-(ys - xs.mean())).mean() + sp(xs - ys.mean()).mean()) / 2
    assert game.critic(real=x, fake=y).item() == pytest.approx(critic, rel=1e-12)
    assert game.generator(real=x, fake=y).item() == pytest.approx(generator, rel=1e-12)


@pytest.mark.parametrize("game", [Minimax(), NonSaturating()])
def test_bce_is_2_log_2_less_2_js(game, pair):
    r = pair.log_ratio
    assert game.critic(real=r, fake=r, **pair.weights).item() == pytest.approx(2 * LOG_2 - 2 * pair.js(), rel=1e-12)
    zero = torch.zeros(5)
    assert game.critic(real=zero, fake=zero).item() == pytest.approx(2 * LOG_2, rel=1e-6)


def test_generators_at_the_optimal_critic(pair):
    r, p, q, m = pair.log_ratio, pair.p, pair.q, (pair.p + pair.q) / 2
    fakes = pair.weights["fake_weights"]
    saturating = Minimax().generator(fake=r, fake_weights=fakes).item()
    assert saturating == pytest.approx(pair.integral(q * np.log(q / (p + q))), rel=1e-10)
    heuristic = NonSaturating().generator(fake=r, fake_weights=fakes).item()
    assert heuristic == pytest.approx(LOG_2 + pair.kl(q, p) - pair.kl(q, m), rel=1e-10)


@pytest.mark.parametrize("two_sided", [False, True])
def test_label_smoothing_moves_the_optimum_and_measures_label_information(two_sided, pair):
    s = 0.1
    game = NonSaturating(label_smoothing=s, two_sided=two_sided)
    d = game.optimal_critic(pair.log_ratio)
    probability = torch.sigmoid(d).numpy()
    fake_label = s if two_sided else 0.0
    np.testing.assert_allclose(probability, ((1 - s) * pair.p + fake_label * pair.q) / (pair.p + pair.q), rtol=1e-9)
    positive, negative = (1 - s) * pair.p + fake_label * pair.q, s * pair.p + (1 - fake_label) * pair.q
    prior = pair.integral(positive) / 2
    information = sum(
        pair.integral(part * np.log(part / (pair.p + pair.q) / share)) / 2
        for part, share in ((positive, prior), (negative, 1 - prior))
    )
    assert game.estimate(real=d, fake=d, **pair.weights).item() == pytest.approx(information, rel=1e-9)
    even = game.optimal_critic(torch.zeros(3, dtype=torch.float64))
    assert game.estimate(real=even, fake=even).item() == pytest.approx(0, abs=1e-12)


def test_bce_equals_torchs_cross_entropy():
    generator = torch.Generator().manual_seed(2)
    x, y = (5 * torch.randn(7, generator=generator, dtype=torch.float64) for _ in range(2))
    for game in (NonSaturating(), NonSaturating(0.1), NonSaturating(0.1, two_sided=True)):
        a, b = game.labels
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        expected = bce(x, torch.full_like(x, a)) + bce(y, torch.full_like(y, b))
        torch.testing.assert_close(game.critic(real=x, fake=y), expected, rtol=1e-12, atol=0)
    assert adversarial.BCE is adversarial.Logistic is NonSaturating
    assert NonSaturating().labels == (1.0, 0.0)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (-1.0, 1.0), (2.0, -3.0)])
def test_least_squares_optimum_and_value(a, b, pair):
    game = LeastSquares(a=a, b=b)
    d = game.optimal_critic(pair.log_ratio)
    np.testing.assert_allclose(d.numpy(), (b * pair.p + a * pair.q) / (pair.p + pair.q), rtol=1e-9, atol=1e-12)
    value = game.critic(real=d, fake=d, **pair.weights).item()
    expected = (b - a) ** 2 / 2 * pair.integral(pair.p * pair.q / (pair.p + pair.q))
    assert value == pytest.approx(expected, rel=1e-10)
    triangular = pair.integral((pair.p - pair.q) ** 2 / (pair.p + pair.q))
    assert game.estimate(real=d, fake=d, **pair.weights).item() == pytest.approx(triangular, rel=1e-9)


def test_least_squares_generator_sees_pearson_chi2(pair):
    game = LeastSquares(a=-1, b=1, c=0)
    d = game.optimal_critic(pair.log_ratio)
    on_reals = game.generator(fake=d, fake_weights=pair.weights["real_weights"])
    on_fakes = game.generator(fake=d, fake_weights=pair.weights["fake_weights"])
    chi2 = pair.integral((pair.p + pair.q - 2 * pair.q) ** 2 / (pair.p + pair.q))
    assert (on_reals + on_fakes).item() == pytest.approx(chi2 / 2, rel=1e-10)


def test_hinge_is_2_less_2_tv(pair):
    d = Hinge().optimal_critic(pair.log_ratio)
    tv = pair.integral(np.abs(pair.p - pair.q)) / 2
    assert Hinge().critic(real=d, fake=d, **pair.weights).item() == pytest.approx(2 - 2 * tv, rel=1e-10)


def test_wasserstein_of_the_kantorovich_potential_is_w1(pair):
    gap = (np.cumsum(pair.p) - np.cumsum(pair.q)) * pair.dx
    slope = -np.sign(gap)
    potential = np.concatenate([[0.0], np.cumsum(slope[:-1] * pair.dx)])
    d = torch.from_numpy(potential)
    w1 = pair.integral(np.abs(gap))
    assert Wasserstein().estimate(real=d, fake=d, **pair.weights).item() == pytest.approx(w1, rel=1e-9)
    for other in (0.5 * potential, np.sin(pair.x), np.abs(pair.x)):
        d = torch.from_numpy(other)
        assert Wasserstein().estimate(real=d, fake=d, **pair.weights).item() <= w1 + 1e-12


def test_wasserstein_of_samples_is_the_sorted_difference():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(50, generator=generator, dtype=torch.float64).sort().values
    y = x + torch.rand(50, generator=generator, dtype=torch.float64)
    # y lies to the right everywhere, so slope -1 is optimal.
    assert Wasserstein().estimate(real=-x, fake=-y).item() == pytest.approx((x - y).abs().mean().item(), rel=1e-12)


def test_closed_forms_of_two_gaussians(gaussians):
    m, s = 1.0, 1.2
    kl = math.log(s) + (1 + m**2) / (2 * s**2) - 0.5
    reverse = -math.log(s) + (s**2 + m**2) / 2 - 0.5
    affinity = math.sqrt(2 * s / (1 + s**2)) * math.exp(-(m**2) / (4 * (1 + s**2)))
    closed = {
        "kl": kl,
        "reverse_kl": reverse,
        "jeffreys": kl + reverse,
        "squared_hellinger": 2 - 2 * affinity,
        "pearson": s**2 / math.sqrt(2 * s**2 - 1) * math.exp(m**2 / (2 * s**2 - 1)) - 1,
        "neyman": math.exp(m**2 / (2 - s**2)) / (s * math.sqrt(2 - s**2)) - 1,
    }
    for name, value in closed.items():
        game = FGAN(name)
        d = game.optimal_critic(gaussians.log_ratio)
        assert game.estimate(real=d, fake=d, **gaussians.weights).item() == pytest.approx(value, rel=1e-7), name


def test_disjoint_supports_give_log_2_and_no_gradient_but_w1_gives_the_distance():
    for distance in (0.5, 5.0):
        real, fake = torch.full((4,), 40.0), torch.full((4,), -40.0, requires_grad=True)
        js = NonSaturating().estimate(real=real, fake=fake)
        assert js.item() == pytest.approx(LOG_2, rel=1e-6)
        assert torch.autograd.grad(js, fake)[0].abs().max().item() < 1e-12
        assert Wasserstein().estimate(real=torch.zeros(3), fake=torch.full((3,), -distance)).item() == distance


@pytest.mark.parametrize("game", ALL, ids=repr)
def test_a_better_score_is_a_higher_score(game):
    """The critic wants reals up and fakes down, the generator wants fakes up; each loss is minimised."""
    x = torch.tensor([0.2, -0.3], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([-0.4, 0.1], dtype=torch.float64, requires_grad=True)
    on_reals, on_fakes = torch.autograd.grad(game.critic(real=x, fake=y), (x, y))
    (wish,) = torch.autograd.grad(game.generator(real=x, fake=y), y)
    if isinstance(game, LeastSquares):
        on_reals, on_fakes, wish = on_reals * (game.b - x), on_fakes * (y - game.a), wish * (game.c - y)
    assert (on_reals < 0).all()
    assert (on_fakes > 0).all()
    assert (wish < 0).all()


@pytest.mark.parametrize("game", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saturated_scores_stay_finite(game, dtype):
    extremes = [-1e4, -100.0, -30.0, -2.0, 0.0, 2.0, 30.0, 100.0, 1e4]
    for high, low in itertools.product(extremes, extremes):
        x, y = (torch.full((2,), v, dtype=dtype, requires_grad=True) for v in (high, low))
        outputs = [game.critic(real=x, fake=y), game.generator(real=x, fake=y), game.estimate(real=x, fake=y)]
        gradients = [g for out in outputs for g in torch.autograd.grad(out, (x, y), allow_unused=True) if g is not None]
        for value in (*outputs, *gradients):
            assert torch.isfinite(value).all(), (high, low, value)


@pytest.mark.parametrize("game", ALL, ids=repr)
def test_first_and_second_derivatives(game):
    generator = torch.Generator().manual_seed(4)
    x, y = (torch.randn(3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))

    def both(real, fake):
        return game.critic(real=real, fake=fake), game.generator(real=real, fake=fake)

    assert torch.autograd.gradcheck(both, (x, y))
    assert torch.autograd.gradgradcheck(both, (x, y))


@pytest.mark.parametrize("game", ALL, ids=repr)
def test_weights_are_repetition(game):
    x = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    y = torch.tensor([0.1, 0.7, -0.5], dtype=torch.float64)
    a, b = torch.tensor([2, 1, 3]), torch.tensor([1, 4, 1])
    if isinstance(game, adversarial.RelativisticPaired):
        repeated = {"real": x.repeat_interleave(a * b), "fake": y.repeat_interleave(a * b)}
    else:
        repeated = {"real": x.repeat_interleave(a), "fake": y.repeat_interleave(b)}
    weights = {"real_weights": a.double(), "fake_weights": b.double()}
    for loss in (game.critic, game.generator, game.estimate):
        torch.testing.assert_close(loss(real=x, fake=y, **weights), loss(**repeated), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("game", ALL, ids=repr)
def test_reductions_agree(game):
    generator = torch.Generator().manual_seed(5)
    x, y = (torch.randn(4, 2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    for loss in (game.critic, game.generator):
        each = loss(real=x, fake=y, reduction="none")
        assert each.shape == x.shape
        torch.testing.assert_close(each.mean(), loss(real=x, fake=y), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(each.sum(), loss(real=x, fake=y, reduction="sum"), rtol=1e-12, atol=1e-14)
    weight = torch.tensor([0.5, 0.0, 2.0, 1.0], dtype=torch.float64)
    if not game.relativistic:
        each = game.generator(fake=y, fake_weights=weight, reduction="none")
        expected = game.generator(fake=y, reduction="none") * weight[:, None, None]
        torch.testing.assert_close(each, expected)
        mean = game.generator(fake=y, fake_weights=weight)
        torch.testing.assert_close(mean, each.sum() / (6 * weight.sum()), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("game", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(game, dtype):
    x, y = torch.linspace(-2, 2, 4096, dtype=dtype), torch.linspace(-3, 1, 4096, dtype=dtype).requires_grad_()
    loss = game.critic(real=x, fake=y)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(game.critic(real=x.double(), fake=y.double()).item(), rel=1e-5, abs=1e-6)
    assert torch.autograd.grad(loss, y)[0].dtype == dtype


@pytest.mark.parametrize("row", OBJECTIVES.values(), ids=lambda row: row.name)
def test_the_table_is_complete(row):
    game = adversarial.objective(row.name)
    assert game == row.make()
    assert adversarial.objective(game) is game
    assert all(adversarial.objective(alias) == game for alias in row.aliases)
    assert row.divergence
    assert row.optimum
    assert row.source
    assert hash(game) == hash(row.make())
    if row.name in POINTWISE:
        assert torch.isfinite(game.optimal_critic(torch.tensor([-1.0, 0.5]))).all() or row.name == "fgan:tv"
    else:
        with pytest.raises(HowfarError, match=r"log_ratio: expected .* got"):
            game.optimal_critic(torch.zeros(1))


def test_pulling_away_term():
    generator = torch.Generator().manual_seed(6)
    for shape in ((5, 3), (3, 8)):
        s = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        n = shape[0]
        cosines = torch.nn.functional.cosine_similarity(s[:, None], s[None], dim=-1)
        expected = sum(cosines[i, j] ** 2 for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
        torch.testing.assert_close(adversarial.pulling_away(s), expected, rtol=1e-12, atol=1e-14)
        assert torch.autograd.gradcheck(adversarial.pulling_away, (s,))
    identical = torch.ones(6, 2, dtype=torch.float64)
    assert adversarial.pulling_away(identical).item() == pytest.approx(1, rel=1e-12)
    zero = torch.zeros(4, 3, requires_grad=True)
    term = adversarial.pulling_away(zero)
    assert term.item() == 0
    assert torch.isfinite(torch.autograd.grad(term, zero)[0]).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["non-saturating", "relativistic-average", "fgan:jeffreys"])
def test_a_compiled_step_is_one_graph(name):
    game = OBJECTIVES[name].make()
    x, y = (torch.linspace(-2, shift, 5).requires_grad_() for shift in (1.0, 2.0))

    def losses(real, fake):
        return game.critic(real=real, fake=fake) + game.generator(real=real, fake=fake)

    compiled = torch.compile(losses, backend="aot_eager", fullgraph=True)(x, y)
    torch.testing.assert_close(compiled, losses(x, y))
    for got, expected in zip(
        torch.autograd.grad(compiled, (x, y)), torch.autograd.grad(losses(x, y), (x, y)), strict=True
    ):
        torch.testing.assert_close(got, expected)
