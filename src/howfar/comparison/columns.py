"""One column of both tables: its effect in shares of rows, its shift in plain units, and what its test is computed from.

Pooled rows are the reference rows followed by the current rows, everywhere in this folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from howfar.data import Kind, PairedColumn

N_THRESHOLDS = 1024
"""An ordered column is tested at no more than this many thresholds, equally spaced in pooled rank."""


@dataclass(frozen=True, eq=False)
class ColumnSample:
    """The values of one column on both sides, sorted into distinct values.

    Attributes:
        column: the two columns, of one kind, with common levels.
        support: (u,) float64, the distinct values of an ordered column; (u,) the codes of a categorical one.
        codes: (N,) index into `support` of every pooled row; u where it is missing.
        counts: (2, u) float64, how many rows of the reference and of the current side have each value.
    """

    column: PairedColumn
    support: Tensor
    codes: Tensor
    counts: Tensor

    @classmethod
    def of(cls, column: PairedColumn) -> ColumnSample:
        """Pool, sort and count."""
        values = torch.cat([column.reference.values, column.current.values])
        present = ~torch.cat([column.reference.missing, column.current.missing])
        support, inverse = torch.unique(values[present], return_inverse=True)
        codes = torch.full(values.shape, len(support), dtype=torch.long)
        codes[present] = inverse
        sides = codes[: column.reference.n], codes[column.reference.n :]
        counts = torch.stack([torch.bincount(side, minlength=len(support) + 1)[:-1] for side in sides])
        return cls(column, support, codes, counts.double())

    @property
    def ordered(self) -> bool:
        """Whether "value <= t" means something."""
        return self.column.kind is not Kind.CATEGORICAL

    @property
    def n_missing(self) -> tuple[int, int]:
        """Missing rows of either side."""
        return self.column.reference.n_missing, self.column.current.n_missing

    @property
    def comparable(self) -> bool:
        """Whether both sides have a value, and the values are no identifiers."""
        return bool((self.counts.sum(1) > 0).all()) and not self.column.identifiers

    @cached_property
    def shares(self) -> Tensor:
        """(2, u): the share of the rows with a value that each distinct value has on either side."""
        return self.counts / self.counts.sum(1, keepdim=True).clamp_min(1)

    @cached_property
    def gaps(self) -> Tensor:
        """(u,): how much larger a share of the current side has each value; for ordered columns, a value up to it."""
        difference = self.shares[1] - self.shares[0]
        return difference.cumsum(0) if self.ordered else difference

    def effect(self) -> float | None:
        """The largest gap in the share of rows, 0..1; None when the values cannot be compared.

        Over the events "value <= t" for ordered kinds (the Kolmogorov-Smirnov distance), over all sets of levels for
        categorical ones (the total variation). For a boolean the two are the same number.
        """
        if not self.comparable:
            return None
        largest = self.gaps.abs().max() if self.ordered else self.gaps.abs().sum() / 2
        return min(1.0, float(largest))

    def wasserstein(self) -> float:
        """int |F(t) - G(t)| dt in the unit of the column: the mean distance that a value has to move."""
        return float((self.gaps[:-1].abs() * self.support.diff()).sum())

    def quantiles(self, side: int, levels: tuple[float, ...]) -> list[float]:
        """Quantiles of one side by the rule of the median: linear between order statistics."""
        ends = self.counts[side].cumsum(0)
        at = torch.tensor(levels, dtype=torch.float64) * (ends[-1] - 1)
        last = len(self.support) - 1
        low, high = (
            self.support[torch.searchsorted(ends, rank, right=True).clamp_max(last)] for rank in (at.floor(), at.ceil())
        )
        return [float(q) for q in low + (high - low) * (at - at.floor())]

    def moments(self, side: int) -> tuple[float, float | None]:
        """Mean and standard deviation (n - 1) of one side; no deviation of a single value."""
        n = float(self.counts[side].sum())
        # Centred and scaled, so that neither an offset nor the square of a large value costs the digits.
        centre = self.support[len(self.support) // 2]
        scale = (self.support - centre).abs().max().clamp_min(torch.finfo(self.support.dtype).tiny)
        scaled = (self.support - centre) / scale
        mean = (self.shares[side] * scaled).sum()
        variance = (self.counts[side] * (scaled - mean).square()).sum() / max(n - 1, 1)
        return float(centre + scale * mean), float(scale * variance.sqrt()) if n > 1 else None

    def tested_codes(self) -> tuple[Tensor, int]:
        """(N,) codes on at most `N_THRESHOLDS` distinct values of an ordered column, and how many; missing rows last."""
        n_values = len(self.support)
        if not self.ordered or n_values <= N_THRESHOLDS:
            return self.codes, n_values
        ranks = self.counts.sum(0).cumsum(0)
        bins = ((ranks - 1) * N_THRESHOLDS / ranks[-1]).floor().long()
        kept, coarse = torch.unique(bins, return_inverse=True)
        return torch.cat([coarse, coarse.new_tensor([len(kept)])])[self.codes], len(kept)
