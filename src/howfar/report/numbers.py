"""Numbers, shares and p-values in plain ASCII: the rules for digits, of the page and of every sentence above it."""

from __future__ import annotations

import math

_ROUNDING = 1e-9


def number(value: float | None, digits: int = 4) -> str:
    """So many significant digits, those before the point all of them, an exponent only far from one; a dash for None.

    Example:
        >>> from howfar.report.numbers import number
        >>> number(1115.0), number(0.000123456), number(-2.5), number(1e9), number(123456789), number(None)
        ('1115', '0.0001235', '-2.5', '1e+09', '123456789', '-')
        >>> number(1700000024.5, digits=5)
        '1700000024'
    """
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    if value != 0 and not 1e-4 <= abs(value) < (1e7 if digits <= 4 else 1e13):
        return f"{value:.{digits}g}"
    decimals = digits if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def share(value: float | None) -> str:
    """A share as a percentage that never rounds something to nothing, or less than all to all.

    Example:
        >>> from howfar.report.numbers import share
        >>> share(0.0), share(0.0004), share(0.25), share(0.99996), share(1.0)
        ('0 %', '<0.1 %', '25 %', '>99.9 %', '100 %')
    """
    if value is None:
        return "-"
    percent = 100 * value
    if abs(percent - round(percent)) < _ROUNDING:
        percent = round(percent)
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.3g} %" if percent < 10 else f"{percent:.1f}".removesuffix(".0") + " %"


def p_value(value: float | None) -> str:
    """A p-value to two digits; "not tested" for None.

    Example:
        >>> from howfar.report.numbers import p_value
        >>> p_value(0.001), p_value(0.0473), p_value(0.5), p_value(None)
        ('0.001', '0.047', '0.5', 'not tested')
    """
    return "not tested" if value is None else f"{value:.2g}"
