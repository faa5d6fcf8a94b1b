"""What types alone cannot say of a comparison that was read from a file: shares, sizes and orders that fit together."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from howfar._errors import DataError, complaint
from howfar.comparison.document import REMAKE
from howfar.comparison.records import ColumnComparison, Histogram, Locations, Projection, Side

_FAR = 1e9
"""Encoded rows lie nearer to the origin than this by many orders, whatever the data."""
_ROUNDING = 1e-9


def check(
    reference: Side,
    current: Side,
    columns: Iterable[ColumnComparison],
    projection: Projection | None,
    locations: Locations | None,
) -> None:
    """Raise `DataError` at the first part of a comparison that does not fit the others."""
    _check_side(reference, "result.reference")
    _check_side(current, "result.current")
    for k, column in enumerate(columns):
        _check_column(column, f"result.columns[{k}]")
    if projection is not None:
        _check_projection(projection, "result.projection")
    if locations is not None:
        _check_locations(locations, "result.locations")


def _check_side(side: Side, path: str) -> None:
    if side.rows < 0:
        raise _inconsistent(f"{path}.rows", "a number of rows", f"{side.rows}")


def _check_column(column: ColumnComparison, path: str) -> None:
    missing = column.missing
    single = [("effect", column.effect), ("missing.reference", missing.reference), ("missing.current", missing.current)]
    for name, value in single:
        if value is not None and not _is_share(value):
            raise _inconsistent(f"{path}.{name}", "a share, 0 to 1", f"{value:g}")
    for level in column.levels:
        _check_shares((level.reference, level.current), f"{path}.levels")
    if column.histogram is not None:
        _check_histogram(column.histogram, f"{path}.histogram")


def _check_histogram(histogram: Histogram, path: str) -> None:
    edges, labels = histogram.edges, histogram.labels
    if (edges is None) == (labels is None):
        raise _inconsistent(path, "either edges or labels", "both or none")
    bins = len(labels) if labels is not None else len(edges or ()) - 1
    if bins < 1:
        raise _inconsistent(path, "at least one bin", "none")
    if {len(histogram.reference), len(histogram.current)} != {bins}:
        got = f"{len(histogram.reference)} and {len(histogram.current)}"
        raise _inconsistent(path, f"{bins} shares on both sides", got)
    _check_shares(histogram.reference, f"{path}.reference")
    _check_shares(histogram.current, f"{path}.current")
    numbers = [edge for edge in edges or () if not isinstance(edge, str)]
    if any(left >= right for left, right in pairwise(numbers)):
        raise _inconsistent(f"{path}.edges", "increasing numbers", "others")


def _check_projection(projection: Projection, path: str) -> None:
    for name, points in (("reference", projection.reference), ("current", projection.current)):
        if any(abs(coordinate) > _FAR for point in points for coordinate in point):
            raise _inconsistent(f"{path}.{name}", f"coordinates between -{_FAR:g} and {_FAR:g}", "others")


def _check_locations(locations: Locations, path: str) -> None:
    width = len(locations.columns)
    for row in (*locations.reference, *locations.current):
        if len(row.values) != width:
            raise _inconsistent(path, f"{width} values in every row", f"{len(row.values)}")


def _check_shares(values: Iterable[float], path: str) -> None:
    for value in values:
        if not _is_share(value):
            raise _inconsistent(path, "shares, 0 to 1", f"{value:g}")


def _is_share(value: float) -> bool:
    return -_ROUNDING <= value <= 1 + _ROUNDING


def _inconsistent(path: str, expected: str, got: str) -> DataError:
    return DataError(complaint(path, expected, got, REMAKE))
