"""From p-values and effects to a decision and the sentence that says it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from howfar.comparison import wording
from howfar.comparison.records import ColumnComparison, Side, Verdict

_POWER = 0.8


def judge(
    columns: Sequence[ColumnComparison],
    *,
    overall_effect: float,
    overall_different: bool,
    p_value: float,
    alpha: float,
    tolerance: float | None,
    sides: tuple[Side, Side],
    n_tests: int,
    not_compared: Sequence[str],
) -> Verdict:
    """The verdict: different when p_value <= alpha, and some effect found different exceeds the tolerance, if any.

    A sentence that finds nothing names the columns that were not looked at.
    """
    significant = p_value <= alpha
    # The combined p-value is the smallest adjusted one, so a significant verdict always has a finding.
    found = [(size, column.name) for column in columns for size in _found(column)]
    found += [(overall_effect, "")] if overall_different else []
    every = [(size, column.name) for column in columns for size in _sizes(column)] + [(overall_effect, "")]
    effect = max(size for size, _ in (found if significant else every))
    named = max((one for one in every if one[1]), default=(0.0, None))[1]
    different = significant and (tolerance is None or effect > tolerance)
    moved = [column for column in columns if column.moved]
    if different:
        sentence = _difference(p_value, moved, len(columns), overall_effect)
    elif significant:
        sentence = (
            f"No difference beyond the tolerance: the two tables are not alike (p = {wording.p_value(p_value)}), but the "
            f"largest effect found, {wording.number(effect)}, is within the tolerance of {wording.number(tolerance)}."
        )
    else:
        sentence = _no_difference(p_value, alpha, sides, n_tests)
    if not different and not_compared:
        sentence += f" Not compared: {wording.listing(not_compared)}."
    return Verdict(different, significant, sentence, p_value, alpha, effect, named)


def _found(column: ColumnComparison) -> list[float]:
    """The effects of a column that were found different."""
    values = [column.effect] if column.different and column.effect is not None else []
    return values + ([_missing_effect(column)] if column.missing.different else [])


def _sizes(column: ColumnComparison) -> list[float]:
    return ([] if column.effect is None else [column.effect]) + [_missing_effect(column)]


def _missing_effect(column: ColumnComparison) -> float:
    return abs(column.missing.current - column.missing.reference)


def rank(columns: Sequence[ColumnComparison]) -> list[ColumnComparison]:
    """Those found different first, then by effect, largest first."""
    return sorted(columns, key=lambda column: (not column.moved, -max(_sizes(column))))


def _difference(p_value: float, moved: Sequence[ColumnComparison], n_columns: int, overall_effect: float) -> str:
    start = f"The two tables differ: p = {wording.p_value(p_value)}; "
    if not moved:
        return (
            f"{start}no column by itself moved beyond chance, so what changed is how the columns go together "
            f"(overall effect {wording.number(overall_effect)} on a scale from 0 to 1)."
        )
    first = moved[0]
    if n_columns == 1:
        return f"{start}`{wording.name(first.name)}` moved: {_move(first)}."
    most = f"`{wording.name(first.name)}`: {_move(first)}"
    if len(moved) == 1:
        return f"{start}1 of {n_columns} columns moved, {most}."
    return f"{start}{len(moved)} of {n_columns} columns moved, most of all {most}."


def _move(column: ColumnComparison) -> str:
    """The stronger of the two facts of a column: its values moved, or more or fewer of them are missing."""
    if column.missing.different and (not column.different or _missing_effect(column) > (column.effect or 0.0)):
        return f"missing {wording.share(column.missing.reference)} -> {wording.share(column.missing.current)}"
    return column.shift


def _no_difference(p_value: float, alpha: float, sides: tuple[Side, Side], n_tests: int) -> str:
    rows = [side.rows for side in sides]
    sizes = (
        f"{wording.count(rows[0], 'row')} each"
        if rows[0] == rows[1]
        else (f"{wording.count(rows[0], 'row')} against {wording.count(rows[1], 'row')}")
    )
    return (
        f"No difference found: p = {wording.p_value(p_value)}. With {sizes}, a column that shifted by less than about "
        f"{wording.number(float(f'{detectable_shift(rows[0], rows[1], alpha, n_tests):.2g}'))} standard deviations could be missed."
    )


def detectable_shift(n: int, m: int, alpha: float, n_tests: int) -> float:
    """The shift of one column, in standard deviations, that is found with probability 0.8 among `n_tests` tests.

    (z(1 - alpha / (2 K)) + z(0.8)) sqrt(1 / n + 1 / m), the normal approximation with Bonferroni's correction.

    Example:
        >>> from howfar.comparison.judgement import detectable_shift
        >>> round(detectable_shift(100, 100, 0.05, 1), 3)
        0.396
    """
    normal = NormalDist()
    deviations = normal.inv_cdf(1 - alpha / (2 * n_tests)) + normal.inv_cdf(_POWER)
    return deviations * math.sqrt(1 / n + 1 / m)
