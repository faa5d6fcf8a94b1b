"""Newline-delimited JSON: one object per line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from howfar.data.columns import Source
from howfar.data.complaints import refuse
from howfar.data.text import times

if TYPE_CHECKING:
    from pathlib import Path


def read_ndjson(path: Path) -> Source:
    """Objects with one key per column; ISO 8601 text is read as dates, for JSON has no type for them."""
    import polars as pl

    try:
        with path.open("rb") as file:
            frame = pl.read_ndjson(file, infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        _check_lines(path)
        raise refuse(
            path, "one type per key", str(error).splitlines()[0], "Write the values of a key in one type throughout."
        ) from None
    source = Source([], frame.height)
    for series in frame.get_columns():
        present = series.dtype == pl.String and series.null_count() < len(series)
        found = times(series) if present else None
        source.entries.append(series if found is None else found)
    return source


def _check_lines(path: Path) -> None:
    """Raise at the first line that is no object, or at a key whose values differ in type."""
    types: dict[str, set[str]] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _object(path, number, line)
            for key, value in row.items():
                if value is not None:
                    types.setdefault(key, set()).add(_type(value))
    if not types:
        raise refuse(path, "one JSON object per line", "an empty file", "Check the export that made the file.")
    mixed = [f"{key!r} with {' and '.join(sorted(kinds))}" for key, kinds in types.items() if len(kinds) > 1]
    if mixed:
        fix = "Write the values of a key in one type throughout."
        raise refuse(path, "one type per key", "; ".join(mixed[:3]), fix)


def _object(path: Path, number: int, line: bytes) -> dict[str, object]:
    fix = "Mend the line, or export the file again if it was cut short."
    try:
        row = json.loads(line, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        got = f"{error.msg[0].lower()}{error.msg[1:]} at column {error.colno}"
        raise refuse(path, f"a JSON object on line {number}", got, fix) from None
    except (ValueError, RecursionError) as error:
        raise refuse(path, f"a JSON object on line {number}", str(error), fix) from None
    if not isinstance(row, dict):
        raise refuse(path, f"a JSON object on line {number}", type(row).__name__, fix)
    return row


def _no_constant(constant: str) -> float:
    raise ValueError(f"{constant}, which is not JSON")


def _type(value: object) -> str:
    names = {bool: "booleans", int: "numbers", float: "numbers", str: "text", list: "lists", dict: "objects"}
    return names[type(value)]
