"""Potentials as differentiable functions of points, weights and temperature.

The potential g is a fixed point of G = (y-update) after (x-update). By the implicit function theorem the
cotangent of g is first carried through (I - dG/dg)^-T, then through dG/d(points, weights, eps). With the column masses
c of the plan and the slopes t of the updates, the system is symmetric, A mu = c (mu - t_y avg_y(t_x avg_x(mu))), where
the averages are those that `softmin_apply` streams, so conjugate gradients solve it without a matrix. The solution w
of a system has a derivative of its own, from a second system with the same matrix, so second derivatives stream too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from howfar._autograd import ReverseMode, no_further_derivative
from howfar.optimal_transport.problem import LinearProblem

_MOST_STEPS = 500


def potentials(problem: LinearProblem, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """(f, g) with derivatives, at potentials that solve the problem."""
    inputs = problem.differentiable()
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in inputs)):
        return f, g
    core: Tensor = _FixedPoint.apply(problem.detached(), g.detach(), *inputs)  # type: ignore[no-untyped-call]
    problem = with_floor(problem)
    moving_f = _x_update(problem, core)
    moving_g = _y_update(problem, moving_f)
    # The numbers are those that were solved for, whether or not a derivative is wanted.
    return f + (moving_f - moving_f.detach()), g + (moving_g - moving_g.detach())


def _x_update(problem: LinearProblem, g: Tensor) -> Tensor:
    return problem.updated_x(problem.geometry.softmin(problem.shifted_y(g), problem.eps, "x"), problem.eps)


def _y_update(problem: LinearProblem, f: Tensor) -> Tensor:
    return problem.updated_y(problem.geometry.softmin(problem.shifted_x(f), problem.eps, "y"), problem.eps)


def with_floor(problem: LinearProblem) -> LinearProblem:
    """Zero weights raised to a mass that no sum can see, so that log has derivatives there that do not overflow."""
    floor = 1e-150 if problem.a.dtype == torch.float64 else 1e-18
    a, b, *others = problem.differentiable()
    return problem.rebuilt(torch.where(a == 0, a + floor, a), torch.where(b == 0, b + floor, b), *others)


class _FixedPoint(ReverseMode):
    """g, a function of the inputs."""

    @staticmethod
    def forward(ctx: Any, problem: LinearProblem, g: Tensor, *inputs: Tensor) -> Tensor:
        ctx.problem = problem
        fixed = g.clone()
        ctx.save_for_backward(fixed, *inputs)
        return fixed

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        g, *inputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        again = torch.is_grad_enabled()
        adjoint = _Adjoint.apply(ctx.problem, cotangent, g, *inputs)  # type: ignore[no-untyped-call]
        with torch.enable_grad():
            # New names for the inputs: their direct derivative may not go through g or through one another.
            names = [(t.view_as(t) if again else t.detach()) for t in inputs]
            names = [t.requires_grad_() if needed and not again else t for t, needed in zip(names, wanted, strict=True)]
            problem = with_floor(ctx.problem.rebuilt(*names))
            update = _y_update(problem, _x_update(problem, g if again else g.detach()))
            asked = [t for t, needed in zip(names, wanted, strict=True) if needed]
            grads = iter(torch.autograd.grad(update, asked, adjoint, create_graph=again, allow_unused=True))
        return (None, None, *(next(grads) if needed else None for needed in wanted))


class _Adjoint(ReverseMode):
    """w = (I - dG/dg)^-T cotangent, a function of the cotangent, g and the inputs.

    A cotangent u of w gives v = (I - dG/dg)^-1 u: v is the derivative in the first cotangent, and that of
    w^T (dG/dg) v, at fixed w and v, the one in g and the inputs.
    """

    @staticmethod
    def forward(ctx: Any, problem: LinearProblem, cotangent: Tensor, g: Tensor, *inputs: Tensor) -> Tensor:
        ctx.problem = problem
        w = _System(problem.rebuilt(*inputs), g).solved(cotangent)
        ctx.save_for_backward(w, cotangent, g, *inputs)
        return w

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        w, *origins = ctx.saved_tensors
        _, g, *inputs = (t.detach() for t in origins)
        needed = ctx.needs_input_grad[2:]
        w = w.detach()
        system = _System(ctx.problem.rebuilt(*inputs), g)
        v = system.solved_transposed(outer.detach())
        with torch.enable_grad():
            leaves = [t.requires_grad_() for t in (g, *inputs)]
            problem = with_floor(ctx.problem.rebuilt(*leaves[1:]))
            (pulled,) = torch.autograd.grad(_y_update(problem, _x_update(problem, g)), g, w, create_graph=True)
            asked = [t for t, n in zip(leaves, needed, strict=True) if n]
            grads = iter(torch.autograd.grad((pulled * v).sum(), asked, allow_unused=True) if asked else ())
        found = [v if ctx.needs_input_grad[1] else None, *(next(grads) if n else None for n in needed)]
        origins = [*origins, outer]
        what, reason = "the entropic plan: third", "they take one linear system more for each order"
        return (None, *(t if t is None else no_further_derivative(what, reason, t, *origins) for t in found))


class _System:
    """I - dG/dg at a solution, through the symmetric A = (I - dG/dg)^T c on the points that may move."""

    @torch.no_grad()
    def __init__(self, problem: LinearProblem, g: Tensor) -> None:
        self.problem = problem = problem.detached()
        g = g.detach()
        f = _x_update(problem, g)
        self.h_x, self.h_y = problem.shifted_x(f), problem.shifted_y(g)
        self.t_x, self.t_y = (
            marginal.slope(potential, problem.eps)
            for marginal, potential in zip(problem.marginals, (f, g), strict=True)
        )
        soft = problem.geometry.softmin(self.h_x, problem.eps, "y")
        self.columns = problem.b * torch.exp((g - soft) / problem.eps.unsqueeze(-1))
        self.free = (self.columns > 0) & (self.t_y > 0)
        whole = ((self.t_x == 1) | (problem.a == 0)).all(-1, keepdim=True)
        # Where no update is damped, potentials are defined up to a constant; nothing asked of them may depend on it.
        self.gauge = whole & ((self.t_y == 1) | (problem.b == 0)).all(-1, keepdim=True)

    @torch.no_grad()
    def solved(self, cotangent: Tensor) -> Tensor:
        """(I - dG/dg)^-T cotangent, where the update of y can use it."""
        right = self._without_constant(torch.where(self.free, cotangent, 0))
        return self.columns * self._conjugate_gradients(right)

    @torch.no_grad()
    def solved_transposed(self, vector: Tensor) -> Tensor:
        """(I - dG/dg)^-1 vector on the same points, up to a constant where it is undetermined."""
        right = torch.where(self.free, self.columns * vector, 0)
        return self._conjugate_gradients(self._without_constant(right))

    def _without_constant(self, right: Tensor) -> Tensor:
        share = right.sum(-1, keepdim=True) / self.columns.sum(-1, keepdim=True)
        return torch.where(self.gauge, right - self.columns * share, right)

    def _contraction(self, mu: Tensor) -> Tensor:
        """(dG/dg) mu = t_y avg_y(t_x avg_x(mu))."""
        geometry, eps = self.problem.geometry, self.problem.eps
        rows = self.t_x * geometry.softmin_apply(self.h_y, mu.unsqueeze(-1), eps, "x")[1].squeeze(-1)
        return self.t_y * geometry.softmin_apply(self.h_x, rows.unsqueeze(-1), eps, "y")[1].squeeze(-1)

    def _conjugate_gradients(self, right: Tensor) -> Tensor:
        """mu with A mu = right, preconditioned by the columns, one system for each batch element."""
        weight = torch.where(self.free, self.columns, 1)
        mu = torch.zeros_like(right)
        residual = right
        scaled = residual / weight
        direction = scaled
        size = (residual * scaled).sum(-1, keepdim=True)
        goal = size * torch.finfo(weight.dtype).eps ** 1.5
        for _ in range(_MOST_STEPS):
            running = size > goal
            if not bool(running.any()):
                break
            image = torch.where(self.free, self.columns * (direction - self._contraction(direction)), 0)
            curvature = (direction * image).sum(-1, keepdim=True)
            step = torch.where(running & (curvature > 0), size / curvature, 0)
            mu = mu + step * direction
            residual = residual - step * image
            scaled = residual / weight
            new_size = (residual * scaled).sum(-1, keepdim=True)
            direction = torch.where(running, scaled + new_size / torch.where(size > 0, size, 1) * direction, direction)
            size = torch.where(running & (curvature > 0), new_size, 0)
        return mu
