"""Energy distance against closed forms, published numbers and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from howfar.kernel_distances import energy_distance

F64 = torch.float64


def normal_on_the_line(mean, deviation, n=400_001, reach=14.0):
    points = torch.linspace(-reach, reach, n, dtype=F64)
    weights = (-0.5 * ((points - mean) / deviation) ** 2).exp()
    return points, weights / weights.sum()


def folded(mean, deviation):
    """E|N(mean, deviation^2)|."""
    return deviation * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / (2 * deviation**2)) + mean * math.erf(
        mean / (deviation * math.sqrt(2))
    )


@pytest.mark.parametrize(
    ("mean", "deviation", "expected"), [(1.0, 1.0, 0.5418065793059577), (0.0, 2.0, 0.183110731019005)]
)
def test_normals(mean, deviation, expected):
    root = math.sqrt(2)
    closed = 2 * folded(mean, math.hypot(1, deviation)) - folded(0, root) - folded(0, root * deviation)
    assert closed == pytest.approx(expected, rel=1e-12)
    (x, a), (y, b) = normal_on_the_line(0.0, 1.0), normal_on_the_line(mean, deviation)
    assert energy_distance(x, y, a=a, b=b).item() == pytest.approx(expected, rel=1e-8)


def test_point_masses():
    assert energy_distance([0.0], [1.0]).item() == 2
    assert energy_distance([[0.0, 0.0]], [[3.0, 4.0]]).item() == pytest.approx(10)


A = np.arange(1.0, 17.0).reshape(4, 4)
B = np.array([[1.0, 0, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]])


@pytest.mark.parametrize(("exponent", "expected"), [(1.0, 20.578059415636496), (1.5, 99.78639555936084)])
def test_published_values(exponent, expected):
    assert energy_distance(A, B, exponent=exponent).item() == pytest.approx(expected, rel=1e-12)


def test_published_test_statistic():
    assert 4 * 3 / 7 * energy_distance(A, B).item() == pytest.approx(35.27667328394828, rel=1e-12)


def test_corners_of_a_simplex():
    corners = torch.eye(6, dtype=F64) / math.sqrt(2)
    assert energy_distance(corners[:3], corners[3:], estimator="unbiased").item() == pytest.approx(0, abs=1e-14)
    assert energy_distance(corners[:3], corners[3:]).item() == pytest.approx(2 / 3)


def test_scipy_has_the_root_of_it():
    rng = np.random.default_rng(0)
    for n, m in ((1, 4), (30, 17)):
        x, y = rng.normal(size=n).round(1), rng.normal(size=m).round(1) + 0.4
        a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
        expected = stats.energy_distance(x, y, a, b) ** 2
        assert energy_distance(x, y, a=a, b=b).item() == pytest.approx(expected, rel=1e-10)


def test_exponent_two_is_the_distance_of_means():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 3, generator=generator, dtype=F64) for n in (6, 9))
    expected = 2 * (x.mean(0) - y.mean(0)).square().sum()
    torch.testing.assert_close(energy_distance(x, y, exponent=2.0), expected)


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_sorting_is_the_sum_over_pairs(estimator):
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(3, n, 1, generator=generator, dtype=F64).round(decimals=1) for n in (20, 11))
    weights = [torch.rand(3, n, generator=generator, dtype=F64) for n in (20, 11)]
    x, y, a, b = (t.requires_grad_() for t in (x, y, *(w / w.sum(-1, keepdim=True) for w in weights)))
    by_sort = energy_distance(x, y, a=a, b=b, estimator=estimator)
    by_pairs = energy_distance(x, y, a=a, b=b, estimator=estimator, backend="reference")
    torch.testing.assert_close(by_sort, by_pairs)
    grads = [torch.autograd.grad(v.square().sum(), (x, y, a, b)) for v in (by_sort, by_pairs)]
    for first, second in zip(*grads, strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("d", [1, 2])
def test_unbiased_mean_over_all_samples(d):
    values = torch.tensor([[0.0] * d, [1.0] * d], dtype=F64)
    codes = torch.cartesian_prod(*[torch.arange(2)] * 4)
    x, y = values[codes[:, :2]], 3 * values[codes[:, 2:]]
    truth = energy_distance(values, 3 * values)
    torch.testing.assert_close(energy_distance(x, y, estimator="unbiased").mean(), truth)


@pytest.mark.parametrize(("d", "constant"), [(2, math.pi / 2), (3, 2.0)])
def test_slicing_constant(d, constant):
    """The mean over directions of the distance on the line, times sqrt(pi) G((d + 1) / 2) / G(d / 2)."""
    assert math.sqrt(math.pi) * math.gamma((d + 1) / 2) / math.gamma(d / 2) == pytest.approx(constant)
    generator = torch.Generator().manual_seed(2)
    x, y = (torch.randn(4, d, generator=generator, dtype=F64) for _ in range(2))
    y = y + 1
    if d == 2:
        angles = (torch.arange(20_000, dtype=F64) + 0.5) * math.pi / 20_000
        directions = torch.stack([angles.cos(), angles.sin()], -1)
    else:
        # Equal areas: heights and angles on a midpoint grid.
        heights, angles = torch.meshgrid(
            (torch.arange(200, dtype=F64) + 0.5) / 200,
            (torch.arange(400, dtype=F64) + 0.5) * math.pi / 200,
            indexing="ij",
        )
        radii = (1 - heights.square()).sqrt()
        directions = torch.stack([radii * angles.cos(), radii * angles.sin(), heights], -1).reshape(-1, 3)
    sliced = energy_distance((x @ directions.T).T.unsqueeze(-1), (y @ directions.T).T.unsqueeze(-1)).mean()
    assert constant * sliced.item() == pytest.approx(energy_distance(x, y).item(), rel=1e-6 if d == 2 else 1e-4)


@pytest.mark.parametrize(("d", "constant"), [(3, 2.0), (10, 3.8656315854718155)])
def test_slicing_constant_to_rounding(d, constant):
    """Along the axis of one pair of points a direction is its height h, of density (1 - h^2)^((d - 3) / 2)."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    heights, weights = torch.from_numpy(0.5 * (nodes + 1)), torch.from_numpy(weights)
    weights = weights * (1 - heights.square()) ** ((d - 3) / 2)
    points = heights.reshape(-1, 1, 1)
    sliced = (weights * energy_distance(torch.zeros_like(points), points)).sum() / weights.sum()
    pair = torch.zeros(1, d, dtype=F64), torch.eye(d, dtype=F64)[-1:]
    assert constant * sliced.item() == pytest.approx(energy_distance(*pair).item(), rel=1e-10)


def test_never_negative():
    generator = torch.Generator().manual_seed(3)
    for d in (1, 2, 20):
        x = torch.randn(50, d, generator=generator)
        assert energy_distance(x, x[torch.randperm(50, generator=generator)]).item() >= 0
