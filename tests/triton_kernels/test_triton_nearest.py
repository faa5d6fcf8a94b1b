"""The nearest neighbours of the GPU against the reference: values, indices, ties."""

from __future__ import annotations

import sys

import pytest
import torch
from kernel_cases import COSTS, close, cloud, numbers, tolerance

if sys.platform != "linux":
    pytest.skip("triton is built for Linux only", allow_module_level=True)

from howfar import costs
from howfar.ops.nearest_neighbors import reference
from howfar.ops.nearest_neighbors import triton as kernels


def compare(n: int, m: int, d: int, k: int, name: str, device: torch.device) -> None:
    x, y, h = cloud(n, d), cloud(m, d, seed=2), numbers(m)
    values, indices = kernels.nearest(x.to(device), y.to(device), h.to(device), k, COSTS[name])
    wanted, who = reference.nearest(x, y, h, k, COSTS[name])
    close(values, wanted, 1e-13)
    assert indices.dtype == torch.int64
    assert torch.equal(indices.cpu(), who)


@pytest.mark.parametrize("name", COSTS)
def test_every_cost(name: str, device: torch.device) -> None:
    compare(20, 70, 3, 3, name, device)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("k", [1, 2, 5, 17, 128])
def test_every_number_of_neighbours(k: int, device: torch.device) -> None:
    compare(3, 200, 2, k, "sqeuclidean", device)


@pytest.mark.parametrize(("n", "m", "k"), [(1, 1, 1), (1, 64, 64), (128, 1, 1), (127, 65, 2), (129, 63, 3)])
def test_ragged_ends(n: int, m: int, k: int, device: torch.device) -> None:
    compare(n, m, 2, k, "euclidean", device)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("k", [1, 2, 7])
def test_ties_go_to_the_smaller_index(k: int, device: torch.device) -> None:
    """Points on a coarse grid, each many times."""
    x = torch.arange(12.0).reshape(6, 2).remainder(3)
    y = torch.arange(400.0).reshape(200, 2).remainder(3)
    h = torch.zeros(200)
    values, indices = kernels.nearest(x.to(device), y.to(device), h.to(device), k, costs.SqEuclidean())
    wanted, who = reference.nearest(x, y, h, k, costs.SqEuclidean())
    assert torch.equal(values.cpu(), wanted)
    assert torch.equal(indices.cpu(), who)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("k", [1, 6])
def test_points_that_are_taken_out_come_last(k: int, device: torch.device) -> None:
    x, y = cloud(5, 2, dtype=torch.float32), cloud(150, 2, seed=2, dtype=torch.float32)
    for kept in ([], [149], [3, 70, 100, 148]):
        h = torch.full((150,), -torch.inf)
        h[kept] = 1.0
        values, indices = kernels.nearest(x.to(device), y.to(device), h.to(device), k, costs.SqEuclidean())
        matrix = costs.SqEuclidean().matrix(x, y) - h
        wanted, who = matrix.sort(dim=-1, stable=True)
        torch.testing.assert_close(values.cpu(), wanted[:, :k])
        assert torch.equal(indices.cpu(), who[:, :k])


@pytest.mark.parametrize("shared", ["nothing", "x", "y and h"])
def test_batches(shared: str, device: torch.device) -> None:
    x, y, h = cloud(2, 3, 7, 4), cloud(2, 3, 11, 4, seed=2), numbers(2, 3, 11)
    if shared == "x":
        x = x[0, 0].expand(2, 3, 7, 4)
    if shared == "y and h":
        y, h = y[0, 0].expand(2, 3, 11, 4), h[0, 0].expand(2, 3, 11)
    values, indices = kernels.nearest(x.to(device), y.to(device), h.to(device), 3, costs.SqEuclidean())
    wanted, who = reference.nearest(x, y, h, 3, costs.SqEuclidean())
    close(values, wanted, 1e-13)
    assert torch.equal(indices.cpu(), who)


@pytest.mark.parametrize("d", [3, 64, 300])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_float32_finds_the_neighbours_of_float64(shift: float, d: int, device: torch.device) -> None:
    x, y = (cloud(20, d) + shift).float(), (cloud(70, d, seed=2) + shift).float()
    h = torch.zeros(70)
    values, indices = kernels.nearest(x.to(device), y.to(device), h.to(device), 3, costs.SqEuclidean())
    wanted, who = reference.nearest(x.double(), y.double(), h.double(), 3, costs.SqEuclidean())
    close(values, wanted, tolerance(torch.float32, d))
    assert torch.equal(indices.cpu(), who)


def test_the_search_stops_at_its_limits(device: torch.device) -> None:
    x = torch.zeros(2, 3, device=device)
    assert "up to 128 neighbours of each point, and k is 129" in str(
        kernels.why_unavailable(costs.SqEuclidean(), 129, x)
    )
    assert "the cost custom" in str(kernels.why_unavailable(costs.Custom(torch.cdist), 1, x))
    assert kernels.why_unavailable(costs.SqEuclidean(), 128, x) is None
