"""The dual functional of entropic transport: value and gradient at the potentials that there are.

D(f, g) = <phi(f), a> + <phi(g), b> - eps <exp((f + g - C) / eps) - 1, a b^T>, with phi(f) = f for hard marginals
and rho (1 - exp(-f / rho)) for penalised ones. At any (f, g) it is a lower bound on the optimum, its error is of
second order in that of the potentials, and its derivative at fixed (f, g) is the derivative of the optimum (the
envelope theorem): f + eps (b_total - row / a) in the weights, sum_j P_ij dC_ij in the points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from howfar._autograd import first_order
from howfar.optimal_transport.problem import LinearProblem


def dual_value(problem: LinearProblem, f: Tensor, g: Tensor) -> Tensor:
    """D(f, g), (...), in units of the cost, differentiable once in weights and geometry."""
    f, g = f.detach(), g.detach()
    return first_order(
        "entropic transport", lambda *t: _functional(problem.rebuilt(*t), f, g), *problem.differentiable()
    )


def _functional(problem: LinearProblem, f: Tensor, g: Tensor) -> Tensor:
    eps = problem.eps.unsqueeze(-1)
    a, b = problem.a, problem.b
    # The mass of the plan is linear in each weighting; written so, no derivative divides by a zero weight.
    rows = torch.exp((f - problem.geometry.softmin(g + eps * torch.log(b.detach()), problem.eps, "x")) / eps)
    mass = _dot(a.detach(), rows) + _dot(a - a.detach(), rows.detach())
    if b.requires_grad:
        with torch.no_grad():
            soft = problem.geometry.softmin(f + eps * torch.log(a), problem.eps, "y")
            columns = torch.exp((g - soft) / eps)
        mass = mass + _dot(b - b.detach(), columns)
    excess = mass - a.sum(-1) * b.sum(-1)
    return _dot(_reward(f, problem.rho), a) + _dot(_reward(g, problem.rho), b) - problem.eps * excess


def _reward(potential: Tensor, rho: float | None) -> Tensor:
    return potential if rho is None else -rho * torch.expm1(-potential / rho)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(-1)
