"""Numbers, times and counts as a reader wants them in a sentence or a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from howfar.report.numbers import number, p_value, share

__all__ = ["apart", "count", "moment", "number", "p_value", "share", "span_unit"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
