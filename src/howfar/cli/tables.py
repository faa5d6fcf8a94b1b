"""The commands that read two tables: compare, distance, report."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from howfar import comparison
from howfar._errors import DataError, complaint
from howfar.cli import printing
from howfar.comparison import ColumnComparison, Comparison, Side, wording

_SHOWN_COLUMNS = 40


def compare(
    reference: str,
    current: str,
    *,
    out: Path | None,
    as_json: bool,
    columns: list[str] | None,
    alpha: float,
    tolerance: float | None,
    seed: int,
    n_permutations: int,
    max_rows: int,
) -> int:
    """Compare, print, write; 1 when different, else 0."""
    if out is not None:
        _check_writable(out)
    with printing.progress("comparing") as progress:
        result = comparison.compare(
            reference,
            current,
            columns=columns,
            alpha=alpha,
            tolerance=tolerance,
            n_permutations=n_permutations,
            max_rows=max_rows,
            generator=_generator(seed),
            progress=progress,
        )
    if out is not None:
        result.to_html(out)
    if as_json:
        printing.out(result.to_json())
    else:
        _print(result)
        if out is not None:
            printing.out(f"\nReport: {printing.safe(str(out))}")
    return int(result.verdict.different)


def distance(
    reference: str,
    current: str,
    *,
    metrics: list[str],
    as_json: bool,
    columns: list[str] | None,
    seed: int,
    max_rows: int,
) -> None:
    """Print the distances of these names."""
    from howfar.comparison.measurement import measure

    with printing.progress("measuring") as progress:
        measured = measure(
            reference,
            current,
            metrics,
            columns=columns,
            max_rows=max_rows,
            generator=_generator(seed),
            progress=progress,
        )
    if as_json:
        printing.out(json.dumps(measured.to_document(), indent=2, allow_nan=False))
        return
    rows = [(one.name, _value(one.value), _unit(one.unit)) for one in measured.distances]
    printing.table(("distance", "value", "unit"), rows, numbers=("value",))
    for note in measured.notes:
        printing.out(f"note: {printing.safe(note)}")


def report(result: Path, *, out: Path) -> None:
    """Write the report of a comparison that was saved as JSON."""
    _check_writable(out)
    try:
        text = result.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(complaint(str(result), "JSON in UTF-8", "other bytes", _SAVE)) from None
    except OSError as error:
        raise DataError(complaint(str(result), "a file to read", str(error.strerror), "Check the path.")) from None
    try:
        comparison_read = Comparison.from_json(text)
    except DataError as error:
        raise DataError(f"{result}: {error}") from None
    comparison_read.to_html(out)
    printing.out(f"Report: {printing.safe(str(out))}")


_SAVE = "Save it with `howfar compare REFERENCE CURRENT --json > result.json`."


def _generator(seed: int) -> torch.Generator:
    if not 0 <= seed < 2**63:
        raise DataError(complaint("--seed", "0 <= seed < 2**63", str(seed), "Pass a smaller number."))
    return torch.Generator().manual_seed(seed)


def _check_writable(path: Path) -> None:
    """Before the work, not after it."""
    if path.is_dir():
        raise DataError(complaint("--out", "a file", f"a folder, '{path}'", f"Pass {path / 'report.html'}."))
    if not path.parent.is_dir():
        raise DataError(complaint("--out", "a file in a folder that exists", str(path), f"Create {path.parent} first."))


def _print(result: Comparison) -> None:
    printing.out(printing.safe(result.verdict.sentence) + "\n")
    sides = [(name, side.name, str(side.rows)) for name, side in _sides(result)]
    printing.table(("", "table", "rows"), sides, numbers=("rows",))
    printing.out()
    _print_distances(result)
    printing.out()
    _print_columns(result.columns)
    for line in _remarks(result):
        printing.out(printing.safe(line))


def _sides(result: Comparison) -> list[tuple[str, Side]]:
    return [("reference", result.reference), ("current", result.current)]


def _print_distances(result: Comparison) -> None:
    rows = [(one.label, _value(one.value), _unit(one.unit), _tested(one.p_value)) for one in result.distances]
    printing.table(("over all columns", "value", "unit", "p"), rows, numbers=("value", "p"))


def _print_columns(columns: tuple[ColumnComparison, ...]) -> None:
    shown = columns[:_SHOWN_COLUMNS] if printing.is_terminal() else columns
    gaps = any(column.missing.reference_count + column.missing.current_count for column in columns)
    header = ["column", "kind", "differs", "effect", "adjusted p", "what moved"] + ["missing", "its p"] * gaps
    rows = [
        [
            column.name,
            column.kind,
            "yes" if column.moved else "no",
            _effect(column.effect),
            wording.p_value(column.p_adjusted),
            column.shift,
            *(_missing(column) if gaps else ()),
        ]
        for column in shown
    ]
    printing.table(header, rows, numbers=("effect", "adjusted p"))
    if len(shown) < len(columns):
        printing.out(f"... and {len(columns) - len(shown)} columns more, all in --json and in the report.")
    if columns:
        printing.out(
            "\neffect: the largest gap in the share of rows, 0 to 1; p-values adjusted for all tests made here."
        )


def _missing(column: ColumnComparison) -> tuple[str, str]:
    missing = column.missing
    if not missing.reference_count + missing.current_count:
        return "", ""
    return f"{wording.share(missing.reference)} -> {wording.share(missing.current)}", wording.p_value(
        missing.p_adjusted
    )


def _remarks(result: Comparison) -> list[str]:
    """What was not compared, and what else has to be said."""
    lines = []
    for side, names in (("reference", result.only_in_reference), ("current", result.only_in_current)):
        if names:
            lines.append(f"only in {side}, not compared: {', '.join(names)}")
    for conflict in result.conflicts:
        lines.append(
            f"not compared: {conflict.column} ({conflict.reference} against {conflict.current}): {conflict.reason}"
        )
    for ignored in result.ignored:
        where = "" if ignored.side == "both" else f" ({ignored.side})"
        lines.append(f"not compared: {ignored.column}{where}: {ignored.reason}")
    if result.subsample is not None:
        sizes = f"{result.subsample.rows_reference} and {result.subsample.rows_current} rows"
        lines.append(f"subsample of {sizes}: {result.subsample.reason}")
    return lines + [f"note: {warning}" for warning in result.warnings]


def _effect(effect: float | None) -> str:
    return "-" if effect is None else f"{effect:.3f}"


def _tested(p_value: float | None) -> str:
    return "" if p_value is None else wording.p_value(p_value)


def _unit(unit: str) -> str:
    return "no unit" if unit == "none" else unit


def _value(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else wording.number(value)
