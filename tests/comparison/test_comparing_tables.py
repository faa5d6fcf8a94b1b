from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from howfar._errors import DataError, DomainError
from howfar.comparison import Comparison, compare, overall


def _wine(cultivar: int) -> pl.DataFrame:
    from sklearn.datasets import load_wine

    wine = load_wine()
    return pl.DataFrame(wine.data[wine.target == cultivar], schema=list(wine.feature_names))


def _mixed(n: int, seed: int, **moved: Any) -> pl.DataFrame:
    """Every kind of column, a tenth of `height` missing."""
    rng = np.random.default_rng(seed)
    columns = {
        "height": [None if miss else h for h, miss in zip(rng.normal(170, 10, n), rng.random(n) < 0.1, strict=True)],
        "colour": rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2]).tolist(),
        "member": (rng.random(n) < 0.4).tolist(),
        "joined": [dt.date(2024, 1, 1) + dt.timedelta(days=int(k)) for k in rng.integers(0, 100, n)],
    }
    return pl.DataFrame(columns | moved)


def _values(plain: Any) -> Iterator[Any]:
    if isinstance(plain, dict):
        for value in plain.values():
            yield from _values(value)
    elif isinstance(plain, list):
        for value in plain:
            yield from _values(value)
    else:
        yield plain


@pytest.fixture(scope="module")
def wine() -> Comparison:
    return compare(_wine(0), _wine(1))


@pytest.fixture(scope="module")
def moved() -> Comparison:
    """Levels that come and go, more missing rows, later dates, a new rate; one column equal, one on one side only."""
    n = 300
    rng = np.random.default_rng(9)
    current = _mixed(
        n,
        1,
        height=[None if miss else h for h, miss in zip(rng.normal(170, 10, n), rng.random(n) < 0.4, strict=True)],
        colour=rng.choice(["red", "green", "violet"], n, p=[0.2, 0.4, 0.4]).tolist(),
        member=(rng.random(n) < 0.8).tolist(),
        joined=[dt.date(2024, 3, 1) + dt.timedelta(days=int(k)) for k in rng.integers(0, 100, n)],
    )
    reference = _mixed(n, 0).with_columns(same=pl.Series(rng.normal(size=n)), old=pl.lit(1.0), clash=pl.lit("text"))
    current = current.with_columns(
        same=pl.Series(rng.normal(size=n)), new=pl.lit(True), clash=pl.Series(rng.normal(size=n))
    )
    return compare(reference, current)


def test_two_cultivars_differ_and_the_sentence_names_the_column_that_moved_most(wine):
    assert wine.verdict.different
    assert wine.verdict.p_value == 0.001
    assert wine.verdict.largest == "proline"
    assert str(wine) == str(wine.verdict) == wine.verdict.sentence
    assert wine.verdict.sentence == (
        "The two tables differ: p = 0.001; 13 of 13 columns moved, most of all `proline`: median 1095 -> 495 (-3.2 sd)."
    )
    assert wine["proline"].reference["median"] == 1095
    assert wine["proline"].current["median"] == 495
    with pytest.raises(KeyError):
        wine["prolin"]


def test_columns_are_ranked_and_their_p_values_adjusted(wine):
    keys = [(not column.moved, -column.effect) for column in wine.columns]
    assert keys == sorted(keys)
    assert all(column.p_adjusted >= column.p_value >= 0.001 for column in wine.columns)
    assert min(column.p_adjusted for column in wine.columns) >= wine.verdict.p_value


def test_overall_distances_equal_the_functions_on_the_encoded_tables(wine):
    from howfar import data, kernel_distances

    encoded = data.encode(data.pair(data.load(_wine(0)), data.load(_wine(1))))
    x, y = encoded.reference.points, encoded.current.points
    by_name = {one.name: one for one in wine.distances}
    assert by_name["energy_distance"].value == pytest.approx(float(kernel_distances.energy_distance(x, y)), rel=1e-9)
    assert by_name["mmd"].value == pytest.approx(float(kernel_distances.mmd(x, y)), rel=1e-9)
    assert by_name["energy_distance"].p_value == by_name["mmd"].p_value == 0.001
    between, first, second = (
        float(torch.cdist(p, q).sum()) / count for p, q, count in ((x, y, 59 * 71), (x, x, 59 * 58), (y, y, 71 * 70))
    )
    assert by_name["energy_effect"].value == pytest.approx((1 - (first + second) / (2 * between)) ** 0.5, rel=1e-6)


def test_every_distance_says_in_a_sentence_what_it_is(wine):
    """Plain words first, without a sign of mathematics; the formula may follow in parentheses."""
    for one in wine.distances:
        said, _, formula = one.note.partition(" (")
        assert re.fullmatch(r"[A-Z][a-z ,:;0-9-]+", said), said
        assert formula.endswith(").")
        assert "0 when the tables agree" in said


def test_halves_of_one_cultivar_do_not_differ_and_the_sentence_says_what_could_be_missed():
    table = _wine(1)[torch.randperm(71, generator=torch.Generator().manual_seed(0)).tolist()]
    result = compare(table[:35], table[35:])
    assert not result.verdict.different
    assert result.verdict.sentence.startswith("No difference found: p = ")
    assert "With 35 rows against 36 rows, a column that shifted by less than about 0.89 standard deviations" in str(
        result
    )
    assert not any(column.moved for column in result.columns)


def test_every_kind_of_column_says_what_moved(moved):
    assert moved.verdict.different
    assert {column.name: column.kind for column in moved.columns} == {
        "height": "numeric",
        "colour": "categorical",
        "member": "boolean",
        "joined": "datetime",
        "same": "numeric",
    }
    colour = moved["colour"]
    assert colour.new_levels == ("violet",)
    assert colour.vanished_levels == ("blue",)
    assert colour.levels[0].label == "violet"
    assert colour.shift == f"'violet' 0 % -> {100 * colour.levels[0].current:.3g} %"
    assert colour.effect == pytest.approx(sum(abs(level.current - level.reference) for level in colour.levels) / 2)
    member = moved["member"]
    assert member.effect == pytest.approx(abs(member.current["rate"] - member.reference["rate"]))
    assert member.shift.startswith("true ")
    joined = moved["joined"]
    assert joined.reference["min"] == "2024-01-01"
    assert joined.current["min"] == "2024-03-01"
    assert joined.shift.startswith("median 2024-02-")
    assert joined.reference["sd"].endswith(" days")
    assert not moved["same"].moved


_SHIFT = re.compile(r"(?P<name>median|mean) (?P<before>\S+) -> (?P<after>\S+) \((?P<sd>\S+) sd\)")


@pytest.mark.parametrize("seed", range(40))
def test_the_numbers_of_a_shift_belong_to_one_statistic(seed):
    """Heavy tails part the median from the mean, so a text that mixed the two would contradict itself."""
    rng = np.random.default_rng(seed)
    reference, current = rng.standard_t(2, 60) + 3, rng.lognormal(1, 0.8, 50)
    (column,) = compare(reference, current, n_permutations=19).columns
    measured = {one.label: one.value for one in column.measures}
    pooled = math.sqrt((59 * reference.var(ddof=1) + 49 * current.var(ddof=1)) / 108)
    for name, function in (("median", np.median), ("mean", np.mean)):
        gap = function(current) - function(reference)
        assert measured[f"Shift of the {name}"] == pytest.approx(gap, rel=1e-9)
        assert measured[f"Shift of the {name}, standardised"] == pytest.approx(gap / pooled, rel=1e-9)
    if column.shift.startswith("sd "):
        assert all(abs(measured[f"Shift of the {name}, standardised"]) < 0.2 for name in ("median", "mean"))
        return
    said = _SHIFT.fullmatch(column.shift)
    function = {"median": np.median, "mean": np.mean}[said["name"]]
    assert float(said["before"]) == pytest.approx(function(reference), rel=1e-3)
    assert float(said["after"]) == pytest.approx(function(current), rel=1e-3)
    assert float(said["sd"]) == pytest.approx((function(current) - function(reference)) / pooled, rel=0.06)
    assert (float(said["after"]) > float(said["before"])) == (float(said["sd"]) > 0)


@pytest.mark.parametrize(
    ("reference", "current", "shift"),
    [
        # The mean where the median hardly moved and the mean did: most values are zero.
        ([0.0] * 60 + [1.0] * 10, [0.0] * 40 + [9.0] * 30, "mean 0.1429 -> 3.857 (+1.2 sd)"),
        (
            [1.7e9 + k for k in range(50)],
            [1.7e9 + k + 20 for k in range(50)],
            "median 1700000024 -> 1700000044 (+1.4 sd)",
        ),
        (
            [0.0] * 20 + [1e-9 * k for k in range(20)],
            [500.0 + k / 10 for k in range(40)],
            "median 0 -> 501.9 (+610 sd)",
        ),
        # Neither the median, nor the mean, nor the spread: the threshold with the largest gap is left.
        ([-1.0, 1.0] * 30, [-(2.0**0.5), 0.0, 0.0, 2.0**0.5] * 15, "values up to -1.414: 0 % -> 25 %"),
    ],
)
def test_what_moved_is_said_by_the_statistic_that_shows_it(reference, current, shift):
    (column,) = compare(reference, current, n_permutations=99).columns
    assert column.shift == shift


def test_missing_rows_are_a_fact_of_their_own(moved):
    height = moved["height"]
    assert not height.different
    assert height.missing.different
    assert height.moved
    assert height.missing.p_adjusted <= 0.05
    assert height.missing.reference_count == round(height.missing.reference * 300)
    assert moved["colour"].missing.p_value is None


def test_nothing_is_dropped_in_silence(moved):
    assert moved.only_in_reference == ("old",)
    assert moved.only_in_current == ("new",)
    assert [conflict.column for conflict in moved.conflicts] == ["clash"]


def test_rows_that_lean_to_their_side_are_really_the_ones(wine):
    reference = wine.locations.reference
    assert [row.score for row in reference] == sorted((row.score for row in reference), reverse=True)
    assert reference[0].score > 0
    assert wine.locations.columns[0] == "proline"
    table = _wine(0)
    assert reference[0].values[0] == f"{table['proline'][reference[0].row]:g}"
    assert "without control of errors" in wine.locations.note


def test_the_document_survives_json_and_holds_no_nan(wine, moved):
    for result in (wine, moved):
        text = result.to_json()
        plain = json.loads(text)
        assert plain == result.to_document()
        assert all(not isinstance(value, float) or math.isfinite(value) for value in _values(plain))
        assert Comparison.from_json(text) == result
        assert plain["format"] == "howfar.comparison"
        assert plain["settings"]["seed"] == 0


def test_histograms_hold_all_rows_that_have_a_value(wine, moved):
    for result in (wine, moved):
        for column in result.columns:
            histogram = column.histogram
            assert sum(histogram.reference) == pytest.approx(1)
            assert sum(histogram.current) == pytest.approx(1)
            assert (histogram.edges is None) == (column.kind in ("categorical", "boolean"))
            if column.kind == "numeric":
                assert list(histogram.edges) == sorted(set(histogram.edges))


def test_a_long_tail_does_not_hide_the_body():
    values = torch.cat([torch.linspace(0, 1, 500), torch.tensor([1e6])])
    histogram = compare(values, values.flip(0)).columns[0].histogram
    assert histogram.edges[-1] == 1e6
    assert histogram.edges[-2] <= 1
    assert max(histogram.reference) < 0.1


def test_the_report_is_one_html_file(moved, tmp_path):
    moved.to_html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert moved.verdict.sentence.split("`")[0] in text
    assert "violet" in text


def test_results_print_in_a_line(wine):
    assert repr(wine) == f"<Comparison of reference (59 rows) and current (71 rows): {wine.verdict.sentence}>"
    assert repr(wine["proline"]) == (
        "<ColumnComparison of `proline` (numeric): differs, median 1095 -> 495 (-3.2 sd), effect 0.91, adjusted p 0.001>"
    )
    (hue,) = compare(_wine(1)[::2], _wine(1)[1::2], columns=["hue"]).columns
    assert repr(hue).startswith("<ColumnComparison of `hue` (numeric): within chance, ")
    assert repr(wine.projection).startswith("<Projection of 59 and 71 rows: principal components of ")
    assert repr(hue.histogram).startswith("<Histogram of ")


def test_the_answer_is_repeatable_and_the_generator_changes_it():
    a, b = _mixed(60, 0), _mixed(60, 1)
    first = compare(a, b)
    assert compare(a, b).to_json() == first.to_json()
    other = compare(a, b, generator=torch.Generator().manual_seed(5))
    assert other.settings.seed == 5
    assert other.verdict.p_value != first.verdict.p_value


def test_a_change_that_no_column_shows_is_found_in_their_combination():
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(200, 2, generator=generator)
    result = compare(reference, reference.sort(0).values)
    assert result.verdict.different
    assert [column.effect for column in result.columns] == [0, 0]
    assert not any(column.moved for column in result.columns)
    assert "no column by itself moved beyond chance" in result.verdict.sentence
    assert result.verdict.effect == result.distances[1].value


def test_one_drifted_column_among_thirty_is_found_and_is_the_only_one_named():
    generator = torch.Generator().manual_seed(2)
    reference, current = torch.randn(300, 30, generator=generator), torch.randn(300, 30, generator=generator)
    current[:, 17] += 0.6
    result = compare(reference, current)
    assert result.verdict.different
    assert [column.name for column in result.columns if column.moved] == ["17"]
    assert "1 of 30 columns moved, `17`" in result.verdict.sentence


def test_missing_rows_alone_can_decide():
    values = np.random.default_rng(0).normal(size=400)
    reference = pl.DataFrame({"x": values[:200], "y": values[200:]})
    current = pl.DataFrame({"x": [None if k % 5 == 0 else v for k, v in enumerate(values[:200])], "y": values[200:]})
    result = compare(reference, current)
    assert result.verdict.different
    assert "`x`: missing 0 % -> 20 %" in result.verdict.sentence


def test_tolerance_is_an_effect_that_does_not_matter():
    generator = torch.Generator().manual_seed(2)
    reference, current = torch.randn(1000, 1, generator=generator), torch.randn(1000, 1, generator=generator) + 0.3
    strict = compare(reference, current)
    assert strict.verdict.different
    effect = strict.verdict.effect
    assert compare(reference, current, tolerance=0.9 * effect).verdict.different
    tolerant = compare(reference, current, tolerance=1.1 * effect)
    assert not tolerant.verdict.different
    assert tolerant.verdict.significant
    assert tolerant.verdict.sentence.startswith("No difference beyond the tolerance")


def test_the_width_of_the_kernel_does_not_depend_on_where_rows_lie():
    """Every other row is spread five times as wide: a choice of rows by their position would see those only."""
    points = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    points[::2] *= 5
    expected = float(torch.pdist(points).median())
    for order in (points, torch.cat([points[::2], points[1::2]])):
        kernel = overall.gaussian_of_median(order, torch.Generator().manual_seed(1))
        assert float(kernel.s) == pytest.approx(expected, rel=0.05)


def test_a_subsample_is_said_and_the_columns_use_all_rows():
    generator = torch.Generator().manual_seed(3)
    reference, current = torch.randn(3000, 3, generator=generator), torch.randn(800, 3, generator=generator)
    current[:, 0] += 0.3
    result = compare(reference, current, max_rows=200)
    assert (result.subsample.rows_reference, result.subsample.rows_current) == (200, 200)
    assert "at most 200 random rows" in result.subsample.reason
    assert result.columns[0].reference["count"] == 3000
    assert result.columns[0].moved
    assert result.columns[0].name == "0"
    assert compare(reference, current, max_rows=3000).subsample is None
    rows = [row.row for row in result.locations.reference]
    assert max(rows) > 200


def test_small_tables_are_tested_on_all_relabelings_and_a_warning_says_what_they_cannot_show():
    result = compare([1.0, 2.0, 3.0, 4.0], [11.0, 12.0, 13.0, 14.0])
    assert result.settings.n_permutations == 69
    assert result.verdict.p_value == pytest.approx(2 / 70)
    assert any("only 4 rows" in warning for warning in result.warnings)


def test_constant_and_equal_tables_do_not_differ():
    same = torch.full((50, 2), 3.7)
    result = compare(same, same)
    assert result.verdict.p_value == 1
    assert result.verdict.effect == 0
    assert result.columns[0].shift == "no change"
    large = torch.full((5000, 2), 3.7)
    assert compare(large, large, max_rows=2500, n_permutations=99).verdict.p_value == 1


def test_two_constants_that_differ():
    result = compare(torch.zeros(20), torch.ones(20))
    assert result.verdict.different
    assert result.columns[0].effect == 1
    assert result.columns[0].shift == "median 0 -> 1"


def test_identifiers_and_columns_without_values_are_explained():
    values = [float(k % 7) for k in range(60)]
    reference = pl.DataFrame({"id": [f"u{k}" for k in range(60)], "gone": values, "never": [None] * 60})
    current = pl.DataFrame({"id": [f"v{k}" for k in range(60)], "gone": [None] * 60, "never": [None] * 60})
    result = compare(reference, current)
    assert "`gone`: missing 0 % -> 100 %" in result.verdict.sentence
    assert result["gone"].p_value is None
    assert result["gone"].shift == "no value in current"
    assert result["id"].shift == "values not compared, see the notes"
    assert any("look like identifiers" in warning for warning in result.warnings)
    assert [(one.column, one.side) for one in result.ignored] == [("never", "both")]


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_the_largest_and_smallest_numbers_are_described(scale):
    values = torch.linspace(-1, 1, 40, dtype=torch.float64) * scale
    (column,) = compare(values, values + scale).columns
    assert column.shift.endswith("(+1.7 sd)")
    assert column.reference["sd"] / scale == pytest.approx(float((values / scale).std()), rel=1e-12)


def test_a_file_is_named_by_its_path_and_a_frame_by_its_side(tmp_path):
    path = tmp_path / "wine.csv"
    _wine(0).write_csv(path)
    result = compare(path, _wine(0))
    assert result.reference.name == str(path)
    assert result.current.name == "current"
    assert result.verdict.p_value == 1


def test_progress_runs_from_nothing_to_all():
    shares: list[float] = []
    compare(_mixed(50, 0), _mixed(50, 1), progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] <= 1


_TABLE = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"alpha": 0}, DomainError, "alpha: expected a level between 0 and 1, got 0. Pass alpha=0.05."),
        (
            {"tolerance": 2},
            DomainError,
            (
                "tolerance: expected a share between 0 and 1, got 2. It is an effect: the share of rows by which two "
                "columns may differ, such as 0.1."
            ),
        ),
        (
            {"n_permutations": 10},
            DomainError,
            (
                "n_permutations: expected at least 19, got 10. The smallest p-value is 1 / (n_permutations + 1), which has to "
                "reach alpha = 0.05."
            ),
        ),
        ({"max_rows": 3}, DomainError, "max_rows: expected an integer >= 100, got 3. Pass a larger max_rows."),
        ({"columns": "0"}, DomainError, "columns: expected a list of names, got '0'. Pass columns=['0']."),
        (
            {"reference": _TABLE[:3], "current": _TABLE[:3]},
            DataError,
            (
                "reference: expected enough rows for a p-value of at most 0.05, got 3 reference and 3 current rows, where the "
                "smallest possible one is 0.1. Bring more rows."
            ),
        ),
    ],
)
def test_bad_calls_name_the_argument_and_the_fix(options, error, message):
    options = {"reference": _TABLE, "current": _TABLE} | options
    with pytest.raises(error) as caught:
        compare(options.pop("reference"), options.pop("current"), **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("format"), "result: expected an object with"),
        (lambda d: d.update(format_version=2), "result.format_version: expected 1, got 2."),
        (lambda d: d.pop("verdict"), "result.verdict: expected a value, got nothing."),
        (lambda d: d["verdict"].update(p_value=0), "result.verdict.p_value: expected a probability, 0 < p <= 1, got 0"),
        (lambda d: d["columns"][0].update(effect="x"), 'result.columns[0].effect: expected a finite number, got "x".'),
        (lambda d: d["columns"][0].update(effect=3), "result.columns[0].effect: expected a share, 0 to 1, got 3."),
        (lambda d: d["reference"].update(rows=True), "result.reference.rows: expected an integer, got true."),
        (lambda d: d.update(columns={}), "result.columns: expected a list, got an empty object."),
        (lambda d: d["projection"].update(reference=[[1]]), "result.projection.reference[0]: expected a list of 2"),
        (lambda d: d["columns"][0]["histogram"].update(current=[1]), "result.columns[0].histogram: expected"),
        (lambda d: d["reference"].update(rows=10**400), None),
        (lambda d: d["verdict"].update(effect=10**400), "result.verdict.effect: expected a finite number"),
    ],
)
def test_a_document_from_elsewhere_is_checked_before_it_is_believed(wine, change, message):
    plain = wine.to_document()
    change(plain)
    if message is None:
        return
    with pytest.raises(DataError) as caught:
        Comparison.from_document(plain)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "text", ["", "{", '{"format": NaN}', "[" * 100_000, "1" * 5000, "[]", "null", '{"a": "\ud800"}']
)
def test_text_that_is_no_comparison_is_refused_in_one_line(text):
    with pytest.raises(DataError, match=r"^result: expected .*howfar compare"):
        Comparison.from_json(text)


def _splits(table: pl.DataFrame, n_splits: int) -> float:
    different = 0
    for seed in range(n_splits):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(table.height, generator=generator)
        half = table.height // 2
        result = compare(table[order[:half].tolist()], table[order[half:].tolist()], generator=generator)
        different += result.verdict.different
    return different / n_splits


@pytest.mark.slow
def test_random_splits_of_one_table_are_called_different_at_the_level_of_the_test():
    wine = pl.concat([_wine(k) for k in range(3)])
    assert 0.02 <= _splits(wine, 300) <= 0.08


@pytest.mark.slow
def test_the_level_holds_with_missing_values_and_every_kind_of_column():
    assert 0.02 <= _splits(_mixed(150, 4), 300) <= 0.08


@pytest.mark.slow
def test_the_level_holds_with_a_subsample_and_unequal_sizes():
    generator = torch.Generator().manual_seed(0)
    different = sum(
        compare(
            torch.randn(400, 3, generator=generator),
            torch.randn(250, 3, generator=generator),
            max_rows=100,
            n_permutations=199,
            generator=generator,
        ).verdict.different
        for _ in range(300)
    )
    assert 0.02 <= different / 300 <= 0.08
