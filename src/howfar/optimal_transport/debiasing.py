"""Entropic transport less what it costs a measure to be carried to itself."""

from __future__ import annotations

import torch
from torch import Tensor

from howfar.optimal_transport import coarse
from howfar.optimal_transport.problem import LinearProblem
from howfar.optimal_transport.sinkhorn import Sinkhorn, warn_unless_converged
from howfar.optimal_transport.solve import solve_entropic

Potentials = tuple[Tensor, Tensor, Tensor]
"""Of y against x, of x against itself and of y against itself: what a solve of each may start from."""


def debiased(
    across: LinearProblem,
    x: LinearProblem,
    y: LinearProblem,
    solver: Sinkhorn,
    asked: str,
    starts: Potentials | None = None,
) -> tuple[Tensor, Potentials]:
    """OT(across) - OT(x) / 2 - OT(y) / 2 + eps (mass_a - mass_b)^2 / 2, (...), in units of the cost, and the potentials.

    `x` and `y` are the problems of either side with itself. Masses differ only where marginals are soft.
    """
    across = coarse.arranged(across)
    x, y = coarse.arranged_as(x, across, "x"), coarse.arranged_as(y, across, "y")
    values, potentials = [], []
    for problem, start in zip((across, x, y), starts or (None,) * 3, strict=True):
        value, solution, _ = solve_entropic(problem, solver, start)
        warn_unless_converged(solution, asked)
        values.append(value)
        potentials.append(solution.g)
    divergence = values[0] - 0.5 * values[1] - 0.5 * values[2]
    if not across.balanced:
        gap = across.a.sum(-1) - across.b.sum(-1)
        divergence = divergence + (0.5 * across.eps * gap.square()).to(divergence.dtype)
    # What is below zero by less than the solver promised is zero; its derivative is left as it is.
    noise = solver.promised(across.a.dtype) * values[0].detach().abs()
    low = divergence.detach()
    divergence = divergence - torch.where((low < 0) & (low >= -noise), low, 0)
    return divergence, (potentials[0], potentials[1], potentials[2])
