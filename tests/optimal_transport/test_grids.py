"""Transport on regular grids is transport on their points."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck
from torch.testing import assert_close

import howfar
from howfar.costs import CityBlock, SqEuclidean
from howfar.geometry import DenseCost, Grid

D = torch.float64
COSTS = pytest.mark.parametrize("cost", [SqEuclidean(), CityBlock()], ids=lambda cost: cost.name)


def image(*sizes, seed=0):
    made = torch.rand(*sizes, dtype=D, generator=torch.Generator().manual_seed(seed))
    made[..., 1, :] = 0
    made[..., :, 2] = 0
    return made / made.sum((-2, -1), keepdim=True)


def pixels(*sizes, spacing):
    return torch.cartesian_prod(*(s * torch.arange(n, dtype=D) for n, s in zip(sizes, spacing, strict=True)))


@COSTS
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize(("x_sizes", "y_sizes"), [((5,), (4,)), ((3, 4), (5, 2)), ((3, 4, 2), (2, 3, 3))])
def test_every_reduction_is_that_of_the_matrix(cost, batch, x_sizes, y_sizes):
    x, y = (tuple(torch.randn(*batch, n, 1, dtype=D) for n in sizes) for sizes in (x_sizes, y_sizes))
    grid = Grid(x, y, cost)
    dense = DenseCost(grid.matrix())
    n, m = grid.shape
    assert grid.matrix().shape == (*batch, n, m)
    assert_close(cost.matrix(grid.points("x"), grid.points("y")), grid.matrix())
    eps = torch.rand(batch, dtype=D) + 0.3
    for side, count in (("x", m), ("y", n)):
        h = torch.randn(*batch, count, dtype=D)
        h[..., torch.rand(count) < 0.3] = -torch.inf
        h[..., -2:] = -torch.inf
        h[..., 0] = 0.5
        v = torch.randn(*batch, count, 2, dtype=D)
        assert_close(grid.softmin(h, eps, side), dense.softmin(h, eps, side))
        for ours, theirs in zip(grid.softmin_apply(h, v, eps, side), dense.softmin_apply(h, v, eps, side), strict=True):
            assert_close(ours, theirs)
        assert_close(grid.softmin_cost(h, eps, side), dense.softmin_cost(h, eps, side))
        assert_close(grid.apply(v[..., 0], side), dense.apply(v[..., 0], side))
        for k in (1, 3):
            ours, theirs = grid.nearest(h, k, side), dense.nearest(h, k, side)
            assert_close(ours[0], theirs[0])
            seen = torch.isfinite(theirs[0])
            assert_close(ours[1][seen], theirs[1][seen])
    assert (grid.scale() >= grid.matrix().amax((-2, -1)) - 1e-12).all()
    if not batch:
        i, j = torch.tensor([0, n - 1]), torch.tensor([m - 1, 1])
        assert_close(grid.at(i, j), grid.matrix()[i, j])
    assert_close(grid.rebuilt(*grid.tensors()).matrix(), grid.matrix())


@COSTS
def test_transport_on_a_grid_is_transport_of_its_pixels(cost):
    a, b, spacing = image(9, 7), image(9, 7, seed=1), (0.5, 2.0)
    points = pixels(9, 7, spacing=spacing)
    options = {"eps": 0.3, "tol": 1e-11, "cost": cost}
    ours = howfar.transport_grid(a, b, spacing=spacing, **options)
    theirs = howfar.transport(points, points, a=a.flatten(), b=b.flatten(), **options)
    assert ours.converged
    for one, other in zip(ours.bounds, theirs.bounds, strict=True):
        assert_close(one, other)
    assert_close(ours.value, theirs.value)
    assert_close(ours.cost, theirs.cost)
    assert_close(ours.plan(), theirs.plan())
    assert_close(ours.map(), theirs.map())
    assert_close(ours.map(points + 0.1), theirs.map(points + 0.1))
    exact = howfar.transport(points, points, a=a.flatten(), b=b.flatten(), cost=cost)
    assert_close(howfar.transport_grid(a, b, spacing=spacing, cost=cost).value, exact.value)
    lower, upper = ours.bounds
    assert lower <= exact.value <= upper


@COSTS
@pytest.mark.parametrize("reach", [None, 1.5])
def test_the_divergence_on_a_grid_is_that_of_its_pixels(cost, reach):
    a, b = image(2, 6, 5), image(6, 5, seed=1)
    b = b if reach is None else 2 * b
    points = pixels(6, 5, spacing=(0.5, 0.5))
    options = {"blur": 0.6, "reach": reach, "tol": 1e-11, "cost": cost}
    ours = howfar.sinkhorn_divergence_grid(a, b, spacing=0.5, **options)
    theirs = howfar.sinkhorn_divergence(points, points, a=a.flatten(-2), b=b.flatten(), **options)
    assert ours.shape == (2,)
    assert_close(ours, theirs)
    assert_close(
        howfar.sinkhorn_divergence_grid(a, a, spacing=0.5, **options), torch.zeros(2, dtype=D), atol=1e-9, rtol=0
    )


def test_a_moved_volume_costs_its_move():
    a, b = torch.zeros(7, 8, 9, dtype=D), torch.zeros(7, 8, 9, dtype=D)
    blob = torch.rand(2, 3, 2, dtype=D)
    a[1:3, 1:4, 2:4] = b[4:6, 3:6, 6:8] = blob / blob.sum()
    moved = 9 + 4 + 16
    assert_close(howfar.sinkhorn_divergence_grid(a, b, dims=3, eps=0.5, tol=1e-10).item(), float(moved))
    r = howfar.transport_grid(a, b, dims=3, accuracy=0.01)
    lower, upper = r.bounds
    assert lower <= moved <= upper <= 1.01 * lower


def test_histograms_are_grids_of_one_axis():
    """Two bells on the line, the entropic closed form of Janati et al. 2020."""
    t = torch.linspace(-17, 19, 600, dtype=D)
    a, b = torch.exp(-0.5 * t**2), torch.exp(-0.125 * (t - 1) ** 2)
    r = howfar.transport_grid(a / a.sum(), b / b.sum(), dims=1, spacing=36 / 599, eps=1.0, tol=1e-10)
    assert_close(r.value.item(), 3.2243566798713923, rtol=1e-9, atol=0)


def test_gradients_in_the_images():
    logits = torch.randn(3, 4, dtype=D).requires_grad_(), torch.randn(3, 4, dtype=D).requires_grad_()

    def mass(t):
        return t.flatten().softmax(0).reshape(3, 4)

    assert gradcheck(lambda u, v: howfar.sinkhorn_divergence_grid(mass(u), mass(v), blur=1.0, tol=1e-12), logits)
    assert gradcheck(lambda u, v: howfar.transport_grid(mass(u), mass(v), blur=1.0, tol=1e-12).cost, logits)


def test_float32_images_and_a_black_corner():
    a, b = torch.zeros(32, 32), torch.zeros(32, 32)
    a[2:5, 3:9], b[20:23, 20:26] = 1 / 18, 1 / 18
    value = howfar.sinkhorn_divergence_grid(a, b, blur=1.0)
    assert value.dtype is torch.float32
    assert_close(value.item(), float(18**2 + 17**2), rtol=1e-4, atol=0)


def test_memory_is_linear_in_the_pixels(peak_growth):
    preparation = """
import torch
from howfar.geometry import Grid
h, eps = torch.rand(25_600).double(), torch.tensor(30.0).double()
grid = Grid(*(2 * (tuple(torch.arange(160).double().unsqueeze(-1) for _ in range(2)),)))
"""
    grown = peak_growth(preparation, 'grid.softmin(h, eps, "x"), grid.nearest(h, 1, "x")')
    assert grown < 300, "MiB: the matrix would take 5 GB"


def test_bad_images_are_refused_by_name():
    a = torch.full((4, 4), 1 / 16)
    with pytest.raises(howfar.ShapeError, match=r"^b: expected the grid of a, \(4, 4\)"):
        howfar.transport_grid(a, a[:3], eps=1.0)
    with pytest.raises(howfar.DomainError, match=r"^cost: expected 'sqeuclidean' or 'cityblock', got 'euclidean'"):
        howfar.transport_grid(a, a, eps=1.0, cost="euclidean")
    with pytest.raises(howfar.ShapeError, match=r"^spacing: expected 2 numbers"):
        howfar.transport_grid(a, a, eps=1.0, spacing=[1.0, 1.0, 1.0])
    with pytest.raises(howfar.ShapeError, match=r"^a: expected an image with 3 axes"):
        howfar.transport_grid(a, a, eps=1.0, dims=3)
    with pytest.raises(howfar.DomainError, match=r"^b: expected weights that sum to 1"):
        howfar.transport_grid(a, 2 * a, eps=1.0)
    with pytest.raises(howfar.DomainError, match=r"^eps: expected an entropic strength"):
        howfar.sinkhorn_divergence_grid(a, a)
