"""Iterations: a tenth of those of plain alternation at low temperatures, and never a stall."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import howfar
from howfar.geometry import PointCloud
from howfar.optimal_transport import LinearProblem, Sinkhorn
from howfar.optimal_transport.sinkhorn import _Alternating
from howfar.optimal_transport.solve import solve_entropic

TOL = 1e-4


def clouds(kind: str, n: int, dtype: torch.dtype, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    square = [torch.rand(n, 2, generator=generator, dtype=dtype) for _ in range(2)]
    normal = [torch.randn(n, 2, generator=generator, dtype=dtype) for _ in range(2)]
    return {
        "the same square": (square[0], square[1]),
        "a square beside": (square[0], square[1] + 0.5),
        "a smaller square": (square[0], 0.9 * square[1]),
        "Gaussians": (normal[0], 0.7 * normal[1] + 1.0),
    }[kind]


@pytest.mark.parametrize(
    ("n", "seed"), [(400, 0), *(pytest.param(2000, seed, marks=pytest.mark.slow) for seed in range(3))]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["the same square", "a square beside", "a smaller square", "Gaussians"])
def test_a_tenth_of_plain_alternation(
    kind: str, dtype: torch.dtype, n: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    softmin = PointCloud.softmin

    def counted(self: PointCloud, *arguments: object) -> Tensor:
        nonlocal calls
        calls += 1
        return softmin(self, *arguments)  # type: ignore[arg-type]

    x, y = clouds(kind, n, dtype, seed)
    weights = torch.full((n,), 1 / n, dtype=dtype)
    eps = 1e-3 * torch.cdist(x, y).square().mean()
    problem = LinearProblem(PointCloud(x, y), weights, weights, eps)
    monkeypatch.setattr(PointCloud, "softmin", counted)
    _, solution, solved = solve_entropic(problem, Sinkhorn(tol=TOL))
    assert bool((solution.marginal_error <= TOL).all())
    pairs = (calls + 1) // 2

    plain, g = _Alternating(solved), torch.zeros_like(solved.b)
    for _ in range(10 * pairs):
        step = plain.step(g)
        g = step.image
    assert step.error > TOL


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "seeds"), [(4, (3, 7, 22)), (7, (25, 28, 36)), (30, (6, 24))])
def test_mass_that_has_far_to_go_arrives(n: int, seeds: tuple[int, ...], dtype: torch.dtype, backend: str) -> None:
    """Few uneven points at .2 % of the largest cost: potentials drift by hundreds of temperatures, step by equal step."""
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        x, y = (k * torch.randn(n, 2, generator=generator, dtype=torch.float64) for k in (1, 2))
        a, b = (torch.rand(n, generator=generator, dtype=torch.float64) for _ in range(2))
        problem = (t.to(dtype) for t in (x, y, a / a.sum(), b / b.sum()))
        points, others, mass, other = problem
        result = howfar.transport(points, others, a=mass, b=other, eps=0.05, backend=backend)
        assert result.converged
