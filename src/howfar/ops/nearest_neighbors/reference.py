"""The specification of the nearest neighbours: plain torch on the rows of x that it is given."""

from __future__ import annotations

import torch
from torch import Tensor

from howfar import _checks
from howfar.costs import Cost


def nearest(x: Tensor, y: Tensor, h: Tensor | None, k: int, cost: Cost) -> tuple[Tensor, Tensor]:
    """The k smallest c(x_i, y_j) - h_j in rising order and their j, ties by the smaller j: (..., n, k) twice."""
    reduced = _less(cost.matrix(x, y), h)
    values, indices = torch.topk(reduced, k, -1, largest=False, sorted=True)
    if _checks.unseen(reduced) or bool(((reduced <= values[..., -1:]).sum(-1) > k).any()):
        # More ties at the last place than places: only a stable sort of the row keeps the smallest indices.
        values, indices = torch.sort(reduced, dim=-1, stable=True)
        return values[..., :k].contiguous(), indices[..., :k].contiguous()
    indices, by_index = indices.sort(-1)
    values, by_value = values.gather(-1, by_index).sort(dim=-1, stable=True)
    return values, indices.gather(-1, by_value)


def reduced_costs(x: Tensor, y: Tensor, h: Tensor | None, indices: Tensor, cost: Cost) -> Tensor:
    """c(x_i, y_j) - h_j at the given j: (..., n, k), differentiable."""
    if not cost.batched:
        return _less(cost.matrix(x, y), h).gather(-1, indices)
    flat = indices.flatten(-2)
    chosen = y.gather(-2, flat.unsqueeze(-1).expand(*flat.shape, y.shape[-1]))
    chosen = chosen.unflatten(-2, indices.shape[-2:])
    found = cost.matrix(x.unsqueeze(-2), chosen).squeeze(-2)
    return found if h is None else found - h.gather(-1, flat).unflatten(-1, indices.shape[-2:])


def _less(costs: Tensor, h: Tensor | None) -> Tensor:
    return costs if h is None else costs - h.unsqueeze(-2)
