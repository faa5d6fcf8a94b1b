"""Directions of sliced transport, and the error that a finite number of them leaves."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

import howfar
from howfar.optimal_transport.directions import directions_like

D = torch.float64
SCHEMES = ("orthogonal", "independent", "quasi-random")


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("d", "count"), [(2, 7), (3, 9), (5, 12), (40, 16)])
def test_directions_have_length_one_and_their_groups_are_all_of_them(scheme, d, count):
    if scheme == "quasi-random" and d > 3:
        with pytest.raises(howfar.DomainError, match=r"^directions: expected at most 3 features"):
            directions_like(torch.zeros(1, d, dtype=D), scheme, count, seeded(0))
        return
    drawn = directions_like(torch.zeros(1, d, dtype=D), scheme, count, seeded(0))
    assert drawn.axes.shape == (count, d)
    assert_close(drawn.axes.norm(dim=-1), torch.ones(count, dtype=D))
    assert sum(drawn.groups) == count
    again = directions_like(torch.zeros(1, d, dtype=D), scheme, count, seeded(0))
    assert_close(again.axes, drawn.axes, atol=0, rtol=0)


def test_orthogonal_groups_are_orthonormal():
    drawn = directions_like(torch.zeros(1, 4, dtype=D), "orthogonal", 10, seeded(0))
    assert drawn.groups == (4, 4, 2)
    for block in drawn.axes.split(list(drawn.groups)):
        assert_close(block @ block.T, torch.eye(len(block), dtype=D))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("d", [2, 3, 4])
def test_each_direction_is_uniform_on_the_sphere(scheme, d):
    if scheme == "quasi-random" and d > 3:
        return

    """E u u^T = 1 / d and E u_1^4 = 3 / (d (d + 2)), to the noise of 8000 draws."""
    axes = torch.cat([directions_like(torch.zeros(1, d, dtype=D), scheme, 8, seeded(s)).axes for s in range(1000)])
    assert_close(axes.T @ axes / len(axes), torch.eye(d, dtype=D) / d, atol=0.02, rtol=0)
    assert_close(axes[:, 0].pow(4).mean().item(), 3 / (d * (d + 2)), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("d", "scheme"), [(2, "quasi-random"), (3, "quasi-random"), (3, "orthogonal"), (8, "orthogonal")]
)
def test_other_schemes_have_less_variance_than_independent_directions(d, scheme):
    x, y = torch.randn(60, d, dtype=D), torch.randn(50, d, dtype=D) * torch.linspace(0.5, 2, d, dtype=D) + 1

    def variance(kind):
        draws = [
            howfar.sliced_wasserstein(x, y, n_projections=96, directions=kind, generator=seeded(s)) for s in range(40)
        ]
        return torch.stack(draws).var()

    assert variance(scheme) < 0.5 * variance("independent")


def test_a_shift_is_seen_without_error_by_orthogonal_directions():
    x = torch.randn(20, 3, dtype=D)
    move = torch.tensor([1.0, 2.0, 2.0], dtype=D)
    estimate = howfar.sliced_wasserstein_estimate(x, x + move, n_projections=30, generator=seeded(0))
    assert_close(estimate.value.item(), 3 / math.sqrt(3))
    assert estimate.standard_error < 1e-9


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_estimate_is_the_distance_with_its_error(scheme):
    x, y = torch.randn(2, 30, 3, dtype=D), torch.randn(2, 30, 3, dtype=D) * 2
    options = {"n_projections": 48, "directions": scheme, "p": 1.5}
    estimate = howfar.sliced_wasserstein_estimate(x, y, generator=seeded(1), **options)
    assert_close(estimate.value, howfar.sliced_wasserstein(x, y, generator=seeded(1), **options))
    lower, upper = estimate.interval
    assert (lower < estimate.value).all()
    assert (estimate.value < upper).all()
    assert_close(upper - lower, 2 * 1.959964 * estimate.standard_error, rtol=0.02, atol=0)
    assert estimate.warnings == ()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_standard_error_is_that_of_repeated_draws(scheme):
    x, y = torch.randn(40, 3, dtype=D), torch.randn(40, 3, dtype=D) * torch.tensor([0.3, 1, 3], dtype=D)
    options = {"n_projections": 96, "directions": scheme}
    estimates = [howfar.sliced_wasserstein_estimate(x, y, generator=seeded(s), **options) for s in range(60)]
    spread = torch.stack([e.value for e in estimates]).std().item()
    told = torch.stack([e.standard_error for e in estimates]).square().mean().sqrt().item()
    assert 0.6 < told / spread < 1.6


def test_few_groups_are_said_to_be_few():
    x = torch.randn(10, 50, dtype=D)
    assert "Few groups" in howfar.sliced_wasserstein_estimate(x, 2 * x, n_projections=100).warnings[0]
    assert "One direction" in howfar.sliced_wasserstein_estimate(x, 2 * x, n_projections=1).warnings[-1]
    line = howfar.sliced_wasserstein_estimate(x[:, :1], 2 * x[:, :1])
    assert line.standard_error == 0
    assert line.method == "closed form"


def test_the_estimate_is_differentiable_and_zero_on_equal_clouds():
    x = torch.randn(5, 2, dtype=D).requires_grad_()
    estimate = howfar.sliced_wasserstein_estimate(x, x.detach())
    estimate.value.backward()
    assert estimate.value == estimate.standard_error == 0
    assert torch.isfinite(x.grad).all()
