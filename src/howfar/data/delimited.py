"""Comma- and tab-separated text: every row checked, every cell typed by the whole of its column."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from typing import TYPE_CHECKING, BinaryIO

from howfar.data.columns import Source
from howfar.data.complaints import check_unpacked, listed, refuse
from howfar.data.text import typed

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

_HEAD = 2**16
_BLOCK = 2**20
_SEPARATORS = ",;\t|"


def read_csv(path: Path) -> Source:
    """Fields parted by commas, or by the semicolon, tab or bar that the header line holds instead."""
    return _read(path, None)


def read_tsv(path: Path) -> Source:
    """Fields parted by tabs."""
    return _read(path, "\t")


def _read(path: Path, separator: str | None) -> Source:
    content: bytes | Path = _unpacked(path) if path.suffix.lower() == ".gz" else path
    head = content[:_HEAD] if isinstance(content, bytes) else _head(path)
    _check_text(path, head)
    found = separator or _separator(head)
    header, second = _first_rows(path, content, found)
    numbered = _is_data(header)
    names = [str(i) for i in range(len(header))] if numbered else [name.strip() for name in header]
    _check_names(path, names)
    if not numbered and second is None:
        raise refuse(path, "a header line and rows", "a header line only", "Check the export that made the file.")
    frame = _frame(path, content, found, names, numbered)
    source = Source([], frame.height)
    if numbered:
        source.notes.append(f"{path}: the first line holds numbers, not names, so the columns are numbered from 0.")
    if found not in (separator, ","):
        source.notes.append(f"{path}: fields are parted by {found!r}.")
    for name in names:
        series, notes = typed(frame.drop_in_place(name))
        source.entries.append(series)
        source.notes += notes
    return source


def _frame(path: Path, content: bytes | Path, separator: str, names: list[str], numbered: bool) -> pl.DataFrame:
    import polars as pl

    try:
        frame = pl.read_csv(content, separator=separator, has_header=not numbered, infer_schema=False, glob=False)
    except pl.exceptions.NoDataError:
        raise _nothing(path) from None
    except pl.exceptions.PolarsError as error:
        _check_encoding(path, content)
        _blank_rows(path, content, separator, len(names), numbered)
        raise refuse(path, "separated text", str(error).splitlines()[0], "Check the quotes in the file.") from None
    if frame.width != len(names):
        _blank_rows(path, content, separator, len(names), numbered)
        raise refuse(path, f"{len(names)} columns, as in the header", f"{frame.width}", "Check the quotes in the file.")
    frame.columns = names
    # A row that ends early leaves a null in the last column; Polars fills it without a word.
    if len(names) > 1 and frame.to_series(-1).null_count():
        blank = _blank_rows(path, content, separator, len(names), numbered)
        if blank:
            frame = frame.with_row_index("\0").filter(~pl.col("\0").is_in(blank)).drop("\0")
    return frame


def _blank_rows(path: Path, content: bytes | Path, separator: str, width: int, numbered: bool) -> list[int]:
    """The indices of the blank rows; raises at the first row that has another number of fields."""
    blank: list[int] = []
    skipped = 0 if numbered else 1
    with _lines(content) as lines:
        reader = csv.reader(lines, delimiter=separator, strict=True)
        line = 1
        try:
            for index, row in enumerate(reader):
                if not row:
                    blank.append(index - skipped)
                elif len(row) != width:
                    raise refuse(
                        path,
                        f"{width} fields on line {line}, as on the first line",
                        f"{len(row)}",
                        f"Complete the line, quote fields that hold {separator!r}, or export the file again if it was cut short.",
                    )
                line = reader.line_num + 1
        except csv.Error as error:
            raise refuse(
                path, "separated text", f"{error} in the row that begins on line {line}", "Check the quotes there."
            ) from None
        except UnicodeDecodeError:
            _check_encoding(path, content)
            raise
    return blank


def _lines(content: bytes | Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(_stream(content), encoding="utf-8-sig", newline="")


def _stream(content: bytes | Path) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _first_rows(path: Path, content: bytes | Path, separator: str) -> tuple[list[str], list[str] | None]:
    with _lines(content) as lines:
        try:
            rows = csv.reader(lines, delimiter=separator)
            header = next(rows, None)
            if not header:
                raise refuse(path, "a header on the first line", "a blank line", "Delete the blank lines at the top.")
            return header, next((row for row in rows if row), None)
        except csv.Error as error:
            raise refuse(path, "a header line", str(error), "Check the quotes on the first line.") from None
        except UnicodeDecodeError:
            _check_encoding(path, content)
            raise


def _is_data(header: list[str]) -> bool:
    """Whether the first line is a row of numbers; 0, 1, 2, ... are names, as pandas writes them."""
    if not all(re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", cell) for cell in header):
        return False
    return header not in ([str(i) for i in range(len(header))], [str(i + 1) for i in range(len(header))])


def _separator(head: bytes) -> str:
    lines = re.sub(r'"[^"]*"', "", head.decode("utf-8-sig", errors="replace")).splitlines()[:2]
    if "," in lines[0]:
        return ","
    best = max(_SEPARATORS, key=lines[0].count)
    return best if lines[0].count(best) == lines[-1].count(best) else ","


def _check_names(path: Path, names: list[str]) -> None:
    if len(set(names)) == len(names):
        return
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    raise refuse(path, "column names that differ", f"{listed(twice)} more than once", "Rename them in the header line.")


def _check_text(path: Path, head: bytes) -> None:
    if not head.strip():
        raise _nothing(path)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:256]:
        raise refuse(path, "UTF-8 text", "UTF-16 or binary data", "Save it as UTF-8: iconv -f UTF-16 -t UTF-8.")
    if b"\r" in head and b"\n" not in head:
        raise refuse(
            path, "lines that end in a newline", "carriage returns only", r"Convert it: tr '\r' '\n' < old > new."
        )


def _check_encoding(path: Path, content: bytes | Path) -> None:
    offset, tail = 0, b""
    with _stream(content) as stream:
        while block := stream.read(_BLOCK):
            block = tail + block
            try:
                block.decode("utf-8")
                tail = b""
            except UnicodeDecodeError as error:
                if error.reason == "unexpected end of data" and len(block) - error.start < 4:
                    tail = block[error.start :]
                    block = block[: error.start]
                else:
                    raise _not_utf8(path, offset + error.start, block[error.start]) from None
            offset += len(block)
    if tail:
        raise _not_utf8(path, offset, tail[0])


def _not_utf8(path: Path, offset: int, byte: int) -> Exception:
    return refuse(
        path,
        "UTF-8 text",
        f"byte 0x{byte:02x} at offset {offset}",
        "Save it as UTF-8, for example: iconv -f latin1 -t UTF-8.",
    )


def _nothing(path: Path) -> Exception:
    return refuse(path, "a header line and rows", "an empty file", "Check the export that made the file.")


def _unpacked(path: Path) -> bytes:
    packed, blocks, size = path.stat().st_size, [], 0
    try:
        with gzip.open(path) as stream:
            while block := stream.read(_BLOCK):
                blocks.append(block)
                size += len(block)
                check_unpacked(path, packed, size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise refuse(path, "a whole gzip file", str(error), "Copy or compress the file again.") from None
    return b"".join(blocks)
