"""Polars series -> columns: which types are compared, as what, and what counts as missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from howfar.data.table import Column, Ignored, Kind

if TYPE_CHECKING:
    import polars as pl

EXACT = 2**53
"""The largest integer below which float64 holds every integer."""

_TICKS_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_TOO_LARGE = (
    "holds integers beyond 2^53, which float64 cannot hold exactly; "
    "subtract a reference value, turn time stamps into dates, or turn identifiers into text"
)


@dataclass
class Source:
    """What a reader hands over: `n` rows of series, what is no series, and what it has to say about them."""

    entries: list[pl.Series | Ignored]
    n: int
    notes: list[str] = field(default_factory=list)

    def append(self, name: str, values: list[Any]) -> None:
        """Add Python objects: a series where they are all of one type, else a column to ignore."""
        import polars as pl

        try:
            series = pl.Series(name, values, strict=True)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            series = pl.Series(name, values, dtype=pl.Object)
        if series.dtype != pl.Object:
            self.entries.append(series)
            return
        types = sorted({type(value).__name__ for value in values if value is not None})
        self.entries.append(
            Ignored(name, f"holds Python objects of type {', '.join(types[:4])}; give the column one type")
        )


def column_of(series: pl.Series) -> Column | Ignored:
    """The column that a series becomes, or why it becomes none."""
    import polars as pl

    name, dtype = series.name, series.dtype
    if dtype == pl.Null:
        return _empty(name, dtype)
    if dtype == pl.Boolean:
        return _numbers(series, Kind.BOOLEAN)
    if dtype.is_integer():
        return _numbers(series, Kind.NUMERIC) if _exact(series) else Ignored(name, _TOO_LARGE)
    if dtype.is_float() or dtype.is_decimal():
        return _numbers(series, Kind.NUMERIC)
    if dtype.is_temporal():
        return _times(series)
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return _levels(series)
    return Ignored(
        name, f"holds {_type_name(dtype)} values, which have no order and no levels; flatten it into columns"
    )


def _type_name(dtype: Any) -> str:
    return str(dtype.base_type()).lower()


def _empty(name: str, dtype: Any) -> Ignored:
    return Ignored(name, f"has no value in any row ({_type_name(dtype)})", all_missing=True)


def _exact(series: pl.Series) -> bool:
    least, most = series.min(), series.max()
    if not isinstance(least, int) or not isinstance(most, int) or max(most, -least) <= EXACT:
        return True
    # A float64 of 2^63 or 2^64 would wrap or saturate on its way back, so the trip goes through Python's integers.
    return all(int(float(v)) == v for v in series.drop_nulls().to_list())


def _numbers(series: pl.Series, kind: Kind, values: torch.Tensor | None = None, unit: str = "") -> Column | Ignored:
    import polars as pl

    if values is None:
        values = torch.tensor(series.cast(pl.Float64).to_numpy(), dtype=torch.float64)
    infinite = values.isinf()
    missing = ~values.isfinite()
    n_infinite = int(infinite.sum())
    if bool(missing.all()):
        if n_infinite:
            return Ignored(series.name, f"has no finite value in any row ({n_infinite} are infinite)", all_missing=True)
        return _empty(series.name, series.dtype)
    return Column(
        series.name,
        kind,
        values.masked_fill(infinite, torch.nan),
        missing,
        unit=unit,
        dtype=str(series.dtype),
        n_infinite=n_infinite,
    )


def _times(series: pl.Series) -> Column | Ignored:
    import numpy as np
    import polars as pl

    dtype = series.dtype
    if dtype == pl.Date:
        ticks, unit = 1, "days since 1970-01-01"
    elif isinstance(dtype, pl.Datetime):
        ticks, unit = 86_400 * _TICKS_PER_SECOND[dtype.time_unit], "days since 1970-01-01"
    elif dtype == pl.Time:
        ticks, unit = 3_600 * _TICKS_PER_SECOND["ns"], "hours since midnight"
    else:
        assert isinstance(dtype, pl.Duration)
        ticks, unit = _TICKS_PER_SECOND[dtype.time_unit], "seconds"
    counts = series.to_physical().cast(pl.Int64)
    whole = counts.fill_null(0).to_numpy()
    # Nanoseconds since 1970 exceed 2^53: split before the float, so that only the fraction is rounded.
    values = torch.from_numpy((whole // ticks).astype(np.float64) + (whole % ticks).astype(np.float64) / ticks)
    values[torch.from_numpy(counts.is_null().to_numpy().copy())] = torch.nan
    return _numbers(series, Kind.DATETIME, values, unit)


def _levels(series: pl.Series) -> Column | Ignored:
    import polars as pl

    text = series.cast(pl.String)
    levels = text.drop_nulls().unique().sort()
    if not len(levels):
        return _empty(series.name, series.dtype)
    codes = text.cast(pl.Enum(levels)).to_physical().cast(pl.Int64).fill_null(-1)
    values = torch.tensor(codes.to_numpy(), dtype=torch.int64)
    return Column(
        series.name,
        Kind.CATEGORICAL,
        values,
        values < 0,
        levels=tuple(levels.to_list()),
        dtype=_type_name(series.dtype).capitalize(),
    )
