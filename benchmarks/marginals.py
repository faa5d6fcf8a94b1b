"""How far a plan, given by its potentials, is from the marginals that it should have: the same measure for everyone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from howfar import ops

Setting = TypeVar("Setting")


def marginal_error(x: Tensor, y: Tensor, f: Tensor, g: Tensor, eps: float) -> float:
    """The larger L1 error of the two marginals of P_ij = exp((f_i + g_j - |x_i - y_j|^2) / eps) / (n m), in float64.

    Clouds (..., n, d) of uniform weights; the worst of a batch; f and g in units of the
    cost.
    """
    x, y, f, g = (torch.as_tensor(t).detach().double() for t in (x, y, f, g))

    def gap(left: Tensor, right: Tensor, own: Tensor, other: Tensor) -> Tensor:
        h = other - eps * torch.log(torch.tensor(float(right.shape[-2])))
        return (torch.exp((own - ops.softmin(left, right, h, eps=eps)) / eps) - 1).abs().mean(-1)

    return float(torch.maximum(gap(x, y, f, g), gap(y, x, g, f)).max())


def loosest(settings: Sequence[Setting], error: Callable[[Setting], float], budget: float) -> Setting:
    """The first setting whose error is within the budget, or else the last one: a peer is asked for no more than is due."""
    for setting in settings:
        try:
            if error(setting) <= budget:
                return setting
        except ImportError:
            break
    return settings[-1]
