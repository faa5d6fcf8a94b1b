"""`compare`: two tables in, a `Comparison` out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from howfar import _checks, data, two_sample
from howfar._errors import DataError, DomainError, complaint
from howfar.comparison import describe, judgement, overall
from howfar.comparison.columns import ColumnSample
from howfar.comparison.records import Conflicting, IgnoredColumn, Settings, Side, Subsample
from howfar.comparison.relabeling import BLOCK_ELEMENTS, CountStatistics, Strata
from howfar.comparison.result import Comparison
from howfar.data import PairedColumn, PairedTables, Table

SEED = 0
FEW_ROWS = 30

_LARGE = 4096
"""Rows beyond which the overall sums run in float32: their rounding is then far below the sampling error."""

Progress = Callable[[float], None]


def compare(
    reference: Any,
    current: Any,
    *,
    columns: Iterable[str] | None = None,
    alpha: float = 0.05,
    tolerance: float | None = None,
    n_permutations: int = 999,
    max_rows: int = 5_000,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """What differs between two tables, how much, how sure, and where.

    The verdict rests on one permutation test of "both tables have one distribution" at level `alpha`. It takes
    together the energy distance over all encoded columns and, for every column, a test of its values (Anderson and
    Darling's for ordered ones, Pearson's for levels) and one of its missing rows, on shared relabelings of the rows
    (Westfall and Young, step-down), so a column is called different only with all tests accounted for. The rows of
    each table are taken as independent draws.

    Args:
        reference: a path, a DataFrame, an array, a tensor or a `Table`.
        current: the same; what is compared with the reference.
        columns: names to compare; all common columns when left out.
        alpha: how often two tables of one distribution may be called different.
        tolerance: an effect, 0..1, that does not matter: the verdict is "different" only when some effect that was
            found different is larger. The scale is that of `ColumnComparison.effect`, a share of rows.
        n_permutations: random relabelings B; no p-value is below 1 / (B + 1).
        max_rows: rows a side for the distances over all columns, whose cost is quadratic; more are subsampled, and the
            result says so. Columns use all rows.
        generator: for the relabelings and the subsample; a fixed seed when left out, so that the answer is repeatable.
        progress: called with the share of the work that is done, 0..1.

    Raises:
        DataError: a source that cannot be read, no common columns, too few rows for any p-value to reach `alpha`.
        DomainError: alpha, tolerance or n_permutations outside their domain.

    Example:
        >>> import torch, howfar
        >>> generator = torch.Generator().manual_seed(1)
        >>> a, b = torch.randn(200, 2, generator=generator), torch.randn(200, 2, generator=generator)
        >>> howfar.compare(a, b).verdict.different
        False
        >>> howfar.compare(a, b + torch.tensor([0.0, 1.0])).verdict.largest
        '1'
    """
    settings = _settings(alpha, tolerance, n_permutations, max_rows, columns, generator)
    generator = torch.Generator().manual_seed(SEED) if generator is None else generator
    progress = progress or _silent
    tables = load_side(reference, "reference"), load_side(current, "current")
    pair = data.pair(*tables, columns=settings.columns)
    sides = Side(tables[0].name, pair.reference.n), Side(tables[1].name, pair.current.n)
    _check_rows(sides, settings.alpha)

    strata = Strata.draw(sides[0].rows, sides[1].rows, settings.max_rows, generator)
    rows = strata.reference, strata.current
    large = len(rows[0]) + len(rows[1]) > _LARGE
    encoded = data.encode(take(pair, rows), dtype=torch.float32 if large else torch.float64)
    clouds = overall.Clouds.of(encoded)
    samples = [ColumnSample.of(column) for column in pair.columns]
    progress(0.1)

    labels = strata.relabelings(settings.n_permutations, generator)
    settings = replace(settings, n_permutations=labels.shape[1] - 1)
    progress(0.2)
    per_column = _column_statistics(samples, labels, _part(progress, 0.2, 0.5))
    inside = labels[strata.parts()[0]]
    energy = overall.Tested(two_sample.energy_null(clouds.points, inside))
    progress(0.7)
    gaussian = overall.gaussian_of_median(clouds.points, generator)
    mmd = overall.Tested(two_sample.mmd2_null(clouds.points, inside, kernel=gaussian))
    progress(0.9)
    statistics, tests = _family(samples, energy.null, per_column)
    joint = two_sample.adjust_min_p(statistics)
    described = [
        describe.describe(
            sample,
            values=_outcome(joint, tests.get((k, "values"))),
            missing=_outcome(joint, tests.get((k, "missing"))),
            alpha=settings.alpha,
        )
        for k, sample in enumerate(samples)
    ]
    ranked = judgement.rank(described)
    verdict = judgement.judge(
        ranked,
        overall_effect=clouds.effect(),
        overall_different=float(joint.adjusted[0]) <= settings.alpha,
        p_value=joint.combined,
        alpha=settings.alpha,
        tolerance=settings.tolerance,
        sides=sides,
        n_tests=len(statistics),
    )
    return Comparison(
        verdict=verdict,
        reference=sides[0],
        current=sides[1],
        distances=overall.distances(clouds, energy, mmd, float(gaussian.s)),
        columns=tuple(ranked),
        only_in_reference=pair.only_in_reference,
        only_in_current=pair.only_in_current,
        conflicts=tuple(Conflicting(c.name, c.reference, c.current, c.reason) for c in pair.conflicts),
        ignored=tuple(IgnoredColumn(column.name, column.reason, side) for side, column in pair.ignored),
        projection=overall.project(clouds, generator),
        locations=overall.locate(clouds, pair, rows, ranked),
        subsample=_subsample(strata, settings.max_rows),
        settings=settings,
        warnings=(*pair.notes, *_warnings(sides)),
    )


def _silent(_share: float) -> None:
    """No one watches."""


def _settings(
    alpha: Any, tolerance: Any, n_permutations: Any, max_rows: Any, columns: Any, generator: torch.Generator | None
) -> Settings:
    alpha = _checks.check_number(alpha, "alpha")
    if not 0 < alpha < 1:
        raise DomainError(complaint("alpha", "a level between 0 and 1", f"{alpha:g}", "Pass alpha=0.05."))
    if tolerance is not None:
        tolerance = _checks.check_number(tolerance, "tolerance")
        if not 0 <= tolerance <= 1:
            fix = "It is an effect: the share of rows by which two columns may differ, such as 0.1."
            raise DomainError(complaint("tolerance", "a share between 0 and 1", f"{tolerance:g}", fix))
    n_permutations = _checks.check_count(n_permutations, "n_permutations")
    least = math.ceil(round(1 / alpha, 9)) - 1
    if n_permutations < least:
        fix = f"The smallest p-value is 1 / (n_permutations + 1), which has to reach alpha = {alpha:g}."
        raise DomainError(complaint("n_permutations", f"at least {least}", str(n_permutations), fix))
    max_rows = _checks.check_count(max_rows, "max_rows", least=100)
    if isinstance(columns, str):
        raise DomainError(complaint("columns", "a list of names", repr(columns), f"Pass columns=[{columns!r}]."))
    names = None if columns is None else tuple(columns)
    seed = SEED if generator is None else generator.initial_seed()
    return Settings(alpha, n_permutations, seed, tolerance, max_rows, names)


def load_side(source: Any, side: str) -> Table:
    """The table, by its own name where it has one and else by its side."""
    if isinstance(source, Table):
        return source
    named = isinstance(source, str) or hasattr(source, "__fspath__")
    return data.load(source, name=None if named else side)


def _check_rows(sides: tuple[Side, Side], alpha: float) -> None:
    """Raise when so few rows can be relabeled in so few ways that no p-value reaches alpha."""
    n, m = (side.rows for side in sides)
    if n + m > 60 and min(n, m) > 1:
        return
    # With sides of one size each labeling and its mirror image give one value.
    smallest = (2 if n == m else 1) / math.comb(n + m, n)
    if smallest > alpha:
        which = min(sides, key=lambda side: side.rows)
        raise DataError(
            complaint(
                which.name,
                f"enough rows for a p-value of at most {alpha:g}",
                f"{n} reference and {m} current rows, where the smallest possible one is {smallest:.2g}",
                "Bring more rows.",
            )
        )


def take(pair: PairedTables, rows: tuple[Tensor, Tensor]) -> PairedTables:
    """The same pair with these rows of either side only."""
    columns = tuple(_taken(column, rows) for column in pair.columns)
    return replace(pair, reference=pair.reference.take(rows[0]), current=pair.current.take(rows[1]), columns=columns)


def _taken(column: PairedColumn, rows: tuple[Tensor, Tensor]) -> PairedColumn:
    return replace(column, reference=column.reference.take(rows[0]), current=column.current.take(rows[1]))


def _part(progress: Progress, start: float, stop: float) -> Progress:
    """Progress of a part of the work that runs from `start` to `stop` of the whole."""
    return lambda share: progress(start + (stop - start) * share)


def _column_statistics(
    samples: list[ColumnSample],
    labels: Tensor,  # (N, 1 + B) bool
    progress: Progress,
) -> list[tuple[Tensor, Tensor]]:
    """The statistics (1 + B,) of values and of missing rows of every column."""
    counted = [CountStatistics.of(sample) for sample in samples]
    blocks: list[list[tuple[Tensor, Tensor]]] = []
    done = 0
    for some in labels.split(max(1, BLOCK_ELEMENTS // len(labels)), 1):
        numbers = some.float()
        blocks.append([count(numbers) for count in counted])
        done += some.shape[1]
        progress(done / labels.shape[1])
    return [
        (torch.cat([values for values, _ in parts]), torch.cat([missing for _, missing in parts]))
        for parts in zip(*blocks, strict=True)
    ]


def _family(
    samples: list[ColumnSample], energy: Tensor, per_column: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor, dict[tuple[int, str], int]]:
    """All tests of the comparison (K, B + 1), the energy distance first, and the row of each column's tests.

    A column without a value on one side, or without a missing row, has no row for that.
    """
    rows, tests = [energy], {}
    for k, (sample, (values, missing)) in enumerate(zip(samples, per_column, strict=True)):
        if sample.comparable:
            tests[k, "values"] = len(rows)
            rows.append(values)
        if sum(sample.n_missing):
            tests[k, "missing"] = len(rows)
            rows.append(missing)
    return torch.stack(rows), tests


def _outcome(joint: two_sample.MinP, row: int | None) -> tuple[float, float] | None:
    return None if row is None else (float(joint.p_values[row]), float(joint.adjusted[row]))


def _subsample(strata: Strata, max_rows: int) -> Subsample | None:
    if strata.whole:
        return None
    reason = (
        f"distances over all columns cost the square of the number of rows, so they use at most {max_rows} random rows "
        "of each table; the columns use all rows"
    )
    return Subsample(len(strata.reference), len(strata.current), reason)


def _warnings(sides: tuple[Side, Side]) -> list[str]:
    few = [side for side in sides if side.rows < FEW_ROWS]
    return [
        f"{side.name} has only {side.rows} rows: only large differences can be found, and effects are overstated"
        for side in few
    ]
