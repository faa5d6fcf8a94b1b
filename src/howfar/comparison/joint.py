"""Many permutation statistics, one decision: step-down adjusted p-values on one scale.

All statistics are computed on the same relabelings, so their dependence is kept and the decision has its level
exactly, for any number of columns (Westfall and Young, Resampling-Based Multiple Testing, 1993, algorithm 2.8).

What is compared across statistics is a score, -log10 of each one's own p-value. Ranks alone cannot carry it: of B
relabelings the best rank is 1 / B for every statistic, so with K statistics the adjusted p-value could hardly fall
below K / B. Beyond its 90 % quantile a score therefore follows the exponential tail that a quadratic statistic has
under the null hypothesis, with the slope between its 90 % and its 99 % quantile. The score only orders the
relabelings; every p-value that comes out is a count of relabelings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_TIE = 1e-9
"""Relative gap below which two float64 statistics are one value summed in two orders."""


@dataclass(frozen=True)
class JointTest:
    """The p-values of K statistics: each alone, each adjusted for all, and of the hypothesis that nothing differs.

    Attributes:
        p_values: (K,), each at least 1 / B.
        p_adjusted: (K,), step-down; their family-wise error is at most the level.
        p_combined: the smallest of p_adjusted: the p-value of "both tables have one distribution".
    """

    p_values: Tensor
    p_adjusted: Tensor
    p_combined: float


def joint_test(
    statistics: Tensor,  # (K, B), one row per statistic, one column per relabeling, the observed one first
) -> JointTest:
    """Step-down adjusted p-values from statistics on shared relabelings; large values speak against the null.

    Example:
        >>> import torch
        >>> from howfar.comparison.joint import joint_test
        >>> null = torch.rand(3, 999, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> observed = torch.tensor([[5.0], [0.5], [0.5]], dtype=torch.float64)
        >>> joint_test(torch.cat([observed, null], dim=1)).p_adjusted.round(decimals=3)
        tensor([0.0010, 0.7580, 0.7580], dtype=torch.float64)
    """
    statistics = _ties_closed(statistics.double())
    scores = _scores(statistics)
    n_relabelings = statistics.shape[1]
    p_values = (statistics >= statistics[:, :1]).sum(1).double() / n_relabelings

    order = torch.argsort(scores[:, 0], descending=True, stable=True)
    rivals = torch.flip(torch.cummax(torch.flip(scores[order], [0]), 0).values, [0])
    stepwise = (rivals >= scores[order, :1]).sum(1).double() / n_relabelings
    p_adjusted = torch.empty_like(stepwise)
    p_adjusted[order] = torch.cummax(stepwise, 0).values
    return JointTest(p_values, p_adjusted, float(p_adjusted.min()))


def _ties_closed(statistics: Tensor) -> Tensor:
    """Values within rounding of the observed one become equal to it, so that a tie counts as a tie."""
    observed = statistics[:, :1]
    return torch.where((statistics - observed).abs() <= _TIE * observed.abs(), observed, statistics)


def _scores(statistics: Tensor) -> Tensor:
    """-log10 of each value's own p-value, (K, B): by rank up to the 90 % quantile, by its exponential tail beyond."""
    n_relabelings = statistics.shape[1]
    ordered = statistics.sort(1).values.contiguous()
    below = torch.searchsorted(ordered, statistics.contiguous(), right=False)
    by_rank = -torch.log10((n_relabelings - below).double() / n_relabelings)

    start = ordered[:, [int(0.90 * (n_relabelings - 1))]]
    decade = ordered[:, [int(0.99 * (n_relabelings - 1))]] - start
    by_tail = 1 + (statistics - start) / torch.where(decade > 0, decade, 1.0)
    return torch.where((decade > 0) & (statistics > start), by_tail, by_rank)
