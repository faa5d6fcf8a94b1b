"""Sinkhorn's algorithm in the log domain, once, for every geometry.

One iteration updates f, then g, each by a soft minimum over the other side (Cuturi 2013; unbalanced: Chizat et
al. 2018, Sejourne et al. 2019). Where eps is small beside the cost the temperature starts at the scale of the cost and is
halved down to it; then the map from g to g is accelerated. As f is always the update of g, the rows of the plan are exact, and one number,
the error of its columns, says how far the plan is from what was promised. It comes with every iteration for free.
One measure against itself has f = g, and a map of its own in the same loop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, NotConverged, complaint, warn
from howfar._progress import Progress, tell
from howfar.geometry import Contained, Swept
from howfar.ops.alternation import Alternated, Weighing
from howfar.ops.sweep import Turn
from howfar.optimal_transport.acceleration import Anderson
from howfar.optimal_transport.problem import LinearProblem
from howfar.optimal_transport.status import Status

_PATIENCE = 100
"""Iterations without progress, near the rounding floor or in float32, after which more are in vain."""
_LEAST = 0.05
"""Of the rounding of the exponents of the plan, what its marginals were seen to reach."""
_TRUST = 4.0
"""How many times the best error a mixture may have where rounding hides whether it raised the dual value."""
_ULPS = 16.0
"""Of the sum of its terms, by which a dual value may fall and be the same."""
_DRIFT = 10, 1e-3
"""After so many iterations without progress, a step that differs from the one before by so small a share is drift."""
_NEAR = 1.0
"""The error up to which the potentials of the next iteration are near those of the last."""
_FOREIGN = 8.0
"""Times the largest cost, as seen, beyond which no potential of hard marginals lies."""
_STEEP = 100.0
"""Up to so many temperatures in the largest cost, mass finds its way in fewer steps than annealing takes."""
_IN_CACHE = 0.75
"""The share of the iterations that may be plain where a problem lies in cache: hundreds cost what one of others does."""


@dataclass(frozen=True)
class Solution:
    """Potentials and how they were reached.

    Attributes:
        f: (..., n), in units of the cost.
        g: (..., m), in units of the cost.
        status: how the solver ended; the worst of a batch.
        n_iter: iterations, the most that an element of the batch took.
        marginal_error: (...) L1 distance of the plan's marginals from those promised, relative to the mass.
        dual: (...) the dual value of the potentials, in units of the cost, where a step told it.
        method: how they were found, and why so.
    """

    f: Tensor
    g: Tensor
    status: Status
    n_iter: int
    marginal_error: Tensor
    dual: Tensor | None = None
    method: str = "accelerated alternation, as it does not run whole in cache"


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
    def solve(self, problem: LinearProblem, init: Tensor | None = None, near: Tensor | None = None) -> Solution:
        """Potentials of `problem`, from `init` (g of a former solution; `near` is about its f) or from zero."""
        if self.potential_tol is not None:
            return self._plain(problem.detached(), self.potential_tol)
        with Progress("entropic transport"):
            return _with_points_without_mass(problem.detached(), self._solve(problem, init, near))

    def _solve(self, problem: LinearProblem, init: Tensor | None, near: Tensor | None) -> Solution:
        scale = problem.scale
        problem = problem.detached()
        start = None if init is None else init.detach().to(problem.b).expand_as(problem.b)
        hottest = torch.where(scale > _STEEP * problem.eps, scale, problem.eps)
        doubted = None if start is None or near is not None else hottest
        if start is not None and doubted is not None and problem.balanced:
            # Beside potentials of much larger costs those of this problem are rounding, and so is their value.
            foreign = ~(torch.where(problem.b > 0, start.abs(), 0).amax(-1) <= _FOREIGN * scale)
            start = _chosen(foreign, _start(problem, hottest), start) if bool(foreign.any()) else start
        begun = self._contained(problem, hottest, start)
        if begun is None:
            first = _start(problem, hottest) if start is None else start
            return self._accelerated(problem, scale, first, 0, near, doubted)
        n_iter = int(begun.iterations.max())
        left = ~(begun.error <= self.promised(problem.a.dtype))
        if not bool(left.any()):
            dual = None if problem.symmetric else _dual_of_exact_rows(problem, begun.f, begun.g)
            how = "alternation in cache, where it fits"
            return Solution(begun.f, begun.g, Status.CONVERGED, n_iter, begun.error, dual, how)
        # Plain steps that lead nowhere soon leave the quick directions at rest, which is a worse start than the first.
        others = problem.selected(left)
        again = _start(others, hottest[left]) if start is None else start[left]
        doubted = None if doubted is None else doubted[left]
        rest = self._accelerated(others, scale[left], again, int(begun.iterations[left].max()), doubted=doubted)
        f, g, error = begun.f.clone(), begun.g.clone(), begun.error.clone()
        f[left], g[left], error[left] = rest.f, rest.g, rest.marginal_error
        method = "alternation in cache, then accelerated, as it converges slowly"
        return Solution(f, g, rest.status, max(n_iter, rest.n_iter), error, method=method)

    def _contained(self, problem: LinearProblem, hottest: Tensor, start: Tensor | None) -> Alternated | None:
        """Annealing and plain alternation in one call, where problems fit in cache; who converges slowly is left over."""
        marginal = problem.marginals[0]
        if not isinstance(problem.geometry, Contained) or problem.marginals[1] != marginal or marginal.kind != "kl":
            return None
        task = Weighing(
            a=problem.a,
            b=problem.b,
            g=torch.zeros_like(problem.b) if start is None else start,
            start=hottest if start is None and not problem.symmetric else problem.eps,
            eps=problem.eps,
            rho=marginal.rho,
            symmetric=problem.symmetric,
            tol=self.promised(problem.a.dtype),
            count=max(1, int(_IN_CACHE * self.max_iter)),
        )
        return problem.geometry.alternate(task)

    def _accelerated(
        self,
        problem: LinearProblem,
        scale: Tensor,
        point: Tensor,
        n_iter: int,
        near: Tensor | None = None,
        doubted: Tensor | None = None,
    ) -> Solution:
        """From `point`, reached in `n_iter` iterations; `near` is about its f.

        A `doubted` point, of another problem, may be far off: annealing from these temperatures then replaces it.
        """
        tol = self.promised(problem.a.dtype)
        # Where mass has far to go, one step of the potentials is like the next up to what float32 does not hold.
        single = problem.a.dtype != torch.float64
        floor = torch.inf if single else 4 * torch.finfo(problem.a.dtype).eps * (1 + scale / problem.eps)
        fixed_point = _fixed_point(problem)
        if doubted is not None:
            point = _credible(problem, point, doubted)
        active = plain = torch.ones_like(problem.eps, dtype=torch.bool)
        error = torch.full_like(problem.eps, torch.inf)
        dual, best, highest, waited = error, error, -error, torch.zeros_like(problem.eps)
        kept, drift, stretch = point, torch.zeros_like(point), torch.ones_like(problem.eps)
        f, g = torch.zeros_like(problem.a), torch.zeros_like(problem.b)
        mixer = Anderson(problem.b, gauge=problem.balanced and not problem.symmetric)
        while True:
            n_iter += 1
            tell(f"iteration {n_iter}")
            step = fixed_point.step(point, near)
            waited = torch.where(step.error < 0.9 * best, 0, waited + 1)
            # A plain step raises the dual value, so a mixture that lowered it is taken back to the last point that did not.
            rose, fell = step.dual > highest + step.noise, step.dual < highest - step.noise
            good = torch.isfinite(step.error) & (plain | rose | ~fell & (step.error <= _TRUST * best))
            now, then = (step.f, step.g, step.error, step.dual), (f, g, error, dual)
            f, g, error, dual = (_chosen(active & good, *pair) for pair in zip(now, then, strict=True))
            best = torch.where(good, torch.minimum(best, step.error), best)
            highest = torch.where(good, torch.where(plain, step.dual, torch.maximum(highest, step.dual)), highest)
            plain = ~good
            near = f if bool((error <= _NEAR).all()) else None
            active = active & ~(error <= tol) & ~((waited > _PATIENCE) & (best < 4 * floor))
            if n_iter >= self.max_iter or not bool(active.any()):
                break
            move = step.image - point
            drifts = good & (waited > _DRIFT[0]) & _alike(move, drift, problem.b)
            stretch = torch.where(drifts, 2 * stretch, 1)
            kept, drift = _chosen(good, step.image, kept), _chosen(good, move, drift)
            mixed = mixer.next(_chosen(good, point, kept), kept, ~good)
            if bool(drifts.any()):
                # Mixtures of steps that are all alike stand still; the dual value bears out how far the drift goes.
                mixed = _chosen(drifts, step.image + (stretch - 1).unsqueeze(-1) * move, mixed)
            point = _chosen(active, mixed, point)
        if not bool(torch.isfinite(error).all()) or not bool(torch.isfinite(f).all()):
            raise DomainError(
                complaint(
                    "cost", f"costs that {f.dtype} can add and divide by eps", "an overflow", "Rescale the points."
                )
            )
        status = Status.CONVERGED if bool((error <= tol).all()) else _why_not(problem, tol, scale, waited, active)
        return Solution(f, g, status, n_iter, error, dual)

    def _plain(self, problem: LinearProblem, potential_tol: float) -> Solution:
        updates = _Alternating(problem)
        f, g = torch.zeros_like(problem.a), torch.zeros_like(problem.b)
        active = torch.ones_like(problem.eps, dtype=torch.bool)
        n_iter = 0
        while n_iter < self.max_iter and bool(active.any()):
            n_iter += 1
            step = updates.step(g)
            change = (step.f - f).abs().sum(-1)
            f = torch.where(active.unsqueeze(-1), step.f, f)
            g = torch.where(active.unsqueeze(-1), step.image, g)
            active = active & (change >= potential_tol)
        # Potentials at rest say nothing about the marginals, so this is never called convergence.
        status = Status.MOVING if bool(active.any()) else Status.RESTED
        return Solution(f, g, status, n_iter, updates.row_error(f, g))


@dataclass(frozen=True)
class _Step:
    """Potentials and the image of the point.

    With how far the marginals of their plan are from those promised, their dual value, and what of it is rounding.
    """

    f: Tensor
    g: Tensor
    image: Tensor
    error: Tensor
    dual: Tensor
    noise: Tensor


@dataclass(frozen=True)
class _Alternating:
    """The map g -> f -> g. The rows of the plan of (f, g) are exact, so the error is that of its columns."""

    problem: LinearProblem

    def step(self, g: Tensor, near: Tensor | None = None) -> _Step:
        """`near` is an f of which that of g is not far."""
        g = self.problem.marginals[1].admitted(g)
        f, soft = self._both(g, self.problem.eps, near)
        image = self.problem.updated_y(soft, self.problem.eps)
        return _Step(f, g, image, _error(self.problem, 1, g, soft), *_dual(self.problem, f, g, soft))

    def _both(self, g: Tensor, eps: Tensor, near: Tensor | None) -> tuple[Tensor, Tensor]:
        geometry, marginal = self.problem.geometry, self.problem.marginals[0]
        if near is not None and isinstance(geometry, Swept):
            turn = Turn(near, g, self.problem.a, self.problem.b, eps, marginal.damping(eps), marginal.bound)
            if (swept := geometry.sweep(turn)) is not None:
                return swept
        f = self._x_update(g, eps)
        return f, self._soft_y(f, eps)

    def row_error(self, f: Tensor, g: Tensor) -> Tensor:
        soft = self.problem.geometry.softmin(self.problem.shifted_y(g), self.problem.eps, "x")
        return _error(self.problem, 0, f, soft)

    def annealed(self, hottest: Tensor) -> Tensor:
        f, g = torch.zeros_like(self.problem.a), torch.zeros_like(self.problem.b)
        eps, near = torch.maximum(hottest, self.problem.eps), None
        while bool((running := eps > self.problem.eps).any()):
            tell("annealing")
            for _ in range(self.problem.settling):
                update, soft = self._both(g, eps, near)
                f = near = _chosen(running, update, f)
                g = _chosen(running, self.problem.updated_y(soft, eps), g)
            eps = torch.maximum(eps / 2, self.problem.eps)
        if not self.problem.balanced:
            return g
        # Of all f - c, g + c that are the same answer, the balanced pair has the least rounding.
        mean_f = (self.problem.a * f).sum(-1, keepdim=True) / self.problem.a.sum(-1, keepdim=True)
        mean_g = (self.problem.b * g).sum(-1, keepdim=True) / self.problem.b.sum(-1, keepdim=True)
        return g + 0.5 * (mean_f - mean_g)

    def _x_update(self, g: Tensor, eps: Tensor) -> Tensor:
        h = g + eps.unsqueeze(-1) * torch.log(self.problem.b)
        return self.problem.updated_x(self.problem.geometry.softmin(h, eps, "x"), eps)

    def _soft_y(self, f: Tensor, eps: Tensor) -> Tensor:
        h = f + eps.unsqueeze(-1) * torch.log(self.problem.a)
        return self.problem.geometry.softmin(h, eps, "y")


@dataclass(frozen=True)
class _Symmetric:
    """Two thirds of the way from f to its update, for one measure against itself, where f = g: half the work, and few steps."""

    problem: LinearProblem

    def step(self, f: Tensor, near: Tensor | None = None) -> _Step:  # noqa: ARG002
        f = self.problem.marginals[0].admitted(f)
        soft = self._soft(f, self.problem.eps)
        # The plan of (f, f) is symmetric, so its rows and its columns miss by the same.
        error = 2 * _error(self.problem, 0, f, soft)
        image = self.problem.marginals[0].towards(f, soft, self.problem.eps)
        return _Step(f, f, image, error, *_dual(self.problem, f, f, soft))

    def _soft(self, f: Tensor, eps: Tensor) -> Tensor:
        return self.problem.geometry.softmin(f + eps.unsqueeze(-1) * torch.log(self.problem.a), eps, "x")


def _with_points_without_mass(problem: LinearProblem, solution: Solution) -> Solution:
    """Their potentials, which no step needs and the derivative in their weights does, as one more update leaves them."""
    without_x, without_y = problem.a == 0, problem.b == 0
    if not bool(without_x.any() | without_y.any()):
        return solution
    updates = _Alternating(problem)
    g = updates.step(solution.g).image
    g = torch.where(without_y, g, solution.g)
    f = torch.where(without_x, updates.step(g).f, solution.f)
    return replace(solution, f=f, g=g)


def _fixed_point(problem: LinearProblem) -> _Alternating | _Symmetric:
    return _Symmetric(problem) if problem.symmetric else _Alternating(problem)


def _start(problem: LinearProblem, hottest: Tensor) -> Tensor:
    # Between a measure and itself zero is near enough: what stays in place costs nothing.
    return torch.zeros_like(problem.b) if problem.symmetric else _Alternating(problem).annealed(hottest)


def _credible(problem: LinearProblem, point: Tensor, hottest: Tensor) -> Tensor:
    """A point of another problem, or where most of the mass would be elsewhere, one that was annealed."""
    step = _fixed_point(problem).step(point)
    far = ~(step.error <= _NEAR)
    point = _chosen(far, _start(problem, hottest), point) if bool(far.any()) else point
    # Where no mass is moved it is the update that a bound was reached by, and no error tells whether it was.
    return point if problem.marginals[1].bound == torch.inf else _chosen(~far, step.image, point)


def _error(problem: LinearProblem, side: int, potential: Tensor, soft: Tensor) -> Tensor:
    """L1 distance of one marginal of the plan from what the potential promises, relative to the mass."""
    weights = (problem.a, problem.b)[side]
    has = torch.exp((potential - soft) / problem.eps.unsqueeze(-1))
    wants = problem.marginals[side].promised(potential, soft, problem.eps)
    gap, mass = _total(weights, (has - wants).abs()), _total(weights, wants)
    # Without any mass, all of it destroyed, nothing is missing.
    return torch.where(gap == 0, 0, gap / mass)


def _dual(problem: LinearProblem, f: Tensor, g: Tensor, soft: Tensor) -> tuple[Tensor, Tensor]:
    """The dual value, and what of it may be rounding; `soft` is the soft minimum that g meets."""
    mass = _total(problem.b, torch.exp((g - soft) / problem.eps.unsqueeze(-1)))
    rewards = [(w, of.reward(p)) for w, of, p in zip((problem.a, problem.b), problem.marginals, (f, g), strict=True)]
    size = problem.eps * mass + sum(_total(weights, reward.abs()) for weights, reward in rewards)
    value = sum(_total(weights, reward) for weights, reward in rewards) - problem.eps * _excess(problem, mass)
    return value, _ULPS * torch.finfo(f.dtype).eps * size


def _dual_of_exact_rows(problem: LinearProblem, f: Tensor, g: Tensor) -> Tensor:
    """The dual value where f is the update of g, so that the rows of the plan are what it promises."""
    of_a, of_b = problem.marginals
    mass = _total(problem.a, of_a.promised(f, f, problem.eps))
    rewards = _total(problem.a, of_a.reward(f)) + _total(problem.b, of_b.reward(g))
    return rewards - problem.eps * _excess(problem, mass)


def _excess(problem: LinearProblem, mass: Tensor) -> Tensor:
    return mass - problem.a.sum(-1) * problem.b.sum(-1)


def _total(weights: Tensor, numbers: Tensor) -> Tensor:
    return torch.where(weights > 0, weights * numbers, 0).sum(-1)


def _chosen(elements: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` in some elements of the batch, `old` in the others."""
    if bool(elements.all()):
        return new
    return torch.where(elements.unsqueeze(-1) if new.ndim > elements.ndim else elements, new, old)


def _alike(move: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    change = _total(weights, (move - other).square())
    return change <= _DRIFT[1] ** 2 * _total(weights, move.square())


def _why_not(problem: LinearProblem, tol: float, scale: Tensor, waited: Tensor, active: Tensor) -> Status:
    """What keeps elements above tol, those that were `active` at the last iteration or others."""
    mass = problem.b.sum(-1)
    if problem.balanced and bool(((problem.a.sum(-1) - mass).abs() > tol * mass).any()):
        return Status.MASSES
    if not bool(active.any()):
        return Status.PRECISION
    rounding = torch.finfo(problem.a.dtype).eps * (1 + scale / problem.eps)
    if bool((active & (tol < _LEAST * rounding)).any()):
        return Status.UNREACHABLE
    return Status.SLOW if bool((active & (waited > _PATIENCE)).any()) else Status.MAX_ITER


def warn_unless_converged(solution: Solution, asked: str) -> None:
    """Warn with the figure and the remedy."""
    if solution.status not in (Status.CONVERGED, Status.RESTED):
        rounded = solution.f.dtype != torch.float64 and solution.status in (Status.PRECISION, Status.UNREACHABLE)
        wider = " Or pass float64 points, on a device that has it." if rounded else ""
        warn(
            f"{asked} did not converge: marginal error {solution.marginal_error.max().item():.2g} "
            f"after {solution.n_iter} iterations. {solution.status.message}{wider}",
            NotConverged,
        )
