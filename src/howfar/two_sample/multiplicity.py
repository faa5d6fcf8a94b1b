"""Many tests, one error rate: Holm's rule, and the sharper one of Westfall and Young for shared labellings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, ShapeError, complaint

_TIE = 1e-9


@dataclass(frozen=True)
class MinP:
    """P-values of K hypotheses tested on shared labellings.

    Attributes:
        p_values: (K,) each hypothesis alone.
        adjusted: (K,) step-down min-p: rejecting those <= alpha has family-wise error at most alpha.
        combined: of the hypothesis that all K are true; the smallest of `adjusted`.
    """

    p_values: Tensor
    adjusted: Tensor
    combined: float


def adjust_min_p(
    statistics: Any,  # (K, 1 + B)
) -> MinP:
    """Step-down min-p adjustment (Westfall and Young 1993, algorithm 2.8) of statistics on shared labellings.

    Column 0 holds the observed statistics, large values speak against the null. Exact for any dependence between the
    rows. A single row that stands out is adjusted to about K / (1 + B) at best, because the other rows have a most
    extreme labelling too: use many labellings for many rows.

    Example:
        >>> import torch
        >>> from howfar.two_sample import adjust_min_p
        >>> adjust_min_p(torch.tensor([[9.0, 1.0, 2.0, 3.0], [1.0, 3.0, 2.0, 0.0]])).adjusted
        tensor([0.5000, 0.7500], dtype=torch.float64)
    """
    statistics = _checks.as_tensor(statistics, "statistics").double()
    if statistics.ndim != 2 or 0 in statistics.shape:
        raise ShapeError(
            complaint("statistics", "shape (K, 1 + B)", f"{tuple(statistics.shape)}", "Pass one row per hypothesis.")
        )
    _checks.check_finite(statistics, "statistics")
    exceeding = torch.stack([_at_least_as_large(row) for row in statistics])
    observed, order = exceeding[:, 0].sort(stable=True)
    # The smallest count among a hypothesis and all after it, for every labelling.
    smallest = exceeding[order].flip(0).cummin(0).values.flip(0)
    adjusted = torch.empty(len(order), dtype=torch.float64, device=statistics.device)
    adjusted[order] = (smallest <= observed.unsqueeze(1)).double().mean(1).cummax(0).values
    return MinP(exceeding[:, 0].double() / statistics.shape[1], adjusted, float(adjusted.min()))


def holm(p_values: Any) -> Tensor:
    """Holm's step-down adjusted p-values (K,): family-wise error at most alpha for any dependence (Holm 1979).

    Example:
        >>> from howfar.two_sample import holm
        >>> holm([0.01, 0.04, 0.03])
        tensor([0.0300, 0.0600, 0.0600], dtype=torch.float64)
    """
    p_values = _checks.as_tensor(p_values, "p_values").double()
    if p_values.ndim != 1 or len(p_values) == 0:
        raise ShapeError(complaint("p_values", "shape (K,)", f"{tuple(p_values.shape)}", "Pass one p-value per test."))
    _checks.check_finite(p_values, "p_values")
    if bool(((p_values < 0) | (p_values > 1)).any()):
        worst = p_values[(p_values < 0) | (p_values > 1)][0].item()
        raise DomainError(complaint("p_values", "numbers in [0, 1]", f"{worst:g}", "Pass probabilities."))
    ordered, order = p_values.sort(stable=True)
    remaining = torch.arange(len(ordered), 0, -1, device=p_values.device)
    adjusted = torch.empty_like(p_values)
    adjusted[order] = (ordered * remaining).cummax(0).values.clamp_max(1)
    return adjusted


def _at_least_as_large(row: Tensor) -> Tensor:
    """For each entry how many of the row are as large, itself included; equal up to rounding counts as equal."""
    ordered = row.sort().values
    slack = _TIE * row.abs().max()
    return len(row) - torch.searchsorted(ordered, row - slack)
