"""Sinkhorn's algorithm in the log domain, once, for every geometry.

One iteration updates f, then g, each by a soft minimum over the other side (Cuturi 2013; unbalanced: Chizat et
al. 2018, Sejourne et al. 2019). The temperature starts at the scale of the cost and is halved down to eps; then
the map from g to g is accelerated. As f is always the update of g, the rows of the plan are exact, and one number,
the error of its columns, says how far the plan is from what was promised. It comes with every iteration for free.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, NotConverged, complaint
from howfar.optimal_transport.acceleration import Anderson
from howfar.optimal_transport.problem import LinearProblem
from howfar.optimal_transport.status import Status

_PATIENCE = 100
"""Iterations without progress, near the rounding floor, after which more are in vain."""
_TRUST = 4.0
"""How many times the best error a mixture may have before it is taken back."""


@dataclass(frozen=True)
class Solution:
    """Potentials and how they were reached.

    Attributes:
        f: (..., n), in units of the cost.
        g: (..., m), in units of the cost.
        status: how the solver ended; the worst of a batch.
        n_iter: iterations, the most that an element of the batch took.
        marginal_error: (...) L1 distance of the plan's marginals from those promised, relative to the mass.
    """

    f: Tensor
    g: Tensor
    status: Status
    n_iter: int
    marginal_error: Tensor


@dataclass(frozen=True)
class Sinkhorn:
    """The numerics of the solver.

    Attributes:
        tol: stop when the marginal error is at most this; None means 1e-6 for float64 inputs, 1e-4 for float32.
        max_iter: most iterations at the final temperature.
        potential_tol: replaces the promise on marginals by the rule of widely copied modules: plain alternation
            from zero until sum |f_new - f_old| of an element falls below this. It promises nothing about the plan.
    """

    tol: float | None = None
    max_iter: int = 2000
    potential_tol: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.tol is not None:
            _checks.check_positive(self.tol, "tol")
        if self.potential_tol is not None:
            _checks.check_positive(self.potential_tol, "potential_tol")
        _checks.check_count(self.max_iter, "max_iter")

    def promised(self, dtype: torch.dtype) -> float:
        """The marginal error at which to stop for inputs of this dtype."""
        if self.tol is not None:
            return self.tol
        return 1e-6 if dtype == torch.float64 else 1e-4

    @torch.no_grad()
    def solve(self, problem: LinearProblem, init: Tensor | None = None) -> Solution:
        """Potentials of `problem`, from `init` (g of a former solution) or from zero."""
        problem = problem.detached()
        if self.potential_tol is not None:
            return self._plain(problem, self.potential_tol)
        tol = self.promised(problem.a.dtype)
        iteration = _Iteration(problem)
        g = torch.zeros_like(problem.b) if init is None else init.detach().to(problem.b).expand_as(problem.b)
        f = torch.zeros_like(problem.a)
        scale = problem.geometry.scale().to(problem.eps)
        floor = 4 * torch.finfo(problem.a.dtype).eps * (1 + scale / problem.eps)
        if init is None:
            f, g = iteration.anneal(f, g, scale)

        active = torch.ones_like(problem.eps, dtype=torch.bool)
        error = torch.full_like(problem.eps, torch.inf)
        best, best_g, waited = error, g, torch.zeros_like(problem.eps)
        mixer = Anderson(problem.b, gauge=problem.rho is None)
        n_iter = 0
        while True:
            n_iter += 1
            new_f = iteration.x_update(g)
            image, new_error = iteration.y_update(new_f, g)
            f = torch.where(active.unsqueeze(-1), new_f, f)
            error = torch.where(active, new_error, error)
            waited = torch.where(error < 0.9 * best, 0, waited + 1)
            # A plain step never raises the error, so a mixture that did is taken back to the best point known.
            astray = ~(error <= _TRUST * best)
            best_g = torch.where((error < best).unsqueeze(-1), image, best_g)
            best = torch.minimum(best, torch.where(torch.isnan(error), torch.inf, error))
            active = active & ~(error <= tol) & ~((waited > _PATIENCE) & (best < 4 * floor))
            if n_iter >= self.max_iter or not bool(active.any()):
                break
            image = torch.where(astray.unsqueeze(-1), best_g, image)
            point = torch.where(astray.unsqueeze(-1), best_g, g)
            g = torch.where(active.unsqueeze(-1), mixer.next(point, image, astray), g)
        if bool(torch.isnan(error).any()) or not bool(torch.isfinite(f).all()):
            raise DomainError(
                complaint(
                    "cost", f"costs that {f.dtype} can add and divide by eps", "an overflow", "Rescale the points."
                )
            )
        status = Status.CONVERGED if bool((error <= tol).all()) else Status.PRECISION
        return Solution(f, g, Status.MAX_ITER if bool(active.any()) else status, n_iter, error)

    def _plain(self, problem: LinearProblem, potential_tol: float) -> Solution:
        iteration = _Iteration(problem)
        f, g = torch.zeros_like(problem.a), torch.zeros_like(problem.b)
        active = torch.ones_like(problem.eps, dtype=torch.bool)
        n_iter = 0
        while n_iter < self.max_iter and bool(active.any()):
            n_iter += 1
            new_f = iteration.x_update(g)
            change = (new_f - f).abs().sum(-1)
            f = torch.where(active.unsqueeze(-1), new_f, f)
            g = torch.where(active.unsqueeze(-1), iteration.y_update(f, g)[0], g)
            active = active & (change >= potential_tol)
        status = Status.MAX_ITER if bool(active.any()) else Status.CONVERGED
        return Solution(f, g, status, n_iter, iteration.row_error(f, g))


@dataclass(frozen=True)
class _Iteration:
    problem: LinearProblem

    def x_update(self, g: Tensor, eps: Tensor | None = None) -> Tensor:
        eps = self.problem.eps if eps is None else eps
        h = g + eps.unsqueeze(-1) * torch.log(self.problem.b)
        return self.problem.damping(eps) * self.problem.geometry.softmin(h, eps, "x")

    def y_update(self, f: Tensor, g: Tensor, eps: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The new g, and how far the columns of the plan of (f, g) are from what g promises."""
        eps = self.problem.eps if eps is None else eps
        h = f + eps.unsqueeze(-1) * torch.log(self.problem.a)
        soft = self.problem.geometry.softmin(h, eps, "y")
        return self.problem.damping(eps) * soft, self._error(self.problem.b, g, soft, eps)

    def row_error(self, f: Tensor, g: Tensor) -> Tensor:
        soft = self.problem.geometry.softmin(self.problem.shifted_y(g), self.problem.eps, "x")
        return self._error(self.problem.a, f, soft, self.problem.eps)

    def _error(self, weights: Tensor, potential: Tensor, soft: Tensor, eps: Tensor) -> Tensor:
        has = torch.exp((potential - soft) / eps.unsqueeze(-1))
        wants = torch.ones_like(has) if self.problem.rho is None else torch.exp(-potential / self.problem.rho)
        gap = torch.where(weights > 0, weights * (has - wants).abs(), 0)
        return gap.sum(-1) / torch.where(weights > 0, weights * wants, 0).sum(-1)

    def anneal(self, f: Tensor, g: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        eps = torch.maximum(scale, self.problem.eps)
        while bool((running := eps > self.problem.eps).any()):
            f = torch.where(running.unsqueeze(-1), self.x_update(g, eps), f)
            g = torch.where(running.unsqueeze(-1), self.y_update(f, g, eps)[0], g)
            eps = torch.maximum(eps / 2, self.problem.eps)
        if self.problem.rho is not None:
            return f, g
        # Of all f - c, g + c that are the same answer, the balanced pair has the least rounding.
        mean_f = (self.problem.a * f).sum(-1, keepdim=True) / self.problem.a.sum(-1, keepdim=True)
        mean_g = (self.problem.b * g).sum(-1, keepdim=True) / self.problem.b.sum(-1, keepdim=True)
        return f - 0.5 * (mean_f - mean_g), g + 0.5 * (mean_f - mean_g)


def warn_unless_converged(solution: Solution, asked: str, stacklevel: int) -> None:
    """Warn with the figure and the remedy."""
    if solution.status is not Status.CONVERGED:
        warnings.warn(
            f"{asked} did not converge: marginal error {solution.marginal_error.max().item():.2g} "
            f"after {solution.n_iter} iterations. {solution.status.message}",
            NotConverged,
            stacklevel=stacklevel,
        )
