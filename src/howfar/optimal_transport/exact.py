"""Exact transport between weighted clouds: the network simplex of POT on the dense cost matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from howfar._errors import DomainError, NotConverged, complaint, warn
from howfar.optimal_transport.problem import LinearProblem
from howfar.optimal_transport.status import Status

_MOST_PIVOTS = 100_000_000
_HEADROOM = 1e4
"""How far above the mean cost of a plan a single cost has to be, to be of no use to an optimal one."""
_WORTHWHILE = 1e-2
"""Another solve has to win two digits at least."""


@dataclass(frozen=True)
class SparsePlan:
    """The entries of optimal plans and the duals that prove them.

    Attributes:
        f: (..., n) in units of the cost.
        g: (..., m) in units of the cost.
        entries: for each batch element, flattened: row indices (K,), column indices (K,), masses (K,).
    """

    f: Tensor = field(default_factory=lambda: torch.empty(0))
    g: Tensor = field(default_factory=lambda: torch.empty(0))
    entries: tuple[tuple[Tensor, Tensor, Tensor], ...] = ()

    def dense(self) -> Tensor:
        """(..., n, m)."""
        n, m = self.f.shape[-1], self.g.shape[-1]
        plans = self.f.new_zeros(len(self.entries), n, m)
        for plan, (i, j, mass) in zip(plans, self.entries, strict=True):
            plan[i, j] = mass
        return plans.reshape(*self.f.shape[:-1], n, m)

    def apply(self, v: Tensor, side: Literal["x", "y"]) -> Tensor:
        """P v or P^T v for v of shape (..., count, q)."""
        count = (self.f if side == "x" else self.g).shape[-1]
        outs = []
        for values, (i, j, mass) in zip(v.reshape(-1, *v.shape[-2:]), self.entries, strict=True):
            rows, columns = (i, j) if side == "x" else (j, i)
            out = values.new_zeros(count, values.shape[-1])
            outs.append(out.index_add(0, rows, mass.unsqueeze(-1) * values[columns]))
        return torch.stack(outs).reshape(*v.shape[:-2], count, v.shape[-1])


def solve(problem: LinearProblem) -> tuple[Tensor, SparsePlan, Status, Tensor]:
    """(value, plan, status, marginal error): value (...) is differentiable in geometry and weights.

    Its derivative holds the optimal plan and duals fixed (Danskin's theorem): sum_ij P_ij dC_ij in the points,
    f and g in the weights, where f and g are one choice when the optimum has several.
    """
    batch = problem.geometry.batch
    flat = _flattened(problem)
    solved = [_one(p.detached()) for p in flat]
    f = torch.stack([s.f for s in solved]).reshape(*batch, -1)
    g = torch.stack([s.g for s in solved]).reshape(*batch, -1)
    plan = SparsePlan(f, g, tuple(s.entry for s in solved))
    values = torch.stack([_paid(p, s.entry) for p, s in zip(flat, solved, strict=True)]).reshape(batch)
    value = values + ((problem.a - problem.a.detach()) * plan.f).sum(-1)
    value = value + ((problem.b - problem.b.detach()) * plan.g).sum(-1)
    ones = torch.ones_like(problem.b).unsqueeze(-1), torch.ones_like(problem.a).unsqueeze(-1)
    error = (plan.apply(ones[0].detach(), "x").squeeze(-1) - problem.a.detach()).abs().sum(-1)
    error = error + (plan.apply(ones[1].detach(), "y").squeeze(-1) - problem.b.detach()).abs().sum(-1)
    status = Status.CONVERGED if all(s.optimal for s in solved) else Status.MAX_ITER
    if status is not Status.CONVERGED:
        warn(
            "Exact transport stopped before it was optimal: the bounds of the result say how far. "
            "Use eps=... or fewer points.",
            NotConverged,
        )
    return value, plan, status, error / problem.a.detach().sum(-1)


@dataclass(frozen=True)
class _Solved:
    f: Tensor
    g: Tensor
    entry: tuple[Tensor, Tensor, Tensor]
    optimal: bool


def _flattened(problem: LinearProblem) -> list[LinearProblem]:
    batch = problem.geometry.batch
    if not batch:
        return [problem]
    a, b, *tensors = (t.reshape(-1, *t.shape[len(batch) :]) for t in problem.differentiable())
    eps = problem.eps.reshape(-1)
    return [
        LinearProblem(problem.geometry.rebuilt(*(t[k] for t in tensors)), a[k], b[k], eps[k]) for k in range(len(eps))
    ]


def _paid(problem: LinearProblem, entry: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    i, j, mass = entry
    return (mass * problem.geometry.at(i, j)).sum()


def _one(problem: LinearProblem) -> _Solved:
    a, b = problem.a.double().cpu(), problem.b.double().cpu()
    rows, columns = torch.nonzero(a).squeeze(-1), torch.nonzero(b).squeeze(-1)
    matrix = problem.geometry.matrix().cpu()
    if not bool(torch.isfinite(matrix).all()):
        expected = f"costs that {matrix.dtype} holds"
        raise DomainError(complaint("cost", expected, "an overflow", "Rescale the points, or pass float64."))
    matrix = matrix.double()
    left = a[rows].contiguous()
    # The simplex wants equal masses to the last bit; the input promises them to rounding only.
    right = b[columns] * (left.sum() / b[columns].sum())
    mass, u, optimal = _optimum(left, right, matrix[rows][:, columns])
    i, j = torch.nonzero(mass, as_tuple=True)
    # Duals of points without mass, and rounding, are mended by one pass of c-transforms.
    g = (matrix[rows] - u.unsqueeze(-1)).amin(0)
    f = (matrix[:, columns] - g[columns]).amin(1)
    like = problem.a
    return _Solved(
        f.to(like),
        g.to(like),
        (rows[i].to(like.device), columns[j].to(like.device), mass[i, j].to(like)),
        optimal,
    )


def _optimum(a: Tensor, b: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor, bool]:
    """(plan, duals of the rows, whether optimal), with costs above what an optimal plan pays cut off.

    The simplex counts as zero what is small beside the largest cost. Where the optimum itself is so small, as with
    a high power of distances, costs far above it are lowered to a cap, and it is solved again for the digits.
    """
    costs = matrix - matrix.amin()
    cap = costs.amax()
    plan, u, optimal = _simplex(a, b, costs, cap)
    paid = (plan * costs).sum()
    while _HEADROOM * paid < _WORTHWHILE * cap and bool(paid > 0):
        cap = _HEADROOM * paid
        finer, finer_u, finer_optimal = _simplex(a, b, costs.clamp_max(cap), cap)
        if bool((finer * costs).sum() >= paid):
            break
        plan, u, optimal = finer, finer_u, finer_optimal
        paid = (plan * costs).sum()
    return plan, u, optimal


def _simplex(a: Tensor, b: Tensor, costs: Tensor, largest: Tensor) -> tuple[Tensor, Tensor, bool]:
    import ot

    unit = torch.where(largest > 0, largest, 1)
    plan, log = ot.emd(
        a.numpy(),
        b.numpy(),
        (costs / unit).contiguous().numpy(),
        numItermax=_MOST_PIVOTS,
        log=True,
        check_marginals=False,
    )
    return torch.from_numpy(plan), unit * torch.from_numpy(log["u"]), log["warning"] is None
