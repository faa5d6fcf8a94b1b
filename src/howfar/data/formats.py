"""One reader per file format, and the table from extension to reader.

A reader takes a path and the key after `::` (None where there is none) and returns a `Source`. Files are not
trusted: none of the readers runs code that a file brings along, and archives that unpack into far more than
data compress to are refused.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from howfar._errors import DataError
from howfar.data.arrays import choose, from_arrays
from howfar.data.columns import Source
from howfar.data.complaints import check_unpacked, refuse
from howfar.data.delimited import read_csv, read_tsv
from howfar.data.lines import read_ndjson

if TYPE_CHECKING:
    import polars as pl

_SAVE_AGAIN = "Save it again: it was cut short while it was written or copied, or it is of another format."
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_NO_PICKLE = (
    "pickled objects, refused because they can run code",
    "Save numbers only: numpy.save(..., allow_pickle=False), torch.save of tensors, or safetensors.",
)


@contextmanager
def _whole(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into the one error of the house."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    # Bytes that are not what they claim fail deep inside five libraries with any exception there is, and in
    # Polars with a panic, which is no Exception; fuzzing found KeyError, struct.error, TokenError and zlib.error.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        text = str(error)
        if any(sign in text for sign in ("allow_pickle", "Object arrays", "Unsupported", "TorchScript")):
            raise refuse(path, expected, *_NO_PICKLE) from None
        reason = re.split(r"[\n|]|\. ", text.strip(), maxsplit=1)[0].strip()
        raise refuse(path, expected, reason or type(error).__name__, _SAVE_AGAIN) from None


def _read_parquet(path: Path) -> Source:
    import polars as pl

    with _whole(path, "a whole Parquet file"):
        # Without this, Polars would read key=value parts of the path as columns.
        return _source(pl.read_parquet(path, hive_partitioning=False, glob=False))


def _read_arrow(path: Path) -> Source:
    import polars as pl

    content = path.read_bytes()
    if content.startswith(b"FEA1"):
        raise refuse(path, "an Arrow file", "Feather version 1", "Write it as Feather version 2 (Arrow IPC).")
    with _whole(path, "a whole Arrow file or stream"):
        if content.startswith(b"ARROW1"):
            return _source(pl.read_ipc(content))
        source = _source(pl.read_ipc_stream(content))
    if not content.endswith(_END_OF_STREAM):
        source.notes.append(f"{path}: the Arrow stream has no end mark, so rows may be missing at its end.")
    return source


def _source(frame: pl.DataFrame) -> Source:
    return Source(list(frame.get_columns()), frame.height)


def _read_npy(path: Path) -> Source:
    import numpy as np

    with path.open("rb") as file:
        magic = file.read(6)
        if magic != b"\x93NUMPY":
            got = _NO_PICKLE if magic[:1] == b"\x80" else ("no array in it", _SAVE_AGAIN)
            raise refuse(path, "an array saved by numpy.save", *got)
        file.seek(0)
        with _whole(path, "an array saved by numpy.save"):
            array = np.lib.format.read_array(file, allow_pickle=False)
    return from_arrays({"": array}, str(path))


def _read_npz(path: Path, key: str | None) -> Source:
    import numpy as np

    arrays: dict[str, Any] = {}
    with _whole(path, "arrays saved by numpy.savez"), zipfile.ZipFile(path) as archive:
        _check_members(archive, path)
        for name in archive.namelist():
            with archive.open(name) as file:
                arrays[name.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    return from_arrays(choose(arrays, key, str(path)), str(path), container=True)


def _read_torch(path: Path, key: str | None) -> Source:
    with _whole(path, "tensors saved by torch.save"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_members(archive, path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    return from_arrays(choose(_tensors(content, path), key, str(path)), str(path), container=True)


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    check_unpacked(path, path.stat().st_size, sum(member.file_size for member in members))


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
    from safetensors.torch import load_file

    with _whole(path, "tensors saved by safetensors"):
        tensors = load_file(path)
    return from_arrays(choose(tensors, key, str(path)), str(path), container=True)


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
