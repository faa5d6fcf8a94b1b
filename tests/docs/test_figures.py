"""The pictures are what `python -m scripts.figures` draws today, and the numbers in them are right."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

import howfar
from scripts import figures


@pytest.mark.parametrize("picture", figures.PICTURES, ids=lambda picture: picture.name)
def test_a_picture_drawn_anew_is_the_one_in_the_docs(picture: figures.Picture, tmp_path: Path) -> None:
    kept, drawn = figures.FOLDER / picture.name, figures.write(picture, tmp_path)
    assert kept.stat().st_size < 100_000
    with Image.open(kept) as one, Image.open(drawn) as other:
        assert one.size == other.size
        # Another build of FreeType moves the edges of letters; another number moves a curve or a digit.
        apart = np.abs(np.asarray(one.convert("L"), float) - np.asarray(other.convert("L"), float))
    assert (apart > 64).mean() < 0.002, "run `python -m scripts.figures` and look at the picture"


def test_the_moons_tell_their_story() -> None:
    copied, converged, exact = figures.moon_plans().values()
    assert float(exact[0]) == pytest.approx(1.746, abs=5e-4)
    assert float(copied[0]) == pytest.approx(1.714, abs=5e-4)
    assert float(converged[0]) == pytest.approx(1.7968, abs=5e-5)
    mass = torch.full((15,), 1 / 15, dtype=torch.float64)
    for _, plan in (converged, exact):
        assert_close(plan.sum(1), mass, atol=1e-6, rtol=0)
        assert_close(plan.sum(0), mass, atol=1e-6, rtol=0)
    assert float((15 * copied[1].sum(1) - 1).abs().max()) == pytest.approx(0.07, abs=0.005)


def test_one_point_against_one_is_a_constant_and_a_fixed_scale_is_not() -> None:
    shifts, curves = figures.one_point()
    constant, growing = curves.values()
    value = sum(2 - 2 * math.exp(-(2.0 ** (2 - i))) for i in range(5))
    assert_close(constant, torch.full_like(constant, value))
    assert bool((growing.diff() > 0).all())
    assert_close(growing[(shifts - 2).abs().argmin()].item(), value, rtol=0.05, atol=0)


def test_the_figure_of_the_divergences_is_that_of_the_text() -> None:
    (axes,) = figures.separation().axes
    shifts, curves = howfar.plot.separation()
    lines = {line.get_label().partition(" (")[0]: line for line in axes.get_lines()}
    assert set(lines) == set(curves)
    np.testing.assert_allclose(lines["W1"].get_ydata(), shifts.numpy(), atol=1e-12)
    np.testing.assert_allclose(lines["JS"].get_ydata(), math.log(2) * shifts.clamp(max=1).numpy(), atol=1e-12)
    bce = 2 * math.log(2) * (1 - shifts).clamp(min=0)
    np.testing.assert_allclose(lines["BCE of the best classifier"].get_ydata(), bce.numpy(), atol=1e-12)
    assert not np.isfinite(lines["KL"].get_ydata()[1:]).any()


def test_the_smallest_game_circles_without_a_penalty_and_arrives_with_one() -> None:
    """The first step by hand, and the linear game exactly: each step multiplies the distance by sqrt(1 + rate^2)."""
    paths = figures.dirac_paths(steps=50, rate=0.1)
    wasserstein = paths["wasserstein"]
    assert_close(wasserstein[1], torch.tensor([1.1, 0.9], dtype=torch.float64))
    growth = wasserstein.norm(dim=1)[1:] / wasserstein.norm(dim=1)[:-1]
    assert_close(growth, torch.full_like(growth, math.sqrt(1.01)))
    longer = figures.dirac_paths()
    assert float(longer["non-saturating with R1"][-1].norm()) < 1e-3 < float(longer["non-saturating"][-1].norm())


def test_points_that_follow_the_loss_arrive() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = (0.3 * torch.randn(20, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    path = figures.descent(x, y + 1, steps=20)
    assert path.shape == (21, 20, 2)
    start, end = (howfar.wasserstein(points, y + 1) for points in (path[0], path[-1]))
    assert float(end) < float(start) / 5


def test_the_numbers_of_a_temperature_go_where_the_page_says() -> None:
    x, y = figures.two_shapes()
    exact = float(howfar.transport(x, y).value)
    shares, costs, divergences = figures.cost_by_temperature()
    assert shares == sorted(shares)
    assert costs == sorted(costs)
    assert divergences == sorted(divergences, reverse=True)
    assert costs[0] == pytest.approx(exact, rel=2e-3)
    assert divergences[0] == pytest.approx(exact, rel=2e-3)
    assert divergences[-1] == pytest.approx(float((x.mean(0) - y.mean(0)).square().sum()), rel=2e-3)


def test_the_bounds_close_on_the_exact_cost() -> None:
    exact = float(howfar.transport(*figures.two_shapes()).value)
    _, lower, upper = figures.bounds_by_temperature()
    assert all(low <= exact + 1e-9 and exact - 1e-9 <= up for low, up in zip(lower, upper, strict=True))
    gaps = [up - low for low, up in zip(lower, upper, strict=True)]
    assert gaps == sorted(gaps)
    assert gaps[0] < 0.01 * exact
