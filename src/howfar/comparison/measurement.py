"""`measure`: distances of the catalogue between two tables, as numbers and without a test."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks, catalog, data
from howfar._errors import DomainError, complaint, unknown_name
from howfar.comparison import document
from howfar.comparison.overall import ENCODED_UNIT
from howfar.comparison.procedure import load_side, take
from howfar.comparison.relabeling import Strata

_UNITS = {"data": ENCODED_UNIT, "data^2": f"squared {ENCODED_UNIT}", "cost": f"squared {ENCODED_UNIT}"}
"""A distance between tables is one between their encoded rows, and every row here costs |x - y|^2 by default."""

_LARGE = 4096
"""Rows beyond which float32 serves, as in `compare`."""


@dataclass(frozen=True)
class Measurement:
    """One distance between two tables; `unit` says what its number means."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Measurements:
    """Distances between two tables, and what was done to the tables to get them."""

    distances: tuple[Measurement, ...]
    notes: tuple[str, ...]

    def to_document(self) -> dict[str, Any]:
        """As plain values; a number that is not finite is None."""
        plain: dict[str, Any] = document.plain(self)
        return plain


def measure(
    reference: Any,
    current: Any,
    metrics: Iterable[str],
    *,
    columns: Iterable[str] | None = None,
    max_rows: int = 2_000,
    generator: torch.Generator | None = None,
    progress: Callable[[float], None] | None = None,
) -> Measurements:
    """Distances of the catalogue between the encoded rows of two tables, every option at its default.

    Args:
        reference: a path, a DataFrame, an array, a tensor or a `Table`.
        current: the same.
        metrics: names of the catalogue whose inputs are points.
        columns: names to use; all common columns when left out.
        max_rows: rows a side; more are subsampled, and a note says so.
        generator: for the subsample and for distances that draw; a fixed seed when left out.
        progress: called with the share of the work that is done, 0..1.

    Raises:
        UnknownName: a metric that the catalogue does not hold.
        DomainError: a metric that does not compare points, or no metric.
        DataError: a source that cannot be read, no common columns.
    """
    rows = _rows(metrics)
    _checks.check_count(max_rows, "max_rows", least=1)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    pair = data.pair(load_side(reference, "reference"), load_side(current, "current"), columns=columns)
    strata = Strata.draw(pair.reference.n, pair.current.n, max_rows, generator)
    chosen = take(pair, (strata.reference, strata.current))
    large = len(strata.reference) + len(strata.current) > _LARGE
    encoded = data.encode(chosen, dtype=torch.float32 if large else torch.float64)
    measured = []
    for number, row in enumerate(rows):
        value = float(_evaluate(row, encoded.reference.points, encoded.current.points, generator))
        measured.append(Measurement(row.name, value, _UNITS.get(row.unit, row.unit)))
        if progress is not None:
            progress((number + 1) / len(rows))
    notes = pair.notes
    if not strata.whole:
        notes += (f"subsample of {len(strata.reference)} and {len(strata.current)} rows: at most {max_rows} a side",)
    return Measurements(tuple(measured), notes)


def _rows(metrics: Iterable[str]) -> list[catalog.Row]:
    points = {row.name: row for row in catalog.rows() if row.inputs == catalog.POINTS}
    others = {row.name: row for row in catalog.rows() if row.inputs != catalog.POINTS}
    rows = []
    for name in metrics:
        if name not in points and name in others:
            expected = "a distance between points, which rows of a table are"
            got = f"{name}, which compares {others[name].inputs}"
            raise DomainError(complaint("metric", expected, got, f"Pass one of {', '.join(sorted(points))}."))
        if name not in points:
            raise unknown_name("metric", name, points)
        rows.append(points[name])
    if not rows:
        raise DomainError(complaint("metric", "at least one name", "none", "`howfar list` shows them."))
    return rows


def _evaluate(row: catalog.Row, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """The row's function at its defaults, with the generator where it draws."""
    options = dict(row.defaults) | ({"generator": generator} if row.random else {})
    value: Tensor = row.function(x, y, **options)
    return value
