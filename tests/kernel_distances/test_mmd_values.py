"""MMD against closed forms on quadrature grids, published numbers and other programs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from howfar import kernels
from howfar.kernel_distances import mmd, mmd2, multi_kernel_mmd, witness

F64 = torch.float64


def normal_grid(mean, covariance, step, reach=8.0):
    """Trapezoid weights of a normal distribution on a grid: exact to rounding for entire functions."""
    mean, covariance = torch.tensor(mean, dtype=F64), torch.tensor(covariance, dtype=F64)
    axis = torch.arange(-reach, reach + step / 2, step, dtype=F64)
    points = torch.cartesian_prod(*[axis + m for m in mean]).reshape(-1, len(mean))
    weights = torch.distributions.MultivariateNormal(mean, covariance).log_prob(points).exp()
    return points, weights / weights.sum()


def gaussian_mmd2(mean_p, cov_p, mean_q, cov_q, s):
    """f(0, 2P) + f(0, 2Q) - 2 f(m_p - m_q, P + Q), f(m, C) = |I + C/s^2|^(-1/2) exp(-m'(C + s^2)^-1 m / 2)."""

    def f(mean, cov):
        eye = np.eye(len(mean))
        return np.linalg.det(eye + cov / s**2) ** -0.5 * math.exp(-0.5 * mean @ np.linalg.solve(cov + s**2 * eye, mean))

    mean_p, cov_p, mean_q, cov_q = (np.array(v, dtype=float) for v in (mean_p, cov_p, mean_q, cov_q))
    return f(0 * mean_p, 2 * cov_p) + f(0 * mean_q, 2 * cov_q) - 2 * f(mean_p - mean_q, cov_p + cov_q)


def dense_mmd2(x, y, k, *, unbiased=True):
    """From the three matrices, in numpy."""
    xx, yy, xy = k(x, x), k(y, y), k(x, y)
    n, m = len(x), len(y)
    if not unbiased:
        return xx.mean() + yy.mean() - 2 * xy.mean()
    off_x, off_y = (k.sum() - np.trace(k) for k in (xx, yy))
    return off_x / (n * (n - 1)) + off_y / (m * (m - 1)) - 2 * xy.mean()


def distances(x, y):
    return np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))


def test_unit_normals_one_apart():
    x, a = normal_grid([0.0], [[1.0]], 0.1)
    y, b = normal_grid([1.0], [[1.0]], 0.1)
    value = mmd2(x, y, a=a, b=b, bandwidth=1.0, estimator="biased").item()
    assert value == pytest.approx(0.17726763491986186, rel=1e-10)
    assert gaussian_mmd2([0], [[1]], [1], [[1]], 1.0) == pytest.approx(0.17726763491986186, rel=1e-12)


@pytest.mark.parametrize("s", [0.5, 1.0, 3.0])
def test_normals_in_the_plane(s):
    mean_p, cov_p = [0.0, 0.5], [[1.0, 0.3], [0.3, 0.5]]
    mean_q, cov_q = [1.0, 0.0], [[0.6, -0.2], [-0.2, 0.9]]
    x, a = normal_grid(mean_p, cov_p, 0.4)
    y, b = normal_grid(mean_q, cov_q, 0.4)
    value = mmd2(x, y, a=a, b=b, bandwidth=s, estimator="biased").item()
    assert value == pytest.approx(gaussian_mmd2(mean_p, cov_p, mean_q, cov_q, s), rel=1e-8)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ([[1, 2, 3]], [[1, 1, 2]], 6.1863),
        ([[2, 3, 66]], [[1, 5, 6]], 6.1863),
        ([[1, 2, 3], [2, 3, 66]], [[1, 1, 2], [1, 5, 6]], 1.8873),
        ([[1, 2, 3], [2, 3, 66]], [[1, 2, 2], [1, 5, 60]], 0.0621),
        ([[1, 2, 3]], [[1, 2, 2], [2, 3, 6]], 2.0059),
    ],
)
def test_widely_copied_loss(source, target, expected):
    value = multi_kernel_mmd(torch.tensor(source), torch.tensor(target))
    assert value.dtype == torch.get_default_dtype()
    assert value.item() == pytest.approx(expected, abs=5e-5)


def test_widely_copied_loss_with_a_fixed_base():
    x, y = np.array([[0.0], [1.0]]), np.array([[3.0]])
    expected = sum(
        dense_mmd2(x, y, lambda u, v, w=w: np.exp(-(distances(u, v) ** 2) / w), unbiased=False)
        for w in (2.0 / 3, 2.0, 6.0)
    )
    assert multi_kernel_mmd(x, y, kernel_mul=3.0, kernel_num=3, fix_sigma=2.0).item() == pytest.approx(expected)


def test_one_point_against_one_point_depends_on_nothing():
    expected = 10 - 2 * sum(math.exp(-(2.0 ** (2 - i))) for i in range(5))
    for far in (1e-3, 1.0, 1e4):
        assert multi_kernel_mmd([[0.0]], [[far]]).item() == pytest.approx(expected, rel=1e-6)


def test_published_unbiased_value():
    rng = np.random.RandomState(31)
    x = rng.multivariate_normal([1, 1], [[2, 0], [0, 2]], 100)
    y = rng.multivariate_normal([0, 0], [[2, 1], [1, 2]], 100)
    assert mmd2(x, y, bandwidth=1.0).item() == pytest.approx(0.05643613752975596, rel=1e-9)


def test_polynomial_is_kernel_inception_distance():
    kid = pytest.importorskip("torchmetrics.image.kid")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 12, generator=generator, dtype=F64)
    y = torch.randn(40, 12, generator=generator, dtype=F64) + 0.3
    expected = kid.poly_mmd(x, y, degree=3, gamma=None, coef=1.0)
    torch.testing.assert_close(mmd2(x, y, kernel="polynomial"), expected, rtol=1e-10, atol=0)


def test_linear_kernel_is_the_distance_of_means():
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(n, 3, generator=generator, dtype=F64) for n in (7, 5))
    expected = (x.mean(0) - y.mean(0)).square().sum()
    torch.testing.assert_close(mmd2(x, y, kernel="linear", estimator="biased"), expected)


FORMULAS = {
    "gaussian": (kernels.Gaussian(0.7), lambda r: np.exp(-(r**2) / (2 * 0.49))),
    "laplacian": (kernels.Laplacian(0.7), lambda r: np.exp(-r / 0.7)),
    "imq": (kernels.IMQ(0.7), lambda r: (1 + r**2 / 0.49) ** -0.5),
    "rational_quadratic": (
        kernels.RationalQuadratic(0.7, alpha=2.0),
        lambda r: (1 + r**2 / (4 * 0.49)) ** -2.0,
    ),
    "sum": (kernels.Gaussian(1.0) + kernels.Laplacian(2.0), lambda r: np.exp(-(r**2) / 2) + np.exp(-r / 2)),
    "energy": (kernels.Energy(1.5), lambda r: -(r**1.5)),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_kernels_and_unequal_sizes(name, estimator):
    kernel, formula = FORMULAS[name]
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(6, 3)) + 0.5
    expected = dense_mmd2(x, y, lambda u, v: formula(distances(u, v)), unbiased=estimator == "unbiased")
    assert mmd2(x, y, kernel=kernel, estimator=estimator).item() == pytest.approx(expected, rel=1e-10)


def all_samples(values, n):
    """Every ordered sample of n values, (len(values)**n, n, 1)."""
    return torch.tensor(list(itertools.product(values, repeat=n)), dtype=F64).unsqueeze(-1)


@pytest.mark.parametrize(
    ("estimator", "n", "m", "options"),
    [("unbiased", 2, 3, {}), ("linear", 2, 2, {}), ("linear", 4, 5, {}), ("block", 4, 4, {"block_size": 2})],
)
def test_mean_over_all_samples_is_the_true_value(estimator, n, m, options):
    p, q = [0.0, 1.0], [0.0, 2.0]
    x, y = all_samples(p, n), all_samples(q, m)
    x, y = x.repeat_interleave(len(y), 0), y.repeat(len(x), 1, 1)
    truth = mmd2(torch.tensor(p, dtype=F64), torch.tensor(q, dtype=F64), bandwidth=1.0, estimator="biased")
    mean = mmd2(x, y, bandwidth=1.0, estimator=estimator, **options).mean()
    torch.testing.assert_close(mean, truth, rtol=1e-10, atol=1e-12)


def test_linear_pairs_by_hand():
    x, y = torch.tensor([0.0, 1.0, 5.0, 2.0, 9.0], dtype=F64), torch.tensor([3.0, 1.0, 0.0, 7.0], dtype=F64)
    k = lambda u, v: math.exp(-((u - v) ** 2) / 2)
    first = k(0, 1) + k(3, 1) - k(0, 1) - k(1, 3)
    second = k(5, 2) + k(0, 7) - k(5, 7) - k(2, 0)
    assert mmd2(x, y, bandwidth=1.0, estimator="linear").item() == pytest.approx((first + second) / 2)


def test_block_is_the_mean_of_unbiased_blocks():
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(n, 2, generator=generator, dtype=F64) for n in (13, 20))
    parts = [mmd2(x[4 * k : 4 * k + 4], y[6 * k : 6 * k + 6], bandwidth=1.0) for k in range(3)]
    torch.testing.assert_close(mmd2(x, y, bandwidth=1.0, estimator="block", block_size=4), sum(parts) / 3)


def test_shuffle_is_reproducible_and_shuffles():
    generator = torch.Generator().manual_seed(4)
    x, y = (torch.randn(30, 2, generator=generator) for _ in range(2))
    for estimator in ("linear", "block"):
        first, second = (
            mmd2(x, y, bandwidth=1.0, estimator=estimator, generator=torch.Generator().manual_seed(5)) for _ in range(2)
        )
        assert first == second
        assert first != mmd2(x, y, bandwidth=1.0, estimator=estimator)


def test_weighted_u_statistic_by_hand():
    x, y = np.array([[0.0], [1.0], [3.0]]), np.array([[1.0], [2.0]])
    a, b = np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.4])
    k = lambda u, v: np.exp(-((u - v.T) ** 2) / 2)

    def own(points, w):
        pairs = np.outer(w, w) * (1 - np.eye(len(w)))
        return (pairs * k(points, points)).sum() / pairs.sum()

    expected = own(x, a) + own(y, b) - 2 * a @ k(x, y) @ b
    assert mmd2(x, y, a=a, b=b, bandwidth=1.0).item() == pytest.approx(expected, rel=1e-10)


def test_weights_are_repetitions():
    x, y = torch.tensor([[0.0, 1.0], [2.0, 0.5]], dtype=F64), torch.tensor([[1.0, 1.0], [3.0, 0.0]], dtype=F64)
    repeated = x[[0, 0, 0, 1]]
    weighted = mmd2(x, y, a=[0.75, 0.25], kernel="imq", bandwidth=1.0, estimator="biased")
    torch.testing.assert_close(weighted, mmd2(repeated, y, kernel="imq", bandwidth=1.0, estimator="biased"))


def test_witness_integrates_to_mmd2():
    generator = torch.Generator().manual_seed(6)
    x, y = (torch.randn(2, n, 3, generator=generator, dtype=F64) for n in (8, 5))
    a = torch.rand(2, 8, generator=generator, dtype=F64)
    a = a / a.sum(-1, keepdim=True)
    gap = (a * witness(x, y, x, a=a)).sum(-1) - witness(x, y, y, a=a).mean(-1)
    torch.testing.assert_close(gap, mmd2(x, y, a=a, estimator="biased"))


def test_mmd_is_the_root():
    x, y = torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])
    torch.testing.assert_close(mmd(x, y).square(), mmd2(x, y))
    assert mmd(x, x).item() == 0
    assert mmd2(x, x).item() < 0
