"""What moved in one column, in one line: the statistic that shows it, on both sides, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

from howfar.comparison import wording
from howfar.comparison.columns import ColumnSample
from howfar.comparison.records import Level
from howfar.data import Kind

_SMALL = 0.2
"""A median or a mean that moved by fewer pooled standard deviations is not the first thing to say of a column."""
_SPREAD_RATIO = 1.25
"""Standard deviations further apart than this are."""


@dataclass(frozen=True)
class Location:
    """The median or the mean of an ordered column on both sides.

    Attributes:
        name: "median" or "mean".
        reference, current: its values, in the unit of the column.
        deviation: the pooled standard deviation of the column; None where no side has one.
    """

    name: str
    reference: float
    current: float
    deviation: float | None

    @property
    def shift(self) -> float:
        """How far it moved, in the unit of the column."""
        return self.current - self.reference

    @property
    def standardised(self) -> float | None:
        """How far it moved, in pooled standard deviations; None where there is no spread to measure it by."""
        return self.current / self.deviation - self.reference / self.deviation if self.deviation else None

    @property
    def small(self) -> bool:
        """Whether it moved by less than `_SMALL`."""
        return self.shift == 0 if self.standardised is None else abs(self.standardised) < _SMALL


def locations(sample: ColumnSample) -> tuple[Location, Location]:
    """The medians and the means of an ordered column that has values on both sides."""
    (mean_0, sd_0), (mean_1, sd_1) = sample.moments(0), sample.moments(1)
    n, m = (float(count) - 1 for count in sample.counts.sum(1))
    pooled = None
    if n + m > 0:
        pooled = math.hypot(math.sqrt(n / (n + m)) * (sd_0 or 0.0), math.sqrt(m / (n + m)) * (sd_1 or 0.0))
    medians = [sample.quantiles(side, (0.5,))[0] for side in (0, 1)]
    return Location("median", medians[0], medians[1], pooled), Location("mean", mean_0, mean_1, pooled)


def text(sample: ColumnSample, levels: list[Level]) -> str:
    """What moved: of levels the one that moved most; of numbers and moments the first statistic that shows it.

    These are the median, the mean and the spread; where none moved much, the median or the mean however little. The
    figure in parentheses is the shift of the statistic that is named, in pooled standard deviations.
    """
    if not sample.comparable:
        sides = [side for side, n in zip(("reference", "current"), sample.counts.sum(1), strict=True) if n == 0]
        return f"no value in {' and '.join(sides)}"
    if sample.effect() == 0:
        # One level and a note: the pairing folded them all.
        return "values not compared, see the notes" if len(sample.support) == 1 and sample.column.notes else "no change"
    if levels:
        return _of_levels(sample, levels)
    both, unit = locations(sample), sample.column.unit
    in_turn = (
        *(_of_location(one, unit) for one in both if not one.small),
        _of_spread(sample),
        *(_of_location(one, unit) for one in both),
        _of_threshold(sample),
    )
    return next(said for said in in_turn if said)


def _of_levels(sample: ColumnSample, levels: list[Level]) -> str:
    if sample.column.kind is Kind.BOOLEAN:
        rates = [sample.moments(side)[0] for side in (0, 1)]
        return f"true {wording.share(rates[0])} -> {wording.share(rates[1])}"
    first = levels[0]
    return f"'{first.label}' {wording.share(first.reference)} -> {wording.share(first.current)}"


def _of_location(location: Location, unit: str) -> str | None:
    """None where the two values are one to all digits that are shown."""
    before, after = wording.apart(location.reference, location.current, unit)
    if before == after:
        return None
    moved = f"{location.name} {before} -> {after}"
    if location.standardised is None:
        return moved
    sign = "+" if location.standardised > 0 else ""
    return f"{moved} ({sign}{wording.number(float(f'{location.standardised:.2g}'))} sd)"


def _of_spread(sample: ColumnSample) -> str | None:
    """None unless the standard deviations are apart."""
    before, after = (sample.moments(side)[1] for side in (0, 1))
    if not before or not after or 1 / _SPREAD_RATIO <= after / before <= _SPREAD_RATIO:
        return None
    unit = sample.column.unit
    suffix = f" {wording.span_unit(unit)}" if unit else ""
    return f"sd {wording.number(before)} -> {wording.number(after)}{suffix}"


def _of_threshold(sample: ColumnSample) -> str:
    """Neither place nor spread shows it: the threshold at which the shares of rows are furthest apart."""
    at = int(sample.gaps.abs().argmax())
    value, unit = float(sample.support[at]), sample.column.unit
    shares = sample.shares[:, : at + 1].sum(1).tolist()
    where = wording.moment(value, unit) if unit else wording.number(value)
    return f"values up to {where}: {wording.share(shares[0])} -> {wording.share(shares[1])}"
