"""Large clouds: spatial order and a coarse start change how long a solve takes, and nothing that it answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import howfar
from howfar import costs
from howfar.geometry import PointCloud
from howfar.geometry.spatial_order import spatial_order
from howfar.optimal_transport import coarse
from howfar.optimal_transport.sinkhorn import Sinkhorn

N, M = 700, 650


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done with large clouds is done with those of this file."""
    monkeypatch.setattr(coarse, "_MANY_PAIRS", 2**16)


def draw(d: int, *batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(d)
    x = torch.rand(*batch, N, d, generator=generator, dtype=torch.float64)
    y = 0.1 + 0.8 * torch.rand(*batch, M, d, generator=generator, dtype=torch.float64)
    return x, y


def weighted() -> Tensor:
    a = torch.rand(N, generator=torch.Generator().manual_seed(5), dtype=torch.float64) ** 6
    a[: N // 3] = 0
    return a / a.sum()


@pytest.mark.parametrize(
    ("d", "batch", "options"),
    [
        (2, (), {}),
        (1, (), {}),
        (3, (), {"a": weighted()}),
        (3, (), {"reach": 0.5}),
        (2, (2,), {}),
        (5, (), {}),
        (2, (), {"cost": "euclidean"}),
    ],
)
@pytest.mark.usefixtures("small_is_large")
def test_the_answer_is_that_of_a_solve_from_zero(
    monkeypatch: pytest.MonkeyPatch, d: int, batch: tuple[int, ...], options: dict[str, Any]
) -> None:
    x, y = draw(d, *batch)
    answers = []
    for started in (True, False):
        if not started:
            monkeypatch.setattr(coarse, "guess", lambda _problem, _solver: (None, None))
            monkeypatch.setattr(coarse, "arranged", lambda problem: problem)
        leaves = [t.clone().requires_grad_() for t in (x, y)]
        r = howfar.transport(*leaves, eps=0.006, tol=1e-9, **options)
        r.value.sum().backward()
        assert r.converged
        cloud = r.problem.geometry
        assert isinstance(cloud, PointCloud)
        assert (cloud.orders is not None) == (started and d <= 3)
        f, g = r.potentials
        apply = r.apply(y, "x")
        answers.append([r.value, r.cost, f - f.mean(-1, keepdim=True), g - g.mean(-1, keepdim=True), apply])
        answers[-1] += [t.grad for t in leaves]
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("reach", [None, 0.5])
def test_the_divergence_is_that_of_a_solve_from_zero(monkeypatch: pytest.MonkeyPatch, reach: float | None) -> None:
    x, y = draw(3)
    started = howfar.sinkhorn_divergence(x, y, eps=0.01, reach=reach, tol=1e-10)
    monkeypatch.setattr(coarse, "guess", lambda _problem, _solver: (None, None))
    torch.testing.assert_close(started, howfar.sinkhorn_divergence(x, y, eps=0.01, reach=reach, tol=1e-10))


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("reach", [None, 0.5])
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_coarse_start_is_near(symmetric: bool, reach: float | None) -> None:
    x, y = draw(2)
    eps = 0.02
    r = howfar.transport(x, x if symmetric else y, eps=eps, tol=1e-9, reach=reach)
    problem = replace(r.problem, symmetric=symmetric)
    start, near = coarse.guess(problem, Sinkhorn(tol=1e-6))
    assert start is not None
    for guessed, potential in zip((near, start), r.potentials, strict=True):
        gap = guessed - (sum(r.potentials) / 2 if symmetric else potential)
        if reach is None and not symmetric:
            gap = gap - gap.mean()
        assert gap.abs().mean() < (0.2 * eps if symmetric else 0.02 * potential.std())


@pytest.mark.usefixtures("small_is_large")
def test_a_start_from_a_former_result_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draw(2)
    first = howfar.transport(x, y, eps=0.01, tol=1e-8)
    monkeypatch.setattr(coarse, "guess", lambda _problem, _solver: pytest.fail("a coarse solve was made"))
    assert howfar.transport(x, y, eps=0.01, tol=1e-8, init=first).n_iter <= 2


def test_an_arranged_cloud_answers_in_the_order_of_its_points() -> None:
    x, y = draw(3, 2)
    plain = PointCloud(x.requires_grad_(), y.requires_grad_(), costs.SqEuclidean())
    arranged = plain.arranged()
    eps, h = torch.tensor([0.1, 0.2], dtype=torch.float64), y.detach()[..., 0]
    v = y.detach()[..., :2]
    for side, (potential, values) in {"x": (h, v), "y": (x.detach()[..., 0], x.detach()[..., :2])}.items():
        answers = []
        for cloud in (plain, arranged):
            soft = cloud.softmin(potential, eps, side)
            pair = cloud.softmin_apply(potential, values, eps, side)
            cost = cloud.softmin_cost(potential, eps, side)
            answers.append([soft, *pair, cost, *torch.autograd.grad(soft.sin().sum() + cost.sum(), (x, y))])
        for one, other in zip(*answers, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_neighbours_on_the_curve_are_neighbours_in_space(d: int) -> None:
    side = torch.arange(8.0, dtype=torch.float64)
    grid = torch.cartesian_prod(*[side] * d).reshape(-1, d)
    shuffled = grid[torch.randperm(len(grid), generator=torch.Generator().manual_seed(0))]
    order = spatial_order(shuffled)
    steps = order.points(shuffled).diff(dim=0).abs().sum(-1)
    assert bool((steps == 1).all())
    assert torch.equal(order.undone(order.numbers(shuffled[:, 0])), shuffled[:, 0])


def test_points_that_are_all_one_have_an_order() -> None:
    x = torch.full((5, 3), 1e30)
    assert torch.equal(spatial_order(x).index.sort().values, torch.arange(5))
