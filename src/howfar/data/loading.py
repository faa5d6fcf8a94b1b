"""`load`: anything that holds a table becomes a `Table`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from howfar._errors import DataError
from howfar.data.arrays import from_arrays, is_array
from howfar.data.columns import Source, column_of
from howfar.data.complaints import listed, nearest, refuse
from howfar.data.formats import ARCHIVES, READERS
from howfar.data.frames import from_frame
from howfar.data.images import read_images
from howfar.data.table import Column, Ignored, Table


def load(source: Any, *, name: str | None = None) -> Table:
    """A `Table` from a file, a DataFrame, an array or a tensor.

    Files are read by their extension: csv, tsv, csv.gz, parquet, arrow, feather, ipc, ndjson, jsonl, npy, npz,
    pt, pth, safetensors. `"file.npz::key"` takes one array of a file that holds several. A folder is read as
    images of one size. DataFrames are those of polars, pandas, pyarrow and whatever else narwhals
    understands, eager or lazy. Arrays and tensors have shape (n,) or (n, d) with columns "0", "1", ...; further
    axes are flattened. A mapping of names to arrays of one length is a table too.

    Columns are numeric, boolean, categorical (text) or datetime; a column of any other type is listed in
    `Table.ignored` with the reason. Null, NaN and infinity are missing, and infinities are counted in a note.
    In csv and tsv, cells that are blank or read NA, N/A, <NA>, #N/A, NaN, NaT, null or none, in any case, are missing.

    Args:
        source: a path (str or Path), a DataFrame, an array, a tensor, or a mapping of arrays.
        name: how messages and reports call the table; the path or the type of the source when left out.

    Raises:
        DataError: the source is missing, unreadable, damaged, empty, ragged, not UTF-8, has duplicate column
            names, or contains pickled objects; the message names the source and the fix.

    Example:
        >>> import numpy as np
        >>> from howfar.data import load
        >>> table = load({"age": np.array([31.0, 45.0, np.nan]), "town": np.array(["Bern", "Wien", "Bern"])})
        >>> table.schema()
        {'age': <Kind.NUMERIC: 'numeric'>, 'town': <Kind.CATEGORICAL: 'categorical'>}
        >>> table["age"].n_missing
        1
    """
    if isinstance(source, Table):
        return source if name is None else replace(source, name=name)
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        return _table(_read(str(path)), name or str(path))
    label = name or f"{type(source).__module__.partition('.')[0]}.{type(source).__qualname__}"
    found = from_frame(source, label)
    if found is None and is_array(source):
        found = from_arrays(source if isinstance(source, Mapping) else {"": source}, label)
    if found is None:
        raise refuse(
            name or "source",
            "a path, a DataFrame, an array or a tensor",
            type(source).__name__,
            "Pass a file that howfar reads, or a table of polars, pandas or pyarrow.",
        )
    return _table(found, label)


def _read(text: str) -> Source:
    if not text:
        raise refuse("source", "a path", "an empty text", "Pass a file.")
    path, key = Path(text), None
    if "::" in text and not path.exists():
        text, _, key = text.rpartition("::")
        path = Path(text)
    if not path.exists() and "://" in text:
        raise refuse(text, "a file", "an address", "Download it first.")
    if not path.exists():
        there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise refuse(path, "a file", "nothing at this path", nearest(path.name, there, "Check the path."))
    try:
        if path.is_dir():
            return read_images(path)
        return _read_file(path, key)
    except DataError:
        raise
    except MemoryError:
        raise refuse(path, "a file that fits in memory", "too little memory", "Pass a sample of its rows.") from None
    except OSError as error:
        raise refuse(path, "a readable file", str(error.strerror or error), "Check the file's permissions.") from None


def _read_file(path: Path, key: str | None) -> Source:
    if not path.is_file():
        raise refuse(
            path, "a regular file", "a pipe or a device", "Save it first, in a file whose name tells its format."
        )
    if not path.stat().st_size:
        raise refuse(path, "a file with content", "an empty file", "Check the export that made the file.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    known = [*READERS, *ARCHIVES]
    extension = next((e for e in ("".join(suffixes[-2:]), "".join(suffixes[-1:])) if e in known), None)
    if extension is None:
        ending = "".join(suffixes[-1:])
        raise refuse(
            path,
            f"one of the extensions {', '.join(known)}",
            repr(ending) if ending else "none",
            nearest(ending, known, "Convert the file, or load it yourself and pass the DataFrame or the array."),
        )
    if extension in ARCHIVES:
        return ARCHIVES[extension](path, key)
    if key is not None:
        raise refuse(path, f"no key, for a {extension} file holds one table", f"::{key}", "Leave out '::' and the key.")
    return READERS[extension](path)


def _table(source: Source, label: str) -> Table:
    order = tuple(entry.name for entry in source.entries)
    if len(set(order)) < len(order):
        twice = sorted({name for name in order if order.count(name) > 1})
        raise refuse(label, "column names that differ", f"{listed(twice)} more than once", "Rename the columns.")
    if not order:
        raise refuse(label, "at least one column", "none", "Check the export that made it.")
    if not source.n:
        raise refuse(label, "at least one row", "none", "Check the filter or the export that made it.")
    entries = [entry if isinstance(entry, Ignored) else column_of(entry) for entry in source.entries]
    columns = tuple(entry for entry in entries if isinstance(entry, Column))
    ignored = tuple(entry for entry in entries if isinstance(entry, Ignored))
    infinite = (
        f"Column {column.name!r}: {column.n_infinite} infinite values count as missing."
        for column in columns
        if column.n_infinite
    )
    return Table(label, source.n, columns, ignored, (*source.notes, *infinite), order)
