"""Two tables brought to common columns: the same order, kinds, units and levels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from howfar.data.table import Column, Ignored, Kind, Table


@dataclass(frozen=True, eq=False)
class PairedColumn:
    """One column as both sides have it: one kind, one unit, one list of levels.

    Attributes:
        name, kind, unit, levels: common to both sides; `levels` is the union, empty unless categorical.
        reference, current: the two columns; categorical codes index the common `levels`.
        notes: what was changed to make them comparable (levels folded, booleans read as numbers, ...).
    """

    name: str
    kind: Kind
    reference: Column
    current: Column
    unit: str = ""
    levels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conflict:
    """A column that both sides have with kinds that cannot be compared.

    Attributes:
        name: the column.
        reference, current: the kind on either side, in words.
        reason: one sentence with examples and the fix.
    """

    name: str
    reference: str
    current: str
    reason: str


@dataclass(frozen=True, eq=False)
class PairedTables:
    """Two tables on common columns.

    Attributes:
        reference, current: tables whose columns agree in order, name, kind, unit and levels.
        columns: the same, column by column.
        only_in_reference, only_in_current: names that one side lacks, in the order of the source.
        conflicts: columns of both sides whose kinds cannot be compared.
        ignored: (side, column, reason), side being "reference", "current" or "both".
        notes: all that was changed or counted on the way, in sentences.
    """

    reference: Table
    current: Table
    columns: tuple[PairedColumn, ...]
    only_in_reference: tuple[str, ...] = ()
    only_in_current: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    ignored: tuple[tuple[str, Ignored], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the common columns, in the order of the reference."""
        return tuple(column.name for column in self.columns)


def pair(
    reference: Table,
    current: Table,
    columns: Iterable[str] | None = None,
    *,
    min_rows: int = 2,
    max_levels: int = 50,
) -> PairedTables:
    """Two tables on their common columns."""
    raise NotImplementedError
