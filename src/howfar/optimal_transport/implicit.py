"""Potentials as differentiable functions of points and weights.

The potential g is a fixed point of G = (y-update) after (x-update). By the implicit function theorem the
cotangent of g is first carried through (I - dG/dg)^-T, then through dG/d(points, weights). The system is
symmetric in the column masses c of the plan: A mu = c (mu - tau^2 avg_y(avg_x(mu))), where the averages are those
that `softmin_apply` streams, so conjugate gradients solve it without a matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from howfar._autograd import no_second_derivative
from howfar.optimal_transport.problem import LinearProblem

_MOST_STEPS = 500


def potentials(problem: LinearProblem, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """(f, g) with derivatives, at potentials that solve the problem."""
    inputs = problem.differentiable()
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in inputs)):
        return f, g
    core: Tensor = _FixedPoint.apply(problem, g.detach(), *inputs)  # type: ignore[no-untyped-call]
    problem = with_floor(problem)
    moving_f = _x_update(problem, core)
    moving_g = _y_update(problem, moving_f)
    # The numbers are those that were solved for, whether or not a derivative is wanted.
    return f + (moving_f - moving_f.detach()), g + (moving_g - moving_g.detach())


def _x_update(problem: LinearProblem, g: Tensor) -> Tensor:
    return problem.damping(problem.eps) * problem.geometry.softmin(problem.shifted_y(g), problem.eps, "x")


def _y_update(problem: LinearProblem, f: Tensor) -> Tensor:
    return problem.damping(problem.eps) * problem.geometry.softmin(problem.shifted_x(f), problem.eps, "y")


def with_floor(problem: LinearProblem) -> LinearProblem:
    """Zero weights raised to a mass that no sum can see, so that log has a derivative there."""
    floor = 1e-200 if problem.a.dtype == torch.float64 else 1e-30
    a, b, *tensors = problem.differentiable()
    return problem.rebuilt(torch.where(a == 0, a + floor, a), torch.where(b == 0, b + floor, b), *tensors)


class _FixedPoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, problem: LinearProblem, g: Tensor, *inputs: Tensor) -> Tensor:
        ctx.problem = problem
        ctx.save_for_backward(g, *inputs)
        return g.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        g, *inputs = ctx.saved_tensors
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad[2:]) if needed]
        adjoint = _solve(ctx.problem.rebuilt(*(t.detach() for t in inputs)), g, cotangent.detach())
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(inputs)]
            problem = with_floor(ctx.problem.rebuilt(*leaves))
            update = _y_update(problem, _x_update(problem, g))
            grads = torch.autograd.grad(update, [leaves[i] for i in wanted], adjoint, allow_unused=True)
        out: list[Tensor | None] = [None] * len(inputs)
        for i, grad in zip(wanted, grads, strict=True):
            if grad is not None:
                out[i] = no_second_derivative("the entropic plan", grad, cotangent, *inputs)
        return (None, None, *out)


@torch.no_grad()
def _solve(problem: LinearProblem, g: Tensor, cotangent: Tensor) -> Tensor:
    """(I - dG/dg)^-T cotangent by preconditioned conjugate gradients, one system for each batch element."""
    f = _x_update(problem, g)
    h_x, h_y = problem.shifted_x(f), problem.shifted_y(g)
    damping = problem.damping(problem.eps)
    soft = problem.geometry.softmin(h_x, problem.eps, "y")
    columns = problem.b * torch.exp((g - soft) / problem.eps.unsqueeze(-1))

    def contraction(mu: Tensor) -> Tensor:
        rows = problem.geometry.softmin_apply(h_y, mu.unsqueeze(-1), problem.eps, "x")[1]
        return damping**2 * problem.geometry.softmin_apply(h_x, rows, problem.eps, "y")[1].squeeze(-1)

    right = torch.where(columns > 0, cotangent, 0)
    if problem.rho is None:
        # Potentials are defined up to a constant; what is asked of them may not depend on it.
        right = right - columns * (right.sum(-1, keepdim=True) / columns.sum(-1, keepdim=True))
    weight = torch.where(columns > 0, columns, 1)
    mu = torch.zeros_like(right)
    residual = right
    scaled = residual / weight
    direction = scaled
    size = (residual * scaled).sum(-1, keepdim=True)
    goal = size * torch.finfo(columns.dtype).eps ** 1.5
    for _ in range(_MOST_STEPS):
        running = size > goal
        if not bool(running.any()):
            break
        image = columns * (direction - contraction(direction))
        curvature = (direction * image).sum(-1, keepdim=True)
        step = torch.where(running & (curvature > 0), size / curvature, 0)
        mu = mu + step * direction
        residual = residual - step * image
        scaled = residual / weight
        new_size = (residual * scaled).sum(-1, keepdim=True)
        direction = torch.where(running, scaled + new_size / torch.where(size > 0, size, 1) * direction, direction)
        size = torch.where(running & (curvature > 0), new_size, 0)
    return columns * mu
