"""Two tables are brought to common columns, and what is not compared is named."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from howfar._errors import DataError
from howfar.data import Kind, PairedTables, Table, load, pair


def tables(left: dict[str, Any], right: dict[str, Any]) -> tuple[Table, Table]:
    return load(pl.DataFrame(left), name="old"), load(pl.DataFrame(right), name="new")


def paired(left: dict[str, Any], right: dict[str, Any], **options: Any) -> PairedTables:
    return pair(*tables(left, right), **options)


def test_common_columns_keep_the_order_of_the_reference() -> None:
    both = paired({"a": [1, 2], "b": [1, 2], "c": [1, 2]}, {"d": [1, 2], "c": [3, 4], "a": [5, 6]})
    assert both.names == both.reference.names == both.current.names == ("a", "c")
    assert (both.only_in_reference, both.only_in_current) == (("b",), ("d",))
    assert both.columns[1].current.values.tolist() == [3, 4]
    assert both.notes == ()


def test_chosen_columns_come_in_the_order_chosen() -> None:
    both = paired({"a": [1, 2], "b": [1, 2], "c": [1, 2]}, {"a": [1, 2], "b": [1, 2]}, columns=["b", "a", "b"])
    assert both.names == ("b", "a")
    assert both.only_in_reference == ()
    assert paired({"a": [1, 2]}, {"a": [1, 2]}, columns="a").names == ("a",)


def test_levels_are_the_union_and_the_new_ones_are_noted() -> None:
    both = paired({"town": ["Bern", None, "Wien"]}, {"town": ["Rom", "Wien", "Wien"]})
    column = both.columns[0]
    assert column.levels == column.reference.levels == column.current.levels == ("Bern", "Rom", "Wien")
    assert column.reference.values.tolist() == [0, -1, 2]
    assert column.current.values.tolist() == [1, 2, 2]
    assert both.notes == (
        "Column 'town': levels only in the reference: 'Bern'.",
        "Column 'town': levels only in the current table: 'Rom'.",
    )


def test_rare_levels_are_folded_by_their_pooled_count() -> None:
    left = ["a"] * 30 + ["b"] * 5 + ["c"] * 9 + ["(other)"] * 2 + [None]
    right = ["b"] * 30 + ["d"] * 8 + ["c"]
    both = paired({"x": left}, {"x": right}, max_levels=3)
    column = both.columns[0]
    assert column.levels == ("a", "b", "((other))")
    counts = [torch.bincount(side.present(), minlength=3).tolist() for side in (column.reference, column.current)]
    assert counts == [[30, 5, 11], [0, 30, 9]]
    assert column.reference.n_missing == 1
    assert column.notes == (
        "of 5 levels the 2 most frequent are kept; the others (20 values) count as one level '((other))'.",
    )


@pytest.mark.parametrize("shared", [True, False])
def test_identifiers_are_compared_by_their_absence_only(shared: bool) -> None:
    left = [f"id{i}" for i in range(99)] + [None]
    right = [f"id{i if shared else i + 100}" for i in range(100)]
    column = paired({"x": left}, {"x": right}).columns[0]
    assert column.levels == ("(any value)",)
    assert (column.reference.n_missing, column.current.n_missing) == (1, 0)
    distinct, values = (100 if shared else 199), 199
    assert column.notes == (
        f"{distinct} different texts in {values} values look like identifiers; only whether they are missing is compared.",
    )


def test_a_few_distinct_texts_are_levels_however_small_the_table() -> None:
    assert paired({"x": ["a", "b"]}, {"x": ["c", "d"]}).columns[0].levels == ("a", "b", "c", "d")


DAY = dt.date(1970, 1, 11)


@pytest.mark.parametrize(
    ("left", "right", "kind", "values", "note"),
    [
        ([True, None], [3, 4], Kind.NUMERIC, [1, None], "boolean values of the reference were read as numeric."),
        (["1", "2.5"], [3, 4], Kind.NUMERIC, [1, 2.5], "categorical values of the reference were read as numeric."),
        ([" 7 ", None], [3, 4], Kind.NUMERIC, [7, None], "categorical values of the reference were read as numeric."),
        (["TRUE", "false"], [True, None], Kind.BOOLEAN, [1, 0], "categorical values of the reference were read as boolean."),
        (["1970-01-02", None], [DAY, DAY], Kind.DATETIME, [1, None], "categorical values of the reference were read as datetime."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("swapped", [False, True])
def test_kinds_that_can_be_brought_together(
    left: list[Any], right: list[Any], kind: Kind, values: list[Any], note: str, swapped: bool
) -> None:
    sides = ({"x": right}, {"x": left}) if swapped else ({"x": left}, {"x": right})
    column = paired(*sides).columns[0]
    assert column.kind is column.reference.kind is column.current.kind is kind
    read = column.current if swapped else column.reference
    assert [None if np.isnan(v) else v for v in read.values.tolist()] == values
    assert read.missing.tolist() == [v is None for v in values]
    assert column.notes == (note.replace("the reference", "the current table") if swapped else note,)


@pytest.mark.parametrize(
    ("left", "right", "reason"),
    [
        (
            [1, 2],
            ["1", "none left"],
            (
                "numeric in the reference and categorical in the current table, where the current table holds text such "
                "as 'none left'. Give the column one type on both sides."
            ),
        ),
        (
            ["1", "NA"],
            [1.5, 2.5],
            (
                "categorical in the reference and numeric in the current table, where the reference holds text such "
                "as 'NA'. Give the column one type on both sides."
            ),
        ),
        (
            ["", "y"],
            [1.5, 2.5],
            (
                "categorical in the reference and numeric in the current table, where the reference holds text such "
                "as '', 'y'. Give the column one type on both sides."
            ),
        ),
        (
            [dt.time(1), dt.time(2)],
            [DAY, DAY],
            (
                "datetime (hours since midnight) in the reference and datetime (days since 1970-01-01) in the current "
                "table. Give the column one type on both sides."
            ),
        ),
        (
            [1, 2],
            [DAY, DAY],
            (
                "numeric in the reference and datetime (days since 1970-01-01) in the current table. "
                "Give the column one type on both sides."
            ),
        ),
    ],
)
def test_kinds_that_cannot_be_compared_are_named(left: list[Any], right: list[Any], reason: str) -> None:
    both = paired({"x": left, "y": [1, 2]}, {"x": right, "y": [1, 2]})
    assert both.names == ("y",)
    assert [(c.name, c.reason) for c in both.conflicts] == [("x", reason)]


def test_a_column_that_one_side_lost_is_compared_as_missing() -> None:
    both = paired(
        {"x": [1.5, 2.5], "y": ["a", "b"], "z": [None, None]}, {"x": [None, None], "y": [None, None], "z": [None, None]}
    )
    assert both.names == ("x", "y")
    assert [c.current.n_missing for c in both.columns] == [2, 2]
    assert both.columns[1].current.values.tolist() == [-1, -1]
    assert both.columns[1].levels == ("a", "b")
    assert [(side, gone.name) for side, gone in both.ignored] == [("both", "z")]


def test_what_one_side_cannot_compare_is_named_with_the_side() -> None:
    both = paired({"x": [[1], [2]], "y": [1, 2]}, {"x": [1, 2], "y": [1, 2]})
    assert [(side, gone.name, gone.reason.split(" ")[1]) for side, gone in both.ignored] == [("reference", "x", "list")]


@pytest.mark.parametrize(
    ("left", "right", "options", "message"),
    [
        ({"a": [1]}, {"a": [1, 2]}, {}, "old: expected at least 2 rows, got 1. Too few rows: pass more data."),
        (
            {"a": [1, 2]},
            {"a": [1, 2]},
            {"min_rows": 3},
            "old: expected at least 3 rows, got 2. Too few rows: pass more data.",
        ),
        (
            {"a": [1, 2], "b": [1, 2]},
            {"A": [1, 2]},
            {},
            (
                "old: expected a column in common with new that can be compared, got 'a', 'b' against 'A'. "
                "Rename the columns so that both sides agree."
            ),
        ),
        (
            {"a": [1, 2**53 + 1], "b": [1, 2]},
            {"a": [1, 2], "b": ["x", "y"]},
            {},
            (
                "old: expected a column in common with new that can be compared, got 'b' is numeric in the reference and "
                "categorical in the current table, where the current table holds text such as 'x', 'y'; 'a' (reference) "
                "holds integers beyond 2^53, which float64 cannot hold exactly; subtract a reference value, turn time "
                "stamps into dates, or turn identifiers into text. Mend or convert the columns."
            ),
        ),
        (
            {"age": [1, 2], "b": [1, 2]},
            {"age": [1, 2]},
            {"columns": ["agee"]},
            "columns: expected names that old has, got 'agee'. Did you mean 'age'?",
        ),
        (
            {"age": [1, 2], "b": [1, 2]},
            {"age": [1, 2]},
            {"columns": ["b"]},
            "columns: expected names that new has, got 'b'. new has 'age'.",
        ),
        (
            {"a": [[1], [2]], "b": [1, 2]},
            {"a": [1, 2], "b": [1, 2]},
            {"columns": ["a", "b"]},
            (
                "columns: expected columns that can be compared, got 'a', which holds list values, which have no order "
                "and no levels; flatten it into columns. Leave it out."
            ),
        ),
        (
            {"a": [1, 2]},
            {"a": [DAY, DAY]},
            {"columns": ["a"]},
            (
                "columns: expected columns that can be compared, got 'a', which is numeric in the reference and datetime "
                "(days since 1970-01-01) in the current table. Leave it out."
            ),
        ),
        (
            {"a": [1, 2]},
            {"a": [1, 2]},
            {"columns": []},
            "columns: expected at least one column name, got none. Leave columns out to compare all.",
        ),
    ],
)
def test_bad_pairs(left: dict[str, Any], right: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        paired(left, right, **options)
    assert str(caught.value) == message
