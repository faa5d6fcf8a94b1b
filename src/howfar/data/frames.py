"""DataFrames of any library that narwhals understands -> Polars series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from howfar.data.arrays import series_of
from howfar.data.columns import Source
from howfar.data.complaints import refuse

if TYPE_CHECKING:
    import narwhals as nw


def from_frame(native: Any, label: str) -> Source | None:
    """The series of a DataFrame (eager or lazy) or of a single series; None where `native` is neither."""
    import narwhals as nw
    import polars as pl

    try:
        found = nw.from_native(native, allow_series=True)
        frame = found.collect("polars") if isinstance(found, nw.LazyFrame) else found
        columns = [frame] if isinstance(frame, nw.Series) else list(frame.iter_columns())
    except nw.exceptions.DuplicateError as error:
        raise refuse(label, "column names that differ", str(error), "Rename the columns.") from None
    except (nw.exceptions.NarwhalsError, pl.exceptions.PolarsError, OSError) as error:
        raise refuse(label, "a DataFrame", str(error), "Pass a polars, pandas or pyarrow table.") from None
    except TypeError:
        return None
    source = Source([], len(frame))
    for i, column in enumerate(columns):
        _append(source, column, str(i) if column.name is None else str(column.name))
    source.notes += _index_note(native, label)
    return source


def _append(source: Source, column: nw.Series[Any], name: str) -> None:
    import narwhals as nw
    import polars as pl

    native = column.to_native()
    if isinstance(native, pl.Series):
        source.entries.append(native.alias(name))
        return
    if column.implementation.is_pyarrow():
        source.entries.append(cast("pl.Series", pl.from_arrow(native)).alias(name))
        return
    labels = column.dtype in (nw.Categorical, nw.Enum)
    if not labels:
        array = column.to_numpy()
        widened = column.dtype.is_integer() and array.dtype.kind == "f"
        if array.dtype.kind in "biufMm" and not widened:
            source.entries.append(series_of(name, array))
            return
    absent = column.is_null().to_list()
    values = [None if gone else str(v) if labels else v for v, gone in zip(column.to_list(), absent, strict=True)]
    source.append(name, values)


def _index_note(native: Any, label: str) -> list[str]:
    import narwhals as nw

    index = nw.maybe_get_index(nw.from_native(native, allow_series=True))
    if index is None or type(index).__name__ == "RangeIndex":
        return []
    return [f"{label}: the index of the DataFrame was not compared. Call reset_index() to compare it."]
