"""The soft minimum as a function of its temperature.

A cost of degree p has c(x, y) / eps = c(x / s, y / s) with s = eps ** (1 / p), so that
softmin(x, y, h; eps) = eps softmin(x / s, y / s, h / eps; 1): a derivative in eps is one in the points, of every order
that those have, and streams as they do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from howfar import costs
from howfar._errors import DerivativeUnavailable

_OF_DIFFERENCES = costs.SqEuclidean | costs.Euclidean | costs.CityBlock | costs.Minkowski


def moves(eps: object) -> bool:
    """Whether a derivative is wanted in this temperature."""
    return isinstance(eps, Tensor) and eps.requires_grad and torch.is_grad_enabled()


def in_its_unit(x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: costs.Cost) -> tuple[Tensor, Tensor, Tensor]:
    """(x, y, h) whose costs and potentials are those of the given ones in units of eps."""
    if cost.degree is None:
        raise DerivativeUnavailable(
            f"eps: the derivative needs a cost that scales as a power of the distance, and {cost.name!r} does not. "
            "Pass eps.detach(), or use howfar.transport_matrix with the matrix of costs."
        )
    x, y, h = (t.to(eps.dtype) for t in (x, y, h))
    base = cost.base if isinstance(cost, costs.Power) else cost
    if isinstance(base, _OF_DIFFERENCES):
        # Far from the origin the derivatives of many points would have to cancel.
        centre = (x.detach().mean(-2, keepdim=True) + y.detach().mean(-2, keepdim=True)) / 2
        x, y = x - centre, y - centre
    size = eps[..., None, None] ** (1 / cost.degree)
    alive = h > -torch.inf
    h = torch.where(alive, torch.where(alive, h, 0) / eps.unsqueeze(-1), -torch.inf)
    return x / size, y / size, h
