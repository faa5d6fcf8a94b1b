"""Two-sided bounds on the unregularised cost from any potentials, streamed.

Both are computed in float64 from the points as they are, and moved apart by more than float64 can have rounded, so that
they hold as numbers and not only on paper.
"""

from __future__ import annotations

import torch
from torch import Tensor

from howfar.optimal_transport.problem import LinearProblem

RESOLUTION = 2.0**-46
"""What rounding may have changed a bound by, as a share of the largest cost and of the potentials: 64 units in the last
place, where sums are pairwise and costs of a few roundings."""


@torch.no_grad()
def bounds(problem: LinearProblem, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """(lower, upper), each (...), in units of the cost, for the weights as shares of the mass of a."""
    if problem.a.device.type != "mps":
        problem, f, g = problem.double(), f.double(), g.double()
    a, b, *others = problem.differentiable()
    b = b * (a.sum(-1, keepdim=True) / b.sum(-1, keepdim=True))
    problem = problem.rebuilt(a, b, *others)
    margin = RESOLUTION * (2.0**29 if problem.a.dtype == torch.float32 else 1.0)
    lower, size = _lower(problem, f)
    scale = problem.geometry.scale()
    upper = _upper(problem, f, g)
    # The exponent of the plan is as large as scale / eps, and its rounding is relative in the entries.
    return lower - margin * (size + scale), upper + margin * (size + scale + upper.abs() * scale / (16 * problem.eps))


def of_vertex(problem: LinearProblem, f: Tensor, g: Tensor, paid: Tensor) -> tuple[Tensor, Tensor]:
    """(lower, upper) from dual feasible potentials and what a plan with the exact marginals pays, all in float64."""
    b = problem.b * (problem.a.sum(-1, keepdim=True) / problem.b.sum(-1, keepdim=True))
    terms = torch.cat([problem.a * f, b * g], -1)
    margin = RESOLUTION * (terms.abs().sum(-1) + paid.abs())
    return terms.sum(-1) - margin, paid + margin


def outwards(lower: Tensor, upper: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The bounds in another dtype, rounded so that they stay bounds."""
    if lower.dtype == dtype:
        return lower, upper
    low, high = lower.to(dtype), upper.to(dtype)
    return torch.nextafter(low, torch.full_like(low, -torch.inf)), torch.nextafter(
        high, torch.full_like(high, torch.inf)
    )


def _lower(problem: LinearProblem, f: Tensor) -> tuple[Tensor, Tensor]:
    """The value of a dual feasible pair, and the size of its terms."""
    geometry = problem.geometry
    g = geometry.nearest(torch.where(problem.a > 0, f, -torch.inf), 1, "y")[0].squeeze(-1)
    f = geometry.nearest(torch.where(problem.b > 0, g, -torch.inf), 1, "x")[0].squeeze(-1)
    terms = torch.cat([problem.a * f, problem.b * g], -1)
    return terms.sum(-1), terms.abs().sum(-1)


def _upper(problem: LinearProblem, f: Tensor, g: Tensor) -> Tensor:
    """The plan with rows, then columns, scaled down to their marginals, and the rest spread as a product."""
    geometry, eps, a, b = problem.geometry, problem.eps, problem.a, problem.b
    h_x, h_y = problem.shifted_x(f), problem.shifted_y(g)
    soft = geometry.softmin(h_y, eps, "x")
    rows = a * torch.exp((f - soft) / eps.unsqueeze(-1))
    keep_rows = _share(a, rows)
    soft_y, kept = geometry.softmin_apply(h_x, keep_rows.unsqueeze(-1), eps, "y")
    columns = b * torch.exp((g - soft_y) / eps.unsqueeze(-1)) * kept.squeeze(-1)
    keep_columns = _share(b, columns)
    # Scaling the columns shifts the potential, so the rounded rows and their cost stream like the plan's.
    h_kept = h_y + eps.unsqueeze(-1) * torch.log(keep_columns)
    soft_kept = geometry.softmin(h_kept, eps, "x")
    kept_rows = keep_rows * a * torch.exp((f - soft_kept) / eps.unsqueeze(-1))
    value = (kept_rows * geometry.softmin_cost(h_kept, eps, "x")).sum(-1)
    missing_a, missing_b = (a - kept_rows).clamp_min(0), (b - keep_columns * columns).clamp_min(0)
    spread = (missing_a * geometry.apply(missing_b, "x")).sum(-1)
    mass = missing_b.sum(-1)
    return value + torch.where(mass > 0, spread / torch.where(mass > 0, mass, 1), 0)


def _share(wanted: Tensor, has: Tensor) -> Tensor:
    return torch.where(has > wanted, wanted / torch.where(has > 0, has, 1), 1)
