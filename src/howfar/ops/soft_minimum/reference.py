"""The specification of the soft minimum: plain torch on the rows of x that it is given."""

from __future__ import annotations

import torch
from torch import Tensor

from howfar.costs import Cost


def softmin(x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: Cost) -> Tensor:
    """-eps log sum_j exp((h_j - c(x_i, y_j)) / eps): (..., n)."""
    scores = (h.unsqueeze(-2) - cost.matrix(x, y)) / eps[..., None, None]
    return -eps.unsqueeze(-1) * torch.logsumexp(scores, -1)


def softmin_apply(x: Tensor, y: Tensor, h: Tensor, v: Tensor, eps: Tensor, cost: Cost) -> Tensor:
    """(..., n, 1 + q): the soft minimum, then the averages of v under exp((h_j - c_ij) / eps), normalised over j."""
    scores = (h.unsqueeze(-2) - cost.matrix(x, y)) / eps[..., None, None]
    total = torch.logsumexp(scores, -1, keepdim=True)
    return torch.cat([-eps[..., None, None] * total, torch.exp(scores - total) @ v], -1)


def softmin_cost(x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: Cost) -> Tensor:
    """(..., n): the average of the cost itself under the same weights."""
    matrix = cost.matrix(x, y)
    weights = torch.softmax((h.unsqueeze(-2) - matrix) / eps[..., None, None], -1)
    return (weights * matrix).sum(-1)
