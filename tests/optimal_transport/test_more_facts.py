"""Further answers of theory: orthogonal maps, repeated features, diagonal Gaussians, linearity in the cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import howfar

D = torch.float64


def test_turning_and_moving_both_clouds_changes_nothing():
    x, y = torch.randn(12, 3, dtype=D), torch.randn(9, 3, dtype=D)
    turn, move = torch.linalg.qr(torch.randn(3, 3, dtype=D)).Q, torch.randn(3, dtype=D)
    for p in (1, 2, 3):
        assert_close(howfar.wasserstein(x @ turn + move, y @ turn + move, p=p), howfar.wasserstein(x, y, p=p))
    assert_close(
        howfar.sinkhorn_divergence(x @ turn, y @ turn, eps=0.3, tol=1e-11),
        howfar.sinkhorn_divergence(x, y, eps=0.3, tol=1e-11),
        rtol=1e-9,
        atol=0,
    )


def test_a_repeated_feature_lengthens_by_the_root_of_two():
    x, y = torch.randn(10, dtype=D), torch.randn(7, dtype=D)
    both = [torch.stack([t, t], -1) for t in (x, y)]
    assert_close(howfar.wasserstein(*both, p=1), math.sqrt(2) * howfar.wasserstein(x, y, p=1))


def test_against_the_origin_the_distance_is_the_weighted_norm():
    x, a = torch.randn(8, 3, dtype=D), torch.rand(8, dtype=D)
    a = a / a.sum()
    origin = torch.zeros(1, 3, dtype=D)
    assert_close(howfar.wasserstein(x, origin, p=1, a=a), (a * x.norm(dim=-1)).sum())


def test_gaussians_with_diagonal_covariances():
    """|m_x - m_y|^2 + sum_k (sd_xk - sd_yk)^2; on the line, N(0, 1) against N(10, 1) is 10."""
    nodes, masses = (torch.from_numpy(t) for t in np.polynomial.hermite_e.hermegauss(5))
    masses = masses / masses.sum()
    assert_close(howfar.gaussian_wasserstein(nodes, nodes + 10, a=masses, b=masses).item(), 10.0)
    grid, weights = torch.cartesian_prod(nodes, nodes), torch.outer(masses, masses).flatten()
    spread, other, shift = (torch.tensor(t, dtype=D) for t in ([1.0, 3.0], [2.5, 0.5], [0.3, -1.0]))
    got = howfar.frechet_distance(grid * spread, grid * other + shift, a=weights, b=weights)
    assert_close(got, shift.square().sum() + (spread - other).square().sum())


def test_the_optimum_is_linear_in_the_unit_of_the_cost_and_shifts_with_a_constant():
    matrix = torch.rand(6, 8, dtype=D)
    for eps in (None, 0.2):
        base = howfar.transport_matrix(matrix, eps=eps, tol=1e-12)
        other = howfar.transport_matrix(10 * matrix + 3, eps=None if eps is None else 10 * eps, tol=1e-12)
        assert_close(other.value, 10 * base.value + 3, rtol=1e-9, atol=0)
        assert_close(other.plan(), base.plan(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("p", [1.0, 1.0001, 2.0, 5.0, 50.0])
def test_sliced_is_below_and_orders_rise(p):
    x, y = torch.randn(9, 3, dtype=D), torch.randn(7, 3, dtype=D)
    whole = howfar.wasserstein(x, y, p=p)
    assert howfar.sliced_wasserstein(x, y, p=p) <= whole + 1e-12
    assert howfar.wasserstein(x, y, p=1) <= whole + 1e-12
    between = torch.randn(5, 3, dtype=D)
    assert whole <= howfar.wasserstein(x, between, p=p) + howfar.wasserstein(between, y, p=p) + 1e-12


def test_the_derivative_in_the_weights_is_the_centred_dual():
    matrix = torch.rand(5, 7, dtype=D)
    a = torch.full((5,), 0.2, dtype=D, requires_grad=True)
    for scale in (1.0, 10.0):
        r = howfar.transport_matrix(scale * matrix, a, eps=0.1 * scale, tol=1e-12)
        (gradient,) = torch.autograd.grad(r.value, a)
        f = r.potentials[0].detach()
        assert_close(gradient - gradient.mean(), f - f.mean(), atol=1e-8, rtol=0)
