"""Pictures: what is drawn is read back from the axes and compared with the numbers it stands for."""

from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import howfar.plot
from howfar._errors import DomainError, HowfarWarning, ShapeError

X = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
Y = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
P = torch.tensor([[0.3, 0.0], [0.1, 0.2], [0.0, 0.4]])


def result(matrix, coupling):
    """What the pictures ask of a transport result."""
    geometry = SimpleNamespace(matrix=lambda: matrix)
    return SimpleNamespace(plan=lambda: coupling, problem=SimpleNamespace(geometry=geometry))


def lines_of(ax):
    (lines,) = [item for item in ax.collections if isinstance(item, LineCollection)]
    return lines


def dots_of(ax):
    return [item for item in ax.collections if isinstance(item, PathCollection)]


@pytest.mark.parametrize("draw", [howfar.plot.plan, howfar.plot.cost])
@pytest.mark.parametrize("kind", ["tensor", "array", "lists", "needs gradient", "bfloat16"])
def test_heat_maps_show_the_matrix(draw, kind):
    matrix = torch.tensor([[0.0, 1.0, 4.0], [1.0, 0.5, 1.0]])
    given = {
        "tensor": matrix,
        "array": matrix.numpy(),
        "lists": matrix.tolist(),
        "needs gradient": matrix.clone().requires_grad_(),
        "bfloat16": matrix.bfloat16(),
    }[kind]
    ax = draw(given)
    assert isinstance(ax, Axes)
    (image,) = ax.get_images()
    np.testing.assert_array_equal(image.get_array(), matrix.numpy())
    assert len(ax.figure.axes) == 2, "the picture and its scale"


def test_results_give_their_own_matrices():
    matrix = torch.cdist(X, Y)
    r = result(matrix, P)
    np.testing.assert_array_equal(howfar.plot.cost(r).get_images()[0].get_array(), matrix.double().numpy())
    np.testing.assert_array_equal(howfar.plot.plan(r).get_images()[0].get_array(), P.double().numpy())
    assert len(lines_of(howfar.plot.assignments(X, Y, r)).get_segments()) == 4


def test_plan_starts_its_scale_at_no_mass():
    (image,) = howfar.plot.plan(torch.full((2, 2), 0.25) + torch.eye(2) / 100).get_images()
    assert image.get_clim()[0] == 0


def test_infinite_costs_are_left_blank():
    (image,) = howfar.plot.cost(torch.tensor([[0.0, math.inf], [1.0, 2.0]])).get_images()
    assert image.get_array().mask.tolist() == [[False, True], [False, False]]
    assert image.get_clim() == (0, 2)


def test_pictures_are_drawn_where_asked():
    mine = Figure().subplots(1, 3)
    assert howfar.plot.cost(P, ax=mine[0]) is mine[0]
    assert howfar.plot.plan(P, ax=mine[1]) is mine[1]
    assert howfar.plot.assignments(X, Y, P, ax=mine[2]) is mine[2]


def test_assignments_draw_one_line_for_each_pair_as_opaque_as_its_mass():
    lines = lines_of(howfar.plot.assignments(X, Y, P))
    segments = [tuple(map(tuple, segment)) for segment in lines.get_segments()]
    drawn = dict(zip(segments, lines.get_colors()[:, 3].tolist(), strict=True))
    expected = {
        ((0.0, 0.0), (0.0, 1.0)): 0.75,
        ((1.0, 0.0), (0.0, 1.0)): 0.25,
        ((1.0, 0.0), (2.0, 1.0)): 0.5,
        ((2.0, 0.0), (2.0, 1.0)): 1.0,
    }
    assert drawn == pytest.approx(expected)
    assert list(drawn.values()) == sorted(drawn.values()), "the heaviest lies on top"


def test_assignments_draw_points_as_large_as_their_weight():
    x, y = dots_of(howfar.plot.assignments(X, Y, P))
    np.testing.assert_array_equal(x.get_offsets(), X.numpy())
    np.testing.assert_array_equal(y.get_offsets(), Y.numpy())
    np.testing.assert_allclose(x.get_sizes() / x.get_sizes()[0], [1, 1, 4 / 3])
    np.testing.assert_allclose(y.get_sizes() / y.get_sizes()[0], [1, 1.5])
    assert x.get_facecolor()[0].tolist() == list(to_rgba("#0072B2"))
    assert x.get_paths()[0].vertices.shape != y.get_paths()[0].vertices.shape, "told apart by shape, not colour alone"


@pytest.mark.parametrize("stretch", [(1.0, 1.0), (6.0, 1.0), (1.0, 6.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("panels", [0, 1, 3])
def test_one_scale_on_both_axes_and_a_frame_as_large_as_the_clouds(stretch, panels):
    """Within a panel no more than a margin is blank, unless the clouds are thinner than one part in four."""
    points = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor(stretch)
    axes = Figure(figsize=(9, 4), layout="constrained").subplots(1, panels, squeeze=False)[0] if panels else [None]
    drawn = [howfar.plot.assignments(points, points, torch.eye(30) / 30, ax=ax) for ax in axes]
    drawn[0].figure.draw_without_rendering()
    for ax in drawn:
        assert ax.get_aspect() == 1
        width, height = (high - low for low, high in (ax.get_xlim(), ax.get_ylim()))
        box = ax.get_window_extent()
        assert box.height / box.width == pytest.approx(height / width, rel=0.02)
        for extent, span in zip((width, height), (points.max(0).values - points.min(0).values).tolist(), strict=True):
            assert extent <= max(1.15 * span, 0.26 * max(width, height), 0.3)
    if not panels:
        size = ax.figure.get_size_inches() * ax.figure.dpi
        assert max(box.width / size[0], box.height / size[1]) > 0.8
        assert min(box.width / size[0], box.height / size[1]) > 0.4, "hardly more than the frame and its labels"


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 4), (0.26, 3), (0.51, 2), (1.0, 1)])
def test_threshold_is_a_fraction_of_the_largest_mass(threshold, count):
    assert len(lines_of(howfar.plot.assignments(X, Y, P, threshold=threshold)).get_segments()) == count


def test_too_many_lines_keep_the_heaviest_and_say_so():
    with pytest.warns(HowfarWarning, match=r"drew the 2 heaviest of 4 pairs, 70% of the mass\. Raise max_lines"):
        ax = howfar.plot.assignments(X, Y, P, max_lines=2)
    assert lines_of(ax).get_colors()[:, 3].tolist() == pytest.approx([0.75, 1.0])


def test_large_plans_are_cut_at_fifty_thousand_lines():
    n = 230
    points = torch.rand(n, 2, generator=torch.Generator().manual_seed(0))
    with pytest.warns(HowfarWarning, match=r"the 50000 heaviest of 52900 pairs"):
        ax = howfar.plot.assignments(points, points, torch.full((n, n), 1 / n**2))
    assert len(lines_of(ax).get_segments()) == 50_000


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: howfar.plot.plan(P.expand(4, 3, 2)), ShapeError, r"r: .* got shape \(4, 3, 2\)\. Pick one pair"),
        (lambda: howfar.plot.cost(P.expand(1, 3, 2)), ShapeError, r"r: .* got shape \(1, 3, 2\)\. Pick one pair"),
        (lambda: howfar.plot.plan(torch.ones(3)), ShapeError, r"r: expected one matrix of shape \(n, m\), got shape"),
        (lambda: howfar.plot.plan(torch.ones(0, 3)), ShapeError, r"r: expected one matrix"),
        (lambda: howfar.plot.assignments(torch.ones(3, 3), Y, P), ShapeError, r"x: expected points of the plane"),
        (lambda: howfar.plot.assignments(X, torch.ones(2), P), ShapeError, r"y: expected points of the plane"),
        (lambda: howfar.plot.assignments(X[None], Y, P), ShapeError, r"x: expected one cloud .* x\[0\]"),
        (lambda: howfar.plot.assignments(X, Y, P.T), ShapeError, r"r: expected a plan of shape \(3, 2\)"),
        (lambda: howfar.plot.assignments(X, Y, P * 0), DomainError, r"r: expected a plan .* and a positive total"),
        (lambda: howfar.plot.assignments(X, Y, -P), DomainError, r"r: expected a plan with masses"),
        (lambda: howfar.plot.assignments(X, Y, P * math.nan), DomainError, r"r: expected finite numbers"),
        (lambda: howfar.plot.assignments(X, Y, P, threshold=-1), DomainError, r"threshold: expected a number >= 0"),
        (lambda: howfar.plot.assignments(X, Y, P, max_lines=0), DomainError, r"max_lines: expected an integer >= 1"),
        (
            lambda: howfar.plot.distances_vs_shift([0, 1], {"JS": [0]}),
            ShapeError,
            r"curves\['JS'\]: expected one value",
        ),
        (lambda: howfar.plot.separation(cells=0), DomainError, r"cells: expected an integer >= 1"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_pyplot_is_left_alone(tmp_path):
    code = (
        "import sys, torch, howfar.plot\n"
        "assert 'matplotlib' not in sys.modules\n"
        "howfar.plot.assignments(torch.eye(2), torch.eye(2), torch.eye(2)).figure.savefig(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "plan.png")], check=True, timeout=120)


def test_pictures_can_be_saved(tmp_path):
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    howfar.plot.cost(torch.cdist(X, Y), ax=left)
    howfar.plot.plan(P, ax=middle)
    howfar.plot.assignments(X, Y, P, ax=right)
    figure.savefig(tmp_path / "transport.png")
    assert (tmp_path / "transport.png").stat().st_size > 10_000
