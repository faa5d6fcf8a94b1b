"""One compared column in words and plain numbers: summaries, shift, measures, levels, histogram."""

from __future__ import annotations

import torch
from torch import Tensor

from howfar.comparison import shifts, wording
from howfar.comparison.columns import ColumnSample
from howfar.comparison.records import ColumnComparison, Histogram, Level, Measured, Missing, Summary
from howfar.data import Kind

N_BINS = 30
N_LEVELS = 20
"""How many levels a histogram and a list of levels show; the rest is summed up in one bar."""

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def describe(
    sample: ColumnSample,
    *,
    values: tuple[float, float] | None,
    missing: tuple[float, float] | None,
    alpha: float,
) -> ColumnComparison:
    """The record of one column; `values` and `missing` are (p_value, p_adjusted), None where no test was made."""
    column = sample.column
    summaries = [_summary(sample, side) for side in (0, 1)]
    levels = _levels(sample)
    return ColumnComparison(
        name=column.name,
        kind=column.kind.value,
        unit=column.unit,
        effect=sample.effect(),
        p_value=values[0] if values else None,
        p_adjusted=values[1] if values else None,
        different=values is not None and values[1] <= alpha,
        shift=shifts.text(sample, levels),
        missing=_missing(sample, missing, alpha),
        reference=summaries[0],
        current=summaries[1],
        measures=_measures(sample),
        levels=tuple(levels[:N_LEVELS]),
        new_levels=tuple(level.label for level in levels if level.reference == 0 < level.current),
        vanished_levels=tuple(level.label for level in levels if level.current == 0 < level.reference),
        histogram=_histogram(sample),
    )


def _missing(sample: ColumnSample, tested: tuple[float, float] | None, alpha: float) -> Missing:
    counts = sample.n_missing
    rows = sample.column.reference.n, sample.column.current.n
    return Missing(
        reference=counts[0] / rows[0],
        current=counts[1] / rows[1],
        reference_count=counts[0],
        current_count=counts[1],
        p_value=tested[0] if tested else None,
        p_adjusted=tested[1] if tested else None,
        different=tested is not None and tested[1] <= alpha,
    )


def _summary(sample: ColumnSample, side: int) -> Summary:
    count = int(sample.counts[side].sum())
    kind = sample.column.kind
    if kind is Kind.CATEGORICAL:
        used = int((sample.counts[side] > 0).sum())
        most = _label(sample, int(sample.counts[side].argmax())) if count else None
        return {"count": count, "levels": used, "most_common": most}
    if kind is Kind.BOOLEAN:
        return {"count": count, "rate": sample.moments(side)[0] if count else None}
    names = ("min", "q25", "median", "q75", "max")
    summary: Summary = {"count": count} | dict.fromkeys(("mean", "sd", *names))
    if not count:
        return summary
    mean, deviation = sample.moments(side)
    quantiles = sample.quantiles(side, _QUANTILES)
    if kind is Kind.NUMERIC:
        return summary | {"mean": mean, "sd": deviation} | dict(zip(names, quantiles, strict=True))
    unit = sample.column.unit
    spread = None if deviation is None else f"{wording.number(deviation)} {wording.span_unit(unit)}"
    moments = (wording.moment(quantile, unit) for quantile in quantiles)
    return summary | {"mean": wording.moment(mean, unit), "sd": spread} | dict(zip(names, moments, strict=True))


def _label(sample: ColumnSample, index: int) -> str:
    """The text of the index-th distinct value of a categorical or boolean column."""
    value = sample.support[index]
    return sample.column.levels[int(value)] if not sample.ordered else str(bool(value)).lower()


def _levels(sample: ColumnSample) -> list[Level]:
    """Every level that either side has, those that moved most first; none for numbers and moments."""
    if sample.column.kind not in (Kind.CATEGORICAL, Kind.BOOLEAN):
        return []
    moved = (sample.shares[1] - sample.shares[0]).abs()
    order = torch.argsort(moved, descending=True, stable=True).tolist()
    reference, current = sample.shares.tolist()
    return [Level(_label(sample, i), reference[i], current[i]) for i in order]


def _measures(sample: ColumnSample) -> tuple[Measured, ...]:
    """What else is known, in plain units; nothing when a side has no value."""
    effect = sample.effect()
    if effect is None:
        return ()
    kind = sample.column.kind
    if kind in (Kind.CATEGORICAL, Kind.BOOLEAN):
        return (Measured("Total variation", effect, "share of rows"),)
    unit = wording.span_unit(sample.column.unit) if sample.column.unit else "unit of the column"
    moved = [
        measured
        for one in shifts.locations(sample)
        for measured in (
            Measured(f"Shift of the {one.name}", one.shift, unit),
            Measured(f"Shift of the {one.name}, standardised", one.standardised, "pooled standard deviations"),
        )
    ]
    return (
        Measured("Kolmogorov-Smirnov distance", effect, "share of rows"),
        Measured("Wasserstein distance", sample.wasserstein(), unit),
        *moved,
    )


def _histogram(sample: ColumnSample) -> Histogram | None:
    if not len(sample.support):
        return None
    if sample.column.kind in (Kind.CATEGORICAL, Kind.BOOLEAN):
        return _level_histogram(sample)
    edges = _edges(sample)
    bins = torch.bucketize(sample.support, edges[1:-1], right=True)
    shares = sample.shares.new_zeros(2, len(edges) - 1).index_add_(1, bins, sample.shares)
    reference, current = (tuple(side) for side in shares.tolist())
    if unit := sample.column.unit:
        return Histogram(tuple(str(wording.moment(edge, unit)) for edge in edges.tolist()), None, reference, current)
    return Histogram(tuple(edges.tolist()), None, reference, current)


def _edges(sample: ColumnSample) -> Tensor:
    """Edges of up to `N_BINS` bins over both sides: equal widths, whole numbers whole, far tails in one bin each."""
    support = sample.support
    low, high = float(support[0]), float(support[-1])
    if low == high:
        half = max(0.5, abs(low) * 1e-6)
        return support.new_tensor([low - half, low + half])
    numeric = sample.column.kind is Kind.NUMERIC
    if numeric and high - low < N_BINS and bool((support == support.round()).all()):
        return torch.arange(low - 0.5, high + 1, dtype=support.dtype)
    ranks = sample.counts.sum(0).cumsum(0)
    inner = [float(support[torch.searchsorted(ranks, q * ranks[-1])]) for q in (0.005, 0.995)]
    if numeric and high - low > 4 * (inner[1] - inner[0]) > 0:
        body = torch.linspace(inner[0], inner[1], N_BINS - 1, dtype=support.dtype)
        edges = torch.cat([support[:1], body, support[-1:]])
    else:
        edges = torch.linspace(low, high, N_BINS + 1, dtype=support.dtype)
    distinct: Tensor = edges.unique()
    return distinct


def _level_histogram(sample: ColumnSample) -> Histogram:
    order = torch.argsort(sample.counts.sum(0), descending=True, stable=True)
    if sample.column.kind is Kind.BOOLEAN:
        order = order.sort().values
    shown, rest = order[:N_LEVELS], order[N_LEVELS:]
    labels = [_label(sample, i) for i in shown.tolist()]
    shares = sample.shares[:, shown]
    if len(rest):
        labels.append(f"{len(rest)} more")
        shares = torch.cat([shares, sample.shares[:, rest].sum(1, keepdim=True)], dim=1)
    reference, current = (tuple(side) for side in shares.tolist())
    return Histogram(None, tuple(labels), reference, current)
