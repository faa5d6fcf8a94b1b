"""The figure of four distances between two uniform distributions that move apart: its numbers, then its curves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import howfar.plot


@pytest.fixture(scope="module")
def figure():
    return howfar.plot.separation(cells=16, furthest=2.0)


def test_wasserstein_is_the_shift(figure):
    shifts, curves = figure
    torch.testing.assert_close(shifts, torch.arange(33, dtype=torch.float64) / 16)
    torch.testing.assert_close(curves["W1"], shifts, rtol=1e-12, atol=1e-12)


def test_jensen_shannon_grows_with_the_part_that_left_and_then_stands_still(figure):
    shifts, curves = figure
    torch.testing.assert_close(curves["JS"], math.log(2) * shifts.clamp(max=1), rtol=1e-12, atol=1e-12)
    disjoint = curves["JS"][shifts >= 1]
    assert len(disjoint) == 17
    assert bool((disjoint == disjoint[0]).all()), "zero slope"


def test_best_classifier_is_jensen_shannon_in_other_words(figure):
    shifts, curves = figure
    bce = curves["BCE of the best classifier"]
    torch.testing.assert_close(bce, 2 * math.log(2) - 2 * curves["JS"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(bce, 2 * math.log(2) * (1 - shifts).clamp(min=0), rtol=1e-12, atol=1e-12)


def test_kl_is_infinite_at_the_first_step(figure):
    shifts, curves = figure
    assert curves["KL"][0] == 0
    assert bool(curves["KL"][shifts > 0].isposinf().all())


def test_no_zero_is_negative(figure):
    for name, curve in figure[1].items():
        assert not bool(torch.signbit(curve).any()), name


def test_figure_draws_these_numbers(figure):
    shifts, curves = figure
    ax = howfar.plot.distances_vs_shift(shifts, curves)
    drawn = {line.get_label(): line for line in ax.get_lines()}
    assert set(drawn) == {"W1", "JS", "KL (infinite where marked)", "BCE of the best classifier"}
    for name in ("W1", "JS", "BCE of the best classifier"):
        np.testing.assert_array_equal(drawn[name].get_xdata(), shifts.numpy())
        np.testing.assert_array_equal(drawn[name].get_ydata(), curves[name].numpy())
    (marks,) = ax.collections
    np.testing.assert_array_equal(marks.get_offsets()[:, 0], shifts[1:].numpy())
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.get_lines()}) == 4
    assert ax.get_legend() is not None


def test_points_that_move_apart():
    shifts = torch.tensor([0.0, 0.5, 1.0])
    ax = howfar.plot.distances_vs_shift(shifts, {"W1": shifts, "JS": [0.0, math.log(2), math.log(2)]})
    assert [line.get_label() for line in ax.get_lines()] == ["W1", "JS"]
    assert not ax.collections
