"""Two paired tables as two clouds of points in one space, for distances over all columns at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from howfar.data.pairing import PairedColumn, PairedTables
from howfar.data.table import Kind
from howfar.measure import Measure

_NORMAL_IQR = 1.3489795003921634
"""The interquartile range of the standard normal distribution."""


@dataclass(frozen=True)
class Group:
    """Which features of the encoded space belong to one column: `start <= feature < stop`.

    Attributes:
        name, kind: of the column.
        start, stop: its features in the encoded matrix.
        features: one label per feature ("age", "age is missing", "colour = red"), of length stop - start.
    """

    name: str
    kind: Kind
    start: int
    stop: int
    features: tuple[str, ...]

    @property
    def slice(self) -> slice:
        """For indexing: `points[..., group.slice]`."""
        return slice(self.start, self.stop)


class Encoded(NamedTuple):
    """Two measures on one space, and which features belong to which column."""

    reference: Measure
    current: Measure
    groups: tuple[Group, ...]


def encode(pair: PairedTables, *, dtype: torch.dtype = torch.float64) -> Encoded:
    """Two paired tables as two clouds in one space where a distance of 1 means much the same for every column.

    Every number used comes from both sides pooled and is unchanged when rows swap sides, so a permutation
    test on the encoded points is as exact as one that encodes anew for each relabelling.

    - numeric and datetime: asinh((x - median) / s), s the interquartile range / 1.349, which estimates the
      standard deviation of normal data. Where half of the values are equal and the range is 0, s is the
      median of |x - median| over the values that differ from the median. A constant column is 0. The inverse
      hyperbolic sine is linear near 0 and logarithmic far out: strictly increasing, so that different
      distributions stay different, while a value a million scales out lies at 14.5 and one wild column
      cannot drown the others.
    - boolean: 0 and 1.
    - categorical: one feature per level, 1 / sqrt(2) where it applies and 0 elsewhere, so that two different
      levels are at distance 1; missing is a level of its own.
    - missing numbers, dates and booleans: the pooled median, and a further feature that is 1 where the value
      is missing and 0 elsewhere. Columns without missing values have no such feature.

    Args:
        pair: from `howfar.data.pair`.
        dtype: of the points; scaling is done in float64 before.

    Returns:
        Encoded(reference, current, groups): points (n, d) and (m, d) with uniform weights, no unit.

    Example:
        >>> import numpy as np, howfar.data
        >>> old = howfar.data.load({"town": np.array(["Bern", "Wien"]), "late": np.array([True, False])})
        >>> new = howfar.data.load({"town": np.array(["Wien", "Wien"]), "late": np.array([True, True])})
        >>> reference, current, groups = encode(howfar.data.pair(old, new))
        >>> reference.points
        tensor([[0.7071, 0.0000, 1.0000],
                [0.0000, 0.7071, 0.0000]], dtype=torch.float64)
        >>> [(group.name, group.features) for group in groups]
        [('town', ('town = Bern', 'town = Wien')), ('late', ('late',))]
    """
    groups: list[Group] = []
    for column in pair.columns:
        labels = _labels(column)
        start = groups[-1].stop if groups else 0
        groups.append(Group(column.name, column.kind, start, start + len(labels), labels))
    n = pair.reference.n
    points = torch.zeros(n + pair.current.n, groups[-1].stop, dtype=dtype)
    for column, group in zip(pair.columns, groups, strict=True):
        _fill(points[:, group.slice], column)
    return Encoded(Measure.of(points[:n]), Measure.of(points[n:]), tuple(groups))


def _labels(column: PairedColumn) -> tuple[str, ...]:
    own = [f"{column.name} = {level}" for level in column.levels] or [column.name]
    gaps = column.reference.n_missing + column.current.n_missing
    return (*own, f"{column.name} is missing") if gaps else tuple(own)


def _fill(block: Tensor, column: PairedColumn) -> None:
    """Write the features (n + m, k) of one column into zeros."""
    values = torch.cat([column.reference.values, column.current.values])
    missing = torch.cat([column.reference.missing, column.current.missing])
    if column.kind is Kind.CATEGORICAL:
        # The code -1 of a missing value is the last feature, which is there whenever a value is missing.
        block[torch.arange(len(values)), values] = math.sqrt(0.5)
        return
    present = values[~missing]
    if not present.numel():
        encoded = torch.zeros_like(values)
    elif column.kind is Kind.BOOLEAN:
        encoded = values.masked_fill(missing, _median(present.sort().values))
    else:
        encoded = _scaled(values, present).masked_fill(missing, 0)
    block[:, 0] = encoded
    if block.shape[-1] > 1:
        block[:, 1] = missing


def _scaled(values: Tensor, present: Tensor) -> Tensor:
    """asinh((values - median) / scale)."""
    # Halved, so that the difference of the two largest floats of opposite sign does not overflow.
    ordered = (present / 2).sort().values
    centre = _median(ordered)
    scale = (_quantile(ordered, 0.75) - _quantile(ordered, 0.25)) / _NORMAL_IQR
    if scale == 0:
        apart = (ordered - centre).abs()
        apart = apart[apart > 0]
        if not apart.numel():
            return torch.zeros_like(values)
        scale = _median(apart.sort().values)
    largest = torch.finfo(values.dtype).max
    return ((values / 2 - centre) / scale).clamp(-largest, largest).asinh()


def _median(ordered: Tensor) -> float:
    return _quantile(ordered, 0.5)


def _quantile(ordered: Tensor, level: float) -> float:
    """Linear interpolation between order statistics; torch.quantile stops at 16 million values."""
    position = level * (ordered.shape[0] - 1)
    below = math.floor(position)
    above = min(below + 1, ordered.shape[0] - 1)
    return float(torch.lerp(ordered[below], ordered[above], position - below))
