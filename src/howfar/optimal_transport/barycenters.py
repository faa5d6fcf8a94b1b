"""Wasserstein barycentres: points that move, or weights on points that stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks, costs
from howfar._errors import DomainError, NotConverged, complaint, warn
from howfar.geometry import Geometry, between
from howfar.measure import Measure
from howfar.ops.soft_minimum import CostLike
from howfar.optimal_transport import exact, solve
from howfar.optimal_transport.averaging import weighted_clouds
from howfar.optimal_transport.problem import LinearProblem
from howfar.optimal_transport.sinkhorn import Sinkhorn
from howfar.optimal_transport.status import Status

_AT_REST = 1e-4
"""Of the clouds' extent, or of the mass: the objective is then right to about its square."""


@dataclass(frozen=True)
class Barycenter:
    """The mean of measures in the geometry of transport.

    Attributes:
        points: (..., k, d), in units of the data; a constant.
        weights: (..., k), they sum to one; a constant.
        objective: (...) sum_i weights_i OT(barycentre, cloud_i), in units of the cost; with a temperature, OT is the
            Sinkhorn divergence.
        status: how the iteration ended.
        n_iter: iterations.
    """

    points: Tensor
    weights: Tensor
    objective: Tensor
    status: Status
    n_iter: int

    @property
    def converged(self) -> bool:
        """Whether it came to rest."""
        return self.status is Status.RESTED


def barycenter(
    clouds: Sequence[Any],
    weights: Any = None,
    *,
    a: Sequence[Any] | None = None,
    n_support: int | None = None,
    support: Any = None,
    cost: CostLike = "sqeuclidean",
    eps: float | Tensor | None = None,
    blur: float | None = None,
    tol: float | None = None,
    max_iter: int = 1000,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Barycenter:
    """The measure B that minimises sum_i weights_i OT(B, cloud_i), OT the squared Wasserstein distance or its debiased form.

    Free support (default): `n_support` points of equal weight move to the mean of their images under the plans to
    every cloud, until they rest (Cuturi & Doucet 2014, Alvarez-Esteban et al. 2016). Without a temperature the plans
    are exact; with one, OT is the Sinkhorn divergence, whose pull on itself keeps the points from shrinking together.
    The points found depend on where they start, at points drawn from the clouds, as the problem is not convex.

    Fixed support: with `support` the points stay and their weights are found, by the debiased scheme of Janati, Cuturi
    & Gramfort (2020); this problem is convex, and needs a temperature.

    Args:
        clouds: points (..., n_i, d), or `Measure` objects, one for each cloud.
        weights: how much each cloud counts, one number each; equal when left out; they sum to one.
        a: for each cloud the weights (..., n_i) of its points, or None.
        n_support: how many points B has; as many as the largest cloud when left out.
        support: points (..., k, d) on which B lives, instead of n_support.
        cost: of a fixed support, symmetric; free points need the squared Euclidean one.
        eps: entropic strength in units of the cost.
        blur: eps ** (1 / p) in units of the data, p the degree of the cost; instead of eps.
        tol: stop when no point moves by more than this share of the clouds' extent, or the weights of a fixed support
            by this much in sum; 1e-4 when left out.
        max_iter: most iterations.
        generator: of the start.
        backend: passed to the ops.

    Returns:
        A `Barycenter`. A warning says so when it did not converge.

    Raises:
        ShapeError, DomainError: naming the argument and the fix.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> howfar.barycenter([x, x + 4], n_support=2).points.sort(0).values
        tensor([[2., 2.],
                [3., 2.]])
    """
    _checks.refuse_transforms("barycenter")
    sides, share = weighted_clouds(clouds, weights, a)
    max_iter = _checks.check_count(max_iter, "max_iter")
    dtype = torch.promote_types(sides[0].points.dtype, torch.float32)
    sides = [Measure(m.points.detach().to(dtype), m.weights.detach().to(dtype), m.uniform) for m in sides]
    share = share.to(sides[0].points)
    solver = Sinkhorn(tol=None if tol is None else min(_checks.check_positive(tol, "tol"), Sinkhorn().promised(dtype)))
    ground = costs.resolve(cost)
    if support is None:
        if not isinstance(ground, costs.SqEuclidean):
            fix = "Pass support=..., points that stay."
            raise DomainError(complaint("cost", "'sqeuclidean' for points that move", repr(ground.name), fix))
        points = _start(sides, share, n_support, generator)
        problems = _Problems(sides, share, ground, eps, blur, solver, backend)
        found = _moved(problems, points, _AT_REST if tol is None else tol, max_iter)
    else:
        if n_support is not None:
            fix = "Leave it out: the support says how many."
            raise DomainError(complaint("n_support", "nothing beside support", str(n_support), fix))
        points = _checks.check_points(support, "support").detach().to(dtype)
        _checks.check_same_space(sides[0].points, points, "clouds[0]", "support")
        points = points.expand(*sides[0].batch, *points.shape[-2:])
        problems = _Problems(sides, share, ground, eps, blur, solver, backend)
        found = _weighted(problems, points, _AT_REST if tol is None else tol, max_iter)
    if not found.converged:
        warn(f"barycenter did not converge. {found.status.message}", NotConverged)
    return found


class _Problems:
    """The transport problems of one barycentre, each started from its last solution."""

    def __init__(
        self,
        sides: Sequence[Measure],
        share: Tensor,
        ground: costs.Cost,
        eps: Any,
        blur: Any,
        solver: Sinkhorn,
        backend: str,
    ) -> None:
        self.sides, self.share, self.ground, self.solver, self.backend = sides, share, ground, solver, backend
        self._eps, self._blur = eps, blur
        self._starts: dict[int, Tensor] = {}
        self._own: Tensor | None = None

    def between(self, x: Tensor, y: Tensor) -> Geometry:
        return between(x, y, self.ground, self.backend)

    def temperature(self, points: Tensor, weights: Tensor, *, needed: bool) -> Tensor | None:
        geometry, side = self.between(points, self.sides[0].points), self.sides[0]
        if isinstance(self._eps, str):
            raise DomainError(
                complaint("eps", "a number", repr(self._eps), "The barycentre has no cost before it is found.")
            )
        given = self._eps, self._blur, geometry, weights, side.weights
        return solve.required_temperature(*given) if needed else solve.temperature(*given)

    def objective(self, points: Tensor, weights: Tensor, eps: Tensor | None) -> Tensor:
        """sum_i share_i OT(points, cloud_i), differentiable in the points."""
        total = torch.zeros_like(points[..., 0, 0])
        for i, (share, side) in enumerate(zip(self.share, self.sides, strict=True)):
            geometry = self.between(points, side.points)
            if eps is None:
                problem = LinearProblem(geometry, weights, side.weights, total.detach() * 0)
                total = total + share * exact.solve(problem)[0]
            else:
                total = total + share * self._entropic(i, LinearProblem(geometry, weights, side.weights, eps))
        if eps is None:
            return total
        geometry = self.between(points, points)
        own = self._entropic(-1, LinearProblem(geometry, weights, weights, eps, symmetric=True))
        if self._own is None:
            self._own = torch.stack([s * self._alone(m, eps) for s, m in zip(self.share, self.sides, strict=True)]).sum(
                0
            )
        return total - 0.5 * own - 0.5 * self._own

    def _entropic(self, key: int, problem: LinearProblem) -> Tensor:
        value, solution, _ = solve.solve_entropic(problem, self.solver, self._starts.get(key))
        self._starts[key] = solution.g
        return value

    def _alone(self, side: Measure, eps: Tensor) -> Tensor:
        geometry = self.between(side.points, side.points)
        problem = LinearProblem(geometry, side.weights, side.weights, eps, symmetric=True)
        return solve.solve_entropic(problem, self.solver)[0]


def _start(sides: Sequence[Measure], share: Tensor, count: Any, generator: torch.Generator | None) -> Tensor:
    """(..., count, d): points drawn from the mixture of the clouds, each at most once where there are enough."""
    _checks.check_generator(generator)
    count = max(m.n for m in sides) if count is None else _checks.check_count(count, "n_support")
    points = torch.cat([m.points for m in sides], -2)
    masses = torch.cat([s * m.weights for s, m in zip(share, sides, strict=True)], -1)
    device = points.device if generator is None else generator.device
    flat = masses.reshape(-1, masses.shape[-1]).to(device)
    again = bool(((flat > 0).sum(-1) < count).any())
    drawn = torch.multinomial(flat, count, replacement=again, generator=generator).to(points.device)
    drawn = drawn.reshape(*masses.shape[:-1], count, 1)
    return points.gather(-2, drawn.expand(*drawn.shape[:-1], points.shape[-1]))


def _moved(problems: _Problems, points: Tensor, tol: float, max_iter: int) -> Barycenter:
    """Points that step to the mean of their images; a step that raised the objective is halved.

    With weights a_k the step is -1 / (2 a_k) of the gradient: for exact plans, the image itself.
    """
    count = points.shape[-2]
    weights = points.new_full((), 1 / count).expand(points.shape[:-1])
    eps = problems.temperature(points, weights, needed=False)
    everything = torch.cat([m.points for m in problems.sides], -2)
    extent = (everything.amax(-2) - everything.amin(-2)).amax(-1)
    reach, active = torch.ones_like(extent), torch.ones_like(extent, dtype=torch.bool)
    best, lowest, downhill = points, torch.full_like(extent, torch.inf), torch.zeros_like(points)
    n_iter, status = 0, Status.MOVING
    while n_iter < max_iter and status is Status.MOVING:
        n_iter += 1
        leaf = points.detach().requires_grad_()
        with torch.enable_grad():
            value = problems.objective(leaf, weights, eps)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        value = value.detach()
        lower = active & (value <= lowest)
        chosen = lower[..., None, None]
        best, downhill = torch.where(chosen, points, best), torch.where(chosen, -0.5 * count * gradient, downhill)
        lowest = torch.where(lower, value, lowest)
        reach = torch.where(lower, reach, 0.5 * reach)
        step = reach[..., None, None] * downhill
        points = best + step
        active = active & (step.norm(dim=-1).amax(-1) > tol * extent)
        if not bool(active.any()):
            status = Status.RESTED
    return Barycenter(best, weights, lowest, status, n_iter)


@torch.no_grad()
def _weighted(problems: _Problems, points: Tensor, tol: float, max_iter: int) -> Barycenter:
    """Weights on fixed points: scalings to every cloud, and one of the barycentre with itself, in the log domain.

    For each cloud exp(v / eps) scales the points and exp(u / eps) the cloud. The barycentre is, in logarithms, the
    mean of what the clouds want of each point plus d, which takes out the blur that the kernel put in.
    """
    uniform = points.new_full((), 1 / points.shape[-2]).expand(points.shape[:-1])
    eps = problems.temperature(points, uniform, needed=True)
    assert eps is not None
    wide = eps.unsqueeze(-1)
    across = [problems.between(points, m.points) for m in problems.sides]
    own = problems.between(points, points)
    logs = [wide * torch.log(m.weights) for m in problems.sides]
    v = [torch.zeros_like(uniform) for _ in across]
    d, now = torch.zeros_like(uniform), uniform
    active = torch.ones_like(eps, dtype=torch.bool)
    n_iter, status = 0, Status.MOVING
    while n_iter < max_iter and status is Status.MOVING:
        n_iter += 1
        soft = [
            g.softmin(log + g.softmin(own_v, eps, "y"), eps, "x") for g, log, own_v in zip(across, logs, v, strict=True)
        ]
        log_now = d - torch.stack([s * t for s, t in zip(problems.share, soft, strict=True)]).sum(0)
        v = [log_now + t for t in soft]
        d = 0.5 * (d + log_now + own.softmin(d, eps, "x"))
        before, now = now, torch.softmax(log_now / wide, -1)
        now = torch.where(active.unsqueeze(-1), now, before)
        active = active & ((now - before).abs().sum(-1) > tol)
        if not bool(active.any()):
            status = Status.RESTED
    return Barycenter(points, now, problems.objective(points, now, eps), status, n_iter)
