"""Numbers and names as a reader sees them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

# Besides control characters: line separators, and the marks that turn the direction of a text and so disguise it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_JOINT = re.compile(r"(?<=[_./-])(?=\w)")
_LONGEST_TEXT = 160
_ROUNDING = 1e-9
_NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"


def clean(value: Any) -> Any:
    """The same document with texts that any HTML file can hold: no control characters, no lone surrogates."""
    if isinstance(value, str):
        return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value.encode("utf-8", "replace").decode("utf-8"))
    if isinstance(value, Mapping):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [clean(item) for item in value]
    return value


def name(text: str) -> str:
    """A column name or a label."""
    return brief(text) if text.strip() else "(blank)"


def brief(text: str) -> str:
    """A text, shortened in the middle where it is very long."""
    if len(text) <= _LONGEST_TEXT:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def breakable(text: str) -> Markup:
    """A name as HTML that may break a line after the signs that join its words."""
    from markupsafe import Markup

    return Markup("<wbr>").join(_JOINT.split(name(text)))


def number(value: object) -> str:
    """Four significant digits, thousands apart; texts as they are, a dash for nothing."""
    if value is None:
        return "\N{EM DASH}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return brief(str(value))
    if isinstance(value, int):
        text = f"{value:,}"
    elif value == 0 or 1e-4 <= abs(value) < 1e4:
        text = f"{value:.4g}"
    elif abs(value) < 1e9:
        text = f"{value:,.0f}" if abs(value) >= 1 else f"{value:.3g}"
    else:
        text = f"{value:.4g}"
    return text.replace(",", _NARROW_SPACE).replace("-", "\N{MINUS SIGN}")


def share(value: float | None) -> str:
    """A share 0..1 as a percentage that never rounds something to nothing or to all."""
    if value is None:
        return "\N{EM DASH}"
    percent = 100 * value
    if abs(percent - round(percent)) < _ROUNDING:
        percent = round(percent)
    if 0 < percent < 0.1:
        return f"<{_NARROW_SPACE}0.1{_NARROW_SPACE}%"
    if 99.9 < percent < 100:
        return f">{_NARROW_SPACE}99.9{_NARROW_SPACE}%"
    return f"{percent:.1f}".removesuffix(".0") + f"{_NARROW_SPACE}%"


def p_value(value: float | None) -> str:
    """Two significant digits."""
    if value is None:
        return "\N{EM DASH}"
    return f"{value:.2g}"


def arrows(text: str) -> str:
    """The arrows of plain text as true ones."""
    return text.replace("->", "\N{RIGHTWARDS ARROW}")


def repeat(reference: str, current: str, settings: Mapping[str, Any]) -> str:
    """What to type to make this comparison again: a command for two files, a call for two tables in memory."""
    if not (PurePath(reference).suffix and PurePath(current).suffix):
        return _call(settings)
    words = ["howfar", "compare", reference, current, "--alpha", str(settings["alpha"])]
    if settings["tolerance"] is not None:
        words += ["--tolerance", str(settings["tolerance"])]
    if settings["columns"] is not None:
        words += ["--columns", ",".join(settings["columns"])]
    return shlex.join(words)


def _call(settings: Mapping[str, Any]) -> str:
    names = [
        key for key in ("columns", "alpha", "tolerance", "n_permutations", "max_rows") if settings[key] is not None
    ]
    options = [f"{key}={settings[key]!r}" for key in names]
    if settings["seed"] is not None:
        options.append(f"generator=torch.Generator().manual_seed({settings['seed']})")
    return f"howfar.compare(reference, current, {', '.join(options)})"
