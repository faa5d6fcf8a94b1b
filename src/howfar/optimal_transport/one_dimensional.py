"""Transport on the line: the coupling of the quantile functions."""

from __future__ import annotations

import torch
from torch import Tensor

from howfar.costs import safe_power


def quantile_cost(
    x: Tensor,  # (..., n)
    y: Tensor,  # (..., m)
    a: Tensor | None,  # (..., n), uniform when None
    b: Tensor | None,  # (..., m)
    p: float,
) -> Tensor:  # (...)   in units of the data to the power p
    """int_0^1 |F^-1(u) - G^-1(u)|^p du: the optimal cost for every convex cost of the difference.

    Differentiable in x and y, and in a and b, whose derivative comes through the ends of the intervals of u on
    which both quantile functions are constant.
    """
    n, m = x.shape[-1], y.shape[-1]
    x_sorted, x_order = x.sort(dim=-1)
    y_sorted, y_order = y.sort(dim=-1)
    if a is None and b is None and n == m:
        return _power(x_sorted - y_sorted, p).mean(-1)
    x_levels = _levels(a, x_order, x)
    y_levels = _levels(b, y_order, y)
    batch = torch.broadcast_shapes(x_levels.shape[:-1], y_levels.shape[:-1])
    x_levels, y_levels = (t.expand(*batch, t.shape[-1]) for t in (x_levels, y_levels))
    levels = torch.cat([x_levels, y_levels], -1).sort(dim=-1).values
    width = torch.diff(levels, dim=-1, prepend=torch.zeros_like(levels[..., :1]))
    middle = (levels - 0.5 * width).detach()
    i = torch.searchsorted(x_levels.detach().contiguous(), middle).clamp_max(n - 1)
    j = torch.searchsorted(y_levels.detach().contiguous(), middle).clamp_max(m - 1)
    gap = x_sorted.expand(*batch, n).gather(-1, i) - y_sorted.expand(*batch, m).gather(-1, j)
    return (width.to(x.dtype) * _power(gap, p)).sum(-1)


def _levels(weights: Tensor | None, order: Tensor, like: Tensor) -> Tensor:
    """The cumulative weights of the sorted points, in float64 so that equal levels meet."""
    if weights is None:
        n = order.shape[-1]
        return (torch.arange(1, n + 1, device=like.device, dtype=torch.float64) / n).expand(order.shape)
    batch = torch.broadcast_shapes(weights.shape[:-1], order.shape[:-1])
    return weights.expand(*batch, -1).double().gather(-1, order.expand(*batch, -1)).cumsum(-1)


def _power(gap: Tensor, p: float) -> Tensor:
    return gap.square() if p == 2 else safe_power(gap.abs(), p)
