"""The result of `compare`, and its way to JSON, to HTML and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from howfar import report
from howfar._errors import DataError, complaint
from howfar._version import __version__
from howfar.comparison import document
from howfar.comparison.records import (
    ColumnComparison,
    Conflicting,
    Distance,
    IgnoredColumn,
    Locations,
    Projection,
    Settings,
    Side,
    Subsample,
    Verdict,
)


@dataclass(frozen=True)
class Comparison:
    """What differs between two tables, how much, how sure, and where; every field as in `comparison.document`.

    Attributes:
        verdict: the decision; `str(comparison)` is its sentence.
        reference: name and rows of the first table.
        current: name and rows of the second.
        distances: over all columns together, with p-values where a test was made.
        columns: those found different first, then by effect, largest first.
        only_in_reference: columns that the current table lacks.
        only_in_current: columns that the reference lacks.
        conflicts: columns of both tables whose kinds cannot be compared.
        ignored: columns that were not compared for another reason.
        projection: both clouds in the plane, None for a single numeric feature.
        locations: the rows that lean most to their own side.
        subsample: how many rows the overall distances used, None when all.
        settings: what was asked for, the seed included.
        warnings: what a careful reader should know.
    """

    verdict: Verdict
    reference: Side
    current: Side
    distances: tuple[Distance, ...]
    columns: tuple[ColumnComparison, ...]
    only_in_reference: tuple[str, ...]
    only_in_current: tuple[str, ...]
    conflicts: tuple[Conflicting, ...]
    ignored: tuple[IgnoredColumn, ...]
    projection: Projection | None
    locations: Locations | None
    subsample: Subsample | None
    settings: Settings
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        return self.verdict.sentence

    def __repr__(self) -> str:
        sides = " and ".join(f"{side.name} ({side.rows} rows)" for side in (self.reference, self.current))
        return f"<Comparison of {sides}: {self.verdict.sentence}>"

    def __getitem__(self, name: str) -> ColumnComparison:
        """The comparison of one column, by its name."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def to_document(self) -> dict[str, Any]:
        """The plain document: what JSON holds, as dicts and lists."""
        header = {
            "format": document.FORMAT,
            "format_version": document.FORMAT_VERSION,
            "howfar": __version__,
        }
        body: dict[str, Any] = document.plain(self)
        return header | body

    def to_json(self) -> str:
        """The document as JSON text in ASCII, which survives any console; numbers that are not finite are null."""
        return json.dumps(self.to_document(), indent=2, allow_nan=False)

    @classmethod
    def from_document(cls, plain: Any) -> Comparison:
        """A comparison from its document, every value checked; raise `DataError` naming the first bad one."""
        document.check_header(plain)
        result = document.read_record(cls, plain, "result")
        _check_consistent(result)
        return result

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """A comparison from the text that `to_json` wrote."""
        return cls.from_document(document.parse(text))

    def to_html(self, path: str | Path) -> None:
        """Write the report: one file that needs nothing beside it."""
        Path(path).write_text(report.render(self.to_document()), encoding="utf-8")


def _check_consistent(result: Comparison) -> None:
    """What types alone cannot say: effects are shares, histograms have one share per bin, rows one value per column."""
    for k, column in enumerate(result.columns):
        where = f"result.columns[{k}]"
        if column.effect is not None and not 0 <= column.effect <= 1:
            raise _inconsistent(f"{where}.effect", "a share, 0 to 1", f"{column.effect:g}")
        if (histogram := column.histogram) is None:
            continue
        if (histogram.edges is None) == (histogram.labels is None):
            raise _inconsistent(f"{where}.histogram", "either edges or labels", "both or none")
        bins = len(histogram.labels) if histogram.labels is not None else len(histogram.edges or ()) - 1
        if {len(histogram.reference), len(histogram.current)} != {bins}:
            got = f"{len(histogram.reference)} and {len(histogram.current)}"
            raise _inconsistent(f"{where}.histogram", f"{bins} shares on both sides", got)
    if result.locations is not None:
        width = len(result.locations.columns)
        for row in (*result.locations.reference, *result.locations.current):
            if len(row.values) != width:
                raise _inconsistent("result.locations", f"{width} values in every row", f"{len(row.values)}")


def _inconsistent(path: str, expected: str, got: str) -> DataError:
    return DataError(complaint(path, expected, got, document.REMAKE))
