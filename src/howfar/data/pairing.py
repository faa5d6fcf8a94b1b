"""Two tables brought to common columns: the same order, kinds, units and levels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from howfar.data.columns import column_of
from howfar.data.complaints import listed, nearest, refuse
from howfar.data.table import Column, Ignored, Kind, Table
from howfar.data.text import typed

_IDENTIFIER_SHARE = 1 / 3
"""Where more distinct texts than this share of all values are found, none is frequent enough to compare."""


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

    def __repr__(self) -> str:
        return f"<PairedColumn {self.name}: {self.kind.value}, {self.reference.n} and {self.current.n} rows>"


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

    def __repr__(self) -> str:
        sides = " and ".join(f"{side.name} ({side.n} rows)" for side in (self.reference, self.current))
        return f"<PairedTables {sides}: {self.reference.described()}>"

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
    """Two tables on their common columns, in the order of the reference.

    Both sides of a column get one kind. Booleans against numbers are read as 0 and 1; text against numbers,
    booleans or dates is read as such where every level of the text is one; any other difference of kinds is
    a `Conflict`. Integers stay numeric. A column without any value on one side takes the kind of the
    other side and is missing throughout.

    Categorical sides share the union of their levels, so a level that one side lacks counts as one that has
    no rows there. Beyond `max_levels` levels the most frequent of both sides together are kept and the rest
    folded into "(other)"; where there are more levels than a third of the values (identifiers, free text)
    all are folded into one, so that only missingness is compared. All of this depends on the two
    samples together and not on which row came from which side, so a permutation test stays exact.

    Args:
        reference, current: tables from `load`.
        columns: the columns wanted; all common ones when left out.
        min_rows: fewest rows that each side must have.
        max_levels: most levels that a categorical column keeps.

    Raises:
        DataError: fewer than `min_rows` rows on a side, no column in common, or a wanted column that a side
            lacks or that cannot be compared.

    Example:
        >>> import numpy as np, howfar.data
        >>> old = howfar.data.load({"age": np.array([31.0, 45.0]), "town": np.array(["Bern", "Wien"])})
        >>> new = howfar.data.load({"town": np.array(["Rom", "Wien"]), "height": np.array([1.7, 1.8])})
        >>> both = pair(old, new)
        >>> both.names, both.only_in_reference, both.only_in_current
        (('town',), ('age',), ('height',))
        >>> both.columns[0].levels
        ('Bern', 'Rom', 'Wien')
    """
    for table in (reference, current):
        if table.n < min_rows:
            raise refuse(table.name, f"at least {min_rows} rows", f"{table.n}", "Too few rows: pass more data.")
    left, right = _entries(reference), _entries(current)
    wanted = _wanted(reference, current, columns)
    common = [name for name in (left if wanted is None else wanted) if name in left and name in right]
    paired: list[PairedColumn] = []
    conflicts: list[Conflict] = []
    ignored: list[tuple[str, Ignored]] = []
    for name in common:
        sides = _filled(left[name], right[name], reference.n, current.n)
        if isinstance(sides[0], Ignored) or isinstance(sides[1], Ignored):
            ignored += _ignored(*sides)
            continue
        found = _reconciled(sides[0], sides[1], max_levels)
        if isinstance(found, Conflict):
            conflicts.append(found)
        else:
            paired.append(found)
    if wanted is not None:
        _check_comparable(conflicts, ignored)
    if not paired:
        raise _nothing_common(reference, current, conflicts, ignored)
    return PairedTables(
        _aligned(reference, [column.reference for column in paired]),
        _aligned(current, [column.current for column in paired]),
        tuple(paired),
        () if wanted is not None else tuple(name for name in left if name not in right),
        () if wanted is not None else tuple(name for name in right if name not in left),
        tuple(conflicts),
        tuple(ignored),
        (
            *reference.notes,
            *(note for note in current.notes if note not in reference.notes),
            *(f"Column {column.name!r}: {note}" for column in paired for note in column.notes),
        ),
    )


def _entries(table: Table) -> dict[str, Column | Ignored]:
    entries: tuple[Column | Ignored, ...] = (*table.columns, *table.ignored)
    named = {entry.name: entry for entry in entries}
    return {name: named[name] for name in table.order or named}


def _wanted(reference: Table, current: Table, columns: Iterable[str] | None) -> list[str] | None:
    if columns is None:
        return None
    if isinstance(columns, str):
        columns = [columns]
    wanted = list(dict.fromkeys(columns))
    if not wanted:
        raise refuse("columns", "at least one column name", "none", "Leave columns out to compare all.")
    for table in (reference, current):
        known = _entries(table)
        for name in wanted:
            if name not in known:
                fix = nearest(str(name), known, f"{table.name} has {listed(known)}.")
                raise refuse("columns", f"names that {table.name} has", repr(name), fix)
    return wanted


def _filled(
    left: Column | Ignored, right: Column | Ignored, n: int, m: int
) -> tuple[Column | Ignored, Column | Ignored]:
    """Both sides, where a side without any value becomes a column of the other side's kind."""
    if isinstance(left, Ignored) and left.all_missing and isinstance(right, Column):
        return _all_missing(right, n), right
    if isinstance(right, Ignored) and right.all_missing and isinstance(left, Column):
        return left, _all_missing(left, m)
    return left, right


def _all_missing(like: Column, n: int) -> Column:
    values = like.values.new_full((n,), -1 if like.kind is Kind.CATEGORICAL else torch.nan)
    return replace(like, values=values, missing=torch.ones(n, dtype=torch.bool), n_infinite=0)


def _ignored(left: Column | Ignored, right: Column | Ignored) -> list[tuple[str, Ignored]]:
    if isinstance(left, Ignored) and isinstance(right, Ignored) and left.reason == right.reason:
        return [("both", left)]
    sides = (("reference", left), ("current", right))
    return [(side, entry) for side, entry in sides if isinstance(entry, Ignored)]


def _reconciled(left: Column, right: Column, max_levels: int) -> PairedColumn | Conflict:
    notes: list[str] = []
    if left.kind is not right.kind:
        left_read, right_read = _read_as(left, right), _read_as(right, left)
        if left_read is not None:
            notes.append(f"{left.kind.value} values of the reference were read as {left_read.kind.value}.")
            left = left_read
        elif right_read is not None:
            notes.append(f"{right.kind.value} values of the current table were read as {right_read.kind.value}.")
            right = right_read
        else:
            return _conflict(left, right)
    if left.unit != right.unit:
        return _conflict(left, right)
    if left.kind is Kind.CATEGORICAL:
        left, right, more = _share_levels(left, right, max_levels)
        notes += more
    return PairedColumn(left.name, left.kind, left, right, left.unit, left.levels, tuple(notes))


def _read_as(column: Column, like: Column) -> Column | None:
    """The column in the kind and unit of `like`, where every value of it has one."""
    import polars as pl

    if column.kind is Kind.BOOLEAN and like.kind is Kind.NUMERIC:
        return replace(column, kind=Kind.NUMERIC)
    if column.kind is not Kind.CATEGORICAL:
        return None
    meaning = column_of(typed(pl.Series(column.name, column.levels))[0])
    if isinstance(meaning, Ignored) or meaning.n_missing or (meaning.kind, meaning.unit) != (like.kind, like.unit):
        return None
    # The code -1 of a missing value picks the NaN at the end.
    values = torch.cat([meaning.values, meaning.values.new_tensor([torch.nan])])[column.values]
    return replace(meaning, values=values, missing=column.missing, dtype=column.dtype)


def _conflict(left: Column, right: Column) -> Conflict:
    here, there = (f"{c.kind.value}{f' ({c.unit})' if c.unit else ''}" for c in (left, right))
    reason = f"{here} in the reference and {there} in the current table"
    for side, column in (("reference", left), ("current table", right)):
        if column.kind is Kind.CATEGORICAL:
            reason += f", where the {side} holds text such as {listed(_not_numbers(column.levels), 3)}"
    return Conflict(left.name, here, there, f"{reason}. Give the column one type on both sides.")


def _not_numbers(levels: tuple[str, ...]) -> list[str]:
    import polars as pl

    text = pl.Series(levels)
    odd = text.filter(text.cast(pl.Float64, strict=False).is_null())
    return (odd if len(odd) else text).to_list()


def _share_levels(left: Column, right: Column, max_levels: int) -> tuple[Column, Column, list[str]]:
    union = sorted({*left.levels, *right.levels})
    index = {level: i for i, level in enumerate(union)}
    codes = [_recoded(side, torch.tensor([index[level] for level in side.levels])) for side in (left, right)]
    notes = []
    if len(union) > max_levels:
        counts = torch.bincount(torch.cat([c[c >= 0] for c in codes]), minlength=len(union))
        identifiers = len(union) > _IDENTIFIER_SHARE * int(counts.sum())
        keep = [] if identifiers else _most_frequent(counts, max_levels - 1)
        rest = _unused("(any value)" if identifiers else "(other)", union)
        target = torch.full((len(union),), len(keep))
        target[keep] = torch.arange(len(keep))
        codes = [torch.where(c >= 0, target[c], c) for c in codes]
        if identifiers:
            notes.append(
                f"{len(union)} different texts in {int(counts.sum())} values look like identifiers; "
                "only whether they are missing is compared."
            )
        else:
            folded = int(counts.sum() - counts[keep].sum())
            notes.append(
                f"of {len(union)} levels the {len(keep)} most frequent are kept; "
                f"the others ({folded} values) count as one level {rest!r}."
            )
        union = [union[i] for i in keep] + [rest]
    else:
        for side, mine, theirs in (("reference", left, right), ("current table", right, left)):
            new = [level for level in mine.levels if level not in set(theirs.levels)]
            if new:
                notes.append(f"levels only in the {side}: {listed(new)}.")
    levels = tuple(union)
    return replace(left, values=codes[0], levels=levels), replace(right, values=codes[1], levels=levels), notes


def _recoded(column: Column, table: Tensor) -> Tensor:
    return torch.where(column.values >= 0, table[column.values], column.values)


def _most_frequent(counts: Tensor, most: int) -> list[int]:
    """Indices of the largest counts, ties to the first; in increasing order."""
    return sorted(torch.sort(counts, descending=True, stable=True).indices[:most].tolist())


def _unused(label: str, levels: list[str]) -> str:
    while label in levels:
        label = f"({label})"
    return label


def _aligned(table: Table, columns: list[Column]) -> Table:
    return replace(table, columns=tuple(columns), ignored=(), order=tuple(column.name for column in columns))


def _check_comparable(conflicts: list[Conflict], ignored: list[tuple[str, Ignored]]) -> None:
    reasons = [(c.name, c.reason) for c in conflicts] + [(entry.name, entry.reason) for _, entry in ignored]
    if reasons:
        name, reason = reasons[0]
        raise refuse("columns", "columns that can be compared", f"{name!r}, which {_clause(reason)}", "Leave it out.")


def _clause(reason: str) -> str:
    return reason if reason.startswith(("holds", "has")) else f"is {reason.partition('. ')[0]}"


def _nothing_common(
    reference: Table, current: Table, conflicts: list[Conflict], ignored: list[tuple[str, Ignored]]
) -> Exception:
    reasons = [f"{c.name!r} is {c.reason.partition('. ')[0]}" for c in conflicts]
    reasons += [f"{entry.name!r} ({side}) {entry.reason}" for side, entry in ignored]
    if reasons:
        got = "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
        fix = "Mend or convert the columns."
    else:
        left, right = _entries(reference), _entries(current)
        got = f"{listed(left, 4)} against {listed(right, 4)}"
        fix = "Rename the columns so that both sides agree."
    expected = f"a column in common with {current.name} that can be compared"
    return refuse(reference.name, expected, got, fix)
