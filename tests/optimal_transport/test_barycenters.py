"""Means of measures: closed forms on the line and between Gaussians, and properties anywhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

import howfar

D = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def quantiles(mean, std, n=200):
    return mean + std * torch.special.ndtri((torch.arange(n, dtype=D) + 0.5) / n)


def test_on_the_line_free_points_are_the_means_of_quantiles():
    """Any start ends there: the barycentre's quantile function is the mean of theirs, so its spread is the mean spread."""
    x, y, z = quantiles(0, 1), quantiles(3, 2), quantiles(-1, 0.5)
    share = torch.tensor([0.25, 0.5, 0.25], dtype=D)
    r = howfar.barycenter([x, y, z], share, generator=seeded())
    assert r.converged
    got = r.points.squeeze(-1).sort().values
    assert_close(got, 0.25 * x + 0.5 * y + 0.25 * z)
    assert_close(got.std(correction=0), share @ torch.stack([t.std(correction=0) for t in (x, y, z)]))
    expected = sum(s * howfar.wasserstein(r.points, t).square() for s, t in zip(share, (x, y, z), strict=True))
    assert_close(r.objective, expected)


def test_between_two_clouds_it_is_halfway():
    x, y = torch.randn(40, 2, dtype=D), 2 * torch.randn(40, 2, dtype=D) + 3
    plan = howfar.transport(x, y)
    halfway = 0.5 * (x + plan.map())
    objective = 0.5 * (howfar.wasserstein(halfway, x) ** 2 + howfar.wasserstein(halfway, y) ** 2)
    assert_close(objective, plan.value / 4)
    r = howfar.barycenter([x, y], generator=seeded())
    assert plan.value / 4 <= r.objective <= 1.05 * plan.value / 4


def test_shifted_copies_average_their_shifts():
    x = torch.randn(30, 3, dtype=D)
    shifts = torch.tensor([[0, 0, 0], [3, 0, 0], [0, -6, 1]], dtype=D)
    r = howfar.barycenter([x + s for s in shifts], generator=seeded())
    assert howfar.wasserstein(r.points, x + shifts.mean(0)) < 0.5
    assert_close(r.points.mean(0), (x + shifts.mean(0)).mean(0))


def test_one_cloud_is_its_own_barycentre():
    x = torch.randn(20, 2, dtype=D)
    r = howfar.barycenter([x], generator=seeded())
    assert_close(r.objective.item(), 0.0, atol=1e-12, rtol=0)
    assert howfar.wasserstein(r.points, x) < 1e-6
    assert_close(r.weights, torch.full((20,), 0.05, dtype=D))


def test_weighted_clouds_and_few_points():
    x, y = torch.randn(30, 2, dtype=D), torch.randn(20, 2, dtype=D) + 4
    a = torch.rand(30, dtype=D)
    a = a / a.sum()
    r = howfar.barycenter([x, y], [0.7, 0.3], a=[a, None], n_support=1, generator=seeded())
    assert_close(r.points[0], 0.7 * a @ x + 0.3 * y.mean(0))
    same = howfar.barycenter([howfar.Measure.of(x, a), y], [0.7, 0.3], n_support=1, generator=seeded())
    assert_close(same.points, r.points)


def test_a_temperature_does_not_shrink_free_points():
    """Debiased: two shifted copies have the copy in the middle for a barycentre, at every temperature."""
    x = torch.randn(25, 2, dtype=D)
    r = howfar.barycenter([x - 2, x + 2], n_support=25, blur=0.5, tol=1e-3, generator=seeded())
    assert r.converged
    assert_close(r.points.mean(0), x.mean(0), atol=2e-2, rtol=0)
    # The best possible objective is that of x itself: the divergence of a shift of length sqrt(8).
    assert r.objective < 8 + 0.02
    spread = r.points.var(0, correction=0).sum() / x.var(0, correction=0).sum()
    assert 0.9 < spread < 1.1


@pytest.mark.parametrize("eps", [0.1, 1.0])
def test_fixed_support_keeps_equal_spreads(eps):
    """Janati, Cuturi & Gramfort 2020: the debiased barycentre of Gaussians of one variance has that variance."""
    s = torch.linspace(-8, 12, 250, dtype=D)

    def normal(mean, std):
        w = torch.exp(-((s - mean) ** 2) / (2 * std**2))
        return w / w.sum()

    r = howfar.barycenter([s, s], [0.25, 0.75], a=[normal(0, 1), normal(4, 1)], support=s, eps=eps, tol=1e-7)
    assert r.converged
    assert_close(r.weights, normal(3, 1), atol=1e-6, rtol=0)
    assert_close(r.objective.item(), 0.25 * 9 + 0.75 * 1, rtol=1e-5, atol=0)
    mixed = howfar.barycenter([s, s], [0.25, 0.75], a=[normal(0, 1), normal(4, 2)], support=s, eps=0.1, tol=1e-6)
    assert_close(mixed.weights.sum().item(), 1.0)
    assert_close(((mixed.weights * (s - 3) ** 2).sum()).sqrt().item(), 0.25 * 1 + 0.75 * 2, rtol=1e-3, atol=0)


def test_weights_on_a_fixed_support_are_optimal():
    """No other weights have a smaller objective: the divergence of mixtures towards any point of the support rises."""
    x, y = torch.rand(12, 2, dtype=D), torch.rand(15, 2, dtype=D) + 0.5
    support = torch.cartesian_prod(*(2 * (torch.linspace(0, 1.5, 5, dtype=D),)))
    r = howfar.barycenter([x, y], support=support, eps=0.2, tol=1e-9, max_iter=20_000)

    def objective(w):
        return sum(0.5 * howfar.sinkhorn_divergence(support, t, a=w, eps=0.2, tol=1e-9) for t in (x, y))

    assert_close(r.objective, objective(r.weights), rtol=1e-6, atol=0)
    for k in range(0, 25, 4):
        other = 0.98 * r.weights
        other[k] += 0.02
        assert objective(other) > r.objective - 1e-7


def test_batches_equal_the_loop():
    s = torch.linspace(0, 1, 15, dtype=D)
    a, b = torch.rand(3, 15, dtype=D), torch.rand(15, dtype=D)
    a, b = a / a.sum(-1, keepdim=True), b / b.sum()
    together = howfar.barycenter([s, s], a=[a, b], support=s, eps=0.05, tol=1e-3)
    assert together.weights.shape == (3, 15)
    for k in range(3):
        assert_close(
            together.weights[k],
            howfar.barycenter([s, s], a=[a[k], b], support=s, eps=0.05, tol=1e-3).weights,
            atol=1e-9,
            rtol=0,
        )
    x, y = torch.randn(3, 10, 1, dtype=D), torch.randn(10, 1, dtype=D)
    free = howfar.barycenter([x, y], generator=seeded()).points
    assert_close(free.sort(-2).values, 0.5 * (x.sort(-2).values + y.sort(-2).values))


def test_it_says_when_it_did_not_come_to_rest():
    s = torch.linspace(0, 1, 30, dtype=D)
    a = torch.softmax(torch.randn(30, dtype=D), 0)
    with pytest.warns(howfar.NotConverged, match="barycenter did not converge"):
        r = howfar.barycenter([s, s], a=[a, a.flip(0)], support=s, eps=1e-3, max_iter=2)
    assert not r.converged


def test_bad_calls_are_refused_by_name():
    x = torch.randn(4, 2)
    for bad, name in ((x, "clouds"), ([], "clouds"), ([x, torch.randn(4, 3)], r"clouds\[1\]")):
        with pytest.raises(howfar.HowfarError, match=f"^{name}: expected"):
            howfar.barycenter(bad)
    for options, name in (
        ({"weights": [0.5, 0.2, 0.3]}, "weights"),
        ({"weights": [0.5, 0.2]}, "weights"),
        ({"a": [None]}, "a"),
        ({"n_support": 0}, "n_support"),
        ({"n_support": 3, "support": x, "eps": 1.0}, "n_support"),
        ({"support": x}, "eps"),
        ({"eps": "auto"}, "eps"),
        ({"cost": "euclidean"}, "cost"),
        ({"tol": -1.0}, "tol"),
    ):
        with pytest.raises(howfar.HowfarError, match=f"^{name}: expected"):
            howfar.barycenter([x, x + 1], **options)


def test_gaussian_barycentres_on_the_line_and_of_commuting_covariances():
    x, y = quantiles(0, 1), quantiles(4, 3)
    r = howfar.gaussian_barycenter([x, y], [0.25, 0.75])
    stds = 0.25 * x.std(correction=0) + 0.75 * y.std(correction=0)
    assert_close(r.mean.item(), 3.0)
    assert_close(r.covariance.sqrt().item(), stds.item())


def test_gaussian_barycentres_against_pot():
    ot = pytest.importorskip("ot")
    clouds = [torch.randn(50, 3, dtype=D) @ torch.randn(3, 3, dtype=D) + k for k in range(3)]
    share = torch.tensor([0.2, 0.3, 0.5], dtype=D)
    means = torch.stack([c.mean(0) for c in clouds])
    covariances = torch.stack([torch.cov(c.T, correction=0) for c in clouds])
    mean, covariance = ot.gaussian.bures_wasserstein_barycenter(
        means.numpy(), covariances.numpy(), weights=share.numpy(), eps=1e-13, num_iter=2000
    )
    r = howfar.gaussian_barycenter(clouds, share)
    assert_close(r.mean, torch.from_numpy(mean))
    assert_close(r.covariance, torch.from_numpy(covariance), rtol=1e-6, atol=1e-6)


def test_gaussian_maps_carry_the_moments_and_cost_the_distance():
    x = torch.randn(2, 60, 3, dtype=D) @ torch.randn(3, 3, dtype=D)
    y = torch.randn(50, 3, dtype=D) @ torch.randn(3, 3, dtype=D) + 2
    move = howfar.gaussian_map(x, y)
    image = move(x)
    assert_close(image.mean(-2), y.mean(0).expand(2, 3))
    for k in range(2):
        assert_close(torch.cov(image[k].T, correction=0), torch.cov(y.T, correction=0))
    assert_close((image - x).square().sum(-1).mean(-1), howfar.frechet_distance(x, y))
    assert_close(move.matrix, move.matrix.mT)
    assert (torch.linalg.eigvalsh(move.matrix) > 0).all()
    one = howfar.gaussian_map(torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 3.0]))
    assert_close(one(torch.tensor([0.0, 2.0])).squeeze(-1), torch.tensor([1.0, 5.0]))


def test_gaussian_maps_of_flat_clouds_are_finite():
    x = torch.randn(20, 3, dtype=D)
    x[:, 2] = 1.0
    move = howfar.gaussian_map(x, torch.randn(20, 3, dtype=D))
    assert torch.isfinite(move(x)).all()
    assert_close(move.matrix[2], torch.zeros(3, dtype=D), atol=1e-9, rtol=0)
    assert math.isfinite(howfar.gaussian_barycenter([x, 2 * x]).covariance.sum().item())
