"""Potentials kept between the calls of a module: fewer iterations, the same number, and nothing else changed."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch.testing import assert_close

import howfar
from howfar.nn import SinkhornDivergence
from howfar.optimal_transport.sinkhorn import Sinkhorn, Solution

OPTIONS = {"eps": 0.01, "tol": 1e-8}


@pytest.fixture
def iterations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each solve, in the order in which they are made."""
    counts: list[int] = []
    solve = Sinkhorn.solve

    def spy(self: Sinkhorn, *arguments: object) -> Solution:
        solution: Solution = solve(self, *arguments)  # type: ignore[arg-type]
        counts.append(solution.n_iter)
        return solution

    monkeypatch.setattr(Sinkhorn, "solve", spy)
    return counts


def clouds(*batch: int, n: int = 40, m: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x, y = (torch.rand(*batch, k, 2, generator=generator, dtype=torch.float64) for k in (n, m))
    return x, 0.8 * y


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("options", [OPTIONS, {"blur": 0.1, "reach": 0.5, "tol": 1e-8}])
def test_a_second_call_takes_fewer_iterations_to_the_same_number(iterations, batch, options):
    x, y = clouds(*batch)
    loss = SinkhornDivergence(warm_start=True, **options)
    loss(x, y)
    first = iterations.copy()
    iterations.clear()
    moved = x + 1e-3
    value = loss(moved, y)
    assert len(iterations) == len(first) == 3
    assert sum(iterations) < 0.8 * sum(first)
    iterations.clear()
    again = loss(moved, y)
    assert max(iterations) <= 2
    expected = howfar.sinkhorn_divergence(moved, y, **options)
    assert_close(value, expected, rtol=1e-6, atol=1e-10)
    assert_close(again, expected, rtol=1e-6, atol=1e-10)


def test_derivatives_are_those_of_a_cold_start():
    x, y = clouds()
    loss = SinkhornDivergence(warm_start=True, reduction="mean", **OPTIONS)
    x.requires_grad_()
    loss(x.detach() + 0.01, y)
    warm = torch.autograd.grad(loss(x, y), x, create_graph=True)[0]
    cold = torch.autograd.grad(howfar.sinkhorn_divergence(x, y, **OPTIONS), x, create_graph=True)[0]
    assert_close(warm, cold, rtol=1e-5, atol=1e-9)
    seconds = [torch.autograd.grad(gradient.square().sum(), x)[0] for gradient in (warm, cold)]
    assert_close(*seconds, rtol=1e-4, atol=1e-8)


def test_what_is_kept_is_no_part_of_the_graph_nor_of_the_state():
    x, y = clouds()
    loss = SinkhornDivergence(warm_start=True, **OPTIONS)
    loss(x.requires_grad_(), y)
    assert all(not g.requires_grad for g in loss._potentials)
    assert loss.state_dict() == {}
    assert list(loss.parameters()) == list(loss.buffers()) == []
    other = copy.deepcopy(loss)
    assert_close(other(x, y), loss(x, y), rtol=1e-7, atol=1e-12)
    loss.load_state_dict(other.state_dict())


def test_another_shape_or_dtype_starts_anew(iterations):
    x, y = clouds()
    loss = SinkhornDivergence(warm_start=True, **OPTIONS)

    def counts(*sides: torch.Tensor) -> list[int]:
        iterations.clear()
        loss(*sides)
        return iterations.copy()

    cold = counts(x, y)
    assert max(counts(x, y)) <= 2
    for sides in ((x[:-1], y), (x, y[:-1]), (x.expand(2, 40, 2), y), (x.float(), y.float())):
        iterations.clear()
        howfar.sinkhorn_divergence(*sides, **OPTIONS)
        anew = iterations.copy()
        assert counts(*sides) == anew
        assert max(counts(*sides)) <= 2
        loss.reset()
    counts(x, y)
    loss.reset()
    assert counts(x, y) == cold


def test_nothing_is_kept_unless_asked(iterations):
    x, y = clouds()
    loss = SinkhornDivergence(**OPTIONS)
    loss(x, y)
    first = iterations.copy()
    loss(x, y)
    assert iterations == [*first, *first]


def test_nothing_is_kept_inside_of_a_transform():
    x, y = clouds()
    loss = SinkhornDivergence(warm_start=True, **OPTIONS)
    gradient = torch.func.grad(lambda x: loss(x, y))(x)
    assert loss._potentials is None
    assert gradient.shape == x.shape


def test_a_training_loop_takes_fewer_iterations(iterations):
    counts: list[tuple[int, float]] = []
    for warm in (False, True):
        x, y = clouds()
        x.requires_grad_()
        loss = SinkhornDivergence(warm_start=warm, eps=0.01, tol=1e-4)
        optimizer = torch.optim.SGD([x], lr=0.1)
        iterations.clear()
        for _ in range(10):
            optimizer.zero_grad()
            value = loss(x, y)
            value.backward()
            optimizer.step()
        counts.append((sum(iterations), value.item()))
    (cold, cold_value), (warm, warm_value) = counts
    assert warm < 0.8 * cold
    assert warm_value == pytest.approx(cold_value, rel=1e-3)


@pytest.mark.parametrize("n", [20, 600])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options", [{}, {"blur": 0.3}, {"blur": 0.2, "reach": 0.5}, {"eps": 0.1, "reach": 0.3, "penalty": "tv"}]
)
def test_potentials_of_far_larger_or_smaller_costs_do_no_harm(n, dtype, options):
    # Where mass is rather left out, potentials at rest in no mass are what may deceive.
    scales = (1.0, 1e3) if "penalty" in options else (1e3, 1.0)
    generator = torch.Generator().manual_seed(0)
    loss = SinkhornDivergence(warm_start=True, max_iter=200, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", howfar.NotConverged)
        for scale in scales:
            x, y = (scale * torch.randn(n, 2, generator=generator, dtype=dtype) for _ in range(2))
            value = loss(x, y + 0.3 * scale)
    expected = howfar.sinkhorn_divergence(x, y + 0.3 * scale, **(options or {"eps": "auto"}))
    assert_close(value, expected, rtol=2e-3, atol=1e-5)
