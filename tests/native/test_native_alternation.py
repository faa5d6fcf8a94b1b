"""The alternation in cache takes the steps of the solver: the same potentials and errors after the same iterations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import howfar
from howfar import _native, costs
from howfar.geometry import DenseCost, PointCloud
from howfar.ops.alternation import Alternated, Weighing
from howfar.optimal_transport import LinearProblem
from howfar.optimal_transport.marginals import Marginal
from howfar.optimal_transport.sinkhorn import _Alternating, _fixed_point, _start

COSTS: list[costs.Cost] = [
    costs.SqEuclidean(), costs.Euclidean(), costs.CityBlock(), costs.Minkowski(3), costs.Cosine(),
    costs.Power(costs.Euclidean(), 1.5),
]  # fmt: skip
NEVER = 1e-300


@dataclass(frozen=True)
class Drawn:
    """A problem and how far to take it, from one seed."""

    cost: costs.Cost = COSTS[0]
    batch: tuple[int, ...] = ()
    n: int = 5
    m: int = 7
    d: int = 3
    sharpness: float = 10.0
    reach: float | None = None
    empty: float = 0.0
    explicit: bool = False
    symmetric: bool = False
    annealed: bool = True
    count: int = 10
    seed: int = 0

    def problem(self, dtype: torch.dtype) -> LinearProblem:
        generator = torch.Generator().manual_seed(self.seed)
        draw = lambda *shape: torch.randn(*self.batch, *shape, generator=generator, dtype=torch.float64)
        x = draw(self.n, self.d)
        y = x if self.symmetric else 0.8 * draw(self.m, self.d) + 0.3
        a, b = (self.weights(generator, n) for n in (self.n, self.m))
        geometry: Any = PointCloud(x.to(dtype), y.to(dtype), self.cost)
        eps = geometry.scale() / self.sharpness
        eps = torch.where(eps * self.sharpness > 1e-6, eps, 1.0)
        rho = None if self.reach is None else float(geometry.scale().amax()) * self.reach + 1e-3
        if self.explicit:
            geometry = DenseCost(geometry.matrix())
        b = a if self.symmetric else b
        return LinearProblem(geometry, a.to(dtype), b.to(dtype), eps, (Marginal(rho), Marginal(rho)), self.symmetric)

    def weights(self, generator: torch.Generator, n: int) -> Tensor:
        drawn = torch.rand(*self.batch, n, generator=generator, dtype=torch.float64) + 0.1
        gone = torch.rand(*self.batch, n, generator=generator) < self.empty
        gone[..., 0] = False
        drawn = torch.where(gone, 0, drawn)
        return drawn / drawn.sum(-1, keepdim=True)

    def start(self, problem: LinearProblem) -> Tensor:
        return problem.scale if self.annealed and not self.symmetric else problem.eps


def attempted(problem: LinearProblem, start: Tensor, count: int, tol: float = NEVER) -> Alternated | None:
    g = torch.zeros_like(problem.b)
    task = Weighing(
        problem.a, problem.b, g, start, problem.eps, problem.marginals[0].rho, problem.symmetric, tol, count
    )
    assert isinstance(problem.geometry, PointCloud | DenseCost)
    return problem.geometry.alternate(task)


def alternated(problem: LinearProblem, start: Tensor, count: int, tol: float = NEVER) -> Alternated:
    found = attempted(problem, start, count, tol)
    assert found is not None
    return found


def stepped(problem: LinearProblem, start: Tensor, iterations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(f, g, error) by the steps of the solver, each element of the batch as many as it was given."""
    fixed_point = _fixed_point(problem)
    point = _start(problem, start)
    f, g, error = torch.zeros_like(problem.a), torch.zeros_like(problem.b), torch.zeros_like(problem.eps)
    for k in range(int(iterations.max())):
        step = fixed_point.step(point)
        running = iterations > k
        f, g = torch.where(running[..., None], step.f, f), torch.where(running[..., None], step.g, g)
        error, point = torch.where(running, step.error, error), step.image
    return f, g, error


def same(drawn: Drawn, dtype: torch.dtype) -> Alternated | None:
    """Against the steps in float64, to the rounding of the cost in the dtype, which the temperature divides."""
    narrow = drawn.problem(dtype)
    problem = drawn.problem(torch.float64)
    problem = replace(problem, eps=narrow.eps.double(), marginals=narrow.marginals)
    found = attempted(narrow, drawn.start(narrow), drawn.count)
    if found is None:
        # Potentials of points without weight that are far from any update leave the range of the kernel, and say so.
        assert not drawn.annealed
        assert drawn.empty
        assert drawn.sharpness > 20
        return None
    f, g, error = stepped(problem, drawn.start(narrow).double(), found.iterations)
    rounding = torch.finfo(dtype).eps * (drawn.d**0.5 + 12 + drawn.count)
    scale = float(problem.scale.amax()) + float(problem.eps.amax())
    assert (found.f - f).abs().max() <= 2 * rounding * scale
    assert (found.g - g).abs().max() <= 2 * rounding * scale
    assert bool(((found.error - error).abs() <= 8 * rounding * (1 + drawn.sharpness)).all())
    return found


problems = st.builds(
    Drawn,
    cost=st.sampled_from(COSTS),
    batch=st.sampled_from([(), (1,), (3,), (2, 2)]),
    n=st.integers(1, 70),
    m=st.integers(1, 70),
    d=st.integers(1, 20),
    sharpness=st.floats(0.01, 300),
    reach=st.none() | st.floats(0.2, 10),
    empty=st.sampled_from([0.0, 0.3]),
    explicit=st.booleans(),
    symmetric=st.just(False),
    annealed=st.booleans(),
    count=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
symmetric_problems = problems.map(lambda drawn: replace(drawn, symmetric=True, m=drawn.n))


@settings(max_examples=40, deadline=None)
@given(drawn=problems | symmetric_problems, dtype=st.sampled_from([torch.float32, torch.float64]))
@example(drawn=Drawn(sharpness=1000, count=60, n=70, m=70), dtype=torch.float64)
@example(drawn=Drawn(sharpness=1000, count=60, n=70, m=70, reach=0.05), dtype=torch.float64)
@example(drawn=Drawn(cost=costs.Minkowski(1.5), d=80, n=33, m=64), dtype=torch.float32)
def test_the_steps_are_those_of_the_solver(drawn: Drawn, dtype: torch.dtype) -> None:
    same(drawn, dtype)


@pytest.fixture(params=_native.instruction_sets() if _native.why_unavailable() is None else ())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    name = str(request.param)
    bits = {name: bit for bit, name in _native._ISA_NAMES.items()}
    before = _native.instruction_set()
    assert _native.library().howfar_use(bits[name]) == bits[name]
    yield name
    _native.library().howfar_use(bits[str(before)])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reach", [None, 0.5])
@pytest.mark.parametrize("symmetric", [False, True])
def test_on_every_instruction_set(dtype: torch.dtype, reach: float | None, symmetric: bool) -> None:
    found = same(Drawn(batch=(2,), n=67, m=67, empty=0.2, reach=reach, symmetric=symmetric, sharpness=40), dtype)
    assert found is not None
    assert found.iterations.tolist() == [10, 10]


def test_each_problem_stops_by_itself_and_at_the_error_it_states() -> None:
    drawn = Drawn(batch=(6,), n=40, m=30)
    problem = drawn.problem(torch.float64)
    problem = replace(problem, eps=problem.eps * torch.logspace(0, 2, 6, dtype=torch.float64))
    found = alternated(problem, problem.scale, 500, tol=1e-5)
    assert bool((found.error <= 1e-5).all())
    assert len(set(found.iterations.tolist())) > 2
    for k in range(6):
        one = LinearProblem(PointCloud(*(t[k] for t in problem.geometry.tensors())), problem.a[k], problem.b[k],
                            problem.eps[k])  # fmt: skip
        alone = alternated(one, problem.scale[k], 500, tol=1e-5)
        assert torch.equal(alone.f, found.f[k])
        assert int(alone.iterations) == int(found.iterations[k])
        before = stepped(one, problem.scale[k], alone.iterations - 1)[2]
        assert before > 1e-5 or int(alone.iterations) == 1


def test_who_converges_too_slowly_leaves_early() -> None:
    problem = Drawn(n=60, m=60, d=2, sharpness=3000).problem(torch.float64)
    found = alternated(problem, problem.scale, 1000, tol=1e-9)
    assert 32 <= int(found.iterations) < 200
    assert found.error > 1e-9


def test_the_bits_depend_neither_on_threads_nor_on_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Drawn(batch=(9,), n=50, m=40, sharpness=50).problem(torch.float32)
    whole = alternated(problem, problem.scale, 50)
    for threads in (2, 5):
        monkeypatch.setattr(_native, "threads", lambda threads=threads: threads)
        assert torch.equal(alternated(problem, problem.scale, 50).f, whole.f)
    monkeypatch.setattr("howfar.ops.alternation._SECONDS", 1e-9)
    assert torch.equal(alternated(problem, problem.scale, 50).f, whole.f)


@pytest.mark.parametrize("weight", [0.0, 1e-30, 1e-38])
def test_what_leaves_the_range_of_the_kernel_goes_by_the_steps(weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.rand(20, 2), torch.rand(30, 2)
    a = torch.full((20,), weight)
    a[7] = 1.0
    former = howfar.transport(x, y, a=a, eps=100.0)
    # Far from those of so low a temperature.
    start = replace(former, solution=(torch.zeros(20), torch.zeros(30)))
    declined: list[bool] = []
    alternate = PointCloud.alternate

    def spy(self: PointCloud, task: Weighing) -> Alternated | None:
        found = alternate(self, task)
        declined.append(found is None)
        return found

    monkeypatch.setattr(PointCloud, "alternate", spy)
    r = howfar.transport(x, y, a=a, eps=0.005, init=start)
    assert declined == [True]
    assert r.converged
    truth = howfar.transport(x.double(), y.double(), a=a.double(), eps=0.005, backend="reference")
    torch.testing.assert_close(r.value.double(), truth.value, rtol=1e-5, atol=0)


def test_a_solve_begins_in_cache_and_says_how_many_iterations_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.rand(4, 30, 3, dtype=torch.float64), torch.rand(4, 30, 3, dtype=torch.float64)
    here = howfar.transport(x, y, eps=0.1)
    monkeypatch.setattr(_Alternating, "step", None)
    again = howfar.transport(x, y, eps=0.1)
    assert again.converged
    assert torch.equal(here.value, again.value)
    assert 2 < again.n_iter < 200
    assert bool((again.marginal_error <= 1e-6).all())
