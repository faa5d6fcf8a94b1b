"""The direction of the largest distance on the line."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch.testing import assert_close

import howfar

D = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("d", [1, 2, 7])
def test_a_shift_is_seen_in_its_own_direction(d):
    x = torch.randn(20, d, dtype=D)
    move = torch.randn(d, dtype=D)
    for p in (1, 2, 3):
        assert_close(howfar.max_sliced_wasserstein(x, x + move, p=p, generator=seeded()), move.norm())


def test_scaled_axes_differ_most_along_the_axis_of_the_largest_change():
    """y = x S with symmetric x: along u the law is scaled by |S u|, so the maximum is at an axis of S."""
    angles = 2 * torch.pi * torch.arange(64, dtype=D) / 64
    x = torch.stack([angles.cos(), angles.sin()], 1)
    y = x * torch.tensor([1.0, 3.0], dtype=D)
    got = howfar.max_sliced_wasserstein(x, y, generator=seeded())
    assert_close(got.item(), 2 * math.sqrt(0.5), rtol=1e-9, atol=0)


@pytest.mark.parametrize("trial", range(12))
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_in_the_plane_no_angle_beats_it(trial, p):
    torch.manual_seed(trial)
    n, m = [(4, 3), (20, 20), (50, 31)][trial % 3]
    x, y = torch.randn(n, 2, dtype=D), torch.randn(m, 2, dtype=D) + 0.5 * (trial % 2)
    got = howfar.max_sliced_wasserstein(x, y, p=p, generator=seeded())
    angles = torch.pi * torch.arange(3000, dtype=D) / 3000
    axes = torch.stack([angles.cos(), angles.sin()], 1)
    every = torch.stack([howfar.wasserstein(x @ u, y @ u, p=p) for u in axes[::30]])
    fine = max(howfar.sliced_wasserstein(x, y, p=p, directions=u[None]).item() for u in axes)
    assert got >= every.max() - 1e-9
    assert fine * (1 - 1e-9) <= got.item() <= fine * (1 + 1e-3)


@pytest.mark.parametrize("d", [2, 5, 12])
def test_it_lies_between_the_sliced_and_the_full_distance(d):
    x, y = torch.randn(40, d, dtype=D), torch.randn(30, d, dtype=D) * torch.linspace(0.5, 1.5, d, dtype=D)
    got = howfar.max_sliced_wasserstein(x, y, generator=seeded())
    assert howfar.sliced_wasserstein(x, y, generator=seeded()) <= got <= howfar.wasserstein(x, y)


def test_the_value_is_a_distance_on_the_line_for_scipy_too():
    x, y = torch.randn(30, 2, dtype=D), torch.randn(25, 2, dtype=D) + 1
    angles = torch.pi * torch.arange(2000, dtype=D) / 2000
    best = max(
        wasserstein_distance((x @ u).numpy(), (y @ u).numpy()) for u in torch.stack([angles.cos(), angles.sin()], 1)
    )
    assert_close(howfar.max_sliced_wasserstein(x, y, p=1, generator=seeded()).item(), best, rtol=1e-5, atol=0)


def test_more_steps_and_starts_never_lower_it():
    x, y = torch.randn(30, 6, dtype=D), torch.randn(30, 6, dtype=D) * 1.3
    values = [howfar.max_sliced_wasserstein(x, y, n_starts=0, n_steps=steps) for steps in (0, 3, 30, 300)]
    assert values == sorted(values)
    assert howfar.max_sliced_wasserstein(x, y, n_starts=20, generator=seeded()) >= values[-1]


def test_the_gradient_is_that_of_the_moving_maximum():
    """A smooth maximum: two clouds that differ by a stretch, in general position."""
    x = torch.randn(40, 3, dtype=D)
    y = (x + 0.1 * torch.randn(40, 3, dtype=D)) * torch.tensor([1.0, 1.0, 3.0], dtype=D) + 2
    x.requires_grad_()
    value = howfar.max_sliced_wasserstein(x, y, generator=seeded())
    (gradient,) = torch.autograd.grad(value, x)
    for trial in range(3):
        torch.manual_seed(trial)
        step = 1e-5 * torch.randn(40, 3, dtype=D)
        up, down = (howfar.max_sliced_wasserstein(x.detach() + s * step, y, generator=seeded()) for s in (1, -1))
        assert_close((up - down) / 2, (gradient * step).sum(), rtol=1e-4, atol=1e-10)
