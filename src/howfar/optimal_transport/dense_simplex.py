"""Exact transport on the dense matrix by POT's network simplex, for installations without the compiled library."""

from __future__ import annotations

import torch
from torch import Tensor

_MOST_PIVOTS = 100_000_000
_HEADROOM = 1e4
"""How far above the mean cost of a plan a single cost has to be, to be of no use to an optimal one."""
_WORTHWHILE = 1e-2
"""Another solve has to win two digits at least."""


def optimum(a: Tensor, b: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor, bool]:
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
