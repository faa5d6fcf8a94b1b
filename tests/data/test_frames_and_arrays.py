"""DataFrames of three libraries, arrays and tensors become tables without a value lost in silence."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from howfar._errors import UnknownName
from howfar.data import Column, Kind, load, pair

TOO_LARGE = (
    "holds integers beyond 2^53, which float64 cannot hold exactly; "
    "subtract a reference value, turn time stamps into dates, or turn identifiers into text"
)


def cells(column: Column) -> list[Any]:
    values = column.values.tolist()
    if column.kind is Kind.CATEGORICAL:
        values = [column.levels[code] if code >= 0 else None for code in values]
    return [None if gone else value for value, gone in zip(values, column.missing.tolist(), strict=True)]


@pytest.mark.parametrize("backend", ["polars", "pandas", "pandas-pyarrow", "pyarrow", "lazy"])
def test_frames_of_every_library_give_the_same_table(backend: str) -> None:
    frame = pl.DataFrame(
        {
            "whole": [1, None, 3],
            "real": [1.5, None, -2.5],
            "truth": [True, None, False],
            "text": ["b", None, "a"],
            "level": pl.Series(["z", None, "y"], dtype=pl.Enum(["z", "y", "x"])),
            "day": [dt.date(2020, 1, 1), None, dt.date(2020, 1, 3)],
            "time": pl.Series(["2020-01-01 06:00", None, "2020-01-02 00:00"]).str.to_datetime(time_zone="UTC"),
            "span": [dt.timedelta(seconds=90), None, dt.timedelta(days=-1)],
        }
    )
    given: Any = {
        "polars": lambda: frame,
        "lazy": frame.lazy,
        "pandas": frame.to_pandas,
        "pandas-pyarrow": lambda: frame.to_pandas(use_pyarrow_extension_array=True),
        "pyarrow": frame.to_arrow,
    }[backend]()
    table = load(given)
    assert {name: (table[name].kind, cells(table[name])) for name in table.names} == {
        "whole": (Kind.NUMERIC, [1, None, 3]),
        "real": (Kind.NUMERIC, [1.5, None, -2.5]),
        "truth": (Kind.BOOLEAN, [1, None, 0]),
        "text": (Kind.CATEGORICAL, ["b", None, "a"]),
        "level": (Kind.CATEGORICAL, ["z", None, "y"]),
        "day": (Kind.DATETIME, [18262, None, 18264]),
        "time": (Kind.DATETIME, [18262.25, None, 18263]),
        "span": (Kind.DATETIME, [90, None, -86400]),
    }
    assert table["span"].unit == "seconds"


def test_what_pandas_holds_beyond_types() -> None:
    frame = pd.DataFrame(
        {
            "wide": pd.array([1, None, 2**60 + 1], dtype="Int64"),
            "mixed": pd.Series(["a", 1, None], dtype=object),
            "truth": pd.Series([True, None, False], dtype=object),
            "text": pd.Series(["a", np.nan, "b"], dtype=object),
            "money": pd.Series([decimal.Decimal("1.5"), None, None], dtype=object),
            "codes": pd.Categorical([1, None, 2]),
            "period": pd.period_range("2020", periods=3, freq="M"),
            7: [1, 2, 3],
        },
    )
    frame.index = pd.Index(["x", "y", "z"])
    table = load(frame)
    assert table.schema() == {
        "truth": Kind.BOOLEAN,
        "text": Kind.CATEGORICAL,
        "money": Kind.NUMERIC,
        "codes": Kind.CATEGORICAL,
        "7": Kind.NUMERIC,
    }
    assert cells(table["codes"]) == ["1", None, "2"]
    assert {gone.name: gone.reason for gone in table.ignored} == {
        "mixed": "holds Python objects of type int, str; give the column one type",
        "period": "holds Python objects of type Period; give the column one type",
        "wide": TOO_LARGE,
    }
    assert table.notes == (
        "pandas.DataFrame: the index of the DataFrame was not compared. Call reset_index() to compare it.",
    )


def test_what_has_no_order_and_no_levels_is_named() -> None:
    table = load(
        pl.DataFrame(
            {
                "a": [1, 2],
                "list": [[1], [2]],
                "struct": [{"x": 1}, {"x": 2}],
                "binary": [b"x", b"y"],
                "empty": [None, None],
                "endless": [float("inf"), -float("inf")],
            }
        )
    )
    reason = "holds {} values, which have no order and no levels; flatten it into columns"
    assert [(gone.name, gone.reason, gone.all_missing) for gone in table.ignored] == [
        ("list", reason.format("list"), False),
        ("struct", reason.format("struct"), False),
        ("binary", reason.format("binary"), False),
        ("empty", "has no value in any row (null)", True),
        ("endless", "has no finite value in any row (2 are infinite)", True),
    ]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (np.array([2**53, -(2**53)], dtype=np.int64), True),
        (np.array([2**53 + 1, 0], dtype=np.int64), False),
        (np.array([-(2**53) - 1, 0], dtype=np.int64), False),
        (np.array([2**60, 2**62], dtype=np.int64), True),
        (np.array([2**63 - 1], dtype=np.int64), False),
        (np.array([2**64 - 1, 5], dtype=np.uint64), False),
        (np.array([2**63, 5], dtype=np.uint64), True),
        (torch.tensor([2**53 + 1]), False),
    ],
)
def test_integers_that_float64_cannot_hold_are_named(values: Any, kept: bool) -> None:
    table = load(values)
    assert [gone.reason for gone in table.ignored] == ([] if kept else [TOO_LARGE])
    assert [int(v) for c in table.columns for v in c.values.tolist()] == (values.tolist() if kept else [])


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (np.array([1.5, np.nan, np.inf]), Kind.NUMERIC, [1.5, None, None]),
        (np.array([1.5, 2.5], dtype=np.float16), Kind.NUMERIC, [1.5, 2.5]),
        (np.array([1.5, 2.5], dtype=">f4"), Kind.NUMERIC, [1.5, 2.5]),
        (np.array([True, False]), Kind.BOOLEAN, [1, 0]),
        (np.array(["b", "a"]), Kind.CATEGORICAL, ["b", "a"]),
        (np.array([b"b", b"a"]), Kind.CATEGORICAL, ["b", "a"]),
        (np.array(["b", None], dtype=object), Kind.CATEGORICAL, ["b", None]),
        (np.array(["2020-01-01", "NaT"], dtype="M8[s]"), Kind.DATETIME, [18262, None]),
        (np.array(["2020-01-01", "NaT"], dtype="M8[D]"), Kind.DATETIME, [18262, None]),
        (np.array([90, 1], dtype="m8[m]"), Kind.DATETIME, [5400, 60]),
        (torch.tensor([1.5, 2.5], dtype=torch.bfloat16), Kind.NUMERIC, [1.5, 2.5]),
        (torch.tensor([1.5, 2.5], requires_grad=True), Kind.NUMERIC, [1.5, 2.5]),
        (torch.tensor([1, 2], dtype=torch.uint8), Kind.NUMERIC, [1, 2]),
        ([1, 2.5, 3], Kind.NUMERIC, [1, 2.5, 3]),
        (pd.Series([1, 2], name="0"), Kind.NUMERIC, [1, 2]),
        (pl.Series("0", ["x", None]), Kind.CATEGORICAL, ["x", None]),
        (np.broadcast_to(np.float64(3), (2,)), Kind.NUMERIC, [3, 3]),
    ],
)
def test_arrays_of_every_type(array: Any, kind: Kind, values: list[Any]) -> None:
    table = load(array)
    assert table.names == ("0",)
    assert table["0"].kind is kind
    assert cells(table["0"]) == values


def test_nanoseconds_keep_their_fraction_of_a_day() -> None:
    stamps = np.array(["2262-04-11T23:47:16.854775807", "1970-01-01T00:00:00.000000001"], dtype="M8[ns]")
    days = load(stamps)["0"].values
    assert days[1].item() == 1 / 86_400_000_000_000
    assert days[0].item() == (2**63 - 1) / 86_400_000_000_000


def test_complex_and_structured_arrays() -> None:
    assert load(np.zeros((2, 1), complex)).ignored[0].reason == "holds complex numbers; pass real and imaginary parts"
    table = load(np.array([(1, "a"), (2, "b")], dtype=[("n", "i4"), ("s", "U3")]))
    assert table.schema() == {"n": Kind.NUMERIC, "s": Kind.CATEGORICAL}


def test_the_table_does_not_share_memory_with_the_array() -> None:
    array = np.zeros((3, 2))
    table = load(array)
    array += 1
    assert table["0"].values.tolist() == [0, 0, 0]


def test_names_select_and_take() -> None:
    table = load({"a": [1.0, 2.0, np.nan], "b": ["x", "y", "x"]}, name="mine")
    assert (table.name, table.n, table.names, "a" in table, "c" in table) == ("mine", 3, ("a", "b"), True, False)
    assert table.select(["b", "a"]).names == ("b", "a")
    rows = table.take(torch.tensor([2, 0]))
    assert (rows.n, cells(rows["a"]), cells(rows["b"])) == (2, [None, 1], ["x", "x"])
    assert table.take(torch.tensor([True, False, True]))["a"].n_missing == 1
    assert table["a"].present().tolist() == [1, 2]
    assert load(table) is table
    assert load(table, name="yours").name == "yours"
    with pytest.raises(UnknownName, match=r"^column: expected one of aa, b, got 'aaa'\. Did you mean 'aa'\?$"):
        load({"aa": [1.0], "b": [2.0]})["aaa"]


def test_importing_the_room_loads_no_reader() -> None:
    code = "import sys, howfar.data; print({'polars', 'narwhals', 'safetensors', 'PIL', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_tables_and_columns_print_in_a_line():
    table = load({"age": np.array([31.0, np.nan]), "town": np.array(["Bern", "Wien"]), "z": np.zeros(2)}, name="t")
    assert repr(table) == "<Table t: 2 rows, age (numeric), town (categorical), z (numeric)>"
    assert repr(table["age"]) == "<Column age: numeric, 2 rows, 1 of them missing>"
    assert repr(table["town"]) == "<Column town: categorical, 2 rows, 2 levels>"
    wide = load(np.zeros((3, 400)), name="wide")
    assert repr(wide) == (
        "<Table wide: 3 rows, 0 (numeric), 1 (numeric), 2 (numeric), 3 (numeric), 4 (numeric), 5 (numeric) and 394 more>"
    )
    both = pair(table, table)
    assert repr(both) == "<PairedTables t (2 rows) and t (2 rows): age (numeric), town (categorical), z (numeric)>"
    assert repr(both.columns[0]) == "<PairedColumn age: numeric, 2 and 2 rows>"
