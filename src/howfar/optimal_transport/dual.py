"""The dual functional of entropic transport: value and derivatives at the potentials that there are.

D(f, g) = <r(f), a> + <r(g), b> - eps <exp((f + g - C) / eps) - 1, a b^T>, with the rewards r of `marginals`. At any
(f, g) it is a lower bound on the optimum, its error is of second order in that of the potentials, and its derivative at
fixed (f, g) is the derivative of the optimum (the envelope theorem): r(f) + eps (b_total - row / a) in the weights,
sum_j P_ij dC_ij in the points, KL(P | a b^T) in eps. The second derivative differentiates that once more and lets
the potentials follow, by the implicit function theorem.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from howfar._autograd import ReverseMode
from howfar.optimal_transport import implicit
from howfar.optimal_transport.problem import LinearProblem

_MIRRORS = {1: 0, 4: 3}
"""Where an input on the side of y stands among (a, b, eps, x, y), and where that of x does."""
_BOTH_SIDES = 5


def dual_value(problem: LinearProblem, f: Tensor, g: Tensor, known: Tensor | None = None) -> Tensor:
    """D(f, g), (...), in units of the cost, differentiable in weights, temperature and geometry; `known` where it is.

    The first derivative is that of D at these very potentials, so that value and gradient agree whether or not they are
    optimal; the second takes them for optimal.
    """
    value: Tensor = _Dual.apply(problem, f.detach(), g.detach(), known, *problem.differentiable())  # type: ignore[no-untyped-call]
    return value


class _Dual(ReverseMode):
    @staticmethod
    def forward(
        ctx: Any, problem: LinearProblem, f: Tensor, g: Tensor, known: Tensor | None, *inputs: Tensor
    ) -> Tensor:
        ctx.problem = problem.detached()
        ctx.save_for_backward(f, g, *inputs)
        return _functional(ctx.problem.rebuilt(*inputs), f, g) if known is None else known.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, g, *inputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad[4:]
        again = torch.is_grad_enabled()
        # One measure against itself: what is asked for on both sides is twice the same.
        mirrored = ctx.problem.symmetric and len(inputs) == _BOTH_SIDES and not again and torch.equal(f, g)
        if mirrored:
            wanted = tuple(needed and i not in _MIRRORS for i, needed in enumerate(wanted))
        if again:
            f, g = implicit.potentials(ctx.problem.rebuilt(*inputs), f, g)
        with torch.enable_grad():
            # New names for the inputs: a derivative at fixed potentials may not go through those.
            names = [_renamed(t, again) if needed else t.detach() for t, needed in zip(inputs, wanted, strict=True)]
            renamed = ctx.problem.rebuilt(*names)
            # Beside a pair without mass the density may be beyond any number: only a second derivative looks there.
            value = _functional(implicit.with_floor(renamed) if again else renamed, f, g)
            asked = [t for t, needed in zip(names, wanted, strict=True) if needed]
            found = iter(
                torch.autograd.grad(value, asked, grad, create_graph=again, allow_unused=True) if asked else ()
            )
        grads = [next(found) if needed else None for needed in wanted]
        for mirror, of in _MIRRORS.items() if mirrored else ():
            grads[mirror] = grads[of]
        return (None, None, None, None, *grads)


def _renamed(tensor: Tensor, connected: bool) -> Tensor:
    return tensor.view_as(tensor) if connected else tensor.detach().requires_grad_()


def _functional(problem: LinearProblem, f: Tensor, g: Tensor) -> Tensor:
    eps, a, b = problem.eps.unsqueeze(-1), problem.a, problem.b
    # The mass of the plan is linear in each weighting; written so, no first derivative divides by a zero weight.
    logarithm = torch.log(b.detach())
    # Not by way of the temperature: its derivative there would be nothing times the infinite.
    h = torch.where(b > 0, g + eps * torch.where(b > 0, logarithm, 0), logarithm)
    mass = _dot(a, problem.density(a, f, problem.geometry.softmin(h, problem.eps, "x")))
    if b.requires_grad:
        with torch.set_grad_enabled(f.requires_grad):
            soft = problem.geometry.softmin(problem.shifted_x(f), problem.eps, "y")
            columns = problem.density(b, g, soft)
        mass = mass + _dot(b - b.detach(), columns)
    excess = mass - a.sum(-1) * b.sum(-1)
    of_a, of_b = problem.marginals
    return _dot(of_a.reward(f), a) + _dot(of_b.reward(g), b) - problem.eps * excess


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(-1)
