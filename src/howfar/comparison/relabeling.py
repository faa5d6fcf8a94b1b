"""The statistics of every column under relabelings of the pooled rows, streamed over blocks of relabelings.

A relabeling says which pooled rows are called "reference". All statistics need of it are counts: how many reference
rows have each value. So a block of relabelings costs one pass over the rows per column and no sort.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from howfar import two_sample
from howfar.comparison.columns import ColumnSample

BLOCK_ELEMENTS = 2**24
"""Labels held at once as numbers: 64 MB."""


@dataclass(frozen=True, eq=False)
class CountStatistics:
    """Two statistics of one column, of its values and of its missing rows, as functions of counts.

    Attributes:
        codes: (N,) which of the `n_values` tested values each pooled row has; `n_values` where it is missing.
        n_values: how many values are tested.
        totals: (n_values + 1,) float64, pooled rows of each value, missing ones last.
        ordered: whether the values have an order.
    """

    codes: Tensor
    n_values: int
    totals: Tensor
    ordered: bool

    @classmethod
    def of(cls, sample: ColumnSample) -> CountStatistics:
        """What the test of one column needs to remember."""
        codes, n_values = sample.tested_codes()
        totals = torch.bincount(codes, minlength=n_values + 1).double()
        return cls(codes, n_values, totals, sample.ordered)

    def __call__(
        self,
        labels: Tensor,  # (N, B) float32, one where a row is called reference
    ) -> tuple[Tensor, Tensor]:
        """The statistic of the values and that of the missing rows, (B,) each, under every relabeling.

        Values in order: Anderson and Darling's, sum over the pooled values of (F - G)^2 / (H (1 - H)), times
        n m / (n + m) (Scholz and Stephens 1987, eq. 6, two samples): as sharp in the tails as in the middle, the same
        for any monotone change of unit. Levels: Pearson's chi-square of the two-row table. Missing rows: the absolute
        difference of the reference count from its mean.
        """
        counts = labels.new_zeros(self.n_values + 1, labels.shape[1]).index_add_(0, self.codes, labels).double()
        n_labelled = counts.sum(0)
        missing = (counts[-1] - n_labelled * self.totals[-1] / self.totals.sum()).abs()
        counts, totals = counts[:-1], self.totals[:-1, None]
        n, total = counts.sum(0), totals.sum()
        sizes = n * (total - n)
        if self.ordered:
            weights = totals[:-1]
            counts, totals = counts.cumsum(0)[:-1], totals.cumsum(0)[:-1]
            weights = weights / (totals * (total - totals))
        else:
            weights = 1 / totals
        statistic = (weights * (counts * total - n * totals).square()).sum(0) / sizes.clamp_min(1)
        return torch.where(sizes > 0, statistic, 0.0), missing


@dataclass(frozen=True, eq=False)
class Strata:
    """The pooled rows in two parts, within which rows are relabeled: the subsample and the rest.

    Relabeling within parts is a group of permutations, so tests on it stay exact, and the subsample keeps its sizes.

    Attributes:
        n, m: rows of the reference and of the current table.
        reference, current: row numbers of the subsample in either table, in increasing order.
    """

    n: int
    m: int
    reference: Tensor
    current: Tensor

    @classmethod
    def draw(cls, n: int, m: int, most: int, generator: torch.Generator) -> Strata:
        """A subsample of at most `most` rows a side, without looking at any value; all rows where they fit."""
        return cls(n, m, _subsample(n, most, generator), _subsample(m, most, generator))

    @property
    def whole(self) -> bool:
        """Whether the subsample is everything."""
        return len(self.reference) == self.n and len(self.current) == self.m

    def parts(self) -> tuple[Tensor, Tensor]:
        """Pooled row numbers of the subsample (reference rows first) and of the rest."""
        inside = torch.cat([self.reference, self.current + self.n])
        outside = torch.ones(self.n + self.m, dtype=torch.bool)
        outside[inside] = False
        return inside, outside.nonzero().squeeze(1)

    def relabelings(self, n_permutations: int, generator: torch.Generator) -> Tensor:
        """(k, 1 + B) bool, true where a row of the subsample is called reference: the observed labels, then random ones.

        All labelings, each once, where the subsample is everything and there are no more than were asked for.
        """
        return two_sample.permutations(len(self.reference), len(self.current), n_permutations, generator)

    def blocks(self, relabelings: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """(N, b) bool: these relabelings extended to all pooled rows, a block of columns at a time, in their order.

        Every relabeling of the subsample meets one of the rest, drawn on its own; the observed one meets the observed.
        """
        inside, outside = self.parts()
        step = max(1, BLOCK_ELEMENTS // (self.n + self.m))
        if self.whole:
            yield from relabelings.split(step, 1)
            return
        n, m = self.n - len(self.reference), self.m - len(self.current)
        for number, some in enumerate(relabelings.split(step, 1)):
            pooled = torch.empty(self.n + self.m, some.shape[1], dtype=torch.bool)
            pooled[inside] = some
            if n and m:
                observed_first = two_sample.Exchange.of(n, m).draw(some.shape[1], generator)
                pooled[outside] = observed_first[:, 1:] if number else observed_first[:, :-1]
            else:
                pooled[outside] = n > 0
            yield pooled


def _subsample(n: int, most: int, generator: torch.Generator) -> Tensor:
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=generator)[:most].sort().values
