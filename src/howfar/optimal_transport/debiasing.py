"""Entropic transport less what it costs a measure to be carried to itself."""

from __future__ import annotations

from torch import Tensor

from howfar.optimal_transport.problem import LinearProblem
from howfar.optimal_transport.sinkhorn import Sinkhorn, warn_unless_converged
from howfar.optimal_transport.solve import solve_entropic


def debiased(across: LinearProblem, x: LinearProblem, y: LinearProblem, solver: Sinkhorn, asked: str) -> Tensor:
    """OT(across) - OT(x) / 2 - OT(y) / 2 + eps (mass_a - mass_b)^2 / 2, (...), in units of the cost.

    `x` and `y` are the problems of either side with itself. Masses differ only where marginals are soft.
    """
    divergence: Tensor | None = None
    for problem, factor in ((across, 1.0), (x, -0.5), (y, -0.5)):
        value, solution, _ = solve_entropic(problem, solver)
        warn_unless_converged(solution, asked, stacklevel=4)
        divergence = factor * value if divergence is None else divergence + factor * value
    assert divergence is not None
    if across.rho is None:
        return divergence
    gap = across.a.sum(-1) - across.b.sum(-1)
    return divergence + (0.5 * across.eps * gap.square()).to(divergence.dtype)
