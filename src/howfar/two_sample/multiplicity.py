"""Many statistics, one error rate: step-down adjusted p-values on one scale.

All statistics are computed on the same labellings, so their dependence is kept and the decision has its level
exactly, for any number of them (Westfall and Young, Resampling-Based Multiple Testing, 1993, algorithm 2.8).

What is compared across statistics is a score, -log10 of each one's own p-value. Ranks alone cannot carry it: of B
labellings the best rank is 1 / B for every statistic, so with K statistics the adjusted p-value could hardly fall
below K / B. Beyond its 90 % quantile a score therefore follows the exponential tail that a quadratic statistic has
under the null hypothesis, with the slope between its 90 % and its 99 % quantile. The score only orders the
labellings; every p-value that comes out is a count of labellings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import ShapeError, complaint
from howfar.two_sample import ties


@dataclass(frozen=True)
class MinP:
    """P-values of K hypotheses tested on shared labellings.

    Attributes:
        p_values: (K,) each hypothesis alone, at least 1 / (1 + B).
        adjusted: (K,) step-down: rejecting those <= alpha has family-wise error at most alpha.
        combined: of the hypothesis that all K are true; the smallest of `adjusted`.
    """

    p_values: Tensor
    adjusted: Tensor
    combined: float


def adjust_min_p(
    statistics: Any,  # (K, 1 + B), one row per hypothesis, one column per labelling, the observed one first
) -> MinP:
    """Step-down adjusted p-values of statistics on shared labellings; large values speak against the null.

    Raises:
        ShapeError: not one row per hypothesis.
        DomainError: a statistic that is not finite.

    Example:
        >>> import torch
        >>> from howfar.two_sample import adjust_min_p
        >>> null = torch.rand(3, 999, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> observed = torch.tensor([[5.0], [0.5], [0.5]], dtype=torch.float64)
        >>> adjust_min_p(torch.cat([observed, null], dim=1)).adjusted.round(decimals=3)
        tensor([0.0010, 0.7580, 0.7580], dtype=torch.float64)
    """
    statistics = _checks.as_tensor(statistics, "statistics")
    if statistics.ndim != 2 or 0 in statistics.shape:
        raise ShapeError(
            complaint("statistics", "shape (K, 1 + B)", f"{tuple(statistics.shape)}", "Pass one row per hypothesis.")
        )
    _checks.check_finite(statistics, "statistics")
    statistics = _ties_closed(statistics).double()
    n_labellings = statistics.shape[1]
    p_values = (statistics >= statistics[:, :1]).sum(1).double() / n_labellings

    scores = _scores(statistics)
    order = torch.argsort(scores[:, 0], descending=True, stable=True)
    # The largest score among a hypothesis and all after it, under every labelling.
    rivals = scores[order].flip(0).cummax(0).values.flip(0)
    stepwise = (rivals >= scores[order, :1]).sum(1).double() / n_labellings
    adjusted = torch.empty_like(stepwise)
    adjusted[order] = stepwise.cummax(0).values
    return MinP(p_values, adjusted, float(adjusted.min()))


def _ties_closed(statistics: Tensor) -> Tensor:
    """Values within rounding of the observed one become equal to it, so that a tie counts as a tie."""
    observed = statistics[:, :1]
    return torch.where((statistics - observed).abs() <= ties.slack(statistics), observed, statistics)


def _scores(statistics: Tensor) -> Tensor:
    """-log10 of each value's own p-value, (K, 1 + B): by rank up to the 90 % quantile, by its tail beyond."""
    n_labellings = statistics.shape[1]
    ordered = statistics.sort(1).values.contiguous()
    below = torch.searchsorted(ordered, statistics.contiguous(), right=False)
    by_rank = -torch.log10((n_labellings - below).double() / n_labellings)

    start = ordered[:, [int(0.90 * (n_labellings - 1))]]
    decade = ordered[:, [int(0.99 * (n_labellings - 1))]] - start
    by_tail = 1 + (statistics - start) / torch.where(decade > 0, decade, 1.0)
    return torch.where((decade > 0) & (statistics > start), by_tail, by_rank)
