"""A table: named columns of one length, each with a kind, its missing values marked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

from howfar._errors import unknown_name


class Kind(Enum):
    """What the values of a column are, which decides how they are compared."""

    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    CATEGORICAL = "categorical"
    DATETIME = "datetime"


@dataclass(frozen=True, eq=False)
class Column:
    """One column of n rows.

    Attributes:
        name: as in the source.
        kind: numeric, boolean, categorical or datetime.
        values: (n,). Float64 for numeric, boolean (0 and 1) and datetime (counted in `unit`), NaN where
            missing. Int64 codes into `levels` for categorical, -1 where missing.
        missing: (n,) bool. Null, NaN and infinity are missing; `n_infinite` says how many were infinite.
        levels: the distinct values of a categorical column as text, sorted; empty for the other kinds.
        unit: for datetime "days since 1970-01-01" (dates and datetimes, in UTC), "hours since midnight"
            (times of day) or "seconds" (durations); empty for the other kinds.
        dtype: the type in the source, for messages ("Int64", "String", ...).
        n_infinite: how many values of the source were infinite.
    """

    name: str
    kind: Kind
    values: Tensor
    missing: Tensor
    levels: tuple[str, ...] = ()
    unit: str = ""
    dtype: str = ""
    n_infinite: int = 0

    def __repr__(self) -> str:
        levels = f", {len(self.levels)} levels" if self.levels else ""
        missing = f", {self.n_missing} of them missing" if self.n_missing else ""
        return f"<Column {self.name}: {self.kind.value}, {self.n} rows{missing}{levels}>"

    @property
    def n(self) -> int:
        """How many rows."""
        return int(self.values.shape[0])

    @property
    def n_missing(self) -> int:
        """How many rows have no value."""
        return int(self.missing.sum())

    def present(self) -> Tensor:
        """The values of the rows that have one: float64 numbers, or int64 codes of a categorical column."""
        return self.values[~self.missing]

    def take(self, rows: Tensor) -> Column:
        """The same column at the row indices (or the boolean mask) `rows`."""
        return replace(self, values=self.values[rows], missing=self.missing[rows])


@dataclass(frozen=True)
class Ignored:
    """A column that is not compared, and why.

    Attributes:
        name: as in the source.
        reason: one sentence for the reader, with the fix where there is one.
        all_missing: whether it had a comparable type and no value at all.
    """

    name: str
    reason: str
    all_missing: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one length.

    Attributes:
        name: where it came from: a path as the caller wrote it, or the name given to `load`.
        n: how many rows.
        columns: the columns that can be compared, in the order of the source.
        ignored: the columns that cannot, each with the reason.
        notes: what else a careful reader should know about how the source was read.
        order: the names of all columns of the source, compared or ignored, in its order.
    """

    name: str
    n: int
    columns: tuple[Column, ...]
    ignored: tuple[Ignored, ...] = ()
    notes: tuple[str, ...] = ()
    order: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Table {self.name}: {self.n} rows, {self.described()}>"

    def described(self, most: int = 6) -> str:
        """The first columns with their kinds, and how many more there are."""
        shown = ", ".join(f"{column.name} ({column.kind.value})" for column in self.columns[:most])
        more = len(self.columns) - most
        return (shown or "no columns") + (f" and {more} more" if more > 0 else "")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise unknown_name("column", name, self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def schema(self) -> dict[str, Kind]:
        """Name -> kind of every column, in order."""
        return {column.name: column.kind for column in self.columns}

    def select(self, columns: Iterable[str]) -> Table:
        """The table of these columns only, in this order."""
        chosen = tuple(self[name] for name in columns)
        return replace(self, columns=chosen, ignored=(), order=tuple(column.name for column in chosen))

    def take(self, rows: Tensor) -> Table:
        """The table of these rows only (indices or a boolean mask)."""
        columns = tuple(column.take(rows) for column in self.columns)
        n = int(rows.sum()) if rows.dtype == torch.bool else int(rows.shape[0])
        return replace(self, n=n, columns=columns)
