"""The plain document of a comparison: the contract between `compare`, `--json`, `report` and whoever reads the file.

It holds null, booleans, finite numbers, strings, lists and dicts with string keys: never NaN, never infinity.
`Comparison.to_document` writes it, `Comparison.from_json` and `howfar report` read it back through the checks below.
Names and category labels are the raw text of the data: who prints them escapes them.

    format          "howfar.comparison"
    format_version  1
    howfar          the version that wrote it, text
    verdict         different      bool: the decision (significant, and above the tolerance where one is given)
                    significant    bool: p_value <= alpha
                    sentence       text for a manager
                    p_value        of "the two tables have one distribution", all statistics together, > 0
                    alpha          the level of the decision
                    effect         0..1: the largest effect among what was found different, else the largest of all
                    largest        name of the column with the largest effect, or null
    reference       name text, rows int
    current         name text, rows int
    distances       list, the overall distances:
                      name "energy_distance" (a row of the catalogue), label "Energy distance", value number,
                      unit text ("robust standard units", "none"), p_value number or null (null: a size without a test), note text
    columns         list, those found different first, then by effect, largest first:
                      name, kind ("numeric" | "boolean" | "categorical" | "datetime")
                      unit         text: of a datetime column "days since 1970-01-01", "hours since midnight" or
                                   "seconds"; else empty
                      effect       0..1, the largest gap in the share of rows: over "value <= t" for numeric and
                                   datetime columns (Kolmogorov-Smirnov), over sets of levels for boolean and
                                   categorical ones (total variation); null when one side has no value at all
                      p_value      of the values, by permutation, or null when they cannot be compared
                      p_adjusted   the same, adjusted for all tests of the comparison, or null
                      different    bool: p_adjusted <= alpha
                      shift        text, one line: "median 1115 -> 520 (-1.9 sd)"
                      missing      reference, current: share of rows 0..1; reference_count, current_count: int;
                                   p_value, p_adjusted: number, or null when nothing is missing; different: bool
                      reference    summary: dict of text -> number, text or null, in reading order. numeric: count,
                      current      mean, sd, min, q25, median, q75, max. datetime: the same, moments as ISO
                                   text, sd as text with its unit.
                                   boolean: count, rate. categorical: count, levels, most_common. Same keys both sides.
                      measures     list of {label text, value number or null, unit text}: what else is known, in plain
                                   units (the 1-D Wasserstein distance in the data's unit, the shift of the mean, ...)
                      levels       list of {label, reference, current} (shares 0..1), those that moved most first;
                                   empty for numeric and datetime columns
                      new_levels, vanished_levels   lists of text; empty for numeric and datetime columns
                      histogram    null when neither side has a value, else
                                   edges   k + 1 increasing numbers (numeric), or ISO texts (datetime), else null
                                   labels  k texts (boolean, categorical), else null; exactly one of the two is a list
                                   reference, current   k shares 0..1 of the rows that have a value
    only_in_reference, only_in_current    lists of column names
    conflicts       list of {column, reference, current, reason}: one name, two kinds that cannot be compared (texts)
    ignored         list of {column, reason, side}: side is "reference", "current" or "both"
    projection      null, or method text ("principal components"), axes two texts,
                    reference and current lists of [x, y], at most 2000 a side
    locations       null, or note text, columns list of text (those shown in `values`), and
                    reference, current: lists of {row int (0-based, in the file), score number, values list of text}:
                    the rows most typical of their own side and least of the other, highest score first
    subsample       null, or rows_reference int, rows_current int, reason text
    settings        alpha, n_permutations, seed (int or null), tolerance (number or null), max_rows,
                    columns (list of text or null)
    warnings        list of text
"""

from __future__ import annotations

import json
import math
import sys
import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from howfar._errors import DataError, complaint

FORMAT = "howfar.comparison"
FORMAT_VERSION = 1

_PROBABILITIES = {"p_value", "p_adjusted", "alpha"}
REMAKE = "Write it again with `howfar compare REFERENCE CURRENT --json`."

R = TypeVar("R")


def plain(value: Any) -> Any:
    """Records, tuples and numbers as JSON knows them; a number that is not finite becomes None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def parse(text: str) -> Any:
    """JSON text as plain values; raise `DataError` when it is not JSON or holds NaN or infinity."""
    try:
        return json.loads(text, parse_constant=_not_a_number)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(
            complaint("result", "the JSON of a comparison", f"text that is not ({error})", REMAKE)
        ) from None


def _not_a_number(constant: str) -> float:
    raise DataError(complaint("result", "finite numbers", constant, REMAKE))


def check_header(document: Any) -> None:
    """Raise `DataError` unless this is a comparison's document, of a version that this howfar reads."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataError(complaint("result", f'an object with "format": "{FORMAT}"', _kind(document), REMAKE))
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        fix = "Read it with the howfar that wrote it, or compare the tables again."
        raise DataError(complaint("result.format_version", str(FORMAT_VERSION), repr(version), fix))


def read_record(record: type[R], value: Any, path: str) -> R:
    """The record from plain values, every field checked against its type; unknown keys are passed over."""
    if not isinstance(value, dict):
        raise _mismatch(path, "an object", value)
    hints = typing.get_type_hints(record)
    arguments = {}
    for field in fields(record):  # type: ignore[arg-type]
        if field.name not in value:
            raise DataError(complaint(f"{path}.{field.name}", "a value", "nothing", REMAKE))
        where = f"{path}.{field.name}"
        arguments[field.name] = item = _read(hints[field.name], value[field.name], where)
        if field.name in _PROBABILITIES and item is not None and not 0 < item <= 1:
            raise _mismatch(where, "a probability, 0 < p <= 1", item)
    return record(**arguments)


def _read(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _read_union(arguments, value, path)
    if origin is tuple:
        return _read_tuple(arguments, value, path)
    if origin is dict:
        if not isinstance(value, dict):
            raise _mismatch(path, "an object", value)
        return {key: _read(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if is_dataclass(hint):
        return read_record(typing.cast("type[Any]", hint), value, path)
    return _read_scalar(hint, value, path)


def _read_union(members: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and types.NoneType in members:
        return None
    candidates = [member for member in members if member is not types.NoneType]
    for member in candidates[:-1]:
        try:
            return _read(member, value, path)
        except DataError:
            continue
    return _read(candidates[-1], value, path)


def _read_tuple(members: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _mismatch(path, "a list", value)
    if members[-1] is Ellipsis:
        return tuple(_read(members[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if len(value) != len(members):
        raise _mismatch(path, f"a list of {len(members)}", value)
    return tuple(
        _read(member, item, f"{path}[{i}]") for i, (member, item) in enumerate(zip(members, value, strict=True))
    )


def _read_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if hint is int and isinstance(value, int):
            return value
        if hint is float and abs(value) <= sys.float_info.max:
            return float(value)
    names = {bool: "true or false", str: "text", int: "an integer", float: "a finite number"}
    raise _mismatch(path, names.get(hint, str(hint)), value)


def _mismatch(path: str, expected: str, got: Any) -> DataError:
    return DataError(complaint(path, expected, _kind(got), REMAKE))


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object without it" if value else "an empty object"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    text = "null" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
