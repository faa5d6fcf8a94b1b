"""Claim: a batch of small entropic problems, as a training step has it, runs inside the processor's cache.

64 problems of 128 against 128 points in 16 dimensions, eps a twentieth of the mean cost: 50 iterations of the same
kind as everyone's, and then value and gradient at a marginal error of 1e-3. GeomLoss halves the cost: its blur is
sqrt(eps / 2), its potentials are half of ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import howfar
from benchmarks.harness import Contender, Job
from benchmarks.marginals import loosest, marginal_error
from howfar.geometry import PointCloud
from howfar.ops.alternation import Weighing
from howfar.optimal_transport.problem import LinearProblem
from howfar.optimal_transport.sinkhorn import Sinkhorn

_BUDGET = 1e-3
_ITERATIONS = 50

Potentials = tuple[Tensor, Tensor]


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:  # noqa: ARG001
    """Both halves of the claim, on the same points."""
    batch, n, d = (4, 16, 3) if tiny else (64, 128, 16)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(batch, n, d, generator=generator) for _ in range(2))
    eps = 0.05 * d / 6
    title = f"{batch} problems, n = m = {n}, d = {d}, float32"
    yield fixed_iterations(title, x, y, eps)
    yield converged(title, x, y, eps)


def fixed_iterations(title: str, x: Tensor, y: Tensor, eps: float) -> Job:
    """Potentials after 50 iterations from zero; GeomLoss lowers its temperature in as many."""
    weights = x.new_full(x.shape[:2], 1 / x.shape[1])
    all_eps = x.new_full(x.shape[:1], eps)
    task = Weighing(weights, weights, torch.zeros_like(weights), all_eps, all_eps, None, False, 0.0, _ITERATIONS)
    solver = Sinkhorn(max_iter=_ITERATIONS, potential_tol=1e-30)
    clouds = PointCloud(x, y, howfar.costs.SqEuclidean())

    def ours() -> Potentials:
        inside = clouds.alternate(task)
        solution = solver.solve(LinearProblem(clouds, weights, weights, all_eps)) if inside is None else inside
        return solution.f, solution.g

    diameter, blur = math.sqrt(x.shape[-1]), math.sqrt(eps / 2)
    # Before and after its temperatures come one softmin on either side each.
    scaling = (blur / diameter) ** (1 / (_ITERATIONS - 4))
    return Job(
        title=f"{_ITERATIONS} Sinkhorn iterations, {title}",
        dtype=x.dtype,
        contenders=[
            Contender("howfar", ours),
            Contender(
                "GeomLoss, tensorized",
                lambda: geomloss_potentials(x, y, blur, scaling, diameter),
                needs=("geomloss",),
                at_least=10.0,
            ),
            Contender("torch, plain loop", lambda: plain(x, y, eps, _ITERATIONS)[1]),
        ],
        error=lambda potentials: marginal_error(x, y, *potentials, eps),
        budget=0.1,
        error_is="of the marginals, L1",
        pairs=2.0 * _ITERATIONS * x.shape[0] * x.shape[1] ** 2,
    )


def converged(title: str, x: Tensor, y: Tensor, eps: float) -> Job:
    """Value and gradient in x, everyone at the loosest setting that keeps the marginal error."""
    points = x.clone().requires_grad_()

    def gradient(value: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(value().sum(), points)[0]

    ours = lambda z: howfar.transport(z, y, eps=eps, tol=0.9 * _BUDGET)
    error = lambda potentials: marginal_error(x, y, *potentials, eps)
    diameter, blur = math.sqrt(x.shape[-1]), math.sqrt(eps / 2)
    by_geomloss = lambda s: error(geomloss_potentials(x, y, blur, s, diameter))
    by_pot = lambda tol: plan_error(pot(x, y, eps, tol).plan)
    by_plain = lambda count: error(plain(x, y, eps, count)[1])
    # Where none keeps the error, the last comes nearest to it.
    scaling = loosest((0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99), by_geomloss, _BUDGET)
    tolerance = loosest((1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6), by_pot, _BUDGET)
    count = loosest((5, 10, 20, 50, 100, 200, 400), by_plain, _BUDGET)
    return Job(
        title=f"entropic cost and its gradient, {title}",
        dtype=x.dtype,
        contenders=[
            Contender("howfar", gradient(lambda: ours(points).value), check=lambda: error(ours(x).potentials)),
            *(
                Contender(
                    f"GeomLoss, tensorized, scaling {s:g}{said}",
                    gradient(lambda s=s: geomloss_value(points, y, blur, s, diameter)),
                    needs=("geomloss",),
                    check=lambda s=s: by_geomloss(s),
                    at_defaults=True,
                    at_least=claim,
                )
                for s, said, claim in ((0.5, ", its default", None), (scaling, "", 10.0))
            ),
            Contender(
                f"POT, batch, tol {tolerance:g}",
                gradient(lambda: pot(points, y, eps, tolerance).value),
                needs=("ot",),
                check=lambda: by_pot(tolerance),
                at_least=10.0,
            ),
            Contender(
                f"torch, unrolled, {count} iterations",
                gradient(lambda: plain(points, y, eps, count)[0]),
                check=lambda: by_plain(count),
                at_least=10.0,
            ),
        ],
        error=lambda _: 0.0,
        budget=_BUDGET,
        error_is="of the marginals, L1",
    )


def plain(x: Tensor, y: Tensor, eps: float, count: int) -> tuple[Tensor, Potentials]:
    """The widely copied loop: the matrix once, log-sum-exps over it; <P, C> (...) and the potentials."""
    cost = torch.cdist(x, y).square()
    log_n, log_m = math.log(x.shape[-2]), math.log(y.shape[-2])
    f, g = cost.new_zeros(cost.shape[:-1]), cost.new_zeros(*cost.shape[:-2], cost.shape[-1])
    for _ in range(count):
        f = -eps * (torch.logsumexp((g.unsqueeze(-2) - cost) / eps, -1) - log_m)
        g = -eps * (torch.logsumexp((f.unsqueeze(-1) - cost) / eps, -2) - log_n)
    plan = torch.exp((f.unsqueeze(-1) + g.unsqueeze(-2) - cost) / eps) / (x.shape[-2] * y.shape[-2])
    return (plan * cost).sum((-2, -1)), (f, g)


def geomloss_potentials(x: Tensor, y: Tensor, blur: float, scaling: float, diameter: float) -> Potentials:
    """Its potentials, in units of our cost."""
    f, g = _samples_loss(blur, scaling, diameter, potentials=True)(x, y)
    return 2 * f, 2 * g


def geomloss_value(x: Tensor, y: Tensor, blur: float, scaling: float, diameter: float) -> Tensor:
    """Its value (...), in units of our cost."""
    value: Tensor = 2 * _samples_loss(blur, scaling, diameter, potentials=False)(x, y)
    return value


def _samples_loss(blur: float, scaling: float, diameter: float, *, potentials: bool) -> Any:
    from geomloss import SamplesLoss

    return SamplesLoss(
        "sinkhorn", p=2, blur=blur, scaling=scaling, diameter=diameter, debias=False, potentials=potentials,
        backend="tensorized",
    )  # fmt: skip


def pot(x: Tensor, y: Tensor, eps: float, tol: float) -> Any:
    """Its result on the batch."""
    from ot.batch import solve_sample_batch

    return solve_sample_batch(x, y, reg=eps, max_iter=1000, tol=tol, method="log_sinkhorn")


def plan_error(plan: Tensor) -> float:
    """The larger L1 error of the two marginals of a uniform plan, the worst of a batch."""
    plan = plan.detach().double()
    gaps = [(plan.sum(axis) - 1 / plan.shape[other]).abs().sum(-1) for axis, other in ((-1, -2), (-2, -1))]
    return float(torch.maximum(*gaps).max())
