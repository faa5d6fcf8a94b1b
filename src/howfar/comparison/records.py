"""The parts of a comparison as frozen records: the same names and nesting as the plain document (see `document`)."""

from __future__ import annotations

from dataclasses import dataclass

Summary = dict[str, float | str | None]


@dataclass(frozen=True)
class Verdict:
    """The decision, and the sentence that says it; `str(verdict)` is the sentence.

    Attributes:
        different: significant, and above the tolerance where one was given.
        significant: whether p_value <= alpha.
        sentence: for a reader without statistics.
        p_value: of the hypothesis that both tables have one distribution, over all statistics together; never 0.
        alpha: the level of the decision: its error rate when nothing differs.
        effect: 0..1, the largest effect among what was found different; the largest of all when nothing was.
        largest: the column with the largest effect, None when no column could be compared.
    """

    different: bool
    significant: bool
    sentence: str
    p_value: float
    alpha: float
    effect: float
    largest: str | None

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Side:
    """One table: where it came from and how many rows it has."""

    name: str
    rows: int


@dataclass(frozen=True)
class Distance:
    """One distance over all columns together; `p_value` is None where no test was made."""

    name: str
    label: str
    value: float
    unit: str
    p_value: float | None
    note: str


@dataclass(frozen=True)
class Missing:
    """Missing rows of one column: shares, counts, and the test of their difference (None when nothing is missing)."""

    reference: float
    current: float
    reference_count: int
    current_count: int
    p_value: float | None
    p_adjusted: float | None
    different: bool


@dataclass(frozen=True)
class Measured:
    """One more number about a column, in plain units."""

    label: str
    value: float | None
    unit: str


@dataclass(frozen=True)
class Level:
    """One level of a categorical or boolean column: its share of the rows that have a value."""

    label: str
    reference: float
    current: float


@dataclass(frozen=True)
class Histogram:
    """Shares of the rows that have a value, by bin (`edges`) or by level (`labels`): one of the two is None."""

    edges: tuple[float, ...] | tuple[str, ...] | None
    labels: tuple[str, ...] | None
    reference: tuple[float, ...]
    current: tuple[float, ...]

    def __repr__(self) -> str:
        return f"<Histogram of {len(self.reference)} {'bins' if self.labels is None else 'levels'}>"


@dataclass(frozen=True)
class ColumnComparison:
    """What differs in one column, how much, and how sure.

    Attributes:
        effect: 0..1, the largest gap in the share of rows: over "value <= t" (ordered kinds: Kolmogorov-Smirnov), over
            sets of levels (boolean, categorical: total variation). None when a side has no value.
        p_value: of the values alone, by permutation.
        p_adjusted: adjusted for all tests of the comparison (Westfall and Young, step-down).
        different: whether p_adjusted <= alpha.
        shift: what moved, in one line and in plain units.
    """

    name: str
    kind: str
    unit: str
    effect: float | None
    p_value: float | None
    p_adjusted: float | None
    different: bool
    shift: str
    missing: Missing
    reference: Summary
    current: Summary
    measures: tuple[Measured, ...]
    levels: tuple[Level, ...]
    new_levels: tuple[str, ...]
    vanished_levels: tuple[str, ...]
    histogram: Histogram | None

    @property
    def moved(self) -> bool:
        """Whether the values or the missing rows were found different."""
        return self.different or self.missing.different

    def __repr__(self) -> str:
        size = "" if self.effect is None else f", effect {self.effect:.3g}"
        tested = "" if self.p_adjusted is None else f", adjusted p {self.p_adjusted:.2g}"
        verdict = "differs" if self.moved else "within chance"
        return f"<ColumnComparison of `{self.name}` ({self.kind}): {verdict}, {self.shift}{size}{tested}>"


@dataclass(frozen=True)
class Conflicting:
    """One name with two kinds that cannot be compared."""

    column: str
    reference: str
    current: str
    reason: str


@dataclass(frozen=True)
class IgnoredColumn:
    """A column that was not compared, on which side ("reference", "current" or "both"), and why."""

    column: str
    reason: str
    side: str


@dataclass(frozen=True)
class Projection:
    """Both clouds in the plane, for a picture."""

    method: str
    axes: tuple[str, str]
    reference: tuple[tuple[float, float], ...]
    current: tuple[tuple[float, float], ...]

    def __repr__(self) -> str:
        return f"<Projection of {len(self.reference)} and {len(self.current)} rows: {self.method}>"


@dataclass(frozen=True)
class Row:
    """One row of a table: its 0-based number, how far it leans to its own side, and its most telling values."""

    row: int
    score: float
    values: tuple[str, ...]


@dataclass(frozen=True)
class Locations:
    """The rows most typical of their own side and least of the other, highest score first; no error control."""

    note: str
    columns: tuple[str, ...]
    reference: tuple[Row, ...]
    current: tuple[Row, ...]


@dataclass(frozen=True)
class Subsample:
    """How many rows the overall distances were computed on, and why not on all."""

    rows_reference: int
    rows_current: int
    reason: str


@dataclass(frozen=True)
class Settings:
    """What the comparison was asked for; with the same data it gives the same answer."""

    alpha: float
    n_permutations: int
    seed: int | None
    tolerance: float | None
    max_rows: int
    columns: tuple[str, ...] | None
