"""Paired tables as points: known distances, pooled scaling, and nothing that tells the sides apart."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.data import Encoded, Kind, encode, load, pair
from howfar.measure import Measure


def encoded(left: dict[str, Any], right: dict[str, Any], **options: Any) -> Encoded:
    return encode(pair(load(pl.DataFrame(left)), load(pl.DataFrame(right))), **options)


def pooled(result: Encoded) -> torch.Tensor:
    return torch.cat([result.reference.points, result.current.points])


def test_numbers_are_scaled_by_median_and_interquartile_range() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(5, 3, 401), rng.standard_cauchy(300)
    found = pooled(encoded({"v": x}, {"v": y}))[:, 0]
    both = np.concatenate([x, y])
    scale = np.subtract(*np.percentile(both, [75, 25])) / 1.3489795003921634
    np.testing.assert_allclose(found.numpy(), np.arcsinh((both - np.median(both)) / scale), rtol=1e-12, atol=1e-12)


def test_normal_data_come_out_with_unit_slope_at_the_centre() -> None:
    x = np.random.default_rng(1).normal(1e6, 20, 200_000)
    found = pooled(encoded({"v": x[:1000]}, {"v": x[1000:]}))[:, 0]
    near = (torch.from_numpy(x) - 1e6).abs() < 2
    slope = found[near] / (torch.from_numpy(x)[near] - np.median(x)) * 20
    assert slope.median().item() == pytest.approx(1, abs=0.02)


def test_where_half_of_the_values_are_equal_the_others_give_the_scale() -> None:
    found = pooled(encoded({"v": [0.0] * 8}, {"v": [0.0, 0.0, 100.0, 120.0, 1e9]}))[:, 0]
    assert found[:10].tolist() == [0.0] * 10
    assert found[10:].tolist() == pytest.approx([math.asinh(100 / 120), math.asinh(1), math.asinh(1e9 / 120)])


def test_a_wild_value_does_not_drown_the_others() -> None:
    x = np.append(np.random.default_rng(2).normal(size=999), 1e6)
    found = pooled(encoded({"v": x}, {"v": [0.0, 1.0]}))[:, 0]
    assert 14 < found.max().item() < 15


def test_the_largest_floats_stay_finite_and_apart() -> None:
    most = np.finfo(np.float64).max
    wide = pooled(encoded({"v": [-most, -most / 2]}, {"v": [0.0, most / 2, most]}))[:, 0]
    assert bool(wide.isfinite().all())
    assert wide.tolist() == sorted(set(wide.tolist()))
    mixed = pooled(encoded({"v": [-1e-200, 0.0, 1e-200, 2e-200, 3e-200]}, {"v": [1e-3, 1e-2, most, -most]}))[:, 0]
    assert bool(mixed.isfinite().all())
    assert mixed[:7].tolist() == sorted(set(mixed[:7].tolist()))
    assert mixed[6] < mixed[7]
    assert mixed[7].item() == pytest.approx(math.log(2) + math.log(most), rel=1e-12)


def test_constant_columns_are_zero() -> None:
    assert encoded({"v": [7, 7], "w": [1, 2]}, {"v": [7, 7], "w": [3, 4]}).reference.points[:, 0].tolist() == [0, 0]


def test_levels_are_at_distance_one_and_missing_is_a_level() -> None:
    result = encoded({"town": ["a", "b", None]}, {"town": ["c", "a", None]})
    distances = torch.cdist(result.reference.points, result.current.points)
    expected = torch.tensor([[1.0, 0, 1], [1, 1, 1], [1, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(distances, expected, rtol=0, atol=1e-12)
    assert result.groups[0].features == ("town = a", "town = b", "town = c", "town is missing")


def test_missing_numbers_lie_at_the_pooled_median_with_a_mark() -> None:
    result = encoded(
        {"v": [1.0, None, 3.0], "ok": [True, True, None]}, {"v": [5.0, 2.0, 4.0], "ok": [True, False, True]}
    )
    assert [group.features for group in result.groups] == [("v", "v is missing"), ("ok", "ok is missing")]
    values, gaps, truth, unknown = pooled(result).unbind(-1)
    assert values[1].item() == values[2].item() == 0
    assert gaps.tolist() == [0, 1, 0, 0, 0, 0]
    assert truth.tolist() == [1, 1, 1, 1, 0, 1]
    assert unknown.tolist() == [0, 0, 1, 0, 0, 0]


def test_groups_tell_which_features_belong_to_which_column() -> None:
    result = encoded(
        {"age": [1, 2], "town": ["x", "y"], "day": [dt.date(2020, 1, 1), None]},
        {"age": [3, 4], "town": ["x", "z"], "day": [dt.date(2021, 1, 1), dt.date(2022, 1, 1)]},
    )
    assert [(g.name, g.kind, g.start, g.stop) for g in result.groups] == [
        ("age", Kind.NUMERIC, 0, 1),
        ("town", Kind.CATEGORICAL, 1, 4),
        ("day", Kind.DATETIME, 4, 6),
    ]
    assert result.reference.points.shape == (2, 6)
    assert result.reference.uniform
    assert result.reference.points[:, result.groups[1].slice].shape == (2, 3)


def test_float32_is_cast_after_the_scaling() -> None:
    left, right = {"v": np.array([1e9, 1e9 + 1])}, {"v": np.array([1e9 + 2, 1e9 + 3])}
    exact, short = pooled(encoded(left, right)), pooled(encoded(left, right, dtype=torch.float32))
    assert short.dtype == torch.float32
    torch.testing.assert_close(short.double(), exact, rtol=1e-6, atol=0)


CELL = st.tuples(
    st.none() | st.floats(-1e6, 1e6),
    st.none() | st.booleans(),
    st.none() | st.sampled_from(["red", "green", "blue", "grey", "black"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CELL, min_size=6, max_size=24), st.randoms(use_true_random=False))
def test_a_row_is_encoded_alike_on_whichever_side_it_lies(rows: list[tuple[Any, ...]], random: Any) -> None:
    rows = [*rows, (1.0, True, "red"), (0.0, False, "red")]
    order = list(range(len(rows)))
    random.shuffle(order)

    def points(indices: list[int]) -> torch.Tensor:
        frame = pl.DataFrame(
            [rows[i] for i in indices],
            schema={"x": pl.Float64, "b": pl.Boolean, "c": pl.String},
            orient="row",
        )
        left, right = load(frame[:3]), load(frame[3:])
        return pooled(encode(pair(left, right, max_levels=3)))

    first, second = points(list(range(len(rows)))), points(order)
    assert torch.equal(first[order], second)


def test_a_measure_prints_its_shape_and_not_its_points():
    points = torch.zeros(3, 500, 2)
    assert repr(Measure.of(points)) == "<Measure of 500 points in 2 dimensions, batch (3,), torch.float32 on cpu>"
    weighted = Measure.of(points[0].double(), torch.full((500,), 1 / 500))
    assert repr(weighted) == "<Measure of 500 points in 2 dimensions, weighted, torch.float64 on cpu>"
