"""Arrays and tensors -> series: one per feature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from howfar.data.columns import Source
from howfar.data.complaints import listed, refuse
from howfar.data.table import Ignored

if TYPE_CHECKING:
    import polars as pl


def from_arrays(arrays: Mapping[str, Any], label: str, *, container: bool = False) -> Source:
    """Series from named arrays of one length.

    A lone array under the name "" gives columns "0", "1", ...; an array `key` gives "key", or "key[0]",
    "key[1]", ... where it has more than one axis. Axes after the first are flattened, row by row.
    """
    if not arrays:
        raise refuse(label, "at least one array", "none", "Check what was saved.")
    source = Source([], 0)
    lengths: dict[str, int] = {}
    for key, value in arrays.items():
        array = _as_numpy(value, f"{label}::{key}" if key else label)
        if array.ndim == 0:
            raise refuse(
                f"{label}::{key}" if key else label,
                "an array with one row per observation",
                "a single number",
                "Save an array of shape (n,) or (n, d).",
            )
        lengths[key] = array.shape[0]
        _append(source, key, array, label)
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{key!r} with {n}" for key, n in list(lengths.items())[:6])
        how = f"Choose one array with {label}::{next(iter(lengths))}." if container else "Pass one of them."
        raise refuse(label, "arrays with the same number of rows", shown, how)
    source.n = next(iter(lengths.values()))
    return source


def choose(arrays: Mapping[str, Any], key: str | None, label: str) -> Mapping[str, Any]:
    """All arrays of a file, or the one that `file::key` asks for, without its name."""
    if key is None:
        return {"": next(iter(arrays.values()))} if len(arrays) == 1 else arrays
    if key not in arrays:
        raise refuse(
            label, f"one of the arrays {listed(arrays)}", repr(key), f"Pass {label}::{next(iter(arrays), '')}."
        )
    return {"": arrays[key]}


def _append(source: Source, key: str, array: Any, label: str) -> None:
    shape = array.shape
    where = f"{label}::{key}" if key else label
    if array.dtype.names:
        for field in array.dtype.names:
            _append(source, f"{key}.{field}" if key else field, array[field], label)
        return
    if array.ndim == 1:
        names = [key or "0"]
        array = array[:, None]
    else:
        width = math.prod(shape[1:])
        names = [f"{key}[{i}]" if key else str(i) for i in range(width)]
        array = array.reshape(shape[0], width)
        if len(shape) > 2:
            source.notes.append(f"{where}: each row of shape {shape[1:]} was flattened into {width} columns.")
    if array.dtype.kind not in "biufUSMmO":
        what = "complex numbers; pass real and imaginary parts" if array.dtype.kind == "c" else f"{array.dtype} values"
        source.entries += [Ignored(name, f"holds {what}") for name in names]
        return
    for name, values in zip(names, array.T, strict=True):
        if array.dtype.kind == "O":
            source.append(name, values.tolist())
        else:
            source.entries.append(series_of(name, values))


def series_of(name: str, values: Any) -> pl.Series:
    """A Polars series from a 1-D numpy array of any kind that a column can have."""
    import numpy as np
    import polars as pl

    kind = values.dtype.kind
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if kind == "f" and values.dtype.itemsize not in (4, 8):
        values = values.astype(np.float64)
    elif kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    elif kind in "Mm" and np.datetime_data(values.dtype)[0] not in ("ms", "us", "ns"):
        values = values.astype(f"{kind}8[us]")
    return pl.Series(name, values)


def _as_numpy(value: Any, label: str) -> Any:
    import numpy as np

    if isinstance(value, Tensor):
        return _dense(value, label)
    if hasattr(value, "__array__") or not hasattr(value, "__dlpack__"):
        try:
            return np.asarray(value)
        except (TypeError, ValueError, RuntimeError):
            if not hasattr(value, "__dlpack__"):
                raise refuse(label, "an array", type(value).__name__, "Pass rows of equal length.") from None
    return _dense(torch.utils.dlpack.from_dlpack(value), label)


def _dense(tensor: Tensor, label: str) -> Any:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise refuse(
            label,
            "a dense tensor",
            "a meta tensor" if tensor.device.type == "meta" else f"{tensor.dtype} in layout {tensor.layout}",
            "Save x.to_dense(), or x.dequantize().",
        )
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.double()
    return tensor.numpy()


def is_array(value: Any) -> bool:
    """Whether `value` is an array, a tensor, a list of numbers, or a mapping of these."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_array(item) for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return True
    return isinstance(value, Tensor) or hasattr(value, "__array__") or hasattr(value, "__dlpack__")
