"""What a transport solve returns: the value, how well it is known, and the plan without its matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DerivativeUnavailable, DomainError, ShapeError, complaint
from howfar.geometry import Grid, PointCloud
from howfar.optimal_transport import certificate, implicit
from howfar.optimal_transport.exact import SparsePlan
from howfar.optimal_transport.problem import LinearProblem
from howfar.optimal_transport.status import Status


@dataclass(frozen=True)
class OTResult:
    """The answer of `howfar.transport` and `howfar.transport_matrix`.

    Attributes:
        value: (...) the objective that was minimised, in units of the cost: <P, C>, plus eps KL(P | a b^T) and the
            marginal penalties where they apply. Differentiable in points, weights and eps, twice where it is
            entropic; third derivatives of streamed values are refused.
        status: how the solver ended; the worst of a batch.
        n_iter: iterations, the most that an element of the batch took.
        marginal_error: (...) L1 distance of the plan's marginals from those promised, relative to the mass.
        problem: what was solved.
        method: how it was solved, and why so: the solver is chosen for size, eps and dtype.
    """

    value: Tensor
    status: Status
    n_iter: int
    marginal_error: Tensor
    problem: LinearProblem = field(repr=False)
    method: str

    @property
    def converged(self) -> bool:
        """Whether every element of the batch reached what was asked."""
        return self.status is Status.CONVERGED

    @property
    def eps(self) -> Tensor:
        """(...) the temperature used, in units of the cost; 0 for exact transport."""
        return self.problem.eps

    @property
    def potentials(self) -> tuple[Tensor, Tensor]:
        """(f, g), (..., n) and (..., m), in units of the cost."""
        raise NotImplementedError

    @property
    def cost(self) -> Tensor:
        """(...) <P, C>, in units of the cost."""
        raise NotImplementedError

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """(lower, upper), each (...), on the unregularised cost between the two weightings.

        Lower: a pair made dual feasible by c-transforms. Upper: the plan rounded to the exact marginals
        (Altschuler, Weed & Rigollet 2017). Both are computed in float64 and moved apart by what that may round,
        2^-46 of the largest cost and of the potentials.
        """
        raise NotImplementedError

    def plan(self) -> Tensor:
        """(..., n, m) the coupling P, built now."""
        raise NotImplementedError

    def sparse_plan(self, k: int = 8) -> Tensor:
        """(..., n, m) the k largest entries of every row of P, as a sparse COO tensor in memory n k; a constant.

        An exact plan has at most n + m - 1 entries, and is given whole.
        """
        raise NotImplementedError

    def apply(self, v: Any, side: Literal["x", "y"] = "x") -> Tensor:
        """P v for side "x" (one row per x), P^T v for side "y"; v is (..., m[, q]) or (..., n[, q])."""
        raise NotImplementedError

    def map(self, z: Any = None) -> Tensor:
        """(..., n, d) the barycentric image of x, or of new points z (..., k, d), in units of the data."""
        raise NotImplementedError

    def _columns(self, v: Any, side: str) -> tuple[Tensor, bool]:
        _checks.check_choice(side, "side", ("x", "y"))
        v = _checks.as_tensor(v, "v")
        _checks.check_finite(v, "v", "Fill it first.")
        v = v.to(self.problem.a)
        count = self.problem.geometry.shape[1 if side == "x" else 0]
        single = v.ndim <= len(self.problem.geometry.batch) + 1
        v = v.unsqueeze(-1) if single else v
        if v.ndim < 2 or v.shape[-2] != count:
            raise ShapeError(
                complaint(
                    "v",
                    f"shape (..., {count}) or (..., {count}, q)",
                    f"{tuple(v.shape[:-1] if single else v.shape)}",
                    f"P v takes one value for each point of {'y' if side == 'x' else 'x'}.",
                )
            )
        return v.expand(*self.problem.geometry.batch, *v.shape[-2:]), single

    def _cloud(self) -> PointCloud:
        geometry = self.problem.geometry
        if isinstance(geometry, Grid):
            return PointCloud(geometry.points("x"), geometry.points("y"), geometry.cost, geometry.backend)
        if not isinstance(geometry, PointCloud):
            raise DomainError(
                complaint("map", "points", "a cost matrix", "Use howfar.transport(x, y, ...), or r.apply(values).")
            )
        return geometry


@dataclass(frozen=True)
class EntropicResult(OTResult):
    """A plan P_ij = a_i b_j exp((f_i + g_j - C_ij) / eps), known by its potentials.

    The problem and its solution may be of a wider dtype than the input; what is read from them is not.
    """

    solution: tuple[Tensor, Tensor] = field(repr=False, default=(torch.empty(0), torch.empty(0)))

    @property
    def potentials(self) -> tuple[Tensor, Tensor]:
        """(f, g); differentiable twice, by the implicit function theorem."""
        f, g = self._potentials()
        return f.to(self.value.dtype), g.to(self.value.dtype)

    @property
    def cost(self) -> Tensor:
        """<P, C>; differentiable twice."""
        return self._as_solved(self._cost).to(self.value.dtype)

    def _cost(self) -> Tensor:
        f, g = self._potentials()
        h = self._shifted_y(g)
        soft = self.problem.geometry.softmin(h, self.problem.eps, "x")
        rows = self.problem.a * self.problem.density(self.problem.a, f, soft)
        return (rows * self.problem.geometry.softmin_cost(h, self.problem.eps, "x")).sum(-1)

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """(lower, upper) on the unregularised cost; only where marginals are hard."""
        if not self.problem.balanced:
            raise DomainError(
                complaint(
                    "bounds", "hard marginals", "reach=...", "Without mass conservation no plain cost is bounded."
                )
            )
        return certificate.outwards(*certificate.bounds(self.problem.detached(), *self.solution), self.value.dtype)

    def plan(self) -> Tensor:
        """(..., n, m) P; differentiable twice."""
        f, g = self._potentials()
        # In the exponent a small weight meets the large density beside it before either overflows.
        h = self._shifted_x(f).unsqueeze(-1) + self._shifted_y(g).unsqueeze(-2)
        exponent = (h - self.problem.geometry.matrix()) / self.problem.eps[..., None, None]
        if exponent.requires_grad:
            # As in `_as_solved`, without the overflow.
            absent = (self.problem.a == 0).unsqueeze(-1) | (self.problem.b == 0).unsqueeze(-2)
            largest = 0.99 * math.log(torch.finfo(exponent.dtype).max)
            plan = torch.exp(torch.where(absent, exponent.clamp(max=largest), exponent))
            plan = torch.where(absent, plan - plan.detach(), plan)
        else:
            plan = torch.exp(exponent)
        return plan.to(self.value.dtype)

    @torch.no_grad()
    def sparse_plan(self, k: int = 8) -> Tensor:
        """The largest entries of every row are those of smallest C_ij - h_j."""
        problem, (f, g) = self.problem.detached(), self.solution
        n, m = problem.geometry.shape
        k = min(_checks.check_count(k, "k"), m)
        gaps, columns = problem.geometry.nearest(problem.shifted_y(g), k, "x")
        masses = torch.exp((problem.shifted_x(f).unsqueeze(-1) - gaps) / problem.eps[..., None, None])
        rows = torch.arange(n, device=columns.device).unsqueeze(-1).expand(columns.shape)
        return _sparse(rows, columns, masses.to(self.value.dtype), (*problem.geometry.batch, n, m))

    def apply(self, v: Any, side: Literal["x", "y"] = "x") -> Tensor:
        """P v or P^T v, streamed; differentiable twice."""
        v, single = self._columns(v, side)

        def masses() -> Tensor:
            f, g = self._potentials()
            if side == "x":
                h, own, weights = self._shifted_y(g), f, self.problem.a
            else:
                h, own, weights = self._shifted_x(f), g, self.problem.b
            soft, averages = self.problem.geometry.softmin_apply(h, v, self.problem.eps, side)
            return (weights * self.problem.density(weights, own, soft)).unsqueeze(-1) * averages

        out = self._as_solved(masses)
        return (out.squeeze(-1) if single else out).to(self.value.dtype)

    def map(self, z: Any = None) -> Tensor:
        """Averages of y under the rows of the plan; new points take their row from the potential g."""
        cloud = self._cloud()
        geometry = self.problem.geometry
        if z is not None:
            points = _checks.check_points(z, "z").to(cloud.x.dtype)
            _checks.check_same_space(cloud.x, points, "x", "z")
            batch = _checks.check_batch(cloud.batch, points.shape[:-2], "x", "z")
            geometry = PointCloud(points.expand(*batch, *points.shape[-2:]), cloud.y, cloud.cost, cloud.backend)
        averages = lambda: geometry.softmin_apply(
            self._shifted_y(self._potentials()[1]), cloud.y, self.problem.eps, "x"
        )[1]
        return self._as_solved(averages).to(self.value.dtype)

    def _as_solved(self, of_plan: Callable[[], Tensor]) -> Tensor:
        """What is read from the plan; what stands for no mass beneath a logarithm may meet a density that shows it."""
        out = of_plan()
        if not out.requires_grad or bool((self.problem.a > 0).all() & (self.problem.b > 0).all()):
            return out
        with torch.no_grad():
            plain = of_plan()
        return plain + (out - out.detach())

    def _potentials(self) -> tuple[Tensor, Tensor]:
        return implicit.potentials(self.problem, *self.solution)

    def _shifted_x(self, f: Tensor) -> Tensor:
        return implicit.with_floor(self.problem).shifted_x(f) if f.requires_grad else self.problem.shifted_x(f)

    def _shifted_y(self, g: Tensor) -> Tensor:
        return implicit.with_floor(self.problem).shifted_y(g) if g.requires_grad else self.problem.shifted_y(g)


@dataclass(frozen=True)
class ExactResult(OTResult):
    """An optimal plan with few entries, and optimal duals."""

    sparse: SparsePlan = field(repr=False, default_factory=SparsePlan)

    @property
    def potentials(self) -> tuple[Tensor, Tensor]:
        """(f, g), dual feasible: f_i + g_j <= C_ij up to rounding. Constants; the derivative of the value in a, b."""
        return self.sparse.f, self.sparse.g

    @property
    def cost(self) -> Tensor:
        """<P, C>, which is the value."""
        return self.value

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """(dual value, primal value), moved apart by their rounding; they meet up to that at an optimum."""
        lower, upper = certificate.outwards(*self.sparse.bounds, self.value.dtype)
        return lower.to(self.value.device), upper.to(self.value.device)

    def plan(self) -> Tensor:
        """(..., n, m) P; a constant, as an optimal vertex does not move under a small change of the points."""
        return self.sparse.dense()

    def sparse_plan(self, k: int = 8) -> Tensor:
        """All entries, whatever k."""
        _checks.check_count(k, "k")
        shape = (*self.problem.geometry.batch, *self.problem.geometry.shape)
        entries = self.sparse.entries
        if not self.problem.geometry.batch:
            i, j, mass = entries[0]
            return torch.sparse_coo_tensor(torch.stack([i, j]), mass, shape, check_invariants=True).coalesce()
        at = torch.cat([torch.full_like(i, b) for b, (i, _, _) in enumerate(entries)])
        batch = torch.unravel_index(at, self.problem.geometry.batch)
        i, j, mass = (torch.cat(parts) for parts in zip(*entries, strict=True))
        return torch.sparse_coo_tensor(torch.stack([*batch, i, j]), mass, shape, check_invariants=True).coalesce()

    def apply(self, v: Any, side: Literal["x", "y"] = "x") -> Tensor:
        """P v or P^T v from the entries of the plan."""
        v, single = self._columns(v, side)
        out = self.sparse.apply(v, side)
        return out.squeeze(-1) if single else out

    def map(self, z: Any = None) -> Tensor:
        """Averages of y under the rows of the plan; a point without mass goes where its first mass would. Not for new z."""
        if z is not None:
            raise DerivativeUnavailable(
                "map: an exact plan says nothing about new points. Use eps=... or blur=..., whose map extends to them."
            )
        cloud = self._cloud()
        massive = (self.problem.a > 0).unsqueeze(-1)
        images = self.sparse.apply(cloud.y, "x") / torch.where(massive, self.problem.a.unsqueeze(-1), 1)
        if bool(massive.all()):
            return images
        # The duals price a first unit of mass: it goes to the y of smallest reduced cost.
        g = torch.where(self.problem.b > 0, self.sparse.g, -torch.inf).detach()
        nearest = cloud.nearest(g, 1, "x")[1].expand(images.shape)
        return torch.where(massive, images, cloud.y.gather(-2, nearest))


def _sparse(rows: Tensor, columns: Tensor, masses: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor of `shape` with masses (..., n, k) at (..., rows, columns), without those that are zero."""
    at = torch.nonzero(masses, as_tuple=True)
    index = torch.stack([*at[:-2], rows[at], columns[at]])
    return torch.sparse_coo_tensor(index, masses[at], shape, check_invariants=True).coalesce()
