"""Closed forms between Gaussians, on fine grids of weights, so that nothing is left to chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg
from torch.testing import assert_close

import howfar

D = torch.float64


def normal(mean, std, *, cells=400, width=9.0):
    """Points and weights of N(mean, std^2) on a grid: exact to rounding, as the integrands are analytic."""
    t = torch.linspace(mean - width * std, mean + width * std, cells, dtype=D)
    w = torch.exp(-((t - mean) ** 2) / (2 * std**2))
    return t.unsqueeze(-1), w / w.sum()


def product(mean, stds, cells=41):
    (x, a), (y, b) = (normal(m, s, cells=cells, width=6.5) for m, s in zip(mean, stds, strict=True))
    grid = torch.cartesian_prod(x.squeeze(-1), y.squeeze(-1))
    return grid, torch.outer(a, b).flatten()


def entropic_cost(m1, v1, m2, v2, eps):
    """Janati, Muzellec, Peyre & Cuturi 2020, per axis, with sigma^2 = eps / 2."""
    s2 = eps / 2
    d = math.sqrt(4 * v1 * v2 + s2**2)
    return (m1 - m2) ** 2 + v1 + v2 - d + s2 * (1 - math.log(2 * s2)) + s2 * math.log(d + s2)


@pytest.mark.parametrize(
    ("eps", "cost", "divergence"),
    [
        (0.1, 2.234756468636877, 1.9999218874584808),
        (1.0, 3.2243566798713923, 1.9923093304855108),
        (4.0, 4.490287695119628, 1.8987668345435766),
    ],
)
def test_entropic_transport_between_gaussians_on_the_line(eps, cost, divergence):
    (x, a), (y, b) = normal(0, 1), normal(1, 2)
    r = howfar.transport(x, y, a=a, b=b, eps=eps, tol=1e-9)
    assert_close(r.value.item(), cost, rtol=1e-10, atol=0)
    assert_close(entropic_cost(0, 1, 1, 4, eps), cost, rtol=1e-12, atol=0)
    s = howfar.sinkhorn_divergence(x, y, a=a, b=b, eps=eps, tol=1e-9)
    assert_close(s.item(), divergence, rtol=1e-10, atol=0)


def test_the_entropic_map_between_gaussians_is_affine():
    (x, a), (y, b) = normal(0, 1), normal(1, 2)
    eps = 1.0
    r = howfar.transport(x, y, a=a, b=b, eps=eps, tol=1e-10)
    s2 = eps / 2
    slope = 0.5 * math.sqrt(4 * 1 * 4 + s2**2) - s2 / 2
    inner = slice(150, 250)
    assert_close(r.map()[inner], 1 + slope * x[inner], rtol=1e-7, atol=1e-7)
    z = torch.tensor([[-0.3], [0.7]], dtype=D)
    assert_close(r.map(z), 1 + slope * z, rtol=1e-7, atol=1e-7)


def test_entropic_transport_between_gaussians_in_the_plane():
    eps = 2.0
    (x, a), (y, b) = product((0, 0), (1, 0.7)), product((1, -0.5), (1.2, 0.9))
    expected = entropic_cost(0, 1, 1, 1.44, eps) + entropic_cost(0, 0.49, -0.5, 0.81, eps)
    r = howfar.transport(x, y, a=a, b=b, eps=eps, tol=1e-8)
    assert_close(r.value.item(), expected, rtol=1e-8, atol=0)


def test_unbalanced_transport_between_gaussians():
    """Janati et al. 2020, unequal masses 1 and 2, KL penalties with rho = 1."""
    (x, a), (y, b) = normal(0, 1), normal(1, 2)
    r = howfar.transport(x, y, a=a, b=2 * b, eps=0.5, reach=1.0, tol=1e-10)
    assert_close(r.value.item(), 1.553151376959, rtol=1e-11, atol=0)
    assert_close(r.plan().sum().item(), 0.978739449216, rtol=1e-10, atol=0)


def turned(angle, mean, stds, cells=36):
    """Points and weights of a normal law in the plane whose axes are turned, and its mean and covariance."""
    points, weights = product((0, 0), stds, cells)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    covariance = turn @ np.diag(np.square(stds)) @ turn.T
    return points @ torch.from_numpy(turn.T) + torch.tensor(mean, dtype=D), weights, np.array(mean), covariance


def balanced(a, A, b, B, eps):
    """Janati et al. 2020, theorem 1, in any dimension, with sigma^2 = eps / 2: the entropic cost."""
    s2, one, root = eps / 2, np.eye(len(A)), linalg.sqrtm(A).real
    d = linalg.sqrtm(4 * root @ B @ root + s2**2 * one).real
    shape = np.trace(A + B - d) + s2 * np.linalg.slogdet(d + s2 * one)[1]
    return ((a - b) ** 2).sum() + shape + len(A) * s2 * (1 - math.log(2 * s2))


def unbalanced(a, A, b, B, eps, rho, mass_a, mass_b):
    """Janati et al. 2020, theorem 3: (value, mass of the plan) for laws of any mass and KL penalties of weight rho."""
    s2, dim, one = eps / 2, len(A), np.eye(len(A))
    lam, tau = s2 + rho / 2, rho / (2 * s2 + rho)
    left, right = (rho / 2 * (one - lam * np.linalg.inv(S + lam * one)) for S in (A, B))
    C = linalg.sqrtm(left @ right / tau + s2**2 / 4 * one).real - s2 / 2 * one
    det = np.linalg.det
    gap = (a - b) @ np.linalg.inv(A + B + lam * one) @ (a - b)
    inner = mass_a * mass_b * det(C) * math.sqrt(det(left @ right) ** tau / det(A @ B))
    mass = s2 ** (0.5 * dim * s2 / (rho + s2)) * inner ** (1 / (tau + 1)) * math.exp(-gap / (2 * (tau + 1)))
    mass /= math.sqrt(det(C - 2 / rho * left @ right))
    return rho * (mass_a + mass_b) + 2 * s2 * mass_a * mass_b - 2 * (s2 + rho) * mass, mass


def test_the_formulas_hold_the_numbers_of_an_independent_grid():
    """Twelve digits found by a solver on a grid of its own: entropic 1-D, then unbalanced with masses 1 and 2."""
    zero, one, I, V = np.array([0.0]), np.array([1.0]), np.eye(1), 4 * np.eye(1)
    assert_close(balanced(zero, I, one, V, 1.0), 3.2243566798713923, rtol=1e-12, atol=0)
    value, mass = unbalanced(zero, I, one, V, 0.5, 1.0, 1.0, 2.0)
    assert_close(value, 1.553151376959, rtol=1e-11, atol=0)
    assert_close(mass, 0.978739449216, rtol=1e-11, atol=0)


@pytest.mark.parametrize(("eps", "reach"), [(0.3, 0.8), (1.0, 2.0), (4.0, 1.0)])
def test_unbalanced_cost_and_divergence_between_gaussians_on_the_line(eps, reach):
    (x, p), (y, q) = normal(0, 1), normal(1, 2)
    sides = (np.array([0.0]), np.eye(1), 1.3), (np.array([1.0]), 4 * np.eye(1), 0.6)
    cost = lambda i, j: unbalanced(*sides[i][:2], *sides[j][:2], eps, reach**2, sides[i][2], sides[j][2])
    r = howfar.transport(x, y, a=1.3 * p, b=0.6 * q, eps=eps, reach=reach, tol=1e-9)
    assert_close(r.value.item(), cost(0, 1)[0], rtol=1e-8, atol=0)
    assert_close(r.plan().sum().item(), cost(0, 1)[1], rtol=1e-8, atol=0)
    s = howfar.sinkhorn_divergence(x, y, a=1.3 * p, b=0.6 * q, eps=eps, reach=reach, tol=1e-9)
    expected = cost(0, 1)[0] - 0.5 * cost(0, 0)[0] - 0.5 * cost(1, 1)[0] + 0.5 * eps * 0.7**2
    assert_close(s.item(), expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("reach", [None, 1.5])
def test_cost_and_divergence_between_gaussians_in_the_plane_whose_axes_differ(reach):
    eps, masses = 2.0, (1.0, 1.0) if reach is None else (1.3, 0.6)
    x, p, *one = turned(0.3, (0.0, 0.0), (1.0, 0.7))
    y, q, *other = turned(-0.8, (0.6, -0.5), (1.1, 0.8))
    sides = one, other

    def cost(i, j):
        if reach is None:
            return balanced(*sides[i], *sides[j], eps)
        return unbalanced(*sides[i], *sides[j], eps, reach**2, masses[i], masses[j])[0]

    options = {"a": masses[0] * p, "b": masses[1] * q, "eps": eps, "reach": reach, "tol": 1e-6}
    assert_close(howfar.transport(x, y, **options).value.item(), cost(0, 1), rtol=1e-8, atol=0)
    expected = cost(0, 1) - 0.5 * cost(0, 0) - 0.5 * cost(1, 1) + 0.5 * eps * (masses[0] - masses[1]) ** 2
    assert_close(howfar.sinkhorn_divergence(x, y, **options).item(), expected, rtol=1e-8, atol=0)


def test_unbalanced_points_on_their_own():
    """Dirac against Dirac of masses s and t: p moves where c + eps log(p / st) + rho log(p / s) + rho log(p / t) = 0."""
    x, y, eps, rho, s, t = torch.zeros(1, 2, dtype=D), torch.tensor([[0.6, 0.8]], dtype=D), 0.3, 0.7, 1.2, 0.5
    p = math.exp((eps * math.log(s * t) + rho * math.log(s * t) - 1.0) / (eps + 2 * rho))
    pay = lambda got, wanted: got * math.log(got / wanted) - got + wanted
    expected = p + eps * pay(p, s * t) + rho * (pay(p, s) + pay(p, t))
    weights = {"a": torch.tensor([s], dtype=D), "b": torch.tensor([t], dtype=D)}
    r = howfar.transport(x, y, **weights, eps=eps, reach=rho**0.5, tol=1e-12)
    assert_close(r.value.item(), expected, rtol=1e-12, atol=0)
    assert_close(r.plan().item(), p, rtol=1e-10, atol=0)


def test_frechet_and_bures():
    (x, a), (y, b) = product((0, 0), (1, 0.7)), product((1, -0.5), (1.2, 0.9))
    expected = 1 + 0.25 + 0.2**2 + 0.2**2
    assert_close(howfar.frechet_distance(x, y, a=a, b=b).item(), expected, rtol=1e-8, atol=0)
    assert_close(howfar.gaussian_wasserstein(x, y, a=a, b=b).item(), math.sqrt(expected), rtol=1e-8, atol=0)


def test_frechet_against_matrix_roots():
    x = torch.randn(50, 6, dtype=D) @ torch.randn(6, 6, dtype=D)
    y = torch.randn(40, 6, dtype=D) @ torch.randn(6, 6, dtype=D) + 1
    for correction in (0, 1):
        s1, s2 = (torch.cov(t.T, correction=correction) for t in (x, y))
        root = linalg.sqrtm((s1 @ s2).numpy()).real
        expected = (x.mean(0) - y.mean(0)).square().sum() + s1.trace() + s2.trace() - 2 * root.trace()
        assert_close(howfar.frechet_distance(x, y, correction=correction), expected, rtol=1e-8, atol=0)


def test_frechet_with_fewer_points_than_features():
    x, y = torch.randn(4, 9, dtype=D), torch.randn(5, 9, dtype=D) + 1
    s1, s2 = (torch.cov(t.T, correction=0) for t in (x, y))
    # The roots of the eigenvalues of S1 S2, found on the side where they are few.
    eigenvalues = torch.linalg.eigvals(s1 @ s2).real.clamp_min(0)
    expected = (x.mean(0) - y.mean(0)).square().sum() + s1.trace() + s2.trace() - 2 * eigenvalues.sqrt().sum()
    assert_close(howfar.frechet_distance(x, y), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("d", [2, 5])
def test_sliced_wasserstein_of_isotropic_gaussians(d):
    """SW_2^2 = |m|^2 / d + (s1 - s2)^2: each direction sees two normals, and the mean over directions is |m|^2 / d."""
    # Both on one grid of quantiles: the optimal map is x -> 1.5 x, and the weights are a quadrature of E x^2 = 1.
    x, a = normal(0, 1)
    base = howfar.wasserstein(x, 1.5 * x, a=a, b=a).square()
    assert_close(base.item(), 0.25, rtol=1e-12, atol=0)
    mean = torch.arange(1.0, d + 1, dtype=D)
    axes = torch.linalg.qr(torch.randn(d, d, dtype=D)).Q
    one, other = torch.randn(5000, d, dtype=D), torch.randn(5000, d, dtype=D)
    shifted = howfar.sliced_wasserstein(one, other + mean, directions=axes).square()
    unshifted = howfar.sliced_wasserstein(one - one.mean(0), other - other.mean(0), directions=axes).square()
    # Orthonormal directions average <m, u>^2 exactly, so only the shape term is left to sampling, and it cancels.
    gap = other.mean(0) + mean - one.mean(0)
    assert_close(shifted - unshifted, gap.square().sum() / d, rtol=1e-10, atol=0)
