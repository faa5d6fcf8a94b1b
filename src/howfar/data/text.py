"""Cells of text -> numbers, booleans, dates or levels: the types of files that have none.

A column is what all of its cells are, never what the first hundred are. Numbers have a point as decimal mark
and no thousands separator; dates and times are ISO 8601 (2024-03-31, 2024/03/31, 2024-03-31T10:00:00+02:00,
2024-03-31 10:00, 10:00:00); booleans are true and false in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

MISSING = ("", "na", "n/a", "<na>", "#n/a", "nan", "-nan", "nat", "null", "none")
"""What a cell of a text file reads, in any case and without the blanks around it, when it has no value."""

_SAMPLE = 64
_DATES = ("%Y-%m-%d", "%Y/%m/%d")
_DATETIMES = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M")
_TIMES = ("%H:%M:%S%.f", "%H:%M")


def typed(series: pl.Series) -> tuple[pl.Series, list[str]]:
    """The series of strings in the narrowest type that all of its cells have, and notes for the reader."""
    import polars as pl

    cells = series.str.strip_chars()
    folded = cells.str.to_lowercase()
    absent = folded.is_in(MISSING).fill_null(True)
    named = int((absent & (folded != "").fill_null(False)).sum())
    cells = pl.select(pl.when(~absent).then(cells)).to_series().alias(series.name)
    if cells.null_count() == len(cells):
        return cells.cast(pl.Null), []
    found = numbers(cells)
    if found is None:
        found = booleans(cells)
    if found is None:
        found = times(cells)
    if found is not None:
        return found, []
    return cells, _remarks(cells, named)


def numbers(cells: pl.Series) -> pl.Series | None:
    """Integers where all cells are integers, else floats where all are numbers.

    Integers of more than 38 digits are identifiers, not numbers.
    """
    import polars as pl

    for dtype in (pl.Int64, pl.Int128, pl.Float64):
        if _all_parse(found := cells.head(_SAMPLE).cast(dtype, strict=False), cells.head(_SAMPLE)):
            found = cells.cast(dtype, strict=False)
            if _all_parse(found, cells):
                return None if dtype == pl.Float64 and cells.str.contains(r"^[+-]?\d+$").all() else found
    return None


def booleans(cells: pl.Series) -> pl.Series | None:
    """Booleans where every cell is true or false."""
    import polars as pl

    folded = cells.str.to_lowercase()
    if folded.is_in(["true", "false"]).all():
        return pl.Series(cells.name, folded == "true")
    return None


def times(cells: pl.Series) -> pl.Series | None:
    """Dates, datetimes (in UTC where an offset is given) or times of day, where every cell is one."""
    first = cells.drop_nulls()[0]
    if first[:4].isdigit() and first[4:5] in ("-", "/"):
        if not cells.str.contains(r"^\d{4}[-/]").all():
            return None
        stamps = cells.str.replace_all("/", "-").str.replace(" ", "T")
        for form in _DATES:
            if _all_parse(found := cells.str.to_date(form, strict=False), cells):
                return found
        for form in _DATETIMES:
            if _all_parse(found := stamps.str.to_datetime(form, strict=False, time_unit="us"), cells):
                return found
    if first[:2].isdigit() and first[2:3] == ":":
        for form in _TIMES:
            if _all_parse(found := cells.str.to_time(form, strict=False), cells):
                return found
    return None


def _all_parse(found: pl.Series, cells: pl.Series) -> bool:
    return found.null_count() == cells.null_count()


def _remarks(cells: pl.Series, named: int) -> list[str]:
    """What looks like a number, a date or a level and was read otherwise."""
    notes = []
    parted = cells.filter(cells.str.contains(r"[,' ]"))
    if len(parted) and cells.str.contains(r"^[+-]?\d[\d,' ]*(\.\d+)?$").all():
        notes.append(
            f"Column {cells.name!r} holds text such as {parted[0]!r}: separators inside numbers are not read. "
            "Write 1234.5 to have numbers."
        )
    elif cells.str.contains(r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b").all():
        notes.append(
            f"Column {cells.name!r} holds text such as {cells.drop_nulls()[0]!r}: the order of day and month is not guessed. "
            "Write 2024-03-31 to have dates."
        )
    if named:
        notes.append(f"Column {cells.name!r}: {named} cells that read NA, null, none or the like count as missing.")
    return notes
