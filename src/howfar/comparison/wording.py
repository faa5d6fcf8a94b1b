"""Numbers, times and counts as a reader wants them in a sentence or a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def number(value: float | None, digits: int = 4) -> str:
    """So many significant digits, those before the point all of them, an exponent only far from one; a dash for None.

    Example:
        >>> from howfar.comparison.wording import number
        >>> number(1115.0), number(0.000123456), number(-2.5), number(1e9), number(None)
        ('1115', '0.0001235', '-2.5', '1e+09', '-')
        >>> number(1700000024.5, digits=5)
        '1700000024'
    """
    if value is None:
        return "-"
    if value != 0 and not 1e-4 <= abs(value) < (1e7 if digits <= 4 else 1e13):
        return f"{value:.{digits}g}"
    decimals = digits if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def apart(first: float, second: float, unit: str = "") -> tuple[str, str]:
    """Two values as text, with as many digits as tell them apart, up to twelve; as moments where they have a unit.

    Example:
        >>> from howfar.comparison.wording import apart
        >>> apart(1.0, 2.0), apart(1700000000.0, 1700086400.0), apart(0.1, 0.1)
        (('1', '2'), ('1700000000', '1700086400'), ('0.1', '0.1'))
    """
    texts = "", ""
    for digits in range(4, 13):
        texts = _said(first, unit, digits), _said(second, unit, digits)
        if texts[0] != texts[1]:
            break
    return texts


def _said(value: float, unit: str, digits: int) -> str:
    return str(moment(value, unit, digits)) if unit else number(value, digits)


def share(value: float | None) -> str:
    """A share as a percentage that never rounds something to nothing.

    Example:
        >>> from howfar.comparison.wording import share
        >>> share(0.0), share(0.0004), share(0.25), share(0.99996), share(1.0)
        ('0 %', '<0.1 %', '25 %', '>99.9 %', '100 %')
    """
    if value is None:
        return "-"
    percent = 100 * value
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.3g} %" if percent < 10 else f"{percent:.1f}".removesuffix(".0") + " %"


def p_value(value: float | None) -> str:
    """A p-value to two digits; "not tested" for None.

    Example:
        >>> from howfar.comparison.wording import p_value
        >>> p_value(0.001), p_value(0.0473), p_value(0.5), p_value(None)
        ('0.001', '0.047', '0.5', 'not tested')
    """
    return "not tested" if value is None else f"{value:.2g}" if value < 0.1 else f"{round(value, 2):g}"


def count(n: int, noun: str) -> str:
    """A number and its noun, with a space between thousands.

    Example:
        >>> from howfar.comparison.wording import count
        >>> count(1, "row"), count(100_000, "row")
        ('1 row', '100 000 rows')
    """
    return f"{n:,} {noun if n == 1 else noun + 's'}".replace(",", " ")


def moment(value: float | None, unit: str, digits: int = 4) -> str | None:
    """A datetime column's number as ISO text, by the unit it is counted in; to the second, or to the day if whole."""
    if value is None:
        return None
    try:
        if unit.startswith("days"):
            when = _EPOCH + timedelta(days=value)
            rounded = (when + timedelta(milliseconds=500)).replace(microsecond=0)
            midnight = rounded.time() == datetime.min.time()
            return rounded.date().isoformat() if midnight else rounded.strftime("%Y-%m-%dT%H:%M:%S")
        if unit.startswith("hours"):
            seconds = round(value * 3600)
            return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    except OverflowError:
        pass
    return f"{number(value, digits)} {unit}"


def span_unit(unit: str) -> str:
    """The unit of a difference of two moments.

    Example:
        >>> from howfar.comparison.wording import span_unit
        >>> span_unit("days since 1970-01-01"), span_unit("seconds")
        ('days', 'seconds')
    """
    return unit.split(" ", 1)[0]


def listing(names: Sequence[str], *, most: int = 3) -> str:
    """Names in backticks, the rest as a number.

    Example:
        >>> from howfar.comparison.wording import listing
        >>> listing(["a", "b"]), listing(["a", "b", "c", "d", "e"])
        ('`a` and `b`', '`a`, `b`, `c` and 2 more')
    """
    shown = [f"`{name}`" for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
