"""The bounds hold as numbers, without any allowance, on problems of every kind; and an accuracy asked for is proved."""

import warnings
from dataclasses import dataclass

import pytest
import torch

import howfar

D = torch.float64
COSTS = ("sqeuclidean", "euclidean", "cityblock", "cosine")
KINDS = ("plain", "on a grid", "resampled", "far away", "small", "identical", "large", "one point")


@dataclass(frozen=True)
class Problem:
    x: torch.Tensor
    y: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    cost: str

    def to(self, dtype):
        return Problem(*(t.to(dtype) for t in (self.x, self.y, self.a, self.b)), self.cost)

    def transport(self, **options):
        return howfar.transport(self.x, self.y, a=self.a, b=self.b, cost=self.cost, **options)

    def matrix(self):
        return howfar.costs.resolve(self.cost).matrix(self.x, self.y)


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    whole = lambda low, high: int(torch.randint(low, high + 1, (), generator=generator))
    kind = KINDS[seed % len(KINDS)]
    n, m, d = 1 if kind == "one point" else whole(1, 60), whole(1, 60), whole(1, 6)
    x, y = (torch.randn(k, d, generator=generator, dtype=D) for k in (n, m))
    y = y * (0.2 + 2 * torch.rand((), generator=generator, dtype=D)) + whole(0, 2)
    if kind == "on a grid":
        x, y = x.round(), y.round()
    if kind == "resampled":
        y = x[torch.randint(0, n, (m,), generator=generator)]
    if kind == "identical":
        y, m = x.clone(), n
    shift, factor = {"far away": (1e4, 1.0), "small": (0.0, 1e-4), "large": (0.0, 1e4)}.get(kind, (0.0, 1.0))
    a, b = (weights(k, whole(0, 3), generator) for k in (n, m))
    if kind == "identical" and seed % 2:
        b = a
    return kind, Problem(factor * x + shift, factor * y + shift, a, b, COSTS[whole(0, 3)])


def weights(n, sort, generator):
    w = torch.ones(n, dtype=D) if sort == 0 else torch.rand(n, generator=generator, dtype=D) ** (1 + sort)
    if sort == 3 and n > 2:
        w[n // 2] = 0
    return w / w.sum()


def exact_value(problem):
    """At the points that the dtype holds, and for the weights as shares of the same mass."""
    wide = problem.to(D)
    wide = Problem(wide.x, wide.y, wide.a, wide.b * (wide.a.sum() / wide.b.sum()), wide.cost)
    return wide.transport().value.item()


def check(seed):
    dtype = torch.float32 if seed % 3 == 0 else D
    problem = drawn(seed)[1].to(dtype)
    exact, scale = exact_value(problem), problem.matrix().amax().item()
    # The optimum of the linear programme is itself a sum in float64.
    noise = 1e-15 * scale
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", howfar.NotConverged)
        eps = (1e-3, 1e-2, 0.1, 1.0)[seed % 4] * (problem.matrix().mean().item() or 1.0)
        lower, upper = (bound.item() for bound in problem.transport(eps=eps, max_iter=(2, 2000)[seed // 4 % 2]).bounds)
    assert lower <= exact + noise, (seed, lower - exact)
    assert exact - noise <= upper, (seed, upper - exact)
    lower, upper = (bound.item() for bound in problem.transport(accuracy=0.01).bounds)
    assert lower <= exact + noise, (seed, lower - exact)
    assert exact - noise <= upper, (seed, upper - exact)
    least = 1e-20 + 1e-11 * scale + (1e-6 * scale if dtype is torch.float32 else 0.0)
    assert upper - lower <= 0.01 * abs(lower) + least, (seed, lower, upper)
    lower, upper = (bound.item() for bound in problem.transport().bounds)
    assert lower <= exact <= upper, (seed, lower - exact, upper - exact)


@pytest.mark.parametrize("block", range(4))
def test_bounds_hold_and_accuracy_is_delivered(block):
    for seed in range(20 * block, 20 * block + 20):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_bounds_hold_and_accuracy_is_delivered_on_five_hundred_problems(block):
    for seed in range(1000 + 50 * block, 1050 + 50 * block):
        check(seed)


def test_every_kind_of_problem_is_drawn():
    assert {drawn(seed)[0] for seed in range(8)} == set(KINDS)
    assert {drawn(seed)[1].cost for seed in range(80)} == set(COSTS)
    assert any((drawn(seed)[1].a == 0).any() for seed in range(80))
