"""One reader per file format, and the table from extension to reader.

A reader takes a path and the key after `::` (None where there is none) and returns a `Source`. Files are not
trusted: none of the readers runs code that a file brings along, and archives that unpack into far more than
data compress to are refused.
"""

from __future__ import annotations

import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from howfar.data.arrays import choose, from_arrays
from howfar.data.columns import Source
from howfar.data.complaints import check_unpacked, refuse
from howfar.data.delimited import read_csv, read_tsv
from howfar.data.lines import read_ndjson

if TYPE_CHECKING:
    import polars as pl

_SAVE_AGAIN = "Save it again: it was cut short while it was written or copied, or it is of another format."
_NO_PICKLE = (
    "pickled objects, refused because they can run code",
    "Save numbers only: numpy.save(..., allow_pickle=False), torch.save of tensors, or safetensors.",
)


def _read_parquet(path: Path) -> Source:
    import polars as pl

    # Without this, Polars would read key=value parts of the path as columns.
    return _frame(lambda: pl.read_parquet(path, hive_partitioning=False, glob=False), path, "a whole Parquet file")


def _read_arrow(path: Path) -> Source:
    import polars as pl

    with path.open("rb") as file:
        magic = file.read(6)
        file.seek(max(0, path.stat().st_size - 8))
        end = file.read(8)
    if magic[:4] == b"FEA1":
        raise refuse(path, "an Arrow file", "Feather version 1", "Write it as Feather version 2 (Arrow IPC).")
    if magic == b"ARROW1":
        return _frame(lambda: pl.read_ipc(path.read_bytes()), path, "a whole Arrow file")
    source = _frame(lambda: pl.read_ipc_stream(path.read_bytes()), path, "a whole Arrow file or stream")
    if not end.endswith(b"\0\0\0\0"):
        source.notes.append(f"{path}: the Arrow stream has no end mark, so rows may be missing at its end.")
    return source


def _frame(read: Callable[[], pl.DataFrame], path: Path, expected: str) -> Source:
    import polars as pl

    try:
        frame = read()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError) as error:
        raise refuse(path, expected, _first_line(error), _SAVE_AGAIN) from None
    return Source(frame.get_columns(), frame.height)


def _read_npy(path: Path) -> Source:
    import numpy as np

    with path.open("rb") as file:
        magic = file.read(6)
        if magic != b"\x93NUMPY":
            got = _NO_PICKLE if magic[:1] == b"\x80" else ("no array in it", _SAVE_AGAIN)
            raise refuse(path, "an array saved by numpy.save", *got)
        file.seek(0)
        array = _member(file, path, np.lib.format.read_array)
    return from_arrays({"": array}, str(path))


def _read_npz(path: Path, key: str | None) -> Source:
    import numpy as np

    arrays: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                check_unpacked(path, info.compress_size, info.file_size)
            for info in archive.infolist():
                with archive.open(info) as file:
                    arrays[info.filename.removesuffix(".npy")] = _member(file, path, np.lib.format.read_array)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise refuse(path, "a whole npz file", _first_line(error), _SAVE_AGAIN) from None
    return from_arrays(choose(arrays, key, str(path)), str(path), container=True)


def _member(file: Any, path: Path, read: Callable[..., Any]) -> Any:
    try:
        return read(file, allow_pickle=False)
    except ValueError as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise refuse(path, "arrays of numbers or text", *_NO_PICKLE) from None
        raise refuse(path, "a whole numpy array", _first_line(error), _SAVE_AGAIN) from None
    except (EOFError, SyntaxError, TypeError, OverflowError) as error:
        raise refuse(path, "a whole numpy array", _first_line(error), _SAVE_AGAIN) from None


def _read_torch(path: Path, key: str | None) -> Source:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                check_unpacked(path, info.compress_size, info.file_size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - a damaged legacy file fails inside the unpickler in any of a dozen ways
        if "Unsupported" in str(error) or "TorchScript" in str(error):
            raise refuse(path, "tensors", *_NO_PICKLE) from None
        raise refuse(path, "a whole file of torch.save", _first_line(error), _SAVE_AGAIN) from None
    return from_arrays(choose(_tensors(content, path), key, str(path)), str(path), container=True)


def _tensors(content: Any, path: Path) -> Mapping[str, Any]:
    if isinstance(content, Tensor):
        return {"": content}
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values()):
        return {str(key): value for key, value in content.items()}
    if isinstance(content, Mapping):
        got = ", ".join(sorted({type(value).__name__ for value in content.values()}))
    else:
        got = type(content).__name__
    raise refuse(
        path, "a tensor, or a dict or list of tensors", got, "Save the tensors alone: torch.save({'x': x}, path)."
    )


def _read_safetensors(path: Path, key: str | None) -> Source:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, struct.error, OSError, RuntimeError) as error:
        raise refuse(path, "a whole safetensors file", _first_line(error), _SAVE_AGAIN) from None
    return from_arrays(choose(tensors, key, str(path)), str(path), container=True)


def _first_line(error: BaseException) -> str:
    text = re.split(r"[\n|]|\. ", str(error).strip(), maxsplit=1)[0].strip()
    return text or type(error).__name__


READERS: dict[str, Callable[[Path], Source]] = {
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".tsv": read_tsv,
    ".tab": read_tsv,
    ".tsv.gz": read_tsv,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".ipc": _read_arrow,
    ".ndjson": read_ndjson,
    ".jsonl": read_ndjson,
    ".npy": _read_npy,
}
"""Extension -> reader of files that hold one table."""

ARCHIVES: dict[str, Callable[[Path, str | None], Source]] = {
    ".npz": _read_npz,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".safetensors": _read_safetensors,
}
"""Extension -> reader of files that hold arrays by name, of which `file::name` chooses one."""
