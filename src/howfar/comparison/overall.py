"""Both tables as clouds: distances over all columns at once, the rows that lean most to one side, a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from howfar import ops
from howfar.comparison import wording
from howfar.comparison.records import ColumnComparison, Distance, Locations, Projection, Row
from howfar.data import Encoded, Kind, PairedColumn, PairedTables
from howfar.kernel_distances import median_distance
from howfar.kernels import Energy, Gaussian
from howfar.two_sample.permutation_test import p_value
from howfar.two_sample.statistics import random_rows

ENCODED_UNIT = "robust standard units"
LOCATED_ROWS = 10
LOCATED_COLUMNS = 5
PROJECTED_ROWS = 2000


@dataclass(frozen=True, eq=False)
class Clouds:
    """The encoded rows of both tables.

    Attributes:
        points: (N, d), reference rows first.
        n: how many of them are reference rows.
        encoded: the measures, and which features belong to which column.
    """

    points: Tensor
    n: int
    encoded: Encoded

    @classmethod
    def of(cls, encoded: Encoded) -> Clouds:
        """Both measures in one cloud."""
        points = torch.cat([encoded.reference.points, encoded.current.points])
        return cls(points, encoded.reference.n, encoded)

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows of the reference and of the current cloud."""
        return self.n, len(self.points) - self.n

    @cached_property
    def totals(self) -> Tensor:
        """(N, 2) float64: the sum of the distances of every row to the rows of either side."""
        sides = torch.zeros_like(self.points[:, :1]).expand(-1, 2).clone()
        sides[: self.n, 0] = 1
        sides[self.n :, 1] = 1
        return -ops.kernel_sum(self.points, self.points, sides, kernel=Energy()).double()

    def mean_distances(self) -> tuple[float, float, float]:
        """E|X - Y|, E|X - X'| and E|Y - Y'| over distinct rows."""
        (n, m), totals = self.sizes, self.totals
        first, second = float(totals[:n, 0].sum()), float(totals[n:, 1].sum())
        return float(totals[:n, 1].sum()) / (n * m), first / max(n * (n - 1), 1), second / max(m * (m - 1), 1)

    def effect(self) -> float:
        """sqrt(1 - (E|X - X'| + E|Y - Y'|) / (2 E|X - Y|)), 0..1: zero when nothing differs, one for two points.

        The root of the energy distance by its largest value for this distance between the tables (Szekely and Rizzo
        2013, the coefficient of inhomogeneity), without its bias in small samples. For two normal samples a shift by a
        small part d of the standard deviation gives 0.5 d in one dimension, where the Kolmogorov-Smirnov distance
        gives 0.4 d: the same scale as the effects of the columns.
        """
        between, first, second = self.mean_distances()
        return max(0.0, 1 - (first + second) / (2 * between)) ** 0.5 if between > 0 else 0.0

    def leanings(self) -> tuple[Tensor, Tensor]:
        """How much nearer, on average, each row is to its own side than to the other: (n,) and (m,).

        The witness function of the energy distance, without the row itself: mean |z - other| - mean |z - own|.
        """
        (n, m), totals = self.sizes, self.totals
        reference = totals[:n, 1] / m - totals[:n, 0] / max(n - 1, 1)
        current = totals[n:, 0] / n - totals[n:, 1] / max(m - 1, 1)
        return reference, current


@dataclass(frozen=True, eq=False)
class Tested:
    """A distance, or its square, between the clouds under every relabeling (1 + B,), the observed one first."""

    null: Tensor

    @property
    def value(self) -> float:
        """The observed one, >= 0."""
        return max(0.0, float(self.null[0]))

    def p_value(self) -> float:
        """Of this distance alone, never 0."""
        return p_value(self.null)


def gaussian_of_median(points: Tensor, generator: torch.Generator) -> Gaussian:
    """The Gaussian kernel as wide as the median distance of pooled rows, whatever their labels."""
    return Gaussian(float(median_distance(random_rows(points, generator))))


def distances(clouds: Clouds, energy: Tested, mmd: Tested, width: float) -> tuple[Distance, ...]:
    """The overall distances as records; `mmd` is squared, of a Gaussian kernel of this width."""
    return (
        Distance(
            "energy_distance",
            "Energy distance",
            energy.value,
            ENCODED_UNIT,
            energy.p_value(),
            "How much farther apart rows lie across the two tables than within each; 0 when the tables agree "
            "(2 E|X-Y| - E|X-X'| - E|Y-Y'| over all encoded columns).",
        ),
        Distance(
            "energy_effect",
            "Energy effect",
            clouds.effect(),
            "0 to 1",
            None,
            "The energy distance on a scale without a unit: 0 when the tables agree, near 1 when they lie far apart "
            "(the root of its share of 2 E|X-Y|, without the bias of small samples).",
        ),
        Distance(
            "mmd",
            "MMD, Gaussian kernel",
            mmd.value**0.5,
            "none",
            mmd.p_value(),
            "How differently the rows of the two tables crowd together; 0 when the tables agree "
            f"(bandwidth {wording.number(width)} {ENCODED_UNIT}, the median distance of two rows).",
        ),
    )


def locate(
    clouds: Clouds, pair: PairedTables, rows: tuple[Tensor, Tensor], ranked: list[ColumnComparison]
) -> Locations:
    """The rows that lean most to their own side, with their values in the columns that moved most."""
    shown = [column.name for column in ranked if column.moved][:LOCATED_COLUMNS] or [
        column.name for column in ranked[:LOCATED_COLUMNS]
    ]
    by_name = {column.name: column for column in pair.columns}
    columns = [by_name[name] for name in shown]
    sides = []
    for side, leaning in enumerate(clouds.leanings()):
        best = leaning.topk(min(LOCATED_ROWS, len(leaning))).indices
        found = [i for i in best.tolist() if leaning[i] > 0]
        origins = rows[side][found].tolist() if found else []
        sides.append(
            tuple(
                Row(row, float(leaning[i]), tuple(_cell(column, side, row) for column in columns))
                for i, row in zip(found, origins, strict=True)
            )
        )
    note = (
        "Rows nearer to their own table than to the other, by the witness function of the energy distance, in "
        f"{ENCODED_UNIT}. They show where to look; they are chosen from the data, without control of errors."
    )
    return Locations(note, tuple(shown), sides[0], sides[1])


def _cell(column: PairedColumn, side: int, row: int) -> str:
    one = (column.reference, column.current)[side]
    if bool(one.missing[row]):
        return "missing"
    value = one.values[row].item()
    if column.kind is Kind.CATEGORICAL:
        return column.levels[int(value)]
    if column.kind is Kind.BOOLEAN:
        return str(bool(value)).lower()
    return str(wording.moment(value, column.unit)) if column.unit else wording.number(value)


def project(clouds: Clouds, generator: torch.Generator) -> Projection | None:
    """Both clouds on the first two principal components of the pooled rows; None for a single feature."""
    points = clouds.points.double()
    if points.shape[1] < 2:
        return None
    centred = points - points.mean(0)
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(points))
    variances, directions = variances.flip(0).clamp_min(0), directions.flip(1)[:, :2]
    strongest = directions.abs().argmax(0)
    directions = directions * directions.gather(0, strongest[None]).sign()
    total = float(variances.sum())
    axes = [
        f"component {k + 1}, {wording.share(float(variances[k]) / total if total else 0.0)} of the variance, "
        f"mostly {_feature(clouds.encoded, int(strongest[k]))}"
        for k in (0, 1)
    ]
    flat = centred @ directions
    sides = []
    for part in (flat[: clouds.n], flat[clouds.n :]):
        chosen = torch.randperm(len(part), generator=generator)[:PROJECTED_ROWS].sort().values
        sides.append(tuple((round(x, 4), round(y, 4)) for x, y in part[chosen].tolist()))
    return Projection("principal components of the encoded rows", (axes[0], axes[1]), sides[0], sides[1])


def _feature(encoded: Encoded, index: int) -> str:
    group = next(group for group in encoded.groups if group.start <= index < group.stop)
    return group.features[index - group.start]
