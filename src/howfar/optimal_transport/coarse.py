"""From coarse to fine: a first guess of the potentials of large clouds, from clouds that stand for them.

Every run of points becomes one point with the mass of the run: in few dimensions the mean of the run, along a curve
that keeps neighbours together, else its first point. The potentials of these clouds extend to all points by one
soft minimum. The guess is only where the solver starts: what it promises is measured on all points.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from howfar.geometry import PointCloud, Side
from howfar.geometry.spatial_order import unchanged
from howfar.optimal_transport.problem import LinearProblem
from howfar.optimal_transport.sinkhorn import Sinkhorn, Solution

_MOST_FEATURES = 3
"""Of points that have neighbours along a curve."""
_MANY_PAIRS = 2**23
"""Below, a solve takes less time than what it would start from."""
_FEWEST = 256
"""Points of the smaller side, below which there is little to leave out of it."""
_FAR = 128.0
"""The largest cost in units of the temperature, from which on far points say nothing to each other."""
_RUN = 4
"""Points that their mean stands for."""
_RUN_OF_ONE = 16
"""Points that the first of them stands for: it says little of the others, so few do nearly as well as many."""
_ENOUGH = 5e-2
"""The marginal error of clouds of many features, that say less than this of those that they stand for."""


def arranged(problem: LinearProblem) -> LinearProblem:
    """The same problem on points in spatial order, where that pays."""
    geometry = problem.geometry
    if not (isinstance(geometry, PointCloud) and geometry.x.shape[-1] <= _MOST_FEATURES and _is_large(problem)):
        return problem
    if geometry.x.device.type != "cpu" or bool((geometry.scale() < _FAR * problem.eps).any()):
        return problem
    return replace(problem, geometry=geometry.arranged())


def arranged_as(own: LinearProblem, across: LinearProblem, side: Side) -> LinearProblem:
    """The problem of one side of `across` with itself, in the order that this side has there."""
    geometry = across.geometry
    if not isinstance(geometry, PointCloud) or geometry.orders is None or not isinstance(own.geometry, PointCloud):
        return own
    order = geometry.orders[0 if side == "x" else 1]
    return replace(own, geometry=replace(own.geometry, orders=(order, order)))


@torch.no_grad()
def guess(problem: LinearProblem, solver: Sinkhorn) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """What `solver` may start from, g (..., m), and about its f (..., n); None where the problem is small or has no points."""
    if not (isinstance(problem.geometry, PointCloud) and _is_large(problem)) or solver.potential_tol is not None:
        return None, None
    problem = problem.detached()
    coarse = _coarser(problem)
    assert isinstance(coarse.geometry, PointCloud)
    if coarse.geometry.x.shape[-1] > _MOST_FEATURES:
        solver = replace(solver, tol=max(_ENOUGH, solver.promised(problem.a.dtype)))
    return _extended(problem, coarse, solver.solve(coarse, *guess(coarse, solver)))


def _is_large(problem: LinearProblem) -> bool:
    n, m = problem.geometry.shape
    return n * m >= _MANY_PAIRS and min(n, m) > _FEWEST


def _coarser(problem: LinearProblem) -> LinearProblem:
    geometry = problem.geometry
    assert isinstance(geometry, PointCloud)
    orders = geometry.arranged().orders if geometry.x.shape[-1] <= _MOST_FEATURES else None
    x, y, a, b = geometry.x, geometry.y, problem.a, problem.b
    if orders is not None:
        x, a, y, b = orders[0].points(x), orders[0].numbers(a), orders[1].points(y), orders[1].numbers(b)
    x, a = _stand_ins(x, a, orders is not None)
    y, b = (x, a) if problem.symmetric else _stand_ins(y, b, orders is not None)
    return arranged(replace(problem, geometry=PointCloud(x, y, geometry.cost, geometry.backend), a=a, b=b))


def _stand_ins(points: Tensor, weights: Tensor, mean: bool) -> tuple[Tensor, Tensor]:
    run = _RUN if mean else _RUN_OF_ONE
    whole = points.shape[-2] // run * run
    runs = points[..., :whole, :].unflatten(-2, (-1, run))
    masses = weights[..., :whole].unflatten(-1, (-1, run)).clone()
    masses[..., -1, -1] += weights[..., whole:].sum(-1)
    total = masses.sum(-1)
    if not mean:
        return runs[..., 0, :], total
    share = torch.where(total.unsqueeze(-1) > 0, masses / total.unsqueeze(-1), 1 / run)
    return (share.unsqueeze(-1) * runs).sum(-2), total


def _extended(problem: LinearProblem, coarse: LinearProblem, solution: Solution) -> tuple[Tensor, Tensor]:
    fine, small = problem.geometry, coarse.geometry
    assert isinstance(fine, PointCloud)
    assert isinstance(small, PointCloud)
    to_y = replace(fine, x=small.x, orders=None)
    to_x = replace(fine, y=small.y, orders=None)
    if fine.orders is not None:
        # One for each run of points along the curve, so they lie along it.
        x_order, y_order = small.orders or (unchanged(small.x), unchanged(small.y))
        to_y, to_x = replace(to_y, orders=(x_order, fine.orders[1])), replace(to_x, orders=(fine.orders[0], y_order))
    g = problem.updated_y(to_y.softmin(coarse.shifted_x(solution.f), problem.eps, "y"), problem.eps)
    if problem.symmetric:
        return g, g
    return g, problem.updated_x(to_x.softmin(coarse.shifted_y(solution.g), problem.eps, "x"), problem.eps)
